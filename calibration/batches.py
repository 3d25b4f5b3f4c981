"""What the encoders see of the calibration subjects, one small batch at a time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bundle.errors import ArtefactError
from bundle.features import FACE, SPECTROGRAM
from bundle.manifest import Manifest
from corpora.composite import FacePool, composite_windows
from corpora.fer2013 import aligned_fer2013
from corpora.ravdess import read_ravdess
from perception.mediapipe_face import MediaPipeFaceDetector

FACES_PER_WINDOW, SEGMENTS_PER_WINDOW = 8, 4
"""Neighbouring slots look alike; a few of each window say as much as all."""

Batches = list[dict[str, npt.NDArray[np.float32]]]


def calibration_batches(manifest: Manifest, data: Path) -> dict[str, Batches]:
    """Inputs of the "visual" and the "audio" part: composite windows of the split's calibration actors.

    Their faces are FER2013's PublicTest, on which no weight was trained.

    Raises
    ------
    ArtefactError : the manifest names no calibration actors, or some that were trained on or are held out.
    """
    split = {part: set(actors) for part, actors in manifest.training.get("split", {}).items()}
    actors = split.get("calibration", set())
    others = set().union(*(split[part] for part in split if part != "calibration"))
    if not actors or actors & others:
        raise ArtefactError(
            f"bundle {manifest.name} has calibration actors {sorted(actors)}, of which {sorted(actors & others)} serve "
            "another purpose too; expected some of their own. Train again with a split that sets them apart."
        )
    batches: dict[str, Batches] = {"visual": [], "audio": []}
    for faces, segments in _windows(manifest, data, sorted(actors)):
        batches["visual"].append({FACE: faces})
        batches["audio"].append({SPECTROGRAM: segments})
    return batches


def _windows(manifest: Manifest, data: Path, actors: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    seed = manifest.training["seed"]
    specs = (manifest.audio, manifest.video, manifest.window)
    detector = MediaPipeFaceDetector()
    pool = FacePool(aligned_fer2013(data / "fer2013.zip", "PublicTest", manifest.video, detector.detect), seed)
    for window in composite_windows(read_ravdess(data / "ravdess-speech-16k", actors), pool, specs, seed):
        faces, segments = window.faces[window.visual_mask > 0], window.segments[window.audio_mask > 0]
        yield _spread(faces, FACES_PER_WINDOW), _spread(segments, SEGMENTS_PER_WINDOW)


def _spread(slots: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """`count` slots from first to last."""
    return slots[np.linspace(0, len(slots) - 1, count).round().astype(int)]
