"""The dashboard's server, without a browser; test_page.py has one."""

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import edge.publishers.dashboard
from bundle.errors import InputError
from edge.access import Access, Address
from edge.message import Message
from perception.face import FaceDetection
from tests.virtual_devices import wait_until

pytest.importorskip("aiohttp", reason="aiohttp is not installed")
from edge.publishers.dashboard import BEGIN_PART, HISTORY, MAX_STREAMS, PREVIEW_PX, Dashboard, jpeg_of_driver

Drive = Callable[[int], list[Message]]
FACE = FaceDetection((500.0, 200.0, 700.0, 400.0), (550.0, 260.0), (650.0, 260.0), (600.0, 350.0), 0.93)


def square(level_dbfs: float) -> npt.NDArray[np.int16]:
    """A square wave of that level."""
    return np.tile([1, -1], 320).astype(np.int16) * np.int16(round(32_768 * 10 ** (level_dbfs / 20)))


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with Dashboard(Address("127.0.0.1", 0), Access("127.0.0.1", None)) as dashboard:
        yield dashboard


class EventStream:
    """A browser's event stream, read event by event."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._response = urllib.request.urlopen(f"{dashboard.url}events", timeout=10)

    def next(self) -> tuple[str, str]:
        """Kind and data of the next event; kind is "message" unless told, "closed" at the end."""
        kind, data = "message", None
        while line := self._response.readline().decode():
            field, _, value = line.rstrip("\n").partition(":")
            if field == "event":
                kind = value.strip()
            elif field == "data":
                data = value.removeprefix(" ")
            elif not field and data is not None:
                return kind, data
        return "closed", ""

    def update(self) -> dict[str, Any]:
        kind, data = self.next()
        assert kind == "message"
        return dict(json.loads(data))

    def close(self) -> None:
        self._response.close()


@pytest.fixture
def events(dashboard: Dashboard) -> Iterator[EventStream]:
    stream = EventStream(dashboard)
    assert stream.next()[0] == "hello"
    yield stream
    stream.close()


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_update_carries_message_face_and_sound(dashboard: Dashboard, events: EventStream, drive: Drive) -> None:
    dashboard.see(np.zeros((720, 1280, 3), np.uint8), FACE)
    dashboard.hear(square(-20.04), True)
    dashboard.hear(square(-59.94), False)
    message = {**drive(1)[0], "face": "ok"}
    dashboard.publish(message)
    update = events.update()
    assert update["message"] == message
    assert update["heard"] == [[-20.0, 1], [-59.9, 0]]
    assert update["face"] == {"image_px": [1280, 720], "found": {"score": 0.93, "height_px": 200, "eyes_px": 100}}


def test_image_from_before_the_camera_was_lost_is_no_face(
    dashboard: Dashboard, events: EventStream, drive: Drive
) -> None:
    dashboard.see(np.zeros((720, 1280, 3), np.uint8), FACE)
    dashboard.publish({**drive(1)[0], "face": "no image"})
    assert events.update()["face"] is None


def test_sound_is_told_once(dashboard: Dashboard, events: EventStream, drive: Drive) -> None:
    dashboard.hear(square(-20.0), True)
    first, second = drive(2)
    dashboard.publish(first)
    assert len(events.update()["heard"]) == 1
    dashboard.publish(second)
    assert events.update() == {"message": second, "face": None, "heard": []}


def test_page_that_comes_late_gets_the_last_minute(dashboard: Dashboard, drive: Drive) -> None:
    for message in drive(HISTORY + 20):
        dashboard.publish(message)
    time.sleep(0.1)
    stream = EventStream(dashboard)
    kind, data = stream.next()
    stream.close()
    assert kind == "hello"
    assert [update["message"]["seq"] for update in json.loads(data)["history"]] == [*range(20, HISTORY + 20)]


def test_preview_shows_the_image_and_marks_the_face(dashboard: Dashboard) -> None:
    import cv2

    gray = np.full((720, 1280, 3), 128, np.uint8)
    image = cv2.imdecode(np.frombuffer(jpeg_of_driver(gray, FACE), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (360, PREVIEW_PX, 3)
    bright_y, bright_x = np.nonzero(image.min(axis=2) > 200)
    assert (bright_x.min(), bright_y.min()) == pytest.approx((250, 100), abs=2)
    assert (bright_x.max(), bright_y.max()) == pytest.approx((350, 200), abs=2)


def test_preview_keeps_colours_in_order(dashboard: Dashboard) -> None:
    import cv2

    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    image = cv2.imdecode(np.frombuffer(jpeg_of_driver(red, None), np.uint8), cv2.IMREAD_COLOR)
    assert image[..., 2].min() > 240  # OpenCV's order is BGR
    assert image[..., :2].max() < 20


def test_camera_stream_sends_each_image_as_a_jpeg(dashboard: Dashboard) -> None:
    images = [np.full((48, 64, 3), value, np.uint8) for value in (0, 255)]
    dashboard.see(images[0], None)
    with urllib.request.urlopen(f"{dashboard.url}camera.mjpg", timeout=10) as stream:
        assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=part"
        assert read_part(stream) == b""
        assert read_part(stream) == jpeg_of_driver(images[0], None)
        dashboard.see(images[1], None)
        assert read_part(stream) == jpeg_of_driver(images[1], None)


def read_part(stream: http.client.HTTPResponse) -> bytes:
    """The next image, as soon as the header of the one after it is there: before that, browsers do not show it."""
    data = b""
    while not data.endswith(BEGIN_PART):
        data += stream.read(1)
    return data.removesuffix(BEGIN_PART)


def test_end_of_the_run_is_told(dashboard: Dashboard, events: EventStream) -> None:
    dashboard.close()
    assert events.next()[0] == "end"
    assert events.next()[0] == "closed"


def test_stalled_browsers_delay_neither_the_loop_nor_other_browsers(
    dashboard: Dashboard, events: EventStream, drive: Drive
) -> None:
    port = int(dashboard.url.rstrip("/").rpartition(":")[2])
    stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    for number, connection in enumerate(stalled):
        path = ("/events", "/camera.mjpg")[number % 2]
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for message in drive(200):
        dashboard.see(noise, None)
        dashboard.publish(message)
        time.sleep(0.002)
    while events.update()["message"]["seq"] < 199:
        pass
    for connection in stalled:
        connection.close()


def test_server_that_hangs_does_not_hold_up_the_loop_nor_fill_memory(
    dashboard: Dashboard, events: EventStream, drive: Drive
) -> None:
    dashboard._loop.call_soon_threadsafe(time.sleep, 1.0)
    start_s = time.monotonic()
    messages = drive(2 * HISTORY)
    begun_s = time.monotonic()
    for message in messages:
        dashboard.publish(message)
    assert begun_s - start_s < 1.0, "the machine is too slow for this test"
    assert len(dashboard._updates) <= HISTORY
    while events.update()["message"]["seq"] < 2 * HISTORY - 1:
        pass


def test_browser_that_left_is_forgotten(dashboard: Dashboard, events: EventStream, drive: Drive) -> None:
    second = EventStream(dashboard)
    second.next()
    assert len(dashboard._events) == 2
    second.close()
    wait_until(lambda: len(dashboard._events) == 1)


def test_too_many_browsers_are_turned_away(dashboard: Dashboard) -> None:
    streams = [EventStream(dashboard) for _ in range(MAX_STREAMS)]
    wait_until(lambda: len(dashboard._events) == MAX_STREAMS)
    assert get(f"{dashboard.url}events")[0] == 503
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("path", ["", "events", "camera.mjpg", "page.js"])
def test_foreign_host_name_is_refused(dashboard: Dashboard, path: str) -> None:
    assert get(dashboard.url + path, Host="evil.example")[0] == 403


def test_page_comes_whole_and_loads_nothing_from_elsewhere(dashboard: Dashboard) -> None:
    for path in ("", "style.css", "page.js", "drawing.js"):
        status, body = get(dashboard.url + path)
        assert status == 200
        assert b"://" not in body
    assert get(f"{dashboard.url}../dashboard.py")[0] == 404


def test_token_is_needed_beyond_this_machine() -> None:
    with Dashboard(Address("0.0.0.0", 0), Access("0.0.0.0", "0123456789abcdef")) as dashboard:
        base, _, query = dashboard.url.replace("0.0.0.0", "127.0.0.1").partition("?")
        assert query == "token=0123456789abcdef"
        for path in ("", "events", "camera.mjpg", "none"):
            assert get(base + path)[0] == 401
        assert get(f"{base}?token=0123456789abcdeF")[0] == 401
        assert get(f"{base}?{query}")[0] == 200
        assert get(base, Authorization="Bearer 0123456789abcdef")[0] == 200


def test_strangers_do_not_use_up_the_open_files(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge.publishers.dashboard, "MOST_CONNECTIONS", 3)
    port = int(dashboard.url.rstrip("/").rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    wait_until(lambda: refuses(port))
    for connection in idle:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        connection.close()
    wait_until(lambda: not refuses(port))
    assert get(dashboard.url)[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def refuses(port: int) -> bool:
    """Whether a new connection is closed before anything was asked."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.5)
        try:
            return connection.recv(1) == b""
        except TimeoutError:
            return False


def test_address_that_is_taken_is_refused_in_one_line(dashboard: Dashboard) -> None:
    port = int(dashboard.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"--dashboard cannot listen on 127.0.0.1, port {port}: .*in use"):
        Dashboard(Address("127.0.0.1", port), Access("127.0.0.1", None))


def test_host_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"--dashboard cannot listen on 203\.0\.113\.1"):
        Dashboard(Address("203.0.113.1", 0), Access("203.0.113.1", "x"))


def test_a_connection_that_shows_no_token_is_closed_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.publishers.dashboard, "PATIENCE_S", 0.5)
    with Dashboard(Address("127.0.0.1", 0), Access("127.0.0.1", "0123456789abcdef")) as dashboard:
        port = int(dashboard.url.partition("/?")[0].rpartition(":")[2])

        def asked(request: bytes) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.sendall(request)
            return connection

        head = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        strangers = [asked(request) for request in (b"", b"GET / HT", b"GET /?token=wrong" + head)]
        known = asked(b"GET /events?token=0123456789abcdef" + head)
        for stranger in strangers:
            with suppress(ConnectionResetError):
                while stranger.recv(4096):
                    pass
        time.sleep(0.5)
        assert b" 200 OK" in known.recv(4096)
        known.settimeout(0.2)
        text = b"?"
        with suppress(TimeoutError):  # it waits for updates
            while text:
                text = known.recv(4096)
        assert text
        for connection in (*strangers, known):
            connection.close()
