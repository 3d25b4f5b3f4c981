"""Drives counted by hand, and the same windows for each network."""

from pathlib import Path

import numpy as np
import pytest

from bundle.labels import RAVDESS_LABELS
from calibration.replay import (
    count_flips,
    detection_delays_s,
    drive_subjects,
    join_drives,
    join_predictions,
)
from corpora.drives import Drive
from corpora.held_out import HeldOut, open_held_out, predict_windows

HAPPY, ANGRY, FEARFUL = (RAVDESS_LABELS.index(label) for label in ("happy", "angry", "fearful"))


@pytest.fixture
def held_out(bundle: Path, data: Path) -> HeldOut:
    return open_held_out(bundle, data)


def drive(labels: tuple[int, ...], starts: tuple[int, ...], periods: int) -> Drive:
    return Drive(np.zeros(1_600 * periods, np.int16), np.zeros((periods, 48, 48), np.uint8), labels, starts)


def test_a_flip_is_a_change_from_one_update_to_the_next() -> None:
    assert count_flips(["unknown", "unknown", "calm", "calm", "low", "calm"]) == 3
    assert count_flips(["calm"]) == 0


def test_delay_is_from_the_start_of_a_clip_to_the_first_right_update(held_out: HeldOut) -> None:
    """Updates are 0.2 s apart, the first at 0.2 s; the second clip starts at 1.1 s."""
    played = drive((HAPPY, ANGRY), (0, 11), 22)
    states = ["joyful"] * 8 + ["agitated"] * 3  # at 1.8 s
    assert detection_delays_s(played, states, held_out.network) == pytest.approx([0.7])


def test_update_at_the_very_start_of_a_clip_belongs_to_the_one_before(held_out: HeldOut) -> None:
    played = drive((HAPPY, ANGRY), (0, 10), 20)
    assert detection_delays_s(played, ["agitated"] * 10, held_out.network) == pytest.approx([0.2])


def test_clip_that_is_never_recognised_counts_with_its_whole_length(held_out: HeldOut) -> None:
    played = drive((HAPPY, ANGRY, HAPPY), (0, 10, 25), 40)
    states = ["joyful"] * 20
    assert detection_delays_s(played, states, held_out.network) == pytest.approx([1.5, 0.1])


def test_clip_that_asks_for_the_same_state_is_no_change(held_out: HeldOut) -> None:
    assert detection_delays_s(drive((ANGRY, FEARFUL), (0, 10), 20), ["low"] * 10, held_out.network) == []


def test_each_subject_held_out_is_driven_once_and_the_same_each_time(held_out: HeldOut) -> None:
    found, again = (drive_subjects(held_out.network, held_out) for _ in range(2))
    assert found.subjects.tolist() == [2, 5]
    np.testing.assert_allclose(found.hours, 2 * 2 / 3600)  # two clips of 1.5 s, and half a second after each
    assert found.changes.tolist() == [1, 1]
    np.testing.assert_array_equal(found.flips, again.flips)
    np.testing.assert_array_equal(found.delay_s, again.delay_s)


def test_folds_are_joined_row_by_row(held_out: HeldOut) -> None:
    windows = predict_windows(held_out.network, held_out)
    assert windows.subjects.tolist() == [2, 2, 5, 5]
    joined = join_predictions([windows, windows])
    assert joined.subjects.tolist() == [2, 2, 5, 5] * 2
    for name, probs in joined.probs.items():
        np.testing.assert_array_equal(probs, np.tile(windows.probs[name], (2, 1)))
    drives = drive_subjects(held_out.network, held_out)
    assert join_drives([drives, drives]).subjects.tolist() == [2, 5, 2, 5]
