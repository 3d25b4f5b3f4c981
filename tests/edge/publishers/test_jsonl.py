"""Messages as lines: each at once, whatever their reader and their disk do."""

import errno
import fcntl
import io
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import InputError
from edge.publishers.jsonl import LAST_S, MOST_KEPT, JsonLinesPublisher, lines_in_file, lines_on_stdout
from tests.virtual_devices import wait_until

PIPE_BYTES = 4096


def message(seq: int, engine: str = "onnxruntime-cpu") -> Any:
    return {"seq": seq, "engine": engine, "reason": "no face in the image " * 20}


def seqs(content: bytes) -> list[int]:
    """Of whole lines, or json's error."""
    return [json.loads(line)["seq"] for line in content.splitlines()]


def within_s(seconds: float, work: Callable[[], object]) -> None:
    """Fails where the work takes longer, instead of waiting for it."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"takes more than {seconds} s"


def publish_all(publisher: JsonLinesPublisher, numbers: Iterable[int]) -> None:
    for seq in numbers:
        publisher.publish(message(seq))


class Pipe:
    """A pipe with room for few lines, and what was read of it."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.reader, self.writer = io.FileIO(reading), io.FileIO(writing, "w")
        self.content = b""

    def read(self, lines: int) -> None:
        """Wait for so many lines more."""
        wanted = self.content.count(b"\n") + lines

        def read() -> None:
            while self.content.count(b"\n") < wanted:
                self.content += self.reader.read(PIPE_BYTES)

        within_s(10, read)

    def read_all(self) -> list[int]:
        """All that is in it when nobody writes any more; the numbers of all lines."""
        self.writer.close()
        self.content += self.reader.read()
        return seqs(self.content)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    with pipe.reader, pipe.writer:
        yield pipe


@contextmanager
def publisher_to(
    raw: Any, stop: threading.Event | None = None, *, back_pressure: bool = False
) -> Iterator[JsonLinesPublisher]:
    """It ends within some seconds, or fails."""
    name, stop = "--output drive.jsonl", stop or threading.Event()
    publisher = JsonLinesPublisher(name, lambda: nullcontext(raw), stop, back_pressure=back_pressure)
    yield publisher
    errors: list[BaseException] = []

    def end() -> None:
        try:
            publisher.__exit__(None)
        except (InputError, OSError) as error:
            errors.append(error)

    within_s(10, end)
    for error in errors:
        raise error


@pytest.mark.parametrize("back_pressure", [False, True])
def test_each_message_is_one_line_at_once(pipe: Pipe, back_pressure: bool) -> None:
    with publisher_to(pipe.writer, back_pressure=back_pressure) as publisher:
        for seq in range(3):
            publisher.publish(message(seq))
            pipe.read(lines=1)
    assert [json.loads(line) for line in pipe.content.splitlines()] == [message(seq) for seq in range(3)]


def test_devices_wait_for_no_reader_and_nothing_is_lost_for_two_minutes(pipe: Pipe) -> None:
    with publisher_to(pipe.writer) as publisher:
        within_s(10, lambda: publish_all(publisher, range(MOST_KEPT)))
        pipe.read(lines=MOST_KEPT)
    assert pipe.read_all() == list(range(MOST_KEPT))


def test_of_more_than_two_minutes_the_oldest_are_left_out_and_it_is_said(
    pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    with publisher_to(pipe.writer) as publisher:
        publisher.publish(message(0))
        pipe.read(lines=1)
        publish_all(publisher, range(1, 2 * MOST_KEPT))
        pipe.read(lines=MOST_KEPT)
        publisher.publish(message(2 * MOST_KEPT))
        pipe.read(lines=1)
    taken = pipe.read_all()
    left_out = 2 * MOST_KEPT + 1 - len(taken)
    assert (taken[0], taken[-1]) == (0, 2 * MOST_KEPT)
    assert all(before < after for before, after in itertools.pairwise(taken))
    assert MOST_KEPT // 2 < left_out <= MOST_KEPT
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "edge-run: --output drive.jsonl: nobody takes it; the oldest lines are left out, the run goes on",
        f"edge-run: {left_out} lines were left out of --output drive.jsonl",
    ]


def test_a_clip_waits_and_leaves_nothing_out(pipe: Pipe) -> None:
    published: list[int] = []

    def publish() -> None:
        with publisher_to(pipe.writer, back_pressure=True) as publisher:
            for seq in range(2 * MOST_KEPT):
                publisher.publish(message(seq))
                published.append(seq)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    wait_until(lambda: len(published) >= MOST_KEPT)
    thread.join(0.5)
    assert len(published) < MOST_KEPT + 20  # it waits
    pipe.read(lines=2 * MOST_KEPT)
    thread.join(10)
    assert pipe.read_all() == list(range(2 * MOST_KEPT))


@pytest.mark.parametrize("back_pressure", [False, True])
def test_a_run_that_is_to_stop_waits_for_no_reader(pipe: Pipe, back_pressure: bool) -> None:
    stop = threading.Event()
    with publisher_to(pipe.writer, stop, back_pressure=back_pressure) as publisher:
        threading.Timer(0.3, stop.set).start()
        within_s(10, lambda: publish_all(publisher, range(2 * MOST_KEPT)))
    pipe.reader.close()  # which lets go the thread


def test_the_end_waits_for_a_reader_that_comes_late(pipe: Pipe) -> None:
    reader = threading.Timer(0.5, lambda: pipe.read(lines=100))
    reader.start()
    with publisher_to(pipe.writer) as publisher:
        publish_all(publisher, range(100))
    reader.join()
    assert pipe.read_all() == list(range(100))


def test_lines_of_a_clip_that_is_cut_off_wait_for_their_reader_too(pipe: Pipe) -> None:
    reader = threading.Timer(2 * LAST_S, lambda: pipe.read(lines=100))
    reader.start()
    with suppress(InputError), publisher_to(pipe.writer, back_pressure=True) as publisher:
        publish_all(publisher, range(100))
        raise InputError("the clip is cut off")
    reader.join()
    assert pipe.read_all() == list(range(100))


@pytest.mark.parametrize("back_pressure", [False, True])
def test_a_reader_that_has_gone_is_told(pipe: Pipe, back_pressure: bool) -> None:
    pipe.reader.close()
    with pytest.raises(BrokenPipeError), publisher_to(pipe.writer, back_pressure=back_pressure) as publisher:
        publisher.publish(message(0))


class Disk:
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.content = room, b""

    def write(self, data: memoryview) -> int:
        taken = bytes(data)[: self.room - len(self.content)]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.content += taken
        return len(taken)


def test_on_a_full_disk_devices_go_on_and_no_line_is_lost_or_cut(capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(room=1000)  # two lines and a part of the third
    with publisher_to(disk) as publisher:
        publish_all(publisher, range(20))
        wait_until(lambda: len(disk.content) == 1000)
        time.sleep(0.5)
        disk.room = 1_000_000
        wait_until(lambda: disk.content.count(b"\n") == 20)
        publisher.publish(message(20))
    assert seqs(disk.content) == list(range(21))
    assert capsys.readouterr().err.count("--output drive.jsonl: No space left on device; lines are kept") == 1


def test_a_disk_that_is_full_at_the_end_is_told() -> None:
    disk = Disk(room=1000)
    with (
        pytest.raises(InputError, match="cannot be written: No space left"),
        publisher_to(disk) as publisher,
    ):
        publish_all(publisher, range(20))
    assert seqs(disk.content[: disk.content.rindex(b"\n")]) == [0, 1]


def test_a_clip_ends_on_a_full_disk() -> None:
    disk = Disk(room=1000)
    with (
        pytest.raises(InputError, match="cannot be written: No space left"),
        publisher_to(disk, back_pressure=True) as publisher,
    ):
        publish_all(publisher, itertools.count())


def test_a_descriptor_that_never_waits_gets_all(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer.fileno(), False)
    with publisher_to(pipe.writer) as publisher:
        publish_all(publisher, range(50))
        pipe.read(lines=50)
    assert pipe.read_all() == list(range(50))


def fail_with(path: Path, published: list[Any]) -> None:
    """A run that publishes these and fails; its error is told, and no other."""
    publisher = lines_in_file(path, threading.Event(), back_pressure=False)
    for each in published:
        publisher.publish(each)
    assert publisher.__exit__(KeyError) is None


def test_a_run_that_fails_writes_what_it_can_and_hides_no_error(tmp_path: Path) -> None:
    fail_with(tmp_path / "drive.jsonl", [message(seq) for seq in range(300)])
    assert seqs((tmp_path / "drive.jsonl").read_bytes()) == list(range(300))
    fail_with(Path("/dev/full"), [message(0)])


def test_a_file_is_as_it_was_until_the_networks_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "drive.jsonl"
    path.write_text("kept")
    fail_with(path, [message(0, "loading")])
    assert path.read_text() == "kept"
    with lines_in_file(path, threading.Event(), back_pressure=False) as publisher:
        publisher.publish(message(0, "loading"))
        assert path.read_text() == "kept"
        publisher.publish(message(1))
    assert seqs(path.read_bytes()) == [0, 1]
    with lines_in_file(path, threading.Event(), back_pressure=False) as publisher:  # it ends before
        publisher.publish(message(7, "loading"))
    assert seqs(path.read_bytes()) == [7]


def test_a_named_pipe_that_nobody_reads_holds_up_no_devices(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with lines_in_file(path, threading.Event(), back_pressure=False) as publisher:
        within_s(10, lambda: publish_all(publisher, range(50)))
        pipe = Pipe()
        pipe.reader.close()
        pipe.reader = path.open("rb", buffering=0)
        pipe.read(lines=50)
    assert pipe.read_all() == list(range(50))
    pipe.reader.close()


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    path = tmp_path / "drive.jsonl"
    publisher = lines_in_file(path, threading.Event(), back_pressure=False)
    path.mkdir()
    with pytest.raises(InputError, match=r"--output .*drive\.jsonl cannot be written: File exists"), publisher:
        publisher.publish(message(0))


@pytest.mark.parametrize("unbuffered", [False, True])
def test_standard_output_gets_lines_with_and_without_its_own_buffer(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, unbuffered: bool
) -> None:
    raw = io.FileIO(pipe.writer.fileno(), "w", closefd=False)
    with io.TextIOWrapper(raw if unbuffered else io.BufferedWriter(raw), write_through=unbuffered) as stdout:  # type: ignore[type-var]
        monkeypatch.setattr("sys.stdout", stdout)
        with lines_on_stdout(threading.Event(), back_pressure=False) as publisher:
            publisher.publish(message(0))
        monkeypatch.undo()
    assert pipe.read_all() == [0]


def test_standard_output_that_is_closed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(InputError, match="standard output is closed"):
        lines_on_stdout(threading.Event(), back_pressure=False)


def test_number_that_is_none_is_never_published() -> None:
    disk = Disk(room=10_000)
    with publisher_to(disk) as publisher, pytest.raises(ValueError, match="not JSON compliant"):
        publisher.publish({**message(0), "age_ms": float("nan")})
    assert disk.content == b""
