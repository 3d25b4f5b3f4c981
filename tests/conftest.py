"""What many tests need: real speech, a real face, the real corpora where they are at hand."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from corpora.av_clip import AvClip, FaceFormat

pytest_plugins = ["tests.small_corpora", "tests.virtual_devices"]

settings.register_profile("no deadline", deadline=None)  # a machine that pauses is no fault of the example
settings.load_profile("no deadline")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' narrow networks only lose time by sharing their work

ROOT = Path(__file__).parent.parent
SENTENCES = "I am very angry about this traffic. What a beautiful day it is, and nobody is waiting for us before nine."


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """librosa's functions are compiled before there are two processes to do it.

    Both would write into the cache beside librosa, where Numba keeps a gufunc and its wrapper in two files: the one of
    one process beside the other of the other process is a crash at the first call.
    """
    from librosa import yin, zero_crossings  # noqa: F401


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real corpora, for tests marked `data`."""
    folder = Path(os.environ.get("EDGE_EMOTION_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set EDGE_EMOTION_DATA to a folder with RAVDESS and FER2013")
    return folder


@pytest.fixture(scope="session")
def composite_clips(data_folder: Path) -> Callable[[FaceFormat], list[AvClip]]:
    """Sixteen real composite clips, two of each emotion, by sixteen actors, with faces as asked for."""
    from corpora.av_clip import CompositeClips
    from corpora.composite import FacePool
    from corpora.fer2013 import MARGIN_PX, Fer2013, read_fer2013
    from corpora.ravdess import Speech, list_ravdess

    faces = read_fer2013(data_folder / "fer2013.zip", "PublicTest")
    margin = ((0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX))
    pool = FacePool(Fer2013(np.pad(faces.images, margin, mode="edge"), faces.labels), seed=0)
    by_actor = {}
    for clip in list_ravdess(data_folder / "ravdess-speech-16k", range(1, 17)):
        by_actor.setdefault(clip.actor, []).append(clip)
    chosen = [next(c for c in clips if c.label == (actor - 1) % 8) for actor, clips in sorted(by_actor.items())]
    speech = [Speech(clip.read_speech(), clip.label, clip.actor) for clip in chosen]
    return lambda faces: list(CompositeClips(speech, pool, faces, seed=0))


@pytest.fixture(scope="session")
def espeak(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Over five seconds of synthetic speech, int16, 16 kHz, mono."""
    from perception.chunks import AudioChunk
    from perception.clip import decode_clip

    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")
    path = tmp_path_factory.mktemp("espeak") / "speech.wav"
    subprocess.run(["espeak-ng", "-s", "140", "-w", path, SENTENCES], check=True)
    return np.concatenate([chunk.samples for chunk in decode_clip(path) if isinstance(chunk, AudioChunk)])


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """NASA's public-domain portrait of an astronaut, uint8 RGB, (512, 512, 3), one face."""
    from skimage import data

    return data.astronaut()
