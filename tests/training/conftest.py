"""A corpus on which every training runs in seconds."""

import cv2
import numpy as np
import pytest

from corpora.folds import RAVDESS_ACTORS
from tests.small_corpora import ravdess_name, write_fer2013, write_wav

EMOTIONS = (3, 5)  # happy and angry, as RAVDESS numbers them


@pytest.fixture(scope="session")
def data(tmp_path_factory, portrait):
    """Two clips of each actor, and a zip with one face under many lights."""
    return corpus(tmp_path_factory.mktemp("data"), portrait, EMOTIONS)


@pytest.fixture(scope="session")
def data_of_every_emotion(tmp_path_factory, portrait):
    """Eight clips of each actor, and the same faces."""
    return corpus(tmp_path_factory.mktemp("eight"), portrait, range(1, 9))


def corpus(folder, portrait, emotions):
    rng = np.random.default_rng(0)
    time_s = np.arange(24_000) / 16_000
    for actor in RAVDESS_ACTORS:
        for emotion in emotions:
            tone = 5_000 * np.sin(2 * np.pi * (100 * emotion + 5 * actor) * time_s)
            wave = (tone + rng.normal(0, 500, len(tone))).astype(np.int16)
            path = folder / "ravdess-speech-16k" / f"Actor_{actor:02}" / f"{ravdess_name(emotion, actor)}.wav"
            write_wav(path, wave)
    face = cv2.resize(cv2.cvtColor(portrait[55:195, 155:295], cv2.COLOR_RGB2GRAY), (48, 48)).astype(float)

    def lit(usage, emotion, number):
        return (face * rng.uniform(0.6, 1.0) + rng.normal(0, 4, face.shape)).clip(0, 255).astype(np.uint8)

    write_fer2013(folder / "fer2013.zip", {"Training": 48, "PublicTest": 24, "PrivateTest": 24}, lit)
    return folder
