"""The live page in a real browser."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.access import Access, Address
from edge.message import Message
from perception.face import FaceDetection

pytest.importorskip("aiohttp", reason="aiohttp is not installed")
from edge.publishers.dashboard import Dashboard
from tests.browser import Browser

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "demo" / "driver.mp4"
FACE = FaceDetection((200.0, 100.0, 300.0, 220.0), (225.0, 140.0), (275.0, 140.0), (250.0, 190.0), 0.93)
Drive = Callable[[int], list[Message]]


@contextmanager
def served(port: int = 0) -> Iterator[Dashboard]:
    with Dashboard(Address("127.0.0.1", port), Access("127.0.0.1", None)) as dashboard:
        yield dashboard


def play(dashboard: Dashboard, messages: list[Message], pause_s: float = 0.0) -> None:
    """Messages with a gray image and sound of -30 dBFS each."""
    image = np.full((480, 640, 3), 128, np.uint8)
    for message in messages:
        dashboard.see(image, FACE if message["face"] == "ok" else None)
        dashboard.hear(np.tile([1036, -1036], 320).astype(np.int16), message["voice"] == "speech")
        dashboard.publish(message)
        time.sleep(pause_s)


def painted(browser: Browser, canvas: str) -> int:
    """Pixels of a canvas that are not empty."""
    data = f"((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data)(document.querySelector('{canvas}'))"
    return int(browser.value(f"{data}.filter((value, i) => i % 4 == 3 && value).length"))


def test_what_the_message_says_is_what_the_page_shows(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        play(dashboard, drive(30))
        browser.open(dashboard.url)
        browser.wait_for("document.querySelector('#seq').textContent == 'update 29'")
        message = drive(30)[-1]
        assert browser.text("#state") == "joyful"
        assert browser.text("#reason") == message["reason"].replace(">=", "≥")
        assert "86 % sure, mostly happy" in browser.text("#emotion")
        assert browser.text("#quality") == "640 \N{MULTIPLICATION SIGN} 480, face 120 px high, 93 % sure"
        assert browser.text("#face dd") == "face found"
        assert browser.text("#voice dd") == "speech"
        assert browser.text("#level b") == "-30 dBFS"
        assert browser.text("#delay b") == "90 ms"
        assert browser.text("#dropped dd") == "2 images, 0.0 s of sound"
        assert "joyful" in browser.text("#changes li")
        assert painted(browser, "#timeline") > 5_000
        assert painted(browser, "#wheel") > 1_000
        assert browser.wait_for("document.querySelector('#preview').naturalWidth") == 640
    assert browser.faults == []


def test_trouble_with_devices_and_load_is_told(browser: Browser, drive: Drive) -> None:
    health = {"camera": "frozen", "microphone": "wrong rate", "load": "reduced rate"}
    with served() as dashboard:
        play(dashboard, [{**drive(1)[0], "health": health, "dropped": {"images": 1, "audio": 0, "updates": 7}}])
        browser.open(dashboard.url)
        browser.wait_for("document.querySelector('#load dd').textContent")
        assert browser.text("#face dd") == "camera frozen"
        assert browser.text("#voice dd") == "wrong rate, put right"
        assert browser.text("#load dd") == "reduced rate"
        assert browser.text("#dropped dd").endswith(", 7 updates")


def test_blind_camera_is_told_over_the_picture(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        play(dashboard, drive(60))
        browser.open(dashboard.url)
        browser.wait_for("document.querySelector('#seq').textContent == 'update 59'")
        assert browser.text("#blind") == "too dark"
        assert browser.value("document.querySelector('#face dd').dataset.health") == "warn"
        assert browser.text("#source dd") == "voice alone"


def test_every_update_of_five_a_second_is_drawn(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        browser.open(dashboard.url)
        browser.value(
            "window.drawn = new Set(); window.seq = document.querySelector('#seq');"
            "new MutationObserver(() => drawn.add(seq.textContent)).observe(seq, {childList: true}); 0"
        )
        browser.wait_for("document.querySelector('#link').textContent != 'connecting'")
        play(dashboard, drive(15), pause_s=0.2)
        browser.wait_for("document.querySelector('#seq').textContent == 'update 14'")
        assert browser.value("drawn.size") >= 13  # two may fall to hiccups of the machine


def test_reload_keeps_the_minute_that_was(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        play(dashboard, drive(100))
        browser.open(dashboard.url)
        browser.wait_for("document.querySelector('#seq').textContent == 'update 99'")
        before = browser.text("#changes")
        browser.do("Page.reload")
        browser.wait_for("document.querySelector('#seq')?.textContent == 'update 99'")
        assert browser.text("#changes") == before
        assert browser.text("#span") == "The last 20 s"
        assert painted(browser, "#timeline") > 5_000


def test_moment_under_the_pointer_is_read_out(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        play(dashboard, drive(30))
        browser.open(dashboard.url)
        browser.wait_for("document.querySelector('#seq').textContent == 'update 29'")
        box = browser.value("document.querySelector('#timeline').getBoundingClientRect().toJSON()")
        middle = box["x"] + 78 + (box["width"] - 78 - 54) * 0.505  # a little less than 5 s ago, of 10 s
        browser.do("Input.dispatchMouseEvent", type="mouseMoved", x=middle, y=box["y"] + 50)
        browser.wait_for("document.querySelector('#readout').textContent")
        readout, told = browser.text("#readout"), drive(30)[4]
        assert readout.startswith("5.0 s ago: ")
        assert told["state"] in readout
        assert told["reason"].replace(">=", "≥") in readout


def test_run_that_stops_is_told_and_the_next_one_is_found(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        browser.open(dashboard.url)
        play(dashboard, drive(50))
        browser.wait_for("document.querySelector('#seq').textContent == 'update 49'")
        port = int(dashboard.url.rstrip("/").rpartition(":")[2])
    browser.wait_for("document.querySelector('#link').textContent == 'the run has ended'")
    with served(port) as dashboard:
        browser.wait_for("document.querySelector('#link').textContent == 'connected, no update yet'")
        play(dashboard, drive(10))
        browser.wait_for("document.querySelector('#link').textContent == 'live'")
        browser.wait_for("document.querySelector('#seq').textContent == 'update 9'")
    assert browser.faults == []


def test_loop_that_falls_silent_is_told(browser: Browser, drive: Drive) -> None:
    with served() as dashboard:
        browser.open(dashboard.url)
        browser.wait_for("document.querySelector('#link').textContent == 'connected, no update yet'")
        dashboard.publish(drive(1)[0])
        browser.wait_for("document.body.dataset.link == 'live'")
        browser.wait_for("document.querySelector('#link').textContent == 'no update for 2 s'")


@pytest.mark.parametrize(("width_px", "height_px"), [(390, 844), (768, 1024), (1280, 800)])
def test_nothing_overflows_on_phone_tablet_and_desktop(
    browser: Browser, drive: Drive, width_px: int, height_px: int
) -> None:
    with served() as dashboard:
        play(dashboard, drive(60))
        browser.open(dashboard.url, width_px, height_px)
        browser.wait_for("document.querySelector('#seq').textContent == 'update 59'")
        assert browser.value("document.documentElement.scrollWidth") <= width_px
        texts = "[...document.querySelectorAll('p, dt, dd, b, small')].filter(e => e.clientWidth)"
        assert browser.value(f"{texts}.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)") == []
        if width_px >= 1280:
            assert browser.value("document.documentElement.scrollHeight") <= height_px


def test_page_with_a_token_works_as_a_whole(browser: Browser, drive: Drive) -> None:
    with Dashboard(Address("0.0.0.0", 0), Access("0.0.0.0", "0123456789abcdef")) as dashboard:
        play(dashboard, drive(10))
        browser.open(dashboard.url.replace("0.0.0.0", "127.0.0.1"))
        browser.wait_for("document.querySelector('#seq')?.textContent == 'update 9'")
        browser.wait_for("document.querySelector('#preview').naturalWidth")


def test_run_of_the_demo_clip_is_seen_live(browser: Browser) -> None:
    command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), "--realtime", "--dashboard", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        browser.open(process.stderr.readline().split()[-1])
        threading.Thread(target=process.stderr.read, daemon=True).start()
        browser.wait_for("document.querySelector('#source dd').textContent == 'face and voice'")
        assert "face" in browser.text("#quality")
        assert browser.text("#level b").endswith("dBFS")
        assert browser.wait_for("document.querySelector('#preview').naturalWidth") == 640
        process.terminate()
    browser.wait_for("document.querySelector('#link').textContent == 'the run has ended'")
    assert process.returncode == 0
