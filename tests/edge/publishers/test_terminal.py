"""The text screen."""

import contextlib
import io
import os
import pty
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from bundle.errors import InputError
from edge.message import Message
from perception.face import FaceDetection
from tests.virtual_devices import wait_until

pytest.importorskip("rich", reason="rich is not installed")
from rich.console import Console

from edge.publishers.terminal import TerminalView, screen_of

SOUND = np.tile([1036, -1036], 320).astype(np.int16)  # -30 dBFS
HEALTH = {"camera": "slow", "microphone": "ok", "load": "reduced rate"}
Drive = Callable[[int], list[Message]]
FACE = FaceDetection((0.0, 0.0, 100.0, 120.0), (25.0, 40.0), (75.0, 40.0), (50.0, 90.0), 0.93)


def drawn(history: list[Message], width: int = 80, **details: object) -> list[str]:
    seen = {"face": FACE, "heard": (SOUND, True)} | details
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(screen_of(history, width=width, **seen))  # type: ignore[arg-type]
    return console.export_text().splitlines()


def line_with(lines: list[str], text: str) -> str:
    return next(line for line in lines if text in line)


def test_what_the_message_says_is_what_the_screen_shows(drive: Drive) -> None:
    lines = drawn(drive(30))
    assert "86% sure, mostly happy" in line_with(lines, "JOYFUL")
    assert "joyful 0.86 >= 0.50" in "".join(lines)
    assert "0.86" in line_with(lines, "│ happy")
    assert "audio+video" in line_with(lines, "rests on")
    assert "ok, 93% sure" in line_with(lines, "camera")
    assert "speech" in line_with(lines, "microphone")
    assert "-30 dBFS" in line_with(lines, "level")
    assert "90 ms" in line_with(lines, "delay")
    assert "2 images, 0.0 s" in line_with(lines, "dropped")
    assert "default on onnxruntime-cpu, update 29" in lines[0]


def test_updates_left_out_and_load_are_told(drive: Drive) -> None:
    message = drive(30)[-1]
    dropped, health = {**message["dropped"], "updates": 7}, {**message["health"], "load": "reduced rate"}
    lines = drawn([{**message, "dropped": dropped, "health": health}])
    assert "90 ms, 7 left out" in line_with(lines, "delay")
    assert "reduced rate" in line_with(lines, "mode")


def test_screen_fits_a_terminal_of_80_by_24(drive: Drive) -> None:
    for count in (1, 5, 30, 300):
        dropped = {"images": 123, "audio": 0, "updates": 99}
        lines = drawn([{**message, "health": HEALTH, "dropped": dropped} for message in drive(count)])
        assert len(lines) <= 23  # the cursor's line is the 24th
        assert {len(line) for line in lines} == {80}


def test_strip_ends_with_the_newest_update(drive: Drive) -> None:
    strip = line_with(drawn(drive(44)), "│ angry").split()
    assert strip[2].endswith("▇▇▇▇")
    assert strip[3] == "0.86"


def test_last_changes_are_told_newest_first(drive: Drive) -> None:
    lines = drawn(drive(60))
    assert [line.split()[4] for line in lines if " ago " in line] == ["agitated", "joyful"]


def test_point_lies_by_valence_and_arousal(drive: Drive) -> None:
    lines = drawn(drive(30))
    middle = next(i for i, line in enumerate(lines) if "┼" in line)
    point = next(i for i, line in enumerate(lines) if "●" in line)
    assert point <= middle  # happy: slightly up
    assert lines[point].index("●") > lines[middle].index("┼")  # and right


def test_senses_that_are_not_in_use_leave_no_trace(drive: Drive) -> None:
    lines = drawn(drive(1), face=None, heard=None)
    assert not any("level" in line or "●" in line for line in lines)


def test_trouble_with_devices_and_load_is_told(drive: Drive) -> None:
    lines = drawn([{**message, "health": HEALTH} for message in drive(30)])
    assert "ok (slow)" in line_with(lines, "camera")
    assert "reduced rate" in line_with(lines, "mode")


def test_stream_that_is_no_terminal_is_refused() -> None:
    with pytest.raises(InputError, match="no terminal"):
        TerminalView(io.StringIO())


def test_updates_are_drawn_by_a_thread_and_the_last_picture_stays(drive: Drive) -> None:
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream:
        with TerminalView(stream) as view:
            view.see(np.zeros((48, 64, 3), np.uint8), FACE)
            view.hear(SOUND, True)
            for message in drive(30):
                view.publish(message)
            wait_until(lambda: not view._fresh.is_set())
        text = os.read(reader, 1 << 20).decode()
    os.close(reader)
    assert "JOYFUL" in text


def test_lines_go_on_into_a_pipe(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream, TerminalView(stream):
        print("a line")
    os.close(reader)
    assert pipe.getvalue() == "a line\n"


@pytest.mark.parametrize("gone", [False, True])
def test_a_terminal_that_stands_still_or_is_gone_does_not_hold_up_the_end(drive: Drive, gone: bool) -> None:
    reader, writer = pty.openpty()
    stream = os.fdopen(writer, "w")
    view = TerminalView(stream)
    if gone:
        os.close(reader)
    for message in drive(30):
        view.publish(message)
        time.sleep(0.02)
    begun_s = time.monotonic()
    view.close()
    assert time.monotonic() - begun_s < 3
    if not gone:
        assert view._thread.is_alive()  # it waits for the terminal
        os.close(reader)
        wait_until(lambda: not view._thread.is_alive())
    with contextlib.suppress(OSError):
        stream.close()
