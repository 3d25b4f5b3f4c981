"""Slots of the head's window."""

import numpy as np

from perception.chunks import Embedding
from perception.windows import SlotWindow

PERIOD_NS = 100


def embedding(value: float, captured_ns: int) -> Embedding:
    return Embedding(np.full(2, value, np.float32), captured_ns)


def test_embeddings_lie_in_the_slot_of_their_capture_newest_last() -> None:
    window = SlotWindow(slots=4, period_ns=PERIOD_NS, width=2, start_ns=1_000)
    for value, captured_ns in ((1, 1_000), (2, 1_199), (3, 1_300)):
        window.put(embedding(value, captured_ns))
    vectors, mask = window.window(end_slot=4)
    assert mask.tolist() == [1, 1, 0, 1]
    assert vectors[:, 0].tolist() == [1, 2, 0, 3]


def test_what_lies_ahead_of_the_window_waits_for_its_turn() -> None:
    window = SlotWindow(slots=2, period_ns=PERIOD_NS, width=2, start_ns=0)
    window.put(embedding(1, 0))
    window.put(embedding(9, 500))
    assert window.window(end_slot=2)[1].tolist() == [1, 0]
    assert window.newest_ns(end_slot=2) == 0
    assert window.window(end_slot=6)[0][:, 0].tolist() == [0, 9]
    assert window.newest_ns(end_slot=6) == 500


def test_what_has_left_the_window_is_forgotten() -> None:
    window = SlotWindow(slots=2, period_ns=PERIOD_NS, width=2, start_ns=0)
    window.put(embedding(1, 0))
    window.window(end_slot=3)
    assert window.newest_ns(end_slot=3) is None


def test_later_embedding_of_the_same_slot_replaces_the_earlier() -> None:
    window = SlotWindow(slots=1, period_ns=PERIOD_NS, width=2, start_ns=0)
    window.put(embedding(1, 10))
    window.put(embedding(2, 20))
    assert window.window(end_slot=1)[0].tolist() == [[2, 2]]
