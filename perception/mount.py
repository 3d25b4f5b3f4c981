"""How the camera is mounted, and the images turned upright accordingly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError
from kernels.face import LUMA


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
        if self.rotate not in (0, 90, 180, 270):
            raise ArgumentError(f"rotate is {self.rotate}; expected 0, 90, 180 or 270 degrees clockwise.")

    def upright(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image as a person would see the driver, uint8 RGB."""
        image = np.rot90(image, -self.rotate // 90)
        if self.mirror:
            image = image[:, ::-1]
        if self.mono:
            image = np.repeat(np.rint(image @ LUMA).astype(np.uint8)[..., None], 3, 2)
        return np.ascontiguousarray(image)
