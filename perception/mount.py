"""How the camera is mounted, and the images turned upright accordingly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError

_TURNS = 90, 180, 270
"""Degrees clockwise, in the order of OpenCV's codes: ROTATE_90_CLOCKWISE, ROTATE_180, ROTATE_90_COUNTERCLOCKWISE."""


@dataclass(frozen=True)
class CameraMount:
    """rotate : degrees clockwise that turn the image upright. mirror : flips left and right, after the rotation.
    mono : an infrared camera, whose colours mean nothing: luma in all three channels.

    Raises
    ------
    ArgumentError : rotate is none of 0, 90, 180, 270.
    """

    rotate: int = 0
    mirror: bool = False
    mono: bool = False

    def __post_init__(self) -> None:
        if self.rotate not in (0, *_TURNS):
            raise ArgumentError(f"rotate is {self.rotate}; expected 0, 90, 180 or 270 degrees clockwise.")

    def upright(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image as a person would see the driver, uint8 RGB."""
        import cv2

        if self.rotate:
            image = cv2.rotate(image, _TURNS.index(self.rotate))
        if self.mirror:
            image = cv2.flip(image, 1)
        if self.mono:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return np.ascontiguousarray(image)
