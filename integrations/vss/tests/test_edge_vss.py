"""The program edge-vss, as installed, against a gRPC server of KUKSA's own stubs."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_databroker import FakeDatabroker

PROGRAM = Path(sys.executable).parent / "edge-vss"
BRANCH = "Vehicle.Driver.Emotion"

HAPPY = {
    "seq": 7, "captured_ns": 1, "emitted_ns": 2, "age_ms": 91.5, "state": "joyful", "since_s": 0.4, "reason": "happy",
    "emotion": "happy", "confidence": 0.75, "valence": 0.5, "arousal": -0.25, "source": "audio+video", "face": "ok",
    "probabilities": {"neutral": 0.125, "calm": 0.0, "happy": 0.75, "sad": 0.125}, "voice": "speech",
}  # fmt: skip
UNKNOWN = HAPPY | {
    "age_ms": None, "state": "unknown", "confidence": None, "valence": None, "arousal": None, "source": "none",
    "face": "no image", "voice": "off", "probabilities": None,
}  # fmt: skip


class EdgeVss:
    """The running program; lines go in one by one."""

    def __init__(self, databroker: FakeDatabroker, *arguments: object) -> None:
        address = f"127.0.0.1:{databroker.port}"
        self._process = subprocess.Popen(
            [PROGRAM, "--databroker", address, *map(str, arguments)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def write(self, *messages: object) -> None:
        assert self._process.stdin
        for message in messages:
            self._process.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def end(self, exit_status: int = 0) -> str:
        """Standard error after the end of the input."""
        errors = self._process.communicate(timeout=20)[1].decode()
        assert self._process.returncode == exit_status, errors
        assert "Traceback" not in errors
        return errors

    def wait(self, exit_status: int = 0) -> str:
        """Standard error when it ends by itself, its input still open."""
        self._process.wait(20)
        return self.end(exit_status)


Start = Callable[..., FakeDatabroker]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[FakeDatabroker] = []

    def start(**options: Any) -> FakeDatabroker:
        started.append(FakeDatabroker(**options))
        return started[-1]

    yield start
    for databroker in started:
        databroker.thaw()
        databroker.stop()


@pytest.fixture
def databroker(start: Start) -> FakeDatabroker:
    return start()


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def holds(databroker: FakeDatabroker, **values: object) -> bool:
    return all(databroker.values.get(f"{BRANCH}.{name}") == value for name, value in values.items())


def test_message_becomes_values_of_all_signals(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker)
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True))
    assert {path.removeprefix(f"{BRANCH}."): value for path, value in databroker.values.items()} == {
        "IsAvailable": True, "State": "JOYFUL", "Confidence": 75.0, "Valence": 0.5, "Arousal": -0.25,
        "Probability.Neutral": 12.5, "Probability.Calm": 0.0, "Probability.Happy": 75.0, "Probability.Sad": 12.5,
        "Probability.Angry": None, "Probability.Fearful": None, "Probability.Disgust": None,
        "Probability.Surprised": None, "Source": "AUDIO_VIDEO", "Face": "OK", "Voice": "SPEECH", "Latency": 91.5,
    }  # fmt: skip
    assert databroker.values.keys() == databroker.signals.keys()
    edge_vss.end()


def test_null_makes_a_signal_unavailable_again(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker)
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True, State="JOYFUL"))
    edge_vss.write(UNKNOWN)
    wait_until(lambda: holds(databroker, IsAvailable=True, State="UNKNOWN"))
    assert holds(databroker, Confidence=None, Valence=None, Latency=None, Face="NO_IMAGE", Voice="OFF", Source="NONE")
    edge_vss.end()


def test_last_message_is_written_and_then_that_there_will_be_no_more(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker)
    edge_vss.write(*[HAPPY] * 50, HAPPY | {"state": "low"})
    errors = edge_vss.end()
    assert databroker.states()[-2:] == ["LOW", "UNKNOWN"]
    assert holds(databroker, IsAvailable=False, Confidence=None, **{"Probability.Happy": None})
    written, left_out = len(databroker.states()) - 1, 52 - len(databroker.states())
    assert f"51 messages, {written} written, {left_out} left out for newer ones, 0 malformed lines" in errors


def test_silence_makes_the_signals_unavailable_until_the_next_message(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker, "--silence-s", 0.3)
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True))
    wait_until(lambda: holds(databroker, IsAvailable=False, State="UNKNOWN"))
    time.sleep(1)
    assert databroker.states().count("UNKNOWN") == 1 + (databroker.states()[0] == "UNKNOWN")
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True, State="JOYFUL"))
    edge_vss.end()


def test_hanging_databroker_does_not_hold_up_the_writer_of_the_pipe(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker)
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True))
    databroker.freeze()
    begun_s = time.monotonic()
    edge_vss.write(*[HAPPY] * 5000)  # 2 MB: far more than a pipe holds
    edge_vss.write(HAPPY | {"state": "low"})
    assert time.monotonic() - begun_s < 5
    databroker.thaw()
    wait_until(lambda: holds(databroker, State="LOW"))
    assert len(databroker.states()) < 100
    edge_vss.end()


def test_databroker_that_comes_late_and_restarts_gets_the_newest(databroker: FakeDatabroker) -> None:
    databroker.stop()
    edge_vss = EdgeVss(databroker)
    for state in ("joyful", "low"):
        for _ in range(5):
            edge_vss.write(HAPPY | {"state": state})
            time.sleep(0.2)
        databroker.start()
        for _ in range(30):  # as edge-run goes on
            edge_vss.write(HAPPY | {"state": state})
            time.sleep(0.1)
        assert databroker.states()[0] == state.upper()
        databroker.stop()
    databroker.start()
    edge_vss.end()
    assert holds(databroker, IsAvailable=False)


def test_databroker_that_stays_away_ends_in_failure(databroker: FakeDatabroker) -> None:
    databroker.stop()
    edge_vss = EdgeVss(databroker)
    edge_vss.write(HAPPY)
    begun_s = time.monotonic()
    errors = edge_vss.end(exit_status=1)
    assert time.monotonic() - begun_s < 10
    assert errors.count("Connection refused") == 1  # of several attempts
    assert f"the last signals were not written: 127.0.0.1:{databroker.port}" in errors


def test_termination_leaves_no_stale_state(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker)
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True))
    edge_vss.terminate()
    assert "1 messages, 1 written" in edge_vss.wait()
    assert holds(databroker, IsAvailable=False, State="UNKNOWN")


@pytest.mark.parametrize("has_v2", [True, False])
def test_termination_is_heeded_though_the_databroker_hangs(start: Start, has_v2: bool) -> None:
    databroker = start(has_v2=has_v2)
    edge_vss = EdgeVss(databroker)
    databroker.freeze()
    edge_vss.write(HAPPY)
    assert databroker.asked.wait(30)
    edge_vss.terminate()
    assert "deadline exceeded" in edge_vss.wait(exit_status=1)


def test_malformed_lines_are_told_once_for_each_kind(databroker: FakeDatabroker) -> None:
    edge_vss = EdgeVss(databroker)
    for _ in range(3):
        edge_vss.write(b"\xff\n", b"\n", b"[" * 100_000 + b"\n", [1], {"state": "calm"}, HAPPY | {"confidence": 2},
                       HAPPY | {"age_ms": 10**400})  # fmt: skip
    edge_vss.write(HAPPY)
    errors = edge_vss.end()
    assert databroker.states()[-2:] == ["JOYFUL", "UNKNOWN"]
    assert errors.count("a line is left out") == 5
    assert "not JSON" in errors
    assert "not a JSON object" in errors
    assert "no probabilities in it" in errors
    assert "confidence is neither null nor a number from 0 to 1" in errors
    assert "1 messages, 1 written, 0 left out for newer ones, 21 malformed lines" in errors


def test_databroker_without_the_overlay_is_refused(start: Start, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"Vehicle": {"type": "branch", "children": {}}}))
    edge_vss = EdgeVss(start(catalogue=other))
    edge_vss.write(HAPPY)
    errors = edge_vss.wait(exit_status=1)
    assert "refuses the signals: not found, Path not found. Expected a databroker that was given emotion.json" in errors


def test_token_from_the_file_is_shown(start: Start, tmp_path: Path) -> None:
    databroker, right, wrong = start(token="abc.def.ghi"), tmp_path / "right", tmp_path / "wrong"
    right.write_text("abc.def.ghi\n")
    wrong.write_text("guess\n")
    edge_vss = EdgeVss(databroker, "--token-file", right)
    edge_vss.write(HAPPY)
    edge_vss.end()
    assert "JOYFUL" in databroker.states()
    for arguments in (["--token-file", wrong], []):
        edge_vss = EdgeVss(databroker, *arguments)
        edge_vss.write(HAPPY)
        assert "unauthenticated, Invalid token" in edge_vss.wait(exit_status=1)


def test_certificate_is_checked(start: Start, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    for name in ("databroker", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    key, certificate = ((tmp_path / f"databroker.{end}").read_bytes() for end in ("key", "pem"))
    databroker = start(identity=(key, certificate))
    edge_vss = EdgeVss(databroker, "--ca", tmp_path / "databroker.pem")
    edge_vss.write(HAPPY)
    edge_vss.end()
    assert "JOYFUL" in databroker.states()
    for arguments in (["--ca", tmp_path / "other.pem"], []):
        databroker.history.clear()
        edge_vss = EdgeVss(databroker, *arguments)
        edge_vss.write(HAPPY)
        assert "cannot be reached" in edge_vss.end(exit_status=1)
        assert databroker.history == []


@pytest.mark.parametrize("option", ["--ca", "--token-file"])
@pytest.mark.parametrize("content", [None, "two words\n", ""])
def test_file_that_cannot_be_used_is_refused(
    databroker: FakeDatabroker, tmp_path: Path, option: str, content: str | None
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    errors = EdgeVss(databroker, option, file).wait(exit_status=1)
    assert errors.startswith(f"edge-vss: {option} {file}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--databroker", "localhost"], ["--databroker", ":1"], ["--silence-s", "0"]])
def test_wrong_usage_is_refused(databroker: FakeDatabroker, arguments: list[str]) -> None:
    assert "usage: edge-vss" in EdgeVss(databroker, *arguments).wait(exit_status=2)


def test_closed_input_is_refused(databroker: FakeDatabroker) -> None:
    command = f"{PROGRAM} --databroker 127.0.0.1:{databroker.port} <&-"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (
        1,
        "edge-vss: standard input is closed; expected the lines of edge-run\n",
    )


def test_databroker_without_the_newer_interface_is_served_by_the_older(start: Start) -> None:
    databroker = start(has_v2=False)
    edge_vss = EdgeVss(databroker)
    edge_vss.write(HAPPY)
    wait_until(lambda: holds(databroker, IsAvailable=True, State="JOYFUL", Confidence=75.0))
    edge_vss.end()
    assert holds(databroker, IsAvailable=False, State="UNKNOWN", Confidence=None)
    assert len(databroker.history) == 2 * len(databroker.signals)  # each once, and once more at the end
