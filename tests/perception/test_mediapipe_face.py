"""The real face detector on a real portrait."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import ArgumentError
from perception.mediapipe_face import MediaPipeFaceDetector

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def detector() -> MediaPipeFaceDetector:
    return MediaPipeFaceDetector()


def test_portrait_has_one_face_with_eyes_above_the_mouth(detector: MediaPipeFaceDetector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    assert face.score > 0.8
    assert face.left_eye[0] < face.right_eye[0]
    assert face.mouth[1] > max(face.left_eye[1], face.right_eye[1])
    np.testing.assert_allclose(face.bbox_xyxy, (177, 82, 272, 178), atol=6)


def test_gray_portrait_is_found_as_infrared_cameras_show_it(
    detector: MediaPipeFaceDetector, portrait: np.ndarray
) -> None:
    gray = np.repeat(portrait.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    assert len(detector.detect(gray)) == 1


def test_noise_and_darkness_have_no_face(detector: MediaPipeFaceDetector) -> None:
    rng = np.random.default_rng(0)
    assert detector.detect(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)) == []
    assert detector.detect(np.zeros((480, 640, 3), np.uint8)) == []


def test_region_of_interest_hides_the_passenger_and_keeps_image_coordinates(portrait: np.ndarray) -> None:
    both = np.concatenate((portrait, portrait), 1)
    (face,) = MediaPipeFaceDetector(roi=(0.5, 0, 1, 1)).detect(both)
    assert 512 + 170 < face.bbox_xyxy[0] < 512 + 185
    assert len(MediaPipeFaceDetector().detect(both)) == 2


@pytest.mark.parametrize("roi", [(0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1)])
def test_region_outside_the_image_is_rejected(roi: tuple[float, float, float, float]) -> None:
    with pytest.raises(ArgumentError, match="expected x0,y0,x1,y1 as fractions"):
        MediaPipeFaceDetector(roi)


def test_detector_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """PortAudio, started here, would not find a microphone that is plugged in later; pyplot is slow, and writes."""
    code = "import sys; from perception.mediapipe_face import *; MediaPipeFaceDetector(); print(list(sys.modules))"
    result = run(code, HOME=str(tmp_path))
    assert "'mediapipe'" in result
    assert "'sounddevice'" not in result
    assert "'matplotlib" not in result
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", ["", "matplotlib", "matplotlib.pyplot"])
def test_what_the_detector_spares_can_be_imported_all_the_same(before: str) -> None:
    code = f"""
{before and f"import {before}"}
from perception.mediapipe_face import MediaPipeFaceDetector
MediaPipeFaceDetector()
import matplotlib.pyplot
print(matplotlib.pyplot.figure().get_axes(), matplotlib.pyplot is matplotlib.__dict__["pyplot"])
"""
    assert run(code, MPLBACKEND="agg") == "[] True\n"


def run(code: str, **environment: str) -> str:
    """What it prints."""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True)
    return result.stdout
