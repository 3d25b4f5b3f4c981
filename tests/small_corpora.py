"""Corpora small enough to be made on the spot: WAV files with RAVDESS names, a zip with FER2013's folders."""

import wave
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from corpora.folds import RAVDESS_ACTORS

EMOTIONS = (3, 5)  # happy and angry, as RAVDESS numbers them
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


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, portrait: npt.NDArray[np.uint8]) -> Path:
    """Two clips of each actor, and a zip with one face under many lights."""
    return corpus(tmp_path_factory.mktemp("data"), portrait, EMOTIONS)


@pytest.fixture(scope="session")
def data_of_every_emotion(tmp_path_factory: pytest.TempPathFactory, portrait: npt.NDArray[np.uint8]) -> Path:
    """Eight clips of each actor, and the same faces."""
    return corpus(tmp_path_factory.mktemp("eight"), portrait, range(1, 9))


def corpus(folder: Path, portrait: npt.NDArray[np.uint8], emotions: Iterable[int]) -> Path:
    rng = np.random.default_rng(0)
    time_s = np.arange(24_000) / 16_000
    for actor in RAVDESS_ACTORS:
        for emotion in emotions:
            tone = 5_000 * np.sin(2 * np.pi * (100 * emotion + 5 * actor) * time_s)
            wave = (tone + rng.normal(0, 500, len(tone))).astype(np.int16)
            path = folder / "ravdess-speech-16k" / f"Actor_{actor:02}" / f"{ravdess_name(emotion, actor)}.wav"
            write_wav(path, wave)
    face = cv2.resize(cv2.cvtColor(portrait[55:195, 155:295], cv2.COLOR_RGB2GRAY), (48, 48)).astype(float)

    def lit(usage: str, folder: str, number: int) -> npt.NDArray[np.uint8]:
        return (face * rng.uniform(0.6, 1.0) + rng.normal(0, 4, face.shape)).clip(0, 255).astype(np.uint8)

    write_fer2013(folder / "fer2013.zip", {"Training": 48, "PublicTest": 24, "PrivateTest": 24}, lit)
    return folder
