"""The head's window: embeddings on a regular grid of slots, whatever rate they arrive at."""

import numpy as np
import numpy.typing as npt

from perception.chunks import Embedding


class SlotWindow:
    """Keeps embeddings by the grid period in which they were captured.

    Parameters
    ----------
    slots : length of a window, in periods. period_ns : of the grid, which starts at `start_ns`. width : of a vector.
    """

    def __init__(self, slots: int, period_ns: int, width: int, start_ns: int) -> None:
        self._slots, self._period_ns, self._width, self._start_ns = slots, period_ns, width, start_ns
        self._embeddings: dict[int, Embedding] = {}

    def slot(self, captured_ns: int) -> int:
        """Number of the period that holds `captured_ns`; 0 is the grid's first."""
        return (captured_ns - self._start_ns) // self._period_ns

    def put(self, embedding: Embedding) -> None:
        """Keep the embedding for its slot; a later one for the same slot replaces it."""
        self._embeddings[self.slot(embedding.captured_ns)] = embedding

    def window(self, end_slot: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Slots before `end_slot`, newest last: vectors [shape=(slots, width)] and mask [shape=(slots,)], 0 if empty.

        What is older than this window is forgotten.
        """
        first = end_slot - self._slots
        self._embeddings = {slot: value for slot, value in self._embeddings.items() if slot >= first}
        vectors = np.zeros((self._slots, self._width), np.float32)
        mask = np.zeros(self._slots, np.float32)
        for slot, embedding in self._embeddings.items():
            if slot < end_slot:
                vectors[slot - first] = embedding.vector
                mask[slot - first] = 1
        return vectors, mask

    def newest_ns(self, end_slot: int) -> int | None:
        """Capture time of the newest embedding before `end_slot`, None where there is none."""
        times = [e.captured_ns for slot, e in self._embeddings.items() if slot < end_slot]
        return max(times, default=None)
