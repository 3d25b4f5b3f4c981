"""Levels of known sounds."""

import numpy as np
import pytest

from edge.level import SILENCE_DBFS, dbfs_from_samples


def test_level_of_a_square_wave_at_full_scale_is_0_dbfs_and_halves_by_6() -> None:
    square = np.tile(np.array([32767, -32767], np.int16), 320)
    assert dbfs_from_samples(square) == pytest.approx(0, abs=0.001)
    assert dbfs_from_samples(square // 2) == pytest.approx(-6.02, abs=0.01)


def test_level_of_silence_and_of_nothing_is_the_lowest() -> None:
    assert dbfs_from_samples(np.zeros(640, np.int16)) == SILENCE_DBFS
    assert dbfs_from_samples(np.empty(0, np.int16)) == SILENCE_DBFS
