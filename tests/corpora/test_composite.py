"""The composite: each actor shows faces of its own, and a window holds what the clip's end holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import FER2013_LABELS, RAVDESS_LABELS
from corpora.composite import (
    FacePool,
    audio_slots,
    composite_window,
    composite_windows,
    face_track,
    stack_windows,
)
from corpora.fer2013 import MARGIN_PX, Fer2013
from corpora.folds import RAVDESS_ACTORS
from corpora.ravdess import Speech
from kernels import high_pass, spectrogram_segments

AUDIO, VIDEO, WINDOW = SPECS = AudioSpec(), VideoSpec(), WindowSpec()
SIZE = VIDEO.size_px + 2 * MARGIN_PX


def numbered_faces(per_emotion=50):
    """Even images; the gray levels of the first two pixels are the emotion and the number within it."""
    images = np.full((7 * per_emotion, SIZE, SIZE), 127, np.uint8)
    labels = np.repeat(np.arange(7), per_emotion)
    images[:, 0, 0], images[:, 0, 1] = labels, np.tile(np.arange(per_emotion), 7)
    return Fer2013(images, labels)


def faces_dealt(pool, label, actor, rng):
    """All faces that the actor shows for the emotion: enough draws miss none."""
    return {tuple(pool.draw(label, actor, rng)[0, :2].tolist()) for _ in range(40)}


def speech(seconds, *, label=2, actor=5, seed=0):
    wave = np.random.default_rng(seed).normal(0, 2_000, round(seconds * 16_000)).astype(np.int16)
    return Speech(wave, label, actor)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), label=st.integers(0, len(RAVDESS_LABELS) - 1))
def test_no_face_belongs_to_two_actors_and_none_is_lost(seed, label):
    pool, rng = FacePool(numbered_faces(), seed), np.random.default_rng(seed)
    dealt = [faces_dealt(pool, label, actor, rng) for actor in RAVDESS_ACTORS]
    assert sum(len(faces) for faces in dealt) == len(set().union(*dealt)) == 50
    assert {len(faces) for faces in dealt} == {2, 3}


@pytest.mark.parametrize("emotion", RAVDESS_LABELS)
def test_faces_show_the_voices_emotion_and_calm_looks_neutral(emotion):
    pool, rng = FacePool(numbered_faces(), 0), np.random.default_rng(0)
    shown = {face[0] for face in faces_dealt(pool, RAVDESS_LABELS.index(emotion), 1, rng)}
    assert [FER2013_LABELS[position] for position in shown] == ["neutral" if emotion == "calm" else emotion]


def test_the_seed_decides_who_gets_which_face():
    one, same, other = (FacePool(numbered_faces(), seed) for seed in (1, 1, 2))
    hands = [[faces_dealt(pool, 2, actor, np.random.default_rng(0)) for actor in (1, 2)] for pool in (one, same, other)]
    assert hands[0] == hands[1]
    assert hands[0] != hands[2]


def test_a_pool_may_change_what_it_deals_and_leaves_the_other_pool_alone():
    pool = FacePool(numbered_faces(), 0)
    inverted = pool.through(lambda crop: 255 - crop)
    for label in range(8):
        drawn, changed = (each.draw(label, 3, np.random.default_rng(label)) for each in (pool, inverted))
        np.testing.assert_array_equal(changed, 255 - drawn)


def test_fewer_faces_than_actors_are_refused():
    with pytest.raises(InputError, match=r"23 angry faces; expected 24 or more"):
        FacePool(numbered_faces(23), 0)
    FacePool(numbered_faces(24), 0)


def dot():
    """A bright blob in the middle of a crop with margin."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return np.rint(200 * np.exp(-(x**2 + y**2) / 20)).astype(np.uint8)


def centroids(faces):
    y, x = np.mgrid[: VIDEO.size_px, : VIDEO.size_px] - (VIDEO.size_px - 1) / 2
    light = faces[:, 0] - faces[:, 0].min((1, 2), keepdims=True)
    total = light.sum((1, 2))
    return np.stack(((light * x).sum((1, 2)), (light * y).sum((1, 2))), 1) / total[:, None]


@pytest.mark.parametrize("seed", range(5))
def test_a_still_face_moves_a_little_around_the_middle(seed):
    faces = face_track(dot(), VIDEO, 40, np.random.default_rng(seed))
    assert faces.shape == (40, *VIDEO.shape)
    assert faces.dtype == np.float32
    places = centroids(faces)
    assert abs(places).max() <= 1.7  # 1.5 px, on a face scaled by 0.94 or more
    assert np.ptp(places, 0).max() > 0.1
    assert np.hypot(*np.diff(places, axis=0).T).max() < 0.35  # from end to middle to end, without a jump


def test_fewer_images_are_held_for_as_long_as_it_takes():
    faces = face_track(dot(), VIDEO, 40, np.random.default_rng(0), distinct=5)
    held = faces.reshape(5, 8, *VIDEO.shape)
    np.testing.assert_array_equal(held, np.broadcast_to(held[:, :1], held.shape))
    assert len(np.unique(faces.reshape(40, -1), axis=0)) == 5
    every = face_track(dot(), VIDEO, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(held[:, 0], every)


@pytest.mark.parametrize("seconds", [1.0, 1.19, 2.5, 3.999, 4.0, 6.3])
def test_audio_slots_hold_the_newest_segments(seconds):
    clip = speech(seconds)
    segments, mask = audio_slots(clip.wave, AUDIO, WINDOW)
    expected = spectrogram_segments(high_pass(clip.wave, 200.0), **AUDIO.stream_options())[-16:]
    assert AUDIO.highpass_hz == 200.0
    assert segments.shape == (16, *AUDIO.shape)
    assert mask.tolist() == [0] * (16 - len(expected)) + [1] * len(expected)
    np.testing.assert_array_equal(segments[16 - len(expected) :, 0], expected)
    assert not segments[: 16 - len(expected)].any()


def test_a_clip_shorter_than_a_segment_has_no_sound():
    segments, mask = audio_slots(speech(0.99).wave, AUDIO, WINDOW)
    assert not segments.any()
    assert not mask.any()


@pytest.mark.parametrize(("seconds", "images"), [(0.05, 0), (2.5, 25), (3.98, 39), (4.0, 40), (7.0, 40)])
def test_images_are_there_for_as_long_as_the_clip(seconds, images):
    clip = speech(seconds, label=3, actor=9)
    window = composite_window(clip, FacePool(numbered_faces(), 0), SPECS, np.random.default_rng(0))
    assert window.visual_mask.tolist() == [0] * (40 - images) + [1] * images
    assert (window.label, window.actor) == (3, 9)


def test_windows_to_evaluate_are_the_same_each_time_and_differ_by_draw():
    clips = [speech(3.5, label=2, seed=1), speech(3.5, label=4, seed=2)]
    images = np.random.default_rng(0).integers(0, 256, (7 * 72, SIZE, SIZE), np.uint8)
    pool = FacePool(Fer2013(images, np.repeat(np.arange(7), 72)), 0)
    once, again = ([*composite_windows(clips, pool, SPECS, 7, draws=3)] for _ in range(2))
    assert [window.label for window in once] == [2, 2, 2, 4, 4, 4]
    for window, same in zip(once, again, strict=True):
        np.testing.assert_array_equal(window.faces, same.faces)
        np.testing.assert_array_equal(window.segments, same.segments)
    assert len({window.faces.tobytes() for window in once}) == 6
    assert len({window.segments.tobytes() for window in once}) == 2
    (other, *_) = composite_windows(clips, pool, SPECS, 8)
    assert not np.array_equal(other.faces, once[0].faces)


def test_a_batch_holds_its_windows_in_order():
    pool = FacePool(numbered_faces(), 0)
    windows = [composite_window(speech(2 + n, label=n), pool, SPECS, np.random.default_rng(n)) for n in range(3)]
    batch = stack_windows(windows)
    assert batch["label"].tolist() == [0, 1, 2]
    for name in ("faces", "visual_mask", "segments", "audio_mask"):
        assert batch[name].dtype == np.float32
        for row, window in zip(batch[name], windows, strict=True):
            np.testing.assert_array_equal(row, getattr(window, name))
