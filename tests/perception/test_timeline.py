"""Jittery capture times in, times that count samples out."""

from itertools import pairwise

import numpy as np
import pytest

from perception.timeline import AudioTimeline


def gaps_ns(chunks):
    """Time between the end of each chunk and the start of the next."""
    return [later.captured_ns - earlier.end_ns() for earlier, later in pairwise(chunks)]


class Recording:
    """Blocks of 20 ms pushed into a timeline at 48 kHz, all of them zeros."""

    def __init__(self):
        self.timeline, self.chunks = AudioTimeline(48_000), []

    def push(self, captured_ms):
        self.chunks += self.timeline.push(np.zeros(960, np.int16), round(captured_ms * 1e6))


def test_chunks_abut_although_capture_times_jitter():
    recording, rng = Recording(), np.random.default_rng(0)
    for number in range(100):
        recording.push(5_000 + 20 * number + rng.uniform(0, 40))
    assert set(gaps_ns(recording.chunks)) == {0}
    assert recording.chunks[0].captured_ns == pytest.approx(5_000e6, abs=40e6)
    assert recording.timeline.lost_samples == 0


def test_one_late_callback_moves_nothing():
    recording = Recording()
    for number in range(50):
        recording.push(5_000 + 20 * number + (300 if number == 20 else 0))
    assert set(gaps_ns(recording.chunks)) == {0}
    assert recording.timeline.lost_samples == 0


def test_lost_samples_leave_a_gap_of_their_length():
    recording = Recording()
    for number in range(50):
        recording.push(5_000 + 20 * number + (500 if number >= 20 else 0))
    assert [gap for gap in gaps_ns(recording.chunks) if gap] == [500_000_000]
    assert recording.timeline.lost_samples == 8_000
    assert recording.chunks[-1].end_ns() > 6_400e6


@pytest.mark.parametrize("error_ppm", [-2_000, 2_000])
def test_crystal_that_is_off_is_followed_within_the_tolerance_and_time_never_runs_back(error_ppm):
    recording = Recording()
    for number in range(3_000):  # 60 s
        recording.push(5_000 + 20 * number * (1 + error_ppm / 1e6))
    assert min(gaps_ns(recording.chunks)) == 0
    assert recording.chunks[-1].end_ns() == pytest.approx(65_000e6 * (1 + error_ppm / 1e6), abs=200e6)
    assert 0 < recording.timeline.lost_samples < 4_000


@pytest.mark.parametrize("error_ppm", [-500, 100])
def test_crystal_that_is_off_is_followed_smoothly_and_without_a_loss(error_ppm):
    """Six minutes: uncorrected, 500 ppm would come to 180 ms, and to a jump of 50 ms every 100 s."""
    recording, rng = Recording(), np.random.default_rng(1)
    stretch = 1 + error_ppm / 1e6
    for number in range(18_000):
        recording.push(5_000 + 20 * number * stretch + rng.uniform(0, 30))
    true_end_ms = 5_000 + 20 * 18_000 * stretch
    assert set(gaps_ns(recording.chunks)) == {0}
    assert recording.timeline.lost_samples == 0
    assert recording.chunks[-1].end_ns() / 1e6 == pytest.approx(true_end_ms - 15, abs=10)  # what is held back


def test_followed_crystal_moves_no_sound():
    """Clicks a second apart by the true clock stay so, although the device counts 300 ppm more samples between."""
    timeline, chunks, rate_hz = AudioTimeline(48_000), [], 48_000 * (1 + 300e-6)
    clicks = np.rint(np.arange(0.5, 130) * rate_hz).astype(int)
    wave = np.zeros(round(130 * rate_hz) // 960 * 960, np.int16)
    for offset in range(-40, 41):  # as smooth as to have nothing above 8 kHz
        wave[clicks + offset] = 20_000 * np.exp(-((offset / 12) ** 2))
    for number, block in enumerate(wave.reshape(-1, 960)):
        chunks += timeline.push(block, round(number * 960 / rate_hz * 1e9))
    samples = np.concatenate([chunk.samples for chunk in chunks]).astype(float)
    for second in range(100, 129):
        around = np.arange((2 * second + 1) * 8_000 - 800, (2 * second + 1) * 8_000 + 800)
        heard_s = (samples[around] * around).sum() / samples[around].sum() / 16_000
        assert chunks[0].captured_ns / 1e9 + heard_s == pytest.approx(second + 0.5, abs=2e-3)


def test_device_with_another_rate_than_it_claims_is_found_out_and_put_right():
    recording = Recording()
    for number in range(600):
        recording.push(5_000 + 960 * number / 44.1)
    assert recording.timeline.rate_hz == 44_100
    put_right = [chunk for chunk in recording.chunks if chunk.captured_ns > 9_500e6]
    assert set(gaps_ns(put_right)) == {0}
    assert put_right[-1].end_ns() == pytest.approx(5_000e6 + 960 * 600 / 44.1 * 1e6, abs=60e6)
    end_ms = 5_000 + 960 * 600 / 44.1
    for number in range(600):
        recording.push(end_ms + 20 * number)
    assert recording.timeline.rate_hz == 48_000
    assert min(gaps_ns(recording.chunks)) >= 0


def test_gaps_are_no_other_rate():
    recording, captured_ms = Recording(), 5_000
    for number in range(2_000):
        captured_ms += 20 + (400 if number % 130 == 0 else 0)
        recording.push(captured_ms)
    assert recording.timeline.rate_hz == 48_000
