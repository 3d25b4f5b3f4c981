"""edge-run as its users run it: as a process, on real clips, a real camera, a real microphone."""

import contextlib
import gc
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import edge.run
from bundle.manifest import (
    DEFAULT_BUNDLE,
    INT8_ONNXRUNTIME,
    choose_precision,
    preprocessing_sha256,
    read_manifest,
    write_manifest,
)
from edge.session import COMPILING
from perception.chunks import AudioChunk, VideoChunk
from perception.clip import decode_clip
from perception.face import FaceDetection
from perception.mediapipe_face import MediaPipeFaceDetector
from perception.network import open_network
from tests.uncached import uncached_probs
from tests.virtual_devices import MjpegCamera, VirtualMicrophone

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "demo" / "driver.mp4"
SCHEMA = json.loads((ROOT / "docs" / "message.schema.json").read_text())


def edge_run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.run", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options)


def messages(output: str) -> list[dict[str, Any]]:
    """All lines of the output, each whole, and valid by the schema."""
    assert output == "" or output.endswith("\n")
    parsed = [json.loads(line) for line in output.splitlines()]
    for message in parsed:
        jsonschema.validate(message, SCHEMA)
    assert [message["seq"] for message in parsed] == list(range(len(parsed)))
    return parsed


def assert_clear_error(result: subprocess.CompletedProcess[str], *, status: int, tells: str) -> None:
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert tells in result.stderr


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    return edge_run("--clip", DEMO)


@pytest.fixture
def silent_clip(tmp_path: Path) -> Path:
    """Four seconds of the demo clip's pictures, without its sound."""
    return remuxed(tmp_path / "silent.mp4", keep="video")


@pytest.fixture
def sound_clip(tmp_path: Path) -> Path:
    """The demo clip's sound alone."""
    return remuxed(tmp_path / "sound.mp4", keep="audio")


def remuxed(path: Path, keep: str) -> Path:
    import av

    with av.open(DEMO) as source, av.open(path, "w") as target:
        stream = getattr(source.streams, keep)[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return path


class TestClip:
    def test_demo_clip_gives_valid_messages_five_times_a_second(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert demo.returncode == 0, demo.stderr
        got = messages(demo.stdout)
        assert len(got) >= 30
        assert [message["captured_ns"] for message in got] == [200_000_000 * i for i in range(len(got))]
        assert got[0]["reason"] == "warming up"

    def test_talking_head_is_seen_and_heard(self, demo: subprocess.CompletedProcess[str]) -> None:
        got = messages(demo.stdout)
        assert sum(message["face"] == "ok" for message in got[1:]) >= 0.9 * len(got[1:])
        assert sum(message["source"] == "audio+video" for message in got) >= 0.5 * len(got)
        assert any(message["state"] != "unknown" for message in got[:25])

    def test_same_clip_gives_the_same_bytes(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert edge_run("--clip", DEMO).stdout == demo.stdout

    def test_every_update_equals_the_uncached_network_on_its_window(
        self, demo: subprocess.CompletedProcess[str]
    ) -> None:
        precision = choose_precision(read_manifest(DEFAULT_BUNDLE), None, INT8_ONNXRUNTIME)
        network, chunks = open_network(DEFAULT_BUNDLE, precision=precision), [*decode_clip(DEMO)]
        images = [chunk for chunk in chunks if isinstance(chunk, VideoChunk)]
        wave = np.concatenate([chunk.samples for chunk in chunks if isinstance(chunk, AudioChunk)])
        detect = detect_once(MediaPipeFaceDetector())
        compared = 0
        for number, message in enumerate(messages(demo.stdout)):
            if message["source"] != "none":
                expected = uncached_probs(network, wave, images, detect, number, message["source"])
                got = [message["probabilities"][label] for label in network.labels]
                np.testing.assert_allclose(got, expected, atol=1e-4)
                compared += 1
        assert compared >= 30

    def test_summary_for_people_goes_to_stderr(self, demo: subprocess.CompletedProcess[str]) -> None:
        assert "updates" in demo.stderr
        assert "states" in demo.stderr
        assert "default" in demo.stderr
        engines = [line for line in demo.stderr.splitlines() if line.startswith("edge-run: ")]
        assert len(engines) == 3  # which one is used, and why two others are not
        assert len(demo.stderr.splitlines()) - len(engines) <= 6

    def test_realtime_takes_as_long_as_the_clip_and_states_the_age(self) -> None:
        start_s = time.monotonic()
        got = messages(edge_run("--clip", DEMO, "--realtime", "--duration", 3).stdout)
        assert time.monotonic() - start_s > 3
        ages_ms = [message["age_ms"] for message in got if message["age_ms"] is not None]
        assert ages_ms
        assert all(0 < age_ms < 1_000 for age_ms in ages_ms)

    def test_duration_ends_the_run(self) -> None:
        assert len(messages(edge_run("--clip", DEMO, "--duration", 2).stdout)) == 11

    @pytest.mark.slow
    def test_a_first_start_tells_that_it_compiles(self, tmp_path: Path) -> None:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        told = [edge_run("--clip", DEMO, "--duration", 1, env=environment).stderr.count(COMPILING) for _ in range(2)]
        assert told == [1, 0]

    def test_clip_without_sound_is_perceived_by_sight(self, silent_clip: Path) -> None:
        got = messages(edge_run("--clip", silent_clip).stdout)
        assert {message["source"] for message in got[10:]} == {"video"}
        assert {message["voice"] for message in got} == {"off"}

    def test_clip_without_pictures_is_perceived_by_ear(self, sound_clip: Path) -> None:
        got = messages(edge_run("--clip", sound_clip).stdout)
        assert {message["source"] for message in got} == {"none", "audio"}
        assert {message["face"] for message in got} == {"off"}
        assert all((message["confidence"] or 0) <= 0.6 for message in got)

    def test_modality_that_is_not_wanted_is_left_out(self) -> None:
        got = messages(edge_run("--clip", DEMO, "--no-microphone").stdout)
        assert {message["source"] for message in got[10:]} == {"video"}

    def test_rotated_camera_is_turned_upright(self, tmp_path: Path) -> None:
        upside_down = messages(edge_run("--clip", DEMO, "--rotate", 180, "--duration", 3, "--no-microphone").stdout)
        upright = messages(edge_run("--clip", DEMO, "--duration", 3, "--no-microphone").stdout)
        assert [m["probabilities"] for m in upside_down] != [m["probabilities"] for m in upright]

    def test_messages_go_to_the_file_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "states.jsonl"
        assert edge_run("--clip", DEMO, "--duration", 2, "--output", path).stdout == ""
        assert len(messages(path.read_text())) == 11


def detect_once(detector: MediaPipeFaceDetector) -> Callable[[np.ndarray], list[FaceDetection]]:
    """Detections of each image, made once: windows share images, and the detector is not what is compared."""
    found: dict[int, list[FaceDetection]] = {}

    def detect(image: np.ndarray) -> list[FaceDetection]:
        if id(image) not in found:
            found[id(image)] = detector.detect(image)
        return found[id(image)]

    return detect


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content", "tells"),
        [
            ("missing.mp4", None, "missing.mp4"),
            ("empty.mp4", b"", "empty"),
            ("text.mp4", b"this is no film\n" * 50, "text.mp4"),
            ("noise.mp4", bytes(range(256)) * 200, "noise.mp4"),
        ],
    )
    def test_clip_that_is_none_is_refused(self, tmp_path: Path, name: str, content: bytes | None, tells: str) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        assert_clear_error(edge_run("--clip", path), status=1, tells=tells)

    def test_truncated_clip_is_perceived_as_far_as_it_goes_and_then_refused(self, tmp_path: Path) -> None:
        import av

        path = tmp_path / "whole.mkv"
        with av.open(DEMO) as source, av.open(path, "w") as target:
            copies = {stream: target.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream]
                    target.mux(packet)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        result = edge_run("--clip", path)
        assert_clear_error(result, status=1, tells="whole.mkv")
        assert len(messages(result.stdout)) >= 10

    @pytest.mark.parametrize(
        ("arguments", "tells"),
        [
            (("--no-camera", "--no-microphone"), "nothing to perceive"),
            (("--realtime",), "--clip"),
            (("--roi", "0.5,0,0.2,1"), "0 <= x0 < x1 <= 1"),
            (("--roi", "1,2"), "expected X0,Y0,X1,Y1"),
            (("--rotate", "45"), "invalid choice"),
            (("--duration", "-1"), "positive"),
            (("--channel", "-1"), "0 or more"),
            (("--precision", "int4"), "invalid choice"),
            (("--allow-ungated",), "goes with --precision int8"),
            (("--clip", "drive.mp4", "--camera", "1"), "in their place"),
            (("--replay", "drive.rec", "--microphone", "cabin"), "in their place"),
            (("--replay", "drive.rec", "--no-camera"), "not with --replay"),
            (("--replay", "drive.rec", "--channel", "0"), "not with --replay"),
            (("--output", "\udcff.jsonl", "--print-config"), "--output has a name that is not UTF-8"),
            (("--replay", "drive.rec", "--record", "copy.rec", "--record-media"), "not with --replay"),
            (("--mqtt", "mqtt://car/driver", "--mqtt-password-file", "password"), "USER@"),
            (("--mqtt", "mqtt://car/driver", "--mqtt-ca", "authority.pem"), "mqtts://"),
            (("--record", ""), "the name is empty"),
            (("--nonsense",), "unrecognized"),
        ],
    )
    def test_wrong_usage_exits_with_2(self, arguments: tuple[str, ...], tells: str) -> None:
        assert_clear_error(edge_run(*arguments), status=2, tells=tells)

    @pytest.mark.parametrize(
        ("flag", "value"), [("--camera", "97"), ("--camera", "99999999999"), ("--camera", "http://127.0.0.1:9/none")]
    )
    def test_absent_camera_is_refused(self, flag: str, value: str) -> None:
        result = edge_run(flag, value, "--no-microphone", "--duration", 2)
        assert_clear_error(result, status=1, tells=value)
        assert result.stdout == ""

    def test_absent_microphone_is_refused(self) -> None:
        result = edge_run("--microphone", "no such device", "--no-camera", "--duration", 2)
        assert_clear_error(result, status=1, tells="no such device")

    @pytest.mark.parametrize("arguments", [(), ("--chaos", "suspend")])
    def test_clip_with_nothing_left_to_perceive_is_refused(self, sound_clip: Path, arguments: tuple[str, ...]) -> None:
        result = edge_run("--clip", sound_clip, "--no-microphone", "--duration", 2, *arguments)
        assert_clear_error(result, status=1, tells="nothing left to perceive")

    def test_channel_that_the_clip_lacks_is_refused(self) -> None:
        assert_clear_error(edge_run("--clip", DEMO, "--channel", 7), status=1, tells="--channel is 7")

    def test_output_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        result = edge_run("--clip", DEMO, "--output", tmp_path / "no" / "such" / "folder.jsonl")
        assert_clear_error(result, status=1, tells="cannot be written")

    def test_output_is_not_emptied_for_a_clip_that_cannot_be_read(self, tmp_path: Path) -> None:
        kept = tmp_path / "kept.jsonl"
        kept.write_text("of an earlier run")
        assert_clear_error(edge_run("--clip", tmp_path / "no.mp4", "--output", kept), status=1, tells="no.mp4")
        assert kept.read_text() == "of an earlier run"

    @pytest.mark.parametrize("fails", [["--engine", "tensorrt"], ["--record", "no/such/folder.rec"]])
    def test_run_that_fails_before_it_perceives_leaves_earlier_files_as_they_were(
        self, tmp_path: Path, fails: list[str]
    ) -> None:
        kept = {flag: tmp_path / name for flag, name in (("--output", "kept.jsonl"), ("--record", "kept.rec"))}
        for file in kept.values():
            file.write_text("of an earlier run")
        options = [str(word) for pair in kept.items() for word in pair]
        assert edge_run("--clip", DEMO, *options, *fails).returncode == 1
        assert {file.read_text() for file in kept.values()} == {"of an earlier run"}

    def test_run_that_fails_before_it_perceives_leaves_no_file_in_a_folder(self, tmp_path: Path) -> None:
        result = edge_run("--clip", DEMO, "--engine", "tensorrt", "--output", tmp_path, "--record", tmp_path)
        assert (result.returncode, [*tmp_path.iterdir()]) == (1, [])

    def test_file_of_the_options_and_files_of_the_bundle_are_not_overwritten(self, tmp_path: Path) -> None:
        config = tmp_path / "car.toml"
        config.write_text("mirror = true\n")
        result = edge_run("--clip", DEMO, "--config", config, "--output", config)
        assert_clear_error(result, status=1, tells="the file of these options")
        assert config.read_text() == "mirror = true\n"
        result = edge_run("--clip", DEMO, "--record", DEFAULT_BUNDLE / "visual.onnx")
        assert_clear_error(result, status=1, tells="lies in the bundle")

    def test_output_that_is_the_clip_is_refused(self, sound_clip: Path) -> None:
        size = sound_clip.stat().st_size
        assert_clear_error(edge_run("--clip", sound_clip, "--output", sound_clip), status=1, tells="the clip itself")
        assert sound_clip.stat().st_size == size

    @pytest.mark.parametrize("options", [["--clip", str(DEMO)], ["--print-config"], ["--list-devices"]])
    def test_full_disk_is_told(self, options: list[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "edge.run", *options], cwd=ROOT, env=environment, stdout=full,
                stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        assert_clear_error(result, status=1, tells="No space left")

    def test_full_disk_does_not_end_a_run_of_devices(self, mjpeg_portrait: MjpegCamera, tmp_path: Path) -> None:
        recorded = tmp_path / "drive.rec"
        devices = "--camera", mjpeg_portrait.url, "--no-microphone", "--duration", "5"
        result = edge_run(*devices, "--output", "/dev/full", "--record", recorded)
        assert_clear_error(result, status=1, tells="No space left")
        assert "--output /dev/full: No space left on device; lines are kept" in result.stderr
        assert len(messages(edge_run("--replay", recorded).stdout)) > 10

    @pytest.mark.parametrize(
        ("damage", "tells"),
        [
            (lambda folder: (folder / "head.onnx").unlink(), "head.onnx is missing"),
            (lambda folder: flip_byte(folder / "visual.onnx"), "SHA-256"),
            (lambda folder: flip_byte(folder / "manifest.json"), "SHA-256"),
            (lambda folder: (folder / "manifest.json").unlink(), "holds no manifest.json"),
            (lambda folder: change_manifest(folder, parts=without_audio), "without ['audio']"),
            (lambda folder: change_manifest(folder, labels=lambda labels: labels[:-1]), "has 7 labels"),
            (
                lambda folder: change_manifest(folder, video=lambda video: replace(video, size_px=64)),
                "a part 'visual' with inputs {'face': (1, 48, 48)}; its features and its window are {'face': (1, 64, 6",
            ),
            (
                lambda folder: change_manifest(folder, window=lambda window: replace(window, window_s=2.0)),
                "a part 'head' with inputs {'visual_embeddings': (40, 128)",
            ),
            (lambda folder: change_manifest(folder, parts=without_embedding), "expected 'embedding' alone"),
            (
                lambda folder: change_manifest(folder, audio=lambda audio: replace(audio, fmax_hz=9e3)),
                "defines features that cannot be computed: mel range is 50.0..9000.0 Hz",
            ),
            (lambda folder: change_manifest(folder, parts=without_senses), "a head with outputs {'probs_fused': (8,)}"),
        ],
    )
    def test_damaged_bundle_is_refused(self, tmp_path: Path, damage: Any, tells: str) -> None:
        folder = tmp_path / "bundle"
        folder.mkdir()
        for file in DEFAULT_BUNDLE.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        damage(folder)
        assert_clear_error(edge_run("--clip", DEMO, "--bundle", folder), status=1, tells=tells)


class TestPrecision:
    @pytest.mark.parametrize(
        ("held", "arguments", "engine"),
        [
            (False, (), "onnxruntime-cpu"),
            (False, ("--precision", "int8", "--allow-ungated"), "onnxruntime-cpu int8"),
            (True, (), "onnxruntime-cpu int8"),
        ],
    )
    def test_int8_is_run_once_it_passed_the_gate_or_that_is_waived(
        self, tmp_path: Path, held: bool, arguments: tuple[str, ...], engine: str
    ) -> None:
        folder = judged_bundle(tmp_path / "bundle", held)
        got = messages(edge_run("--clip", DEMO, "--duration", 1, "--bundle", folder, *arguments).stdout)
        assert got[-1]["engine"] == engine

    def test_int8_that_failed_the_gate_is_refused(self, tmp_path: Path) -> None:
        folder = judged_bundle(tmp_path / "bundle", held=False)
        result = edge_run("--clip", DEMO, "--bundle", folder, "--precision", "int8")
        assert_clear_error(result, status=1, tells="failed the accuracy gate")
        assert result.stdout == ""


def judged_bundle(folder: Path, held: bool) -> Path:
    """The default bundle under another verdict."""
    shutil.copytree(DEFAULT_BUNDLE, folder)
    manifest = read_manifest(folder)
    passport = {
        "preprocessing_sha256": preprocessing_sha256(manifest),
        "gate": {INT8_ONNXRUNTIME: {"held": held}},
    }
    write_manifest(folder, replace(manifest, calibration=passport))
    return folder


def change_manifest(folder: Path, **changes: Callable[[Any], Any]) -> None:
    """As edge-export would not write it, but with the right hashes."""
    manifest = read_manifest(folder)
    changed = {name: change(getattr(manifest, name)) for name, change in changes.items()}
    write_manifest(folder, replace(manifest, **changed))


def without_audio(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name != "audio"}


def without_senses(parts: dict[str, Any]) -> dict[str, Any]:
    return {**parts, "head": replace(parts["head"], outputs={"probs_fused": (8,)})}


def without_embedding(parts: dict[str, Any]) -> dict[str, Any]:
    return {**parts, "audio": replace(parts["audio"], outputs={"logits": (8,)})}


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_signal_ends_the_run_after_a_whole_line_with_a_summary(self, number: signal.Signals) -> None:
        command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), "--realtime"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = [process.stdout.readline() for _ in range(5)]
            process.send_signal(number)
            rest, stderr = process.communicate(timeout=10)
        assert process.returncode == 0
        assert len(messages("".join(first) + rest)) >= 5
        assert "updates" in stderr

    def test_a_reader_that_takes_nothing_does_not_hold_up_the_stop(self) -> None:
        command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pipesize=4096
        ) as process:
            assert process.stderr is not None
            assert any("runs on" in line for line in process.stderr)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(5)  # the pipe is full by now
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            written, stderr = process.communicate()
        assert 1 <= len(messages(written)) < 30
        assert "updates" in stderr

    def test_a_reader_that_comes_late_has_held_up_nothing_and_gets_all(self, tmp_path: Path) -> None:
        recorded = tmp_path / "drive.rec"
        options = "--realtime", "--duration", "3", "--record", str(recorded)
        command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), *options]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pipesize=4096
        ) as process:
            assert process.stderr is not None
            in_time = threading.Timer(60, process.kill)
            in_time.start()
            assert any("updates (3.2 s) in" in line for line in process.stderr)  # the run is over
            in_time.cancel()
            written, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert len(written) > 8192  # more than the pipe takes
        assert messages(edge_run("--replay", recorded).stdout) == messages(written)

    @pytest.mark.parametrize("flag", ["--output", "--record"])
    def test_a_pipe_that_nobody_reads_does_not_hold_up_the_stop(self, tmp_path: Path, flag: str) -> None:
        os.mkfifo(tmp_path / "pipe")
        command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), flag, str(tmp_path / "pipe")]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            assert any("runs on" in line for line in process.stderr)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0

    def test_asked_again_later_to_stop_a_run_ends_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(edge.run, "ONE_REQUEST_S", 0.1)
        with edge.run._stop_on_signals() as stop:
            for _ in range(2):  # of one request
                os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wait(1)
            time.sleep(0.2)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)

    @pytest.mark.parametrize("stderr", ["> >(true)", ">/dev/full"])
    def test_standard_error_that_takes_nothing_leaves_the_lines_alone(
        self, demo: subprocess.CompletedProcess[str], stderr: str
    ) -> None:
        command = f"{sys.executable} -m edge.run --clip {DEMO} 2{stderr}"
        result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (0, demo.stdout)

    def test_closed_standard_error_leaves_the_lines_alone(self, demo: subprocess.CompletedProcess[str]) -> None:
        command = f"{sys.executable} -m edge.run --clip {DEMO} 2>&-"
        result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (0, demo.stdout)

    def test_signal_before_the_first_message_ends_the_run_in_order(
        self, mjpeg_portrait: MjpegCamera, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def stopped() -> threading.Event:
            event = threading.Event()
            event.set()
            return event

        monkeypatch.setattr(edge.run, "_stop_on_signals", lambda: contextlib.nullcontext(stopped()))
        assert edge.run.main(["--camera", mjpeg_portrait.url, "--no-microphone"]) == 0
        assert capsys.readouterr().out == ""

    def test_what_is_loaded_is_no_garbage_until_the_run_ends(
        self, mjpeg_portrait: MjpegCamera, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frozen, unfreeze = [gc.get_freeze_count()], gc.unfreeze

        def unfreeze_counted() -> None:
            frozen.append(gc.get_freeze_count())
            unfreeze()

        monkeypatch.setattr(gc, "unfreeze", unfreeze_counted)
        assert edge.run.main(["--camera", mjpeg_portrait.url, "--no-microphone", "--duration", "1"]) == 0
        before, during = frozen
        assert during > before + 10_000
        assert gc.get_freeze_count() == 0

    @pytest.mark.parametrize(
        "error",
        [
            ImportError("libGL.so.1: cannot open shared object file: No such file or directory"),
            RuntimeError("cannot cache function 'steps': no locator available for file 'spectrogram_cpu.py'"),
        ],
    )
    def test_what_the_machine_lacks_is_told_in_a_line(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(edge.run, "_run", fail)
        assert edge.run.main(["--clip", str(DEMO)]) == 1
        assert capsys.readouterr().err == f"edge-run: {error}; edge-doctor names the command that mends it.\n"

    def test_a_clip_in_real_time_has_one_time_line_from_the_first_message_on(self) -> None:
        for message in messages(edge_run("--clip", DEMO, "--realtime", "--duration", 1).stdout):
            assert 0 <= message["emitted_ns"] < 60e9

    def test_reader_that_has_seen_enough_is_no_error(self) -> None:
        command = f"{sys.executable} -m edge.run --clip {DEMO} | head -n 2"
        result = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert len(messages(result.stdout)) == 2
        assert "Traceback" not in result.stderr
        assert "BrokenPipe" not in result.stderr


class LiveRun:
    """edge-run on devices, read line by line; leaving it stops it by SIGTERM and expects success."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "edge.run", *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def read_until(self, condition: Callable[[dict[str, Any]], bool], within: int = 100) -> dict[str, Any]:
        """The first message that meets the condition, among so many: 20 s."""
        assert self._process.stdout is not None
        message = {}
        for line in itertools.islice(self._process.stdout, within):
            message = json.loads(line)
            if condition(message):
                return message
        raise AssertionError(f"not among {within} messages; the last is {message}")

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=10)
        assert self._process.returncode == 0


class TestDevices:
    def test_camera_and_microphone_give_states_from_the_first_moment_on(
        self, mjpeg_portrait: MjpegCamera, virtual_microphone: VirtualMicrophone, espeak: np.ndarray, tmp_path: Path
    ) -> None:
        speech = tmp_path / "speech.wav"
        with wave.open(str(speech), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(np.tile(espeak, 2).tobytes())
        command = [sys.executable, "-m", "edge.run", "--camera", mjpeg_portrait.url, "--duration", "7"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            with virtual_microphone.play(speech) as player:
                rest = process.stdout.read()
                player.terminate()
        assert process.returncode == 0
        got = messages(first + rest)
        assert (got[0]["reason"], got[0]["engine"]) == ("warming up", "loading")
        assert got[0]["emitted_ns"] - got[0]["captured_ns"] < 1e9
        assert {message["source"] for message in got[-10:]} == {"audio+video"}
        first_state = next(message for message in got if message["state"] != "unknown")
        assert first_state["captured_ns"] - got[0]["captured_ns"] <= 5e9

    def test_camera_that_is_unplugged_is_told_and_comes_back(self, mjpeg_portrait: MjpegCamera) -> None:
        with LiveRun("--camera", mjpeg_portrait.url, "--no-microphone") as run:
            run.read_until(lambda message: message["source"] == "video")
            mjpeg_portrait.stop()
            message = run.read_until(lambda message: message["face"] == "no image" and message["source"] == "none")
            assert message["reason"].endswith("no image from the camera, no microphone in use")
            mjpeg_portrait.restart()
            run.read_until(lambda message: message["source"] == "video")

    def test_microphone_that_is_unplugged_is_told_and_comes_back(
        self, mjpeg_portrait: MjpegCamera, virtual_microphone: VirtualMicrophone
    ) -> None:
        with LiveRun("--camera", mjpeg_portrait.url) as run:
            run.read_until(lambda message: message["voice"] == "silent")
            virtual_microphone.remove()
            run.read_until(lambda message: message["voice"] == "lost" and message["source"] == "video")
            virtual_microphone.restore()
            run.read_until(lambda message: message["voice"] == "silent")

    def test_devices_are_listed(self, virtual_microphone: VirtualMicrophone) -> None:
        result = edge_run("--list-devices")
        assert result.returncode == 0
        assert "cameras:" in result.stdout
        assert "cabin_mic" in result.stdout or "default" in result.stdout
