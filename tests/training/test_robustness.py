"""The sweep over a handful of clips, and its picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from bundle.features import PROBS, PROBS_AUDIO, PROBS_FUSED, PROBS_VISUAL
from bundle.manifest import DEFAULT_BUNDLE
from corpora.composite import composite_windows
from corpora.held_out import open_held_out, probs_of_window
from training import robustness
from training.disturbances import amplified, darkened
from training.evaluate import figures_of_merit
from training.robustness import SWEEPS, Sweep, draw_robustness, measure_robustness


@pytest.fixture(scope="module")
def held_out(data):
    return open_held_out(DEFAULT_BUNDLE, data)


def uar(rows, held_out, name):
    labels = np.array([clip.label for clip in held_out.speech])
    return figures_of_merit(np.stack([row[name] for row in rows]), labels)["uar"]


def test_clean_figures_are_those_of_the_plain_evaluation(held_out, monkeypatch):
    monkeypatch.setattr(robustness, "SWEEPS", {})
    windows = composite_windows(held_out.speech, held_out.pool, held_out.specs, held_out.seed)
    rows = [probs_of_window(held_out.network, window) for window in windows]
    found = measure_robustness(held_out)
    assert found == {"clean": {name: pytest.approx(uar(rows, held_out, name)) for name in PROBS}}


def test_a_level_that_changes_nothing_has_the_clean_figures(held_out, monkeypatch):
    sweeps = {
        "gain": Sweep(amplified, PROBS_AUDIO, "dB", (0, -90)),
        "darkness": Sweep(darkened, PROBS_VISUAL, "stops", (0, 9)),
    }
    monkeypatch.setattr(robustness, "SWEEPS", sweeps)
    found = measure_robustness(held_out)
    assert list(found) == ["clean", *sweeps]
    for name, sweep in sweeps.items():
        same, worst = found[name]
        assert set(same) == {"level", "unit", sweep.output, PROBS_FUSED}
        assert (same["level"], same["unit"]) == (0, sweep.unit)
        assert {output: same[output] for output in (sweep.output, PROBS_FUSED)}.items() <= found["clean"].items()
        assert worst["level"] == sweep.levels[1]


def test_clips_and_draws_are_the_same_at_each_level(held_out, monkeypatch):
    seen = {}

    def spy(wave, level, rng):
        seen.setdefault(level, []).append((wave.tobytes(), rng.random()))
        return wave

    monkeypatch.setattr(robustness, "SWEEPS", {"spy": Sweep(spy, PROBS_AUDIO, "dB", (1, 2))})
    measure_robustness(held_out)
    assert seen[1] == seen[2]
    assert len({draw for _, draw in seen[1]}) == len(held_out.speech)  # and no two clips share one


def test_inaudible_sound_and_black_faces_leave_nothing_to_tell_by(held_out, monkeypatch):
    sweeps = {
        "mute": Sweep(lambda wave, *_: np.zeros_like(wave), PROBS_AUDIO, "", (1,)),
        "black": Sweep(lambda faces, *_: np.zeros_like(faces), PROBS_VISUAL, "", (1,)),
    }
    monkeypatch.setattr(robustness, "SWEEPS", sweeps)
    found = measure_robustness(replace(held_out, speech=held_out.speech[:4]))
    for name, sweep in sweeps.items():  # one answer for all clips: right for one class of two, or for none
        assert found[name][0][sweep.output] in (0, 0.5)


def test_the_picture_has_a_panel_for_each_disturbance(tmp_path):
    levels = {name: [{"level": level, **dict.fromkeys(PROBS, 0.5)} for level in s.levels] for name, s in SWEEPS.items()}
    draw_robustness({"clean": dict.fromkeys(PROBS, 0.9)} | levels, 1 / 8, tmp_path / "curves.png")
    image = cv2.imread(str(tmp_path / "curves.png"))
    assert image.shape[1] > 1_000
    blue, vermilion = ((image == colour).all(2).any(0) for colour in ((178, 114, 0), (0, 94, 213)))  # BGR
    assert blue[:300].any()
    assert vermilion[-500:].any()
