"""What is written when, with a writer that fails as told."""

import os
import threading
import time

import pytest

from edge_vss import forward
from edge_vss.forward import Forwarder
from edge_vss.lines import LineReader
from edge_vss.newest import Item, Newest
from edge_vss.signals import UNAVAILABLE, Signals
from tests.virtual_devices import wait_until

JOYFUL: Signals = {"State": "JOYFUL"}
LOW: Signals = {"State": "LOW"}


class Writer:
    """Fails the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.written: list[Signals] = []
        self._failures = failures

    def write(self, signals: Signals) -> bool:
        self._failures -= 1
        if self._failures < 0:
            self.written.append(signals)
        return self._failures < 0


def ended(*items: Item) -> Newest[Item]:
    newest = Newest[Item]()
    for item in items:
        newest.put(item)
    newest.end()
    return newest


def test_slot_keeps_the_newest_and_gives_it_once() -> None:
    newest = Newest[str]()
    newest.put("old")
    newest.put("new")
    assert newest.take(1) == "new"
    assert newest.take(0.01) is None


def test_slot_gives_its_last_item_after_the_end() -> None:
    newest = Newest[str]()
    newest.put("last")
    newest.end()
    assert newest.take(1) == "last"
    with pytest.raises(EOFError):
        newest.take(1)


def test_slot_takes_nothing_after_the_end() -> None:
    newest = ended("last")
    newest.put("later")
    assert newest.take(1) == "last"
    with pytest.raises(EOFError):
        newest.take(1)


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_last_message_and_the_end_are_written_though_the_first_attempts_fail(failures: int) -> None:
    writer = Writer(failures)
    forwarder = Forwarder(ended(JOYFUL, LOW), writer, silence_s=1)
    forwarder.run()
    assert writer.written == [LOW, UNAVAILABLE]
    assert forwarder.written == 1


def test_end_without_a_message_is_written() -> None:
    writer = Writer()
    Forwarder(ended(), writer, silence_s=1).run()
    assert writer.written == [UNAVAILABLE]


def test_writer_that_never_writes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "CLOSE_S", 0.1)
    with pytest.raises(TimeoutError):
        Forwarder(ended(JOYFUL), Writer(10**6), silence_s=1).run()


def test_silence_is_written_once_even_if_the_first_attempts_fail() -> None:
    newest, writer = Newest[Signals](), Writer(3)
    forwarder = Forwarder(newest, writer, silence_s=0.01)
    thread = threading.Thread(target=forwarder.run)
    thread.start()
    try:
        wait_until(lambda: writer.written)
        time.sleep(0.1)
        assert writer.written == [UNAVAILABLE]
        newest.put(JOYFUL)
        wait_until(lambda: len(writer.written) == 3)
        time.sleep(0.1)
    finally:
        newest.end()
        thread.join(10)
    assert writer.written == [UNAVAILABLE, JOYFUL, UNAVAILABLE]
    assert forwarder.written == 1


def test_input_that_cannot_be_read_ends_the_input() -> None:
    newest, descriptor = Newest[Signals](), os.open(os.devnull, os.O_WRONLY)
    reader = LineReader(descriptor, newest)
    reader.run()
    os.close(descriptor)
    assert isinstance(reader.error, OSError)
    with pytest.raises(EOFError):
        newest.take(1)
