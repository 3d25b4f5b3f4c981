"""How the states of drives are counted."""

import pytest

from bundle.manifest import DEFAULT_BUNDLE
from corpora.held_out import open_held_out
from training.false_alarms import figures_of_drives, measure_false_alarms


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


def test_drives_are_the_same_each_time_and_one_for_each_actor_and_draw(held_out):
    found = measure_false_alarms(held_out)
    assert {name: figures["state"] for name, figures in found.items()} == {"happy": "joyful", "angry": "agitated"}
    for figures in found.values():
        assert len(figures["delay_s"]) == 5 * held_out.draws
        assert 0 <= figures["share_right"] <= 1
        wrong = sum(figures["seconds_per_hour"].values())
        assert wrong == pytest.approx(3_600 * (1 - figures["share_right"]), abs=0.5)
    assert measure_false_alarms(held_out) == found
