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
