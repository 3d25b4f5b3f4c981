"""Each disturbance by its definition, measured on what comes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from training.disturbances import (
    ENGINE_RPM,
    amplified,
    blurred,
    cabin_response,
    darkened,
    occluded,
    reverberated,
    road_noise,
    rotated,
    with_road_noise,
)

SOUND = amplified, with_road_noise, reverberated
PICTURES = darkened, blurred, occluded, rotated
NOTHING = dict.fromkeys((*SOUND, *PICTURES), 0.0) | {with_road_noise: np.inf}
SOMETHING = dict(zip((*SOUND, *PICTURES), (6.0, 10.0, 100.0, 2.0, 1.5, 0.3, 20.0), strict=True))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def wave():
    """Two seconds of noise in bursts, as speech is, well below full scale."""
    bursts = 0.1 + np.abs(np.sin(np.linspace(0, 10, 32_000)))
    return (rng(1).normal(0, 1_000, 32_000) * bursts).astype(np.int16)


@pytest.fixture(scope="module")
def faces():
    """Five smooth images with a border that is not black."""
    y, x = np.mgrid[:48, :48]
    image = 120 + 60 * np.sin(x / 9) * np.cos(y / 7)
    return np.stack([image + 3 * shift for shift in range(5)]).astype(np.uint8)


def captured(disturb, wave, faces):
    return wave if disturb in SOUND else faces


@pytest.mark.parametrize("disturb", NOTHING)
def test_the_clean_level_changes_nothing(disturb, wave, faces):
    given_ = captured(disturb, wave, faces)
    np.testing.assert_array_equal(disturb(given_, NOTHING[disturb], rng()), given_)


@pytest.mark.parametrize("disturb", SOMETHING)
def test_shape_and_type_stay_and_the_given_array_is_left_alone(disturb, wave, faces):
    given_ = captured(disturb, wave, faces)
    before = given_.copy()
    found = disturb(given_, SOMETHING[disturb], rng())
    assert (found.shape, found.dtype) == (given_.shape, given_.dtype)
    assert (found != given_).any()
    np.testing.assert_array_equal(given_, before)


@pytest.mark.parametrize("disturb", SOMETHING)
def test_equal_generators_give_equal_results(disturb, wave, faces):
    given_, level = captured(disturb, wave, faces), SOMETHING[disturb]
    np.testing.assert_array_equal(disturb(given_, level, rng()), disturb(given_, level, rng()))
    if disturb not in (amplified, blurred):  # which draw nothing
        assert any((disturb(given_, level, rng(seed)) != disturb(given_, level, rng())).any() for seed in range(1, 9))


def rms_db(samples):
    return 10 * np.log10(np.mean(samples.astype(float) ** 2))


@pytest.mark.parametrize("gain_db", [-20, -6, 6, 12])
def test_gain_is_what_was_asked_for(wave, gain_db):
    assert rms_db(amplified(wave, gain_db, rng())) - rms_db(wave) == pytest.approx(gain_db, abs=0.05)


def test_loud_sound_is_clipped_at_full_scale():
    found = amplified(np.array([100, -100, 20_000, -20_000], np.int16), 20, rng())
    assert found.tolist() == [1_000, -1_000, 32_767, -32_768]


@pytest.mark.parametrize("snr_db", [30, 20, 10, 0])
def test_noise_is_as_far_below_speech_as_was_asked_for(wave, snr_db):
    noise = with_road_noise(wave, snr_db, rng()).astype(float) - wave
    assert rms_db(wave) - rms_db(noise) == pytest.approx(snr_db, abs=0.1)


def test_noise_that_would_not_fit_is_turned_down_with_the_speech(wave):
    found = with_road_noise(wave, -40, rng())
    gain = np.abs(found).max() / np.abs(wave + road_noise(len(wave), rng()) * np.sqrt(np.mean(wave**2.0)) * 100).max()
    assert np.abs(found.astype(int)).max() == 32_767
    assert gain < 1
    noise = found - gain * wave
    assert rms_db(gain * wave) - rms_db(noise) == pytest.approx(-40, abs=0.1)


def test_road_noise_of_silence_is_silence():
    assert not with_road_noise(np.zeros(1_000, np.int16), 0, rng()).any()


def test_road_noise_falls_steeply_above_the_corner_and_hums_at_the_engine_s_frequency():
    noise = road_noise(320_000, rng(2))
    assert np.mean(noise**2) == pytest.approx(1)
    hz, density = signal.welch(noise, 16_000, nperseg=16_384)

    def level_db(low, high):
        return 10 * np.log10(np.median(density[(hz >= low) & (hz < high)]))

    assert level_db(1_000, 1_100) - level_db(2_000, 2_200) == pytest.approx(12, abs=1.5)
    assert level_db(20, 60) - level_db(2_000, 2_200) > 45
    firing_hz = hz[density.argmax()]
    assert ENGINE_RPM[0] / 30 - 1 <= firing_hz <= ENGINE_RPM[1] / 30 + 1
    assert density.max() > 10 * np.median(density[(hz > 20) & (hz < 60)])


@pytest.mark.parametrize("rt60_ms", [50, 100, 400])
def test_reverberation_time_measured_from_the_decay(rt60_ms):
    """Schroeder's backward integration, a line through -5 to -25 dB (T20 of ISO 3382-1)."""
    tail = cabin_response(rt60_ms, rng())[1:]
    decay_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    between = (decay_db <= -5) & (decay_db >= -25)
    slope = np.polyfit(np.flatnonzero(between) / 16, decay_db[between], 1)[0]  # dB per ms
    assert -60 / slope == pytest.approx(rt60_ms, rel=0.15)


def test_half_of_the_cabin_s_energy_is_direct_sound():
    response = cabin_response(100, rng())
    assert response[0] ** 2 == pytest.approx(0.5)
    assert np.sum(response**2) == pytest.approx(1)


def test_reverberation_is_causal(wave):
    click = np.zeros(4_000, np.int16)
    click[1_000] = 20_000
    found = reverberated(click, 50, rng())
    assert not found[:1_000].any()
    assert found[1_000] == pytest.approx(20_000 / np.sqrt(2), abs=1)
    assert np.abs(found[1_001:1_800]).max() > 100
    assert abs(rms_db(reverberated(wave, 50, rng())) - rms_db(wave)) < 1.5


@pytest.mark.parametrize("stops", [1, 2, 3])
def test_each_stop_halves_the_mean(faces, stops):
    assert darkened(faces, stops, rng()).mean() == pytest.approx(faces.mean() / 2**stops, abs=0.1)


def test_a_dark_sensor_s_noise_differs_from_image_to_image(faces):
    dark = darkened(np.stack([faces[0]] * 2), 1, rng()).astype(float)
    assert (dark[0] - dark[1]).std() == pytest.approx(2**0.5 * 2, rel=0.1)


def test_blur_of_a_point_is_a_gaussian_of_the_width_asked_for():
    point = np.zeros((1, 49, 49), np.uint8)
    point[0, 24, 24] = 255
    wide = blurred(np.repeat(point, 3, 0), 1.0, rng())
    assert (wide[0] == wide[2]).all()
    assert wide[1, 24, 24] == pytest.approx(255 / (2 * np.pi), abs=1)
    assert wide[1, 24, 25] == pytest.approx(255 / (2 * np.pi) * np.exp(-0.5), abs=1)


@given(share=st.floats(0, 1), seed=st.integers(0, 99), height=st.integers(4, 50), width=st.integers(4, 50))
def test_the_share_asked_for_is_covered_in_the_same_place_of_all_images(share, seed, height, width):
    images = np.stack([np.full((height, width), level, np.uint8) for level in (3, 250)])
    covered = [
        [occluded(images[i : i + 1] + offset, share, rng(seed))[0] != images[i] + offset for i in (0, 1)]
        for offset in (0, 1)
    ]
    boxes = [first | second for first, second in zip(*covered, strict=True)]  # where gray is not the image's own
    assert (boxes[0] == boxes[1]).all()
    assert boxes[0].sum() == pytest.approx(share * height * width, abs=height / 2 + 1e-6)


def test_a_box_is_one_gray_rectangle(faces):
    changed = occluded(faces, 0.25, rng(4)) != faces
    rows, columns = (np.flatnonzero(changed.any((0, axis))) for axis in (2, 1))
    box = occluded(faces, 0.25, rng(4))[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert len(np.unique(box)) == 1
    assert box[0].size == pytest.approx(0.25 * 48 * 48, abs=24)


def test_rotation_turns_a_mark_by_the_angle_to_either_side():
    images = np.zeros((2, 49, 49), np.uint8)
    images[:, 22:27, 38:43] = 200  # 16 px to the right of the middle
    sides = set()
    for seed in range(10):
        turned = rotated(images, 30, rng(seed))
        assert (turned[0] == turned[1]).all()
        y, x = (np.average(axis, weights=turned[0]) - 24 for axis in np.mgrid[:49, :49])
        assert np.hypot(x, y) == pytest.approx(16, abs=0.3)
        angle = np.degrees(np.arctan2(-y, x))
        assert abs(angle) == pytest.approx(30, abs=1)
        sides.add(np.sign(angle))
    assert sides == {-1, 1}
