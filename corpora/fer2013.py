"""FER2013 (Goodfellow et al. 2015): 35,887 gray faces of 48 x 48 pixels in seven classes.

Reads the official zip of folders `train/<emotion>/Training_*.jpg`, `test/<emotion>/{PublicTest,PrivateTest}_*.jpg`.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.errors import InputError
from bundle.features import VideoSpec
from bundle.labels import FER2013_LABELS
from kernels import preprocess_faces
from perception.face import Detect

Usage = Literal["Training", "PublicTest", "PrivateTest"]
SIZE_PX = 48
MARGIN_PX = 8
"""Around an aligned crop, so that augmentation can shift, scale and turn it without showing an edge."""

_FOLDERS = {"angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy", "neutral": "neutral"}
_FOLDERS |= {"sad": "sad", "surprise": "surprised"}
_UPSCALE, _BORDER_PX = 4, 64  # what the face detector needs to see: found in 93 % of PrivateTest


@dataclass(frozen=True)
class Fer2013:
    """images : uint8 [shape=(n, 48, 48)]. labels : int64 [shape=(n,)], positions in FER2013_LABELS."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read_fer2013(path: str | Path, usage: Usage) -> Fer2013:
    """Read one official part, ordered by path in the archive.

    Raises
    ------
    InputError : no zip file at `path`, or no image of `usage` in it, or an image that does not decode or lies in a
        folder that is no emotion's.
    """
    import cv2

    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a zip file; expected FER2013's official images, fer2013.zip.")
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            entry = PurePosixPath(name)
            if entry.suffix != ".jpg" or entry.name.split("_")[0] != usage:
                continue
            try:
                image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
            except (zipfile.BadZipFile, zlib.error, cv2.error):  # a damaged archive; an empty file
                image = None
            emotion = _FOLDERS.get(entry.parent.name)
            if image is None or image.shape != (SIZE_PX, SIZE_PX) or emotion is None:
                raise InputError(
                    f"{path}: {name} is not a {SIZE_PX} x {SIZE_PX} JPEG in a folder of {', '.join(_FOLDERS)}. "
                    "Fetch the archive again."
                )
            images.append(image)
            labels.append(FER2013_LABELS.index(emotion))
    if not images:
        raise InputError(f"{path} holds no {usage}_*.jpg; expected FER2013's official folders train/ and test/.")
    return Fer2013(np.stack(images), np.array(labels))


def aligned_fer2013(
    path: str | Path, usage: Usage, spec: VideoSpec, detect: Detect, cache: Path | None = None
) -> Fer2013:
    """One official part, sent through the geometry of camera faces: upscaled, detected, aligned by the eyes.

    A face that the detector misses keeps its own framing, close to which the alignment was chosen.

    Parameters
    ----------
    cache : folder in which the result for this `spec` is kept, and found again; aligning all of FER2013 takes minutes.

    Returns
    -------
    Images are crops with a margin of MARGIN_PX, uint8 gray [shape=(n, size, size)], size = spec.size_px + 2 MARGIN_PX.
    """
    kept = cache and cache / f"fer2013-{usage}.npz"
    if kept and kept.exists():
        with np.load(kept) as arrays:
            return Fer2013(arrays["crops"], arrays["labels"])
    faces = read_fer2013(path, usage)
    crops = np.stack([_aligned(face, spec, detect) for face in tqdm(faces.images, desc=f"align {usage}", leave=False)])
    if kept:
        partial = kept.with_suffix(".partial.npz")
        np.savez_compressed(partial, crops=crops, labels=faces.labels)
        partial.replace(kept)  # an interrupted run leaves nothing half written
    return Fer2013(crops, faces.labels)


def upscaled(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A FER2013 face as a detector can see it: larger, with a border; uint8 RGB [shape=(320, 320, 3)]."""
    import cv2

    large = cv2.resize(face, None, fx=_UPSCALE, fy=_UPSCALE, interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, *(_BORDER_PX,) * 4, borderType=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)


def _aligned(face: npt.NDArray[np.uint8], spec: VideoSpec, detect: Detect) -> npt.NDArray[np.uint8]:
    image = upscaled(face)
    found = max(detect(image), key=lambda face: face.area, default=None)
    matrix = found.crop_matrix(spec, MARGIN_PX) if found else _own_framing(spec)
    size = spec.size_px + 2 * MARGIN_PX
    crop = preprocess_faces(image, [matrix], size, supersample=spec.supersample, mean=0, std=1)
    return np.rint(crop[0, 0]).clip(0, 255).astype(np.uint8)


def _own_framing(spec: VideoSpec) -> npt.NDArray[np.float64]:
    scale = _UPSCALE * SIZE_PX / spec.size_px
    corner = _BORDER_PX - scale * MARGIN_PX
    return np.array([[scale, 0, corner], [0, scale, corner]])
