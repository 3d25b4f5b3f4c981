"""What an onlooker gets to see and hear of the stages' work, without a say in it."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from perception.face import FaceDetection


class Tap(Protocol):
    """Called from the perceiving thread, so both must return at once. No one writes to the arrays afterwards."""

    def see(self, image: npt.NDArray[np.uint8], face: FaceDetection | None) -> None:
        """An upright image, uint8 RGB (H, W, 3), that was looked at, and the driver's face in it."""

    def hear(self, samples: npt.NDArray[np.int16], speaking: bool) -> None:
        """Samples, 16 kHz, that were listened to, and whether somebody speaks at their end."""
