"""Messages as lines: each at once, whatever their reader does."""

import errno
import fcntl
import io
import itertools
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TextIO

import pytest

from edge.publishers.jsonl import MOST_KEPT, JsonLinesPublisher
from tests.virtual_devices import wait_until

PIPE_BYTES = 4096


def message(seq: int) -> dict:
    return {"seq": seq, "reason": "no face in the image " * 20}


def seqs(lines: list[bytes] | list[str]) -> list[int]:
    """Of whole lines, or json's error."""
    return [json.loads(line)["seq"] for line in lines]


@contextmanager
def small_pipe() -> Iterator[tuple[BinaryIO, TextIO]]:
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "w"), strict=True))
    with reading, writing:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        yield reading, writing


class Lines(io.StringIO):
    """A stream that counts its flushes."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


@pytest.mark.parametrize("back_pressure", [False, True])
def test_each_message_is_one_line_that_is_flushed(back_pressure: bool) -> None:
    lines = Lines()
    publisher = JsonLinesPublisher("pipe", lines, threading.Event(), back_pressure=back_pressure)
    publisher.publish(message(0))
    publisher.publish(message(1))
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == [message(0), message(1)]
    assert lines.flushed == 2


def test_a_clip_waits_for_a_reader_that_takes_nothing_until_it_is_to_stop() -> None:
    with small_pipe() as (reading, writing):
        stop, published = threading.Event(), []

        def publish() -> None:
            with JsonLinesPublisher("pipe", writing, stop, back_pressure=True) as publisher:
                while not stop.is_set():
                    publisher.publish(message(len(published)))
                    published.append(message(len(published)))

        thread = threading.Thread(target=publish)
        thread.start()
        reading.read1(PIPE_BYTES)  # the first line; then there is room for a second
        wait_until(lambda: len(published) > 1)
        thread.join(0.5)
        assert thread.is_alive()
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
        writing.close()
        left = seqs(reading.readlines())  # none was cut
        assert left == list(range(left[0], left[-1] + 1))


def test_devices_wait_for_no_reader_and_nothing_is_lost_for_two_minutes() -> None:
    with small_pipe() as (reading, writing):
        with JsonLinesPublisher("pipe", writing, threading.Event(), back_pressure=False) as publisher:
            for seq in range(MOST_KEPT):
                publisher.publish(message(seq))  # returns, though the pipe is long full
            read: list[bytes] = []
            reader = threading.Thread(target=lambda: read.extend(reading.readline() for _ in range(MOST_KEPT)))
            reader.start()
        reader.join()
    assert seqs(read) == list(range(MOST_KEPT))


def test_of_more_than_two_minutes_the_oldest_are_left_out_and_one_line_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with small_pipe() as (reading, writing):
        publisher = JsonLinesPublisher("pipe", writing, threading.Event(), back_pressure=False)
        for seq in range(2 * MOST_KEPT):
            publisher.publish(message(seq))
        read = []
        for seq in range(2 * MOST_KEPT, 3 * MOST_KEPT):  # the reader is back: a line is taken for each that comes
            read.append(reading.readline())
            publisher.publish(message(seq))
        taken = seqs(read)
    gaps = [after - before for before, after in itertools.pairwise(taken) if after != before + 1]
    assert taken[0] == 0
    assert len(gaps) == 1
    assert gaps[0] > MOST_KEPT // 2
    assert capsys.readouterr().err.count("pipe takes nothing (nobody reads it)") == 1


def test_the_end_does_not_wait_where_the_run_is_to_stop() -> None:
    stop = threading.Event()
    with small_pipe() as (reading, writing):
        with JsonLinesPublisher("pipe", writing, stop, back_pressure=False) as publisher:
            for seq in range(100):
                publisher.publish(message(seq))
            stop.set()
        writing.close()
        taken = seqs(reading.readlines())
    assert taken == list(range(len(taken)))
    assert 1 <= len(taken) <= PIPE_BYTES // len(json.dumps(message(0))) + 1


def test_a_reader_that_has_gone_is_told_at_the_end_too() -> None:
    with small_pipe() as (reading, writing):
        publisher = JsonLinesPublisher("pipe", writing, threading.Event(), back_pressure=False)
        for seq in range(100):
            publisher.publish(message(seq))
        reading.close()
        with pytest.raises(BrokenPipeError), publisher:
            pass
        with pytest.raises(BrokenPipeError):
            writing.close()


class Disk(io.RawIOBase):
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.content = room, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data)[: self.room - len(self.content)]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.content += taken
        return len(taken)


def test_on_a_full_disk_devices_go_on_and_no_line_is_lost_or_cut(capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(room=1000)  # two lines and a part of the third
    with (
        io.TextIOWrapper(io.BufferedWriter(disk)) as stream,
        JsonLinesPublisher("--output drive.jsonl", stream, threading.Event(), back_pressure=False) as publisher,
    ):
        for seq in range(20):
            publisher.publish(message(seq))
        assert len(disk.content) == 1000
        disk.room = 1_000_000
        publisher.publish(message(20))
        assert seqs(disk.content.splitlines()) == list(range(21))
    assert capsys.readouterr().err.count("--output drive.jsonl takes nothing (No space left on device)") == 1


def test_a_disk_that_is_full_at_the_end_is_told() -> None:
    disk = Disk(room=1000)
    stream = io.TextIOWrapper(io.BufferedWriter(disk))
    publisher = JsonLinesPublisher("--output drive.jsonl", stream, threading.Event(), back_pressure=False)
    for seq in range(20):
        publisher.publish(message(seq))
    with pytest.raises(OSError, match="No space left"), publisher:
        pass
    disk.room = 1_000_000
    stream.close()
    assert seqs(disk.content.splitlines()) == [0, 1, 2]


def test_a_clip_ends_on_a_full_disk() -> None:
    disk = Disk(room=1000)
    stream = io.TextIOWrapper(io.BufferedWriter(disk))
    publisher = JsonLinesPublisher("--output drive.jsonl", stream, threading.Event(), back_pressure=True)
    publisher.publish(message(0))
    publisher.publish(message(1))
    with pytest.raises(OSError, match="No space left"):
        publisher.publish(message(2))
    disk.room = 1_000_000
    stream.close()


def test_number_that_is_none_is_never_published() -> None:
    lines = Lines()
    with pytest.raises(ValueError, match="not JSON compliant"):
        JsonLinesPublisher("pipe", lines, threading.Event(), back_pressure=True).publish(
            {**message(0), "age_ms": float("nan")}
        )
    assert lines.getvalue() == ""
