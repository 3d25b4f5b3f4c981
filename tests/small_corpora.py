"""Corpora small enough to be made on the spot: WAV files with RAVDESS names, a zip with FER2013's folders."""

import wave
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

FER2013_FOLDERS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")  # in the order of its labels


def ravdess_name(emotion: int, actor: int, repetition: int = 1) -> str:
    return f"03-01-{emotion:02}-01-02-{repetition:02}-{actor:02}"


def write_wav(path: Path, samples: npt.NDArray[np.int16], rate_hz: int = 16_000) -> Path:
    """A mono file, in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    return path


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def write_fer2013(
    path: Path, counts: Mapping[str, int], face: Callable[[str, str, int], npt.NDArray[np.uint8]]
) -> Path:
    """`counts` images of each emotion by usage; `face` draws (usage, folder, number), uint8 gray (48, 48)."""
    with zipfile.ZipFile(path, "w") as archive:
        for usage, count in counts.items():
            part = "train" if usage == "Training" else "test"
            for folder in FER2013_FOLDERS:
                for number in range(count):
                    archive.writestr(f"{part}/{folder}/{usage}_{number}.jpg", jpeg(face(usage, folder, number)))
    return path
