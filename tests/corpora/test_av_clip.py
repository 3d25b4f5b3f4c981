"""Composite clips: the voice as it is, and its face at the rate and size asked for."""

import numpy as np
import pytest

from corpora.av_clip import AvClip, FaceFormat, composite_av_clips
from corpora.composite import FacePool
from corpora.fer2013 import MARGIN_PX, Fer2013
from corpora.ravdess import Speech

SIZE = 48 + 2 * MARGIN_PX


@pytest.fixture(scope="module")
def pool() -> FacePool:
    """Each face is dark on its left half, bright on its right."""
    face = np.full((SIZE, SIZE), 40, np.uint8)
    face[:, SIZE // 2 :] = 180
    labels = np.repeat(np.arange(7), 24)
    return FacePool(Fer2013(np.stack([face] * len(labels)), labels), seed=0)


@pytest.mark.parametrize("faces", [FaceFormat(48, 10.0), FaceFormat(112, 25.0), FaceFormat(224, 24.0)])
def test_faces_have_the_size_and_rate_asked_for_and_show_the_same(pool: FacePool, faces: FaceFormat) -> None:
    wave = np.arange(24_000, dtype=np.int16)
    (clip,) = composite_av_clips([Speech(wave, 2, 7)], pool, faces, seed=0)
    assert isinstance(clip, AvClip)
    assert clip.images.dtype == np.uint8
    assert clip.images.shape == (int(1.5 * faces.fps), faces.size_px, faces.size_px)
    assert (clip.label, clip.subject) == (2, 7)
    np.testing.assert_array_equal(clip.wave, wave)
    edge = faces.size_px // 8
    left, right = clip.images[:, :, edge], clip.images[:, :, -edge]
    assert left.max() < 60
    assert right.min() > 130


def test_the_same_seed_gives_the_same_clips(pool: FacePool) -> None:
    speech = [Speech(np.zeros(16_000, np.int16), label, 1) for label in range(8)]
    first, again, other = (list(composite_av_clips(speech, pool, FaceFormat(48, 10), seed)) for seed in (0, 0, 1))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.images, two.images)
        assert (one.images != three.images).any()


@pytest.mark.data
def test_sixteen_real_clips_show_every_emotion_twice(composite_clips) -> None:
    clips = composite_clips(FaceFormat(48, 10))
    assert sorted(clip.label for clip in clips) == sorted([*range(8)] * 2)
    assert len({clip.subject for clip in clips}) == 16
    assert all(clip.images.std() > 10 and clip.wave.std() > 10 for clip in clips)
