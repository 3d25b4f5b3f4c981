"""What many tests need: real speech, a real face, the real corpora where they are at hand."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest_plugins = ["tests.virtual_devices"]

ROOT = Path(__file__).parent.parent
SENTENCES = "I am very angry about this traffic. What a beautiful day it is, and nobody is waiting for us before nine."


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real corpora, for tests marked `data`."""
    folder = Path(os.environ.get("EDGE_EMOTION_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set EDGE_EMOTION_DATA to a folder with RAVDESS and FER2013")
    return folder


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
