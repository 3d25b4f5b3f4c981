"""edge-run --record and --replay as their users run them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bundle.manifest import DEFAULT_BUNDLE, read_manifest, write_manifest
from edge.recording import MAGIC, Frame, bytes_from_frame, read_frames
from perception.chunks import AudioChunk
from perception.clip import decode_clip
from tests.edge.test_run import DEMO, ROOT, assert_clear_error, edge_run, messages
from tests.virtual_devices import MjpegCamera, VirtualMicrophone, wait_until


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A recording of the demo clip, and what was printed."""
    path = tmp_path_factory.mktemp("recording") / "demo.rec"
    result = edge_run("--clip", DEMO, "--record", path)
    assert result.returncode == 0, result.stderr
    return path, result.stdout


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the first seconds of the demo clip, with images and sound."""
    path = tmp_path_factory.mktemp("media") / "demo.rec"
    assert edge_run("--clip", DEMO, "--duration", 3, "--record", path, "--record-media").returncode == 0
    return path


def renamed_bundle(folder: Path) -> Path:
    """The default bundle's networks under another name."""
    shutil.copytree(DEFAULT_BUNDLE, folder)
    manifest = read_manifest(folder)
    object.__setattr__(manifest, "name", "other")
    write_manifest(folder, manifest)
    return folder


def kinds(path: Path) -> list[str]:
    with path.open("rb") as file:
        return [frame.kind for frame in read_frames(file, str(path))]


def test_replay_gives_the_same_bytes(recorded: tuple[Path, str]) -> None:
    path, printed = recorded
    result = edge_run("--replay", path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == printed


def test_recording_holds_no_image_and_no_sound_unless_asked(recorded: tuple[Path, str], media: Path) -> None:
    assert set(kinds(recorded[0])) == {"start", "update"}
    assert recorded[0].stat().st_size < 20_000 * 7.4
    assert set(kinds(media)) == {"start", "update", "sound", "image"}


def test_recorded_sound_is_the_clips_own(media: Path) -> None:
    with media.open("rb") as file:
        got = [frame for frame in read_frames(file, "") if frame.kind == "sound"]
    clip = [chunk.samples for chunk in decode_clip(DEMO) if isinstance(chunk, AudioChunk)]
    heard = np.concatenate([frame.arrays["samples"] for frame in got])
    assert len(heard) > 16_000
    start = got[0].fields["captured_ns"] // 62_500
    assert np.array_equal(heard, np.concatenate(clip)[start : start + len(heard)])


def test_recording_into_a_pipe_is_the_recording(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        copied = reader.submit(pipe.read_bytes)
        result = edge_run("--clip", DEMO, "--record", pipe)
        assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
        assert copied.result(10) == recorded[0].read_bytes()


def test_folder_gets_a_new_recording_and_new_messages_at_each_start(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        assert edge_run("--clip", DEMO, "--duration", 1, "--record", tmp_path, "--output", tmp_path).returncode == 0
        assert [len([*tmp_path.glob(name)]) for name in ("*.rec", "*.jsonl")] == [number, number]
    assert len({path.stem for path in tmp_path.glob("*.rec")} & {path.stem for path in tmp_path.glob("*.jsonl")}) == 3


def test_replay_differs_loudly(recorded: tuple[Path, str], tmp_path: Path) -> None:
    """As if another processor had computed the recorded probabilities, by one bit, in one update."""
    with recorded[0].open("rb") as file:
        frames = [*read_frames(file, "")]
    probs = frames[20].arrays["probs"].copy()
    probs[0] = np.nextafter(probs[0], 1)
    frames[20] = Frame(frames[20].kind, frames[20].fields, {**frames[20].arrays, "probs": probs})
    path = tmp_path / "other.rec"
    path.write_bytes(MAGIC + b"".join(bytes_from_frame(frame) for frame in (*frames, Frame("end", {}))))
    result = edge_run("--replay", path)
    assert_clear_error(result, status=1, tells="1 of 37 messages differ")
    assert result.stdout == recorded[1]


def test_recording_that_was_cut_off_replays_as_far_as_it_goes(recorded: tuple[Path, str], tmp_path: Path) -> None:
    path, whole = tmp_path / "cut.rec", recorded[0].read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    result = edge_run("--replay", path)
    assert_clear_error(result, status=1, tells="cut off or damaged at byte")
    assert 20 < len(messages(result.stdout)) < 30
    assert recorded[1].startswith(result.stdout)


def test_other_bundle_is_refused_without_media_and_perceives_them_anew(
    recorded: tuple[Path, str], media: Path, tmp_path: Path
) -> None:
    bundle = renamed_bundle(tmp_path / "bundle")
    assert_clear_error(edge_run("--replay", recorded[0], "--bundle", bundle), status=1, tells="--record-media")
    result = edge_run("--replay", media, "--bundle", bundle)
    assert result.returncode == 0, result.stderr
    anew, first = messages(result.stdout), messages(recorded[1])
    assert {message["bundle"] for message in anew} == {"other"}
    assert [m["captured_ns"] for m in anew] == [m["captured_ns"] for m in first[: len(anew)]]
    assert [m["source"] for m in anew] == [m["source"] for m in first[: len(anew)]]
    likely = [(m["probabilities"], n["probabilities"]) for m, n in zip(anew, first, strict=False) if m["probabilities"]]
    assert len(likely) > 10
    assert np.median([abs(a[label] - b[label]) for a, b in likely for label in a]) < 0.05  # JPEG
    path = tmp_path / "of other sizes.rec"
    path.write_bytes(with_other_embeddings(media))
    assert edge_run("--replay", path, "--bundle", bundle).stdout == result.stdout


def with_other_embeddings(recording: Path) -> bytes:
    """As if a network with longer windows of shorter embeddings had been recorded."""
    content = MAGIC
    with recording.open("rb") as file:
        for frame in (*read_frames(file, ""), Frame("end", {})):
            if frame.kind == "update":
                vectors, mask = np.zeros((1, 5), np.float32), np.ones(1, np.float32)
                arrays = {"visual": vectors, "visual_mask": mask, "audio": vectors, "audio_mask": mask}
                fields = {**frame.fields, "visual_slots": [700], "audio_slots": [700]}
                frame = Frame("update", fields, {**frame.arrays, **arrays})
            content += bytes_from_frame(frame)
    return content


@pytest.mark.parametrize("content", [b"", b"no recording", MAGIC, MAGIC + bytes_from_frame(Frame("end", {}))])
def test_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.rec"
    path.write_bytes(content)
    assert_clear_error(edge_run("--replay", path), status=1, tells="odd.rec")


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        (("--replay", "no.rec"), "no.rec cannot be read"),
        (("--clip", DEMO, "--record", DEMO), "the clip itself"),
        (("--clip", DEMO, "--record", "a.rec", "--output", "./a.rec"), "is --record too"),
        (("--clip", DEMO, "--record", "no/folder/a.rec"), "cannot be written"),
    ],
)
def test_wrong_file_is_refused(arguments: tuple[object, ...], tells: str) -> None:
    assert_clear_error(edge_run(*arguments), status=1, tells=tells)


def test_media_without_a_file_are_wrong_usage() -> None:
    assert_clear_error(edge_run("--clip", DEMO, "--record-media"), status=2, tells="--record FILE")


def test_full_disk_ends_the_recording_and_not_the_run(recorded: tuple[Path, str]) -> None:
    result = edge_run("--clip", DEMO, "--record", "/dev/full")
    assert_clear_error(result, status=1, tells="No space left")
    assert "the run goes on" in result.stderr
    assert result.stdout == recorded[1]


def test_disk_that_fills_up_keeps_whole_frames(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    path = tmp_path / "full.rec"
    command = f"ulimit -f 50; trap '' XFSZ; {sys.executable} -m edge.run --clip {DEMO} --record {path}"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert_clear_error(result, status=1, tells="File too large")
    assert result.stdout == recorded[1]
    replayed = edge_run("--replay", path)
    assert_clear_error(replayed, status=1, tells="end of file")
    assert len(messages(replayed.stdout)) > 15
    assert recorded[1].startswith(replayed.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_live_run_replays_to_the_same_bytes_however_it_ended(
    mjpeg_portrait: MjpegCamera, virtual_microphone: VirtualMicrophone, tmp_path: Path, number: signal.Signals
) -> None:
    path, output = tmp_path / "live.rec", tmp_path / "live.jsonl"
    arguments = ["--camera", mjpeg_portrait.url, "--record", path, "--output", output]
    with subprocess.Popen([sys.executable, "-m", "edge.run", *map(str, arguments)], cwd=ROOT) as process:
        try:
            wait_until(lambda: output.exists() and '"source":"video"' in output.read_text(), within_s=30)
            time.sleep(0.5)
            process.send_signal(number)
        except AssertionError:
            process.kill()  # else it runs on for ever
            raise
    result = edge_run("--replay", path)
    printed = output.read_text()
    if number == signal.SIGTERM:
        assert (process.returncode, result.returncode) == (0, 0), result.stderr
        assert result.stdout == printed
    else:
        replayed = messages(result.stdout)
        assert json.loads(printed.splitlines()[0])["reason"] == "warming up"
        assert printed.startswith(result.stdout)
        assert len(replayed) >= printed.count("\n") - 2
