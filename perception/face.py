"""Which face is the driver's, and how to frame it: judgement only, on detections that a detector made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundle.features import NS_PER_S, VideoSpec
from kernels import similarity_from_eyes

SEAT_CHANGE_NS = 1 * NS_PER_S
"""Another face must be the largest for this long before it is taken for the driver's."""

BREAK_NS = 2 * NS_PER_S
"""Images so far apart tell nothing of what was between them; a camera may be slow."""

SAME_FACE_IOU = 0.2
"""Overlap with the followed face from which a detection counts as the same one; low, as 100 ms may lie between."""


@dataclass(frozen=True)
class FaceDetection:
    """A detected face, in image pixels; left and right as seen in the image.

    bbox_xyxy : (x0, y0, x1, y1). left_eye, right_eye, mouth : (x, y). score : 0..1.
    """

    bbox_xyxy: tuple[float, float, float, float]
    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    mouth: tuple[float, float]
    score: float

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.bbox_xyxy
        return (x1 - x0) * (y1 - y0)

    def iou(self, other: "FaceDetection") -> float:
        """Intersection over union of the two boxes, 0..1."""
        ax0, ay0, ax1, ay1 = self.bbox_xyxy
        bx0, by0, bx1, by1 = other.bbox_xyxy
        width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.area + other.area - width * height)

    def crop_matrix(self, spec: VideoSpec, margin_px: int = 0) -> npt.NDArray[np.float64]:
        """Crop-to-image transform [shape=(2, 3)] that frames the face as `spec` says, with a margin around it."""
        framed = similarity_from_eyes(
            self.left_eye, self.right_eye, spec.size_px, mouth=self.mouth, eye_x=spec.eye_x, eye_y=spec.eye_y
        )
        shift = np.array([[1, 0, -margin_px], [0, 1, -margin_px], [0, 0, 1]])
        return framed @ shift


Detect = Callable[[npt.NDArray[np.uint8]], list[FaceDetection]]
"""Faces of an image, uint8 RGB, (H, W, 3)."""


class DriverTracker:
    """Follows the driver among the faces of successive images.

    The first largest face is the driver. Another face takes the seat only after it has been the largest for
    `SEAT_CHANGE_NS` without a break, so a passenger who leans in, or a driver who looks away, changes nothing.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._driver: FaceDetection | None = None
        self._rival: FaceDetection | None = None
        self._rival_since_ns = self._newest_ns = 0

    def update(self, faces: Sequence[FaceDetection], captured_ns: int) -> FaceDetection | None:
        """Return the driver's face among `faces`, None while it is not there."""
        pause_ns, self._newest_ns = captured_ns - self._newest_ns, captured_ns
        if not faces or pause_ns >= BREAK_NS:
            self._rival = None
        if not faces:
            return None
        largest = max(faces, key=lambda face: face.area)
        if self._driver is None:
            self._driver = largest
            return largest
        nearest = max(faces, key=self._driver.iou)
        driver = nearest if self._driver.iou(nearest) >= SAME_FACE_IOU else None
        if largest is driver:
            self._rival = None
        else:
            if self._rival is None or self._rival.iou(largest) < SAME_FACE_IOU:
                self._rival_since_ns = captured_ns
            self._rival = largest
            if captured_ns - self._rival_since_ns >= SEAT_CHANGE_NS:
                self._rival, driver = None, largest
        self._driver = driver or self._driver
        return driver
