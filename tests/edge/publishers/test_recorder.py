"""What of a run is recorded, and how the recorder lets go of a disk that stands still."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import InputError
from bundle.features import WindowSpec
from edge.publishers import recorder
from edge.publishers.recorder import Recorder
from edge.recording import Frame, ObservationCoder, WindowDelta, read_frames
from perception.chunks import AudioChunk, Estimate, Observation, VideoChunk
from perception.windows import SlotWindow

WINDOW = WindowSpec()
IMAGE = np.zeros((8, 8, 3), np.uint8)


def recorder_of(path: Path, start_ns: int = 0, *, back_pressure: bool = False) -> Recorder:
    coder = ObservationCoder(WindowDelta(40, 2, WINDOW.image_period_ns), WindowDelta(16, 2, WINDOW.step_ns))
    stop = threading.Event()
    return Recorder(path, Frame("start", {}), coder, WINDOW, start_ns, stop, media=True, back_pressure=back_pressure)


def publish(recorder: Recorder, captured_ns: int, engine: str = "onnxruntime") -> None:
    nothing = [array for slots in (40, 16) for array in (np.zeros((slots, 2), np.float32), np.zeros(slots, np.float32))]
    observation = Observation(captured_ns, None, "none", "warming up", "no image", "lost", *nothing)
    recorder.observe(observation, Estimate(captured_ns, None, None, "none", "warming up", "no image", "lost"))
    recorder.publish({"seq": 0, "engine": engine})


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


def test_a_disk_that_stands_still_holds_up_a_clip_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "STANDSTILL_S", 0.3)
    monkeypatch.setattr(recorder, "PATIENCE_S", 0.1)
    monkeypatch.setattr(recorder, "QUEUED_UPDATES", 5)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    recording = recorder_of(pipe, back_pressure=True)
    begun_s = time.monotonic()
    while not recording.error and time.monotonic() - begun_s < 10:
        publish(recording, 0)
    assert recording.error.endswith("ended early: the disk is too slow")
    begun_s = time.monotonic()
    for _ in range(10):
        publish(recording, 0)
    recording.close()
    assert time.monotonic() - begun_s < 1
    os.close(reader)


@pytest.mark.parametrize("failed", [False, True])
def test_what_comes_while_the_networks_load_is_written_unless_they_fail_to(tmp_path: Path, failed: bool) -> None:
    path = tmp_path / "run.rec"
    path.write_bytes(b"of an earlier run")
    recording = recorder_of(path)
    for captured_ns in (0, 200_000_000):
        publish(recording, captured_ns, "loading")
    assert path.read_bytes() == b"of an earlier run"
    recording.close(failed=failed)
    if failed:
        assert path.read_bytes() == b"of an earlier run"
    else:
        with path.open("rb") as file:
            assert [frame.kind for frame in read_frames(file, "")] == ["start", "update", "update"]


def test_a_named_pipe_that_nobody_reads_holds_up_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "PATIENCE_S", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    recording = recorder_of(pipe)
    begun_s = time.monotonic()
    for number in range(10):
        publish(recording, number * 200_000_000)
    recording.close()
    assert time.monotonic() - begun_s < 2
    assert recording.error.endswith("ended early: the disk stands still")
    with pipe.open("rb") as reader:  # lets the thread end
        assert reader.read() == b""  # it was given up


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    recording = recorder_of(tmp_path / "run.rec")
    (tmp_path / "run.rec").mkdir()
    publish(recording, 0)
    with pytest.raises(InputError, match="cannot be written: File exists"):
        recording.close()
    with pytest.raises(InputError, match="cannot be written: File exists"):
        publish(recording, 200_000_000)
    recording.close(failed=True)


def test_sound_that_comes_at_once_when_the_networks_are_loaded_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.rec"
    recording = recorder_of(path)
    for number in range(60):
        publish(recording, number * 200_000_000, engine="loading")
    for number in range(200):
        recording.push(AudioChunk(np.zeros(320, np.int16), number * 20_000_000))
    publish(recording, 12_000_000_000)
    recording.close()
    with path.open("rb") as file:
        assert sum(frame.kind == "sound" for frame in read_frames(file, "")) == 200
