"""FER2013 (Goodfellow et al. 2015): 35,887 gray faces of 48 x 48 pixels in seven classes.

Reads the official zip of folders `train/<emotion>/Training_*.jpg`, `test/<emotion>/{PublicTest,PrivateTest}_*.jpg`,
the same unpacked, or the challenge's table `fer2013.csv` of emotion, pixels, Usage.
"""

import csv
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.errors import InputError
from bundle.features import VideoSpec
from bundle.labels import FER2013_LABELS
from corpora.cache import alone, kept_arrays, kept_path, written_whole
from corpora.reading import OnError, complain
from kernels import preprocess_faces
from perception.face import Detect

Usage = Literal["Training", "PublicTest", "PrivateTest"]
IMAGES: Mapping[Usage, int] = {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
SIZE_PX = 48
MARGIN_PX = 8
"""Around an aligned crop, so that augmentation can shift, scale and turn it without showing an edge."""

_FOLDERS = {"angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy", "neutral": "neutral"}
_FOLDERS |= {"sad": "sad", "surprise": "surprised"}
_TABLE_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # 0 to 6 in fer2013.csv
_TABLE_LABELS = {code: FER2013_LABELS.index(_FOLDERS[name]) for code, name in enumerate(_TABLE_EMOTIONS)}
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
"""What zipfile raises, whichever bytes of an archive are damaged."""
_UPSCALE, _BORDER_PX = 4, 64  # what the face detector needs to see: found in 93 % of PrivateTest


@dataclass(frozen=True)
class Fer2013:
    """images : uint8 [shape=(n, 48, 48)]. labels : int64 [shape=(n,)], positions in FER2013_LABELS."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read_fer2013(path: str | Path, usage: Usage, *, complete: bool = False, on_error: OnError = "refuse") -> Fer2013:
    """Read one official part of a zip file, a folder or a table; ordered by path, or as the table is.

    Parameters
    ----------
    complete : expect as many images as the challenge had; their names do not tell which one is missing.

    Raises
    ------
    InputError : none of these at `path`, or no image of `usage` in it; or, unless skipped, an image that is corrupt or
        of no known emotion, or images that are missing from a complete part.
    """
    path = Path(path)
    entries = _table_entries if path.suffix == ".csv" else _folder_entries if path.is_dir() else _zip_entries
    images, labels, corrupt = [], [], []
    for name, image, label in entries(path, usage):
        if image is None or label is None:
            corrupt.append(name)
        else:
            images.append(image)
            labels.append(label)
    if corrupt:
        what = f"{path}: {len(corrupt)} corrupt; expected {SIZE_PX} x {SIZE_PX} pixels of {', '.join(_FOLDERS)}"
        complain(what, corrupt, on_error)
    missing = IMAGES[usage] - len(images) - len(corrupt)
    if complete and missing > 0:
        complain(f"{missing} of {IMAGES[usage]} {usage} images are missing", [str(path)], on_error)
    if not images:
        raise InputError(
            f"{path} holds no {usage} images; expected FER2013's official folders train/ and test/, or fer2013.csv."
        )
    return Fer2013(np.stack(images), np.array(labels))


Entry = tuple[str, npt.NDArray[np.uint8] | None, int | None]
"""Name, image and label; None where it is corrupt, or of no known emotion."""


def _zip_entries(path: Path, usage: Usage) -> Iterator[Entry]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a zip file, folder or .csv; expected FER2013's official images, fer2013.zip.")
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise InputError(f"{path} is a damaged zip file ({error}). Fetch it again.") from error
    with archive:
        for name in sorted(archive.namelist()):
            if _is_of(name, usage):
                try:
                    content = archive.read(name)
                except _DAMAGED:
                    content = b""
                yield name, _decoded(content), _label_of_folder(name)


def _folder_entries(path: Path, usage: Usage) -> Iterator[Entry]:
    for file in sorted(path.rglob("*.jpg")):
        name = file.relative_to(path).as_posix()
        if _is_of(name, usage):
            yield name, _decoded(file.read_bytes()), _label_of_folder(name)


def _table_entries(path: Path, usage: Usage) -> Iterator[Entry]:
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected FER2013's table, fer2013.csv.")
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file, restval="")
        try:
            for number, row in enumerate(rows, 2):
                part = row.get("Usage")
                if part == usage:
                    yield f"line {number}", *_image_and_label(row)
                elif part not in get_args(Usage):  # a row that was cut may be of any part
                    yield f"line {number}", None, None
        except csv.Error as error:
            raise InputError(f"{path} is no table after line {rows.line_num} ({error}). Fetch it again.") from error


def _image_and_label(row: Mapping[str, str]) -> tuple[npt.NDArray[np.uint8] | None, int | None]:
    try:
        values = np.array(row["pixels"].split(), np.int64)
        label = _TABLE_LABELS[int(row["emotion"])]
    except (KeyError, ValueError, OverflowError):
        return None, None
    whole = len(values) == SIZE_PX**2 and 0 <= values.min() <= values.max() <= 255
    return values.astype(np.uint8).reshape(SIZE_PX, -1) if whole else None, label


def _is_of(name: str, usage: Usage) -> bool:
    file = PurePosixPath(name).name
    return file.endswith(".jpg") and file.split("_")[0] == usage


def _label_of_folder(name: str) -> int | None:
    emotion = _FOLDERS.get(PurePosixPath(name).parent.name)
    return None if emotion is None else FER2013_LABELS.index(emotion)


def _decoded(content: bytes) -> npt.NDArray[np.uint8] | None:
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # an empty file
        return None
    return image if image is not None and image.shape == (SIZE_PX, SIZE_PX) else None


def aligned_fer2013(
    path: str | Path, usage: Usage, spec: VideoSpec, detect: Detect, cache: Path | None = None
) -> Fer2013:
    """One official part, sent through the geometry of camera faces: upscaled, detected, aligned by the eyes.

    A face that the detector misses keeps its own framing, close to which the alignment was chosen.

    Parameters
    ----------
    cache : folder in which the result is kept, and found again for the same `path` and `spec`; aligning all of FER2013
        takes minutes.

    Returns
    -------
    Images are crops with a margin of MARGIN_PX, uint8 gray [shape=(n, size, size)], size = spec.size_px + 2 MARGIN_PX.
    """
    if cache is None:
        return _align(Path(path), usage, spec, detect)
    with alone(cache):
        kept = kept_path(cache, Path(path), usage, spec)
        if not kept.exists():
            faces = _align(Path(path), usage, spec, detect)
            with written_whole(kept) as partial:
                np.savez_compressed(partial, crops=faces.images, labels=faces.labels)
        arrays = kept_arrays(kept)
        return Fer2013(arrays["crops"], arrays["labels"])


def _align(path: Path, usage: Usage, spec: VideoSpec, detect: Detect) -> Fer2013:
    faces = read_fer2013(path, usage)
    crops = np.stack([_aligned(face, spec, detect) for face in tqdm(faces.images, desc=f"align {usage}", leave=False)])
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
    corner = _BORDER_PX + (scale - 1) / 2 - scale * MARGIN_PX  # pixel centres are at whole numbers
    return np.array([[scale, 0, corner], [0, scale, corner]])
