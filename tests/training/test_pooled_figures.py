"""Figures of pooled predictions, by hand; the tables and the picture hold them."""

import numpy as np
import pytest
from scipy.stats import binomtest

from training.pooled_figures import draw_confusion, markdown, pooled_figures
from training.pools import Scores

LABELS = ("calm", "happy", "angry")


def scores(labels, predictions, folds, clips=None, label_names=LABELS):
    probs = np.full((len(labels), 3), 0.1)
    probs[np.arange(len(labels)), predictions] = 0.8
    names = np.arange(len(labels)).astype(str) if clips is None else np.array(clips)
    return Scores("mrpn n2", "probs_fused", "test", label_names, probs, np.array(labels), np.array(folds), names)


SIX = scores([0, 0, 0, 0, 1, 2], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1])


def test_figures_by_hand():
    found = pooled_figures(SIX)
    assert (found["folds"], found["clips"], found["measured_on"]) == (2, 6, "test")
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["mean_of_folds"] == pytest.approx((4 / 5 + 0) / 2)
    assert found["recalls"] == {"calm": 0.75, "happy": 1.0, "angry": 0.0}
    assert found["uar"] == pytest.approx(1.75 / 3)
    assert found["ece"] == pytest.approx(0.8 - 4 / 6)  # all are equally sure
    assert found["confusion"] == [[3, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert len(found["temperatures"]) == 2


def test_rows_of_one_clip_count_once_in_the_interval():
    found = pooled_figures(scores([0, 0, 0, 0, 1, 2], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [*"aabbcc"]))
    assert found["clips"] == 3
    assert found["interval"] == pytest.approx(tuple(binomtest(2, 3).proportion_ci(method="wilson")))


def test_a_class_without_clips_has_no_recall():
    assert pooled_figures(scores([0, 1], [0, 1], [0, 1]))["recalls"]["angry"] is None


def test_what_cannot_be_calibrated_is_left_open():
    found = pooled_figures(scores([0, 1], [0, 1], [0, 0]))
    assert (found["ece_calibrated"], found["temperatures"]) == (None, [])


def test_the_tables_hold_a_row_for_each(tmp_path):
    rows = [pooled_figures(SIX), pooled_figures(scores([0, 1], [0, 1], [0, 0]))]
    first, second = (table.splitlines() for table in markdown(rows).split("\n\n"))
    assert first[2].startswith("| mrpn n2 | probs_fused | 2 | 6 | test | 66.7 (30.0 to 90.3) | 40.0 | 58.3 |")
    assert first[3].endswith(" | - |")
    assert second[0] == "| recall, % | output | calm | happy | angry |"
    assert second[2] == "| mrpn n2 | probs_fused | 75.0 | 100.0 | 0.0 |"
    assert second[3] == "| mrpn n2 | probs_fused | 100.0 | 100.0 | - |"
    for table in (first, second):
        assert len({line.count("|") for line in table}) == 1
        assert len(table) == 4


@pytest.mark.parametrize("count", [1, 4])
def test_the_picture_has_a_panel_for_each(tmp_path, count):
    path = tmp_path / "confusion.svg"
    draw_confusion([pooled_figures(SIX)] * count, path)
    text = path.read_text()
    assert text.count("<!-- predicted -->") == count
    assert text.count("<!-- 75 -->") == count  # of calm, in per cent
