"""What of a run is recorded, and how the recorder lets go of a disk that stands still."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from bundle.features import WindowSpec
from edge.publishers import recorder
from edge.publishers.recorder import Recorder
from edge.recording import Frame, ObservationCoder, WindowDelta, read_frames
from perception.chunks import Estimate, Observation, VideoChunk
from perception.windows import SlotWindow

WINDOW = WindowSpec()
IMAGE = np.zeros((8, 8, 3), np.uint8)


def recorder_of(path: Path, start_ns: int = 0) -> Recorder:
    coder = ObservationCoder(WindowDelta(40, 2, WINDOW.image_period_ns), WindowDelta(16, 2, WINDOW.step_ns))
    return Recorder(path, Frame("start", {}), coder, WINDOW, start_ns, media=True, back_pressure=False)


def publish(recorder: Recorder, captured_ns: int) -> None:
    nothing = [array for slots in (40, 16) for array in (np.zeros((slots, 2), np.float32), np.zeros(slots, np.float32))]
    observation = Observation(captured_ns, None, "none", "warming up", "no image", "lost", *nothing)
    recorder.observe(observation, Estimate(captured_ns, None, None, "none", "warming up", "no image", "lost"))
    recorder.publish({"seq": 0})


@pytest.mark.parametrize("start_ms", [0, 1_000_033, 1_000_081])
@pytest.mark.parametrize("fps", [8, 15, 25, 30])
def test_images_are_those_that_are_perceived(tmp_path: Path, start_ms: int, fps: int) -> None:
    path, start_ns = tmp_path / "run.rec", start_ms * 1_000_000
    times_ns = [start_ns + round(number * 1e9 / fps) for number in range(3 * fps)]
    recording = recorder_of(path, start_ns)
    publish(recording, start_ns)
    for at_ns in times_ns:
        recording.push(VideoChunk(IMAGE, at_ns))
    recording.close()
    slots = SlotWindow(WINDOW.image_slots, WINDOW.image_period_ns, 2, start_ns - WINDOW.image_period_ns // 2)
    first = {slots.slot(at_ns): at_ns for at_ns in reversed(times_ns)}  # as FaceEncoder chooses them
    with path.open("rb") as file:
        kept = [frame.fields["captured_ns"] for frame in read_frames(file, "") if frame.kind == "image"]
    assert kept == sorted(first.values())


def test_a_reader_that_does_not_read_is_left_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "PATIENCE_S", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    recording = recorder_of(pipe)
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    publish(recording, 0)
    for number in range(20):
        recording.push(VideoChunk(noise, number * 100_000_000))
    begun_s = time.monotonic()
    recording.close()
    assert time.monotonic() - begun_s < 2
    assert recording.error.endswith("ended early: the disk stands still")
    os.close(reader)  # lets the thread end
