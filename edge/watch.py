"""What a device's own data say about its health: judgement on images and samples, by their capture times."""

from collections import deque
from typing import Literal

import numpy as np
import numpy.typing as npt

from bundle.features import NS_PER_S

FROZEN_NS = 2 * NS_PER_S
"""A sensor's noise never repeats: the same image for so long is no camera's, unless it is black."""

SLOW_FPS, SLOW_SPAN_NS = 5, 2 * NS_PER_S
"""Under half of the images that the 100-ms grid takes."""

BLACK_LEVEL = 12.0
"""Mean of an image, 0..255, under which it shows nothing."""

SILENT_NS = 2 * NS_PER_S
"""A microphone's noise never is all the same sample: for so long it is muted, or broken."""

ROW_STEP = 8
"""One row in so many is looked at."""


class ImageWatch:
    """Whether images come often enough and change. `health` is as of the newest image."""

    def __init__(self) -> None:
        self.health: Literal["ok", "frozen", "slow", "black"] = "ok"
        self._rows: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._changed_ns: int | None = None
        self._first_ns: int | None = None
        self._times: deque[int] = deque()

    def update(self, image: npt.NDArray[np.uint8], captured_ns: int) -> None:
        """Look at the next image, (H, W) or (H, W, 3)."""
        rows = image[::ROW_STEP]
        if self._changed_ns is None or not np.array_equal(rows, self._rows):
            self._rows, self._changed_ns = rows.copy(), captured_ns
        self._first_ns = self._first_ns or captured_ns
        self._times.append(captured_ns)
        while self._times[0] <= captured_ns - SLOW_SPAN_NS:
            self._times.popleft()
        if rows.mean() < BLACK_LEVEL:
            self.health = "black"
        elif captured_ns - self._changed_ns >= FROZEN_NS:
            self.health = "frozen"
        elif captured_ns - self._first_ns >= SLOW_SPAN_NS and len(self._times) < SLOW_FPS * SLOW_SPAN_NS / NS_PER_S:
            self.health = "slow"
        else:
            self.health = "ok"

    def reopened(self) -> None:
        """The camera was reopened: images begin to be counted anew, but the frozen one is still known."""
        self._first_ns = None
        self._times.clear()


class SoundWatch:
    """For how long all samples have been the same: `silent_ns` as of the newest."""

    def __init__(self) -> None:
        self.silent_ns = 0
        self._sample: int | None = None
        self._since_ns = 0

    def update(self, samples: npt.NDArray[np.int16], captured_ns: int) -> None:
        """Listen to the next samples, one at least."""
        if not (samples == self._sample).all():
            self._sample = int(samples[-1]) if (samples == samples[-1]).all() else None
            self._since_ns = captured_ns
        self.silent_ns = 0 if self._sample is None else captured_ns - self._since_ns
