"""Drives: how they are put together, what the runtime sees of them, and how their states are counted."""

import numpy as np
import pytest

from bundle.manifest import DEFAULT_BUNDLE
from kernels import preprocess_faces
from perception.chunks import VideoChunk
from training import false_alarms
from training.false_alarms import compose_drive, figures_of_drives, measure_false_alarms, states_of_drive
from training.held_out import open_held_out


@pytest.fixture(scope="module")
def held_out(data):
    return open_held_out(DEFAULT_BUNDLE, data)


def test_the_time_of_every_update_is_counted_once():
    drives = [["unknown", "calm", "calm", "low"], ["calm"] * 4, ["unknown"] * 2]
    assert figures_of_drives(drives, "calm", 0.2) == {
        "state": "calm",
        "hours": round(2 / 3600, 4),
        "share_right": 0.6,
        "seconds_per_hour": {"joyful": 0, "startled": 0, "agitated": 0, "low": 360, "unknown": 1_080},
        "delay_s": [0.4, 0.2, None],
    }


def test_a_drive_is_clips_with_pauses_and_a_face_to_each_tenth_of_a_second(held_out):
    clips = held_out.speech[:2]
    wave, images = compose_drive(clips, held_out.pool, held_out.network, np.random.default_rng(0))
    assert len(wave) == len(images) * 1_600 == 2 * (24_000 + 8_000)
    order = [0, 1] if (wave[:24_000] == clips[0].wave).all() else [1, 0]
    for start, number in zip((0, 32_000), order, strict=True):
        np.testing.assert_array_equal(wave[start : start + 24_000], clips[number].wave)
        assert not wave[start + 24_000 : start + 32_000].any()
    assert (images[14:20] == images[14]).all()  # the pause keeps the face
    assert (images[20] != images[14]).any()


def test_the_runtime_crops_the_very_face_that_was_shown(held_out, monkeypatch):
    network, shown = held_out.network, []

    class Spy(false_alarms.Perception):
        def push(self, chunk):
            if isinstance(chunk, VideoChunk):
                face = false_alarms._framed(network.video)(chunk.image)[0]
                matrix = face.crop_matrix(network.video)
                crop = preprocess_faces(chunk.image, [matrix], 48, supersample=network.video.supersample, mean=0, std=1)
                shown.append((chunk.captured_ns, crop[0, 0]))
            super().push(chunk)

    monkeypatch.setattr(false_alarms, "Perception", Spy)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 48, 48), dtype=np.uint8)
    states = [*states_of_drive(network, rng.integers(-99, 99, 16_000).astype(np.int16), images)]
    assert len(states) == 5  # a second of updates
    assert [time for time, _ in shown] == [slot * 100_000_000 for slot in range(10)]
    np.testing.assert_allclose([crop for _, crop in shown], images, atol=1e-3)


def test_a_lasting_face_brings_a_lasting_state(held_out):
    """Four seconds of one face and no speech: unknown while it is new, then whatever the network sees."""
    face = np.repeat(held_out.pool.draw(2, 2, np.random.default_rng(0))[None, 8:-8, 8:-8], 40, 0)
    states = [*states_of_drive(held_out.network, np.zeros(64_000, np.int16), face)]
    assert len(states) == 20
    assert set(states[:4]) == {"unknown"}
    assert len(set(states[-5:])) == 1


def test_drives_are_the_same_each_time_and_one_for_each_actor_and_draw(held_out):
    found = measure_false_alarms(held_out)
    assert {name: figures["state"] for name, figures in found.items()} == {"happy": "joyful", "angry": "agitated"}
    for figures in found.values():
        assert len(figures["delay_s"]) == 5 * held_out.draws
        assert 0 <= figures["share_right"] <= 1
        wrong = sum(figures["seconds_per_hour"].values())
        assert wrong == pytest.approx(3_600 * (1 - figures["share_right"]), abs=0.5)
    assert measure_false_alarms(held_out) == found
