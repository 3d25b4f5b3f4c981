"""Faces and eyes with MediaPipe's BlazeFace models, which come inside its wheel."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError
from perception.face import FaceDetection
from perception.quiet import native_stderr_silenced

MIN_CONFIDENCE = 0.6
"""A cat's face scores 0.48; faces in a car score above 0.8."""

Roi = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as fractions of the image's width and height."""


class MediaPipeFaceDetector:
    """Short-range model first, full-range only where that finds nothing: 1 ms, or 4 ms, an image.

    Parameters
    ----------
    roi : the part of the image where the driver sits; a smaller region shows a smaller face larger to the network,
        and keeps passengers out.

    Raises
    ------
    ArgumentError : `roi` empty or outside 0..1.
    """

    def __init__(self, roi: Roi = (0.0, 0.0, 1.0, 1.0)) -> None:
        x0, y0, x1, y1 = roi
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ArgumentError(
                f"region of interest is {x0:g},{y0:g},{x1:g},{y1:g}; expected x0,y0,x1,y1 as fractions of the "
                "image with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1."
            )
        # protobuf 4.25 and TensorFlow Lite are talkative.
        with warnings.catch_warnings(), native_stderr_silenced(), _imports_spared():
            warnings.simplefilter("ignore")
            from mediapipe.python.solutions.face_detection import FaceDetection as Model

            self._models = [
                Model(model_selection=selection, min_detection_confidence=MIN_CONFIDENCE) for selection in (0, 1)
            ]
            for model in self._models:  # the first inference allocates, and logs
                model.process(np.zeros((128, 128, 3), np.uint8))
        self._roi = roi

    def detect(self, image: npt.NDArray[np.uint8]) -> list[FaceDetection]:
        """Faces in `image` (uint8 RGB, (H, W, 3)), in its pixels, in no particular order."""
        height, width = image.shape[:2]
        x0, y0 = int(self._roi[0] * width), int(self._roi[1] * height)
        x1, y1 = int(np.ceil(self._roi[2] * width)), int(np.ceil(self._roi[3] * height))
        region = np.ascontiguousarray(image[y0:y1, x0:x1])
        for model in self._models:
            faces = list(_faces(model, region, x0, y0))
            if faces:
                return faces
        return []


@contextmanager
def _imports_spared() -> Iterator[None]:
    """MediaPipe is imported without what it records and plots with, none of which is used, if that is not there yet.

    sounddevice would start PortAudio for the whole process, which looks for devices when it is started first: a
    microphone that is plugged in later would not be found. pyplot takes four fifths of the import's time and two thirds
    of its memory, and writes a list of the machine's fonts to the home directory.
    """
    instead = {"sounddevice": None} | {name: ModuleType(name) for name in ("matplotlib", "matplotlib.pyplot")}
    spared = {name: module for name, module in instead.items() if name not in sys.modules}
    sys.modules.update(spared)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in spared:
            del sys.modules[name]


def _faces(model, region: npt.NDArray[np.uint8], x0: int, y0: int) -> Iterator[FaceDetection]:
    height, width = region.shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detections = model.process(region).detections or []
    for detection in detections:
        if detection.score[0] < MIN_CONFIDENCE:  # the full-range model lets 0.5 pass
            continue
        location = detection.location_data
        box = location.relative_bounding_box
        left_eye, right_eye, _nose, mouth = (
            (x0 + point.x * width, y0 + point.y * height) for point in location.relative_keypoints[:4]
        )
        if np.hypot(right_eye[0] - left_eye[0], right_eye[1] - left_eye[1]) < 1:
            continue  # too small to align
        left, top = x0 + box.xmin * width, y0 + box.ymin * height
        bbox = (left, top, left + box.width * width, top + box.height * height)
        yield FaceDetection(bbox, left_eye, right_eye, mouth, float(detection.score[0]))
