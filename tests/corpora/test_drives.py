"""Drives: how they are put together, and what the runtime sees of them."""

import numpy as np
import pytest

from bundle.manifest import DEFAULT_BUNDLE
from corpora import drives
from corpora.drives import compose_drive, states_of_drive
from corpora.held_out import open_held_out
from kernels import preprocess_faces
from perception.chunks import VideoChunk


@pytest.fixture(scope="module")
def held_out(data):
    return open_held_out(DEFAULT_BUNDLE, data)


def test_a_drive_is_clips_with_pauses_and_a_face_to_each_tenth_of_a_second(held_out):
    clips = held_out.speech[:2]
    drive = compose_drive(clips, held_out.pool, held_out.network, np.random.default_rng(0))
    wave, images = drive.wave, drive.images
    assert len(wave) == len(images) * 1_600 == 2 * (24_000 + 8_000)
    order = [0, 1] if (wave[:24_000] == clips[0].wave).all() else [1, 0]
    assert drive.labels == tuple(clips[number].label for number in order)
    assert drive.starts == (0, 20)
    for start, number in zip((0, 32_000), order, strict=True):
        np.testing.assert_array_equal(wave[start : start + 24_000], clips[number].wave)
        assert not wave[start + 24_000 : start + 32_000].any()
    assert (images[14:20] == images[14]).all()  # the pause keeps the face
    assert (images[20] != images[14]).any()


def test_the_runtime_crops_the_very_face_that_was_shown(held_out, monkeypatch):
    network, shown = held_out.network, []

    class Spy(drives.Perception):
        def push(self, chunk):
            if isinstance(chunk, VideoChunk):
                face = drives._framed(network.video)(chunk.image)[0]
                matrix = face.crop_matrix(network.video)
                crop = preprocess_faces(chunk.image, [matrix], 48, supersample=network.video.supersample, mean=0, std=1)
                shown.append((chunk.captured_ns, crop[0, 0]))
            super().push(chunk)

    monkeypatch.setattr(drives, "Perception", Spy)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 48, 48), dtype=np.uint8)
    states = [*states_of_drive(network, rng.integers(-99, 99, 16_000).astype(np.int16), images)]
    assert len(states) == 5  # a second of updates
    assert [time for time, _ in shown] == [50_000_000 + slot * 100_000_000 for slot in range(10)]  # its middle
    np.testing.assert_allclose([crop for _, crop in shown], images, atol=1e-3)


def test_a_lasting_face_brings_a_lasting_state(held_out):
    """Four seconds of one face and no speech: unknown while it is new, then whatever the network sees."""
    face = np.repeat(held_out.pool.draw(2, 2, np.random.default_rng(0))[None, 8:-8, 8:-8], 40, 0)
    states = [*states_of_drive(held_out.network, np.zeros(64_000, np.int16), face)]
    assert len(states) == 20
    assert set(states[:4]) == {"unknown"}
    assert len(set(states[-5:])) == 1
