"""Folds are pooled only where each clip is judged by a network that never saw its speaker."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from bundle.errors import ArgumentError, ArtefactError
from training.evaluate import fit_temperature, temper
from training.pools import baselines, calibrate, pool_runs
from training.predictions import Predictions, write_predictions

FOLDS = ((1, 2), (3, 4), (5, 6))
LABELS = ("calm", "happy", "angry")
CLIPS = 40  # of each subject


def fold(number, *, side="validation", keep="last", outputs=("probs_fused",), seed=0, sharpness=1.0, variant="n2"):
    """Predictions that are better than chance, `sharpness` times as sure of themselves as they may be."""
    rng = np.random.default_rng((number, seed))
    subjects = np.repeat(FOLDS[number], CLIPS)
    others = [subject for subject in range(1, 7) if subject not in FOLDS[number]]
    sides = {"train": others, "validation": [], "test": []} | {side: list(FOLDS[number])}
    labels = np.arange(len(subjects)) % 3
    probs = {}
    for output in outputs:
        evidence = rng.normal(0, 1, (len(labels), 3)) + 1.0 * np.eye(3)[labels]  # its posterior is its softmax
        probs[output] = softmax(sharpness * evidence, 1).astype(np.float32)
    settings = {"system": "mrpn", "variant": variant, "labels": list(LABELS), "split": sides}
    settings["training"] = {"seed": 0, "fit": {"keep": keep}}
    clips = np.array([f"{subject}-{number}" for number, subject in enumerate(subjects)])
    return Predictions(probs, labels, subjects, clips, side, settings, dict.fromkeys(outputs, 1.5))


def written(folder, folds):
    for number, each in enumerate(folds):
        (folder / f"fold-{number}").mkdir(parents=True)
        write_predictions(folder / f"fold-{number}", each)
    return folder


def test_folds_are_found_below_a_folder_or_by_their_own_and_pooled_in_order(tmp_path):
    folds = [fold(number) for number in range(3)]
    written(tmp_path, folds)
    (below,) = pool_runs([tmp_path])
    (named,) = pool_runs([tmp_path / f"fold-{number}" for number in range(3)], "mine")
    for scores in (below, named):
        np.testing.assert_array_equal(scores.probs, np.concatenate([each.probs["probs_fused"] for each in folds]))
        np.testing.assert_array_equal(scores.labels, np.concatenate([each.labels for each in folds]))
        np.testing.assert_array_equal(scores.folds, np.repeat([0, 1, 2], 2 * CLIPS))
    assert (below.system, named.system) == ("mrpn n2", "mine")
    assert below.measured_on == "validation, last epoch"


@pytest.mark.parametrize(
    ("side", "keep", "said"), [("validation", "best", "validation, best epoch"), ("test", "best", "test")]
)
def test_who_was_measured_is_said(tmp_path, side, keep, said):
    (scores,) = pool_runs([written(tmp_path, [fold(number, side=side, keep=keep) for number in range(2)])])
    assert scores.measured_on == said


@pytest.mark.parametrize(("keeps", "said"), [(("last", "last"), "last"), (("last", "best"), "best")])
def test_of_a_training_in_stages_all_must_have_kept_the_last_epoch(tmp_path, keeps, said):
    training = {"seed": 0, "clips": {"keep": keeps[0]}, "audio": {"keep": keeps[1]}}
    kept = fold(0)
    (scores,) = pool_runs([written(tmp_path, [replace(kept, settings={**kept.settings, "training": training})])])
    assert scores.measured_on == f"validation, {said} epoch"


def test_each_fold_is_tempered_by_the_others(tmp_path):
    folds = [fold(number, sharpness=2.0) for number in range(3)]
    (scores,) = pool_runs([written(tmp_path, folds)])
    tempered, temperatures = calibrate(scores)
    for number, each in enumerate(folds):
        others = [other for other in folds if other is not each]
        probs = np.concatenate([other.probs["probs_fused"] for other in others])
        expected = fit_temperature(probs, np.concatenate([other.labels for other in others]))
        assert temperatures[number] == expected == pytest.approx(2.0, rel=0.3)
        np.testing.assert_allclose(
            tempered[scores.folds == number], temper(each.probs["probs_fused"], expected), rtol=1e-6
        )


def test_a_single_fold_is_tempered_by_its_validation_subjects_or_not_at_all(tmp_path):
    (tested,) = pool_runs([written(tmp_path / "test", [fold(0, side="test")])])
    assert calibrate(tested)[1] == [1.5]
    folder = written(tmp_path / "validation", [replace(fold(0), temperatures={})])
    (validated,) = pool_runs([folder])
    assert calibrate(validated) == (None, [])


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        ({"variant": "n1"}, "variant"),
        ({"keep": "best"}, "fit"),
        ({"side": "test"}, "measured on"),
        ({"outputs": ("probs_fused", "probs_audio")}, "outputs"),
    ],
)
def test_folds_of_different_trainings_are_refused(tmp_path, change, differ):
    written(tmp_path, [fold(0), fold(1, **change)])
    with pytest.raises(ArtefactError, match=f"no folds of one training: they differ in {differ}"):
        pool_runs([tmp_path])


def test_folds_of_different_protocols_are_refused(tmp_path):
    other = fold(1)
    split = {**other.settings["split"], "calibration": [7]}
    written(tmp_path, [fold(0), replace(other, settings={**other.settings, "split": split})])
    with pytest.raises(ArtefactError, match="they differ in sides"):
        pool_runs([tmp_path])


def test_other_labels_are_refused(tmp_path):
    other = fold(1)
    written(tmp_path, [fold(0), replace(other, settings={**other.settings, "labels": ["a", "b", "c"]})])
    with pytest.raises(ArtefactError, match="they differ in labels"):
        pool_runs([tmp_path])


def test_a_subject_of_two_folds_is_refused(tmp_path):
    written(tmp_path, [fold(0), fold(1), fold(1, seed=1)])
    with pytest.raises(ArtefactError, match="were both measured on subject 3"):
        pool_runs([tmp_path])


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_subject_that_was_trained_on_is_refused(tmp_path, side):
    known = fold(0, side="test")
    known.split[side].append(2)
    written(tmp_path, [known])
    with pytest.raises(ArtefactError, match=r"measured on subjects \[2\], whom it was trained on"):
        pool_runs([tmp_path])


def test_a_folder_without_predictions_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"holds no predictions\.npz"):
        pool_runs([tmp_path])


def test_a_training_and_its_folders_are_not_taken_for_each_other(tmp_path):
    written(tmp_path, [fold(0)])
    write_predictions(tmp_path, fold(1))
    with pytest.raises(ArtefactError, match=r"and so do its folders, such as fold-0; expected one"):
        pool_runs([tmp_path])


def test_branches_of_one_run_are_multiplied_and_averaged_after_calibration(tmp_path):
    outputs = "probs_fused", "probs_visual", "probs_audio"
    scores = pool_runs([written(tmp_path, [fold(number, outputs=outputs, sharpness=2.0) for number in range(3)])])
    assert [each.output for each in scores] == [*outputs, "product", "mean"]
    _, visual, audio, product, mean = scores
    first, second = calibrate(visual)[0], calibrate(audio)[0]
    np.testing.assert_allclose(mean.probs, (first + second) / 2, rtol=1e-6)
    np.testing.assert_allclose(product.probs, softmax(np.log(first) + np.log(second), 1), rtol=1e-5)
    right = [(each.probs.argmax(1) == each.labels).mean() for each in (visual, audio, product)]
    assert right[2] > max(right[:2])  # independent evidence adds up


def test_a_baseline_matches_clips_by_name_not_by_place(tmp_path):
    (visual,) = pool_runs([written(tmp_path / "visual", [fold(number) for number in range(3)])])
    folds = [fold(number, seed=1, variant="audio") for number in (2, 0, 1)]
    (audio,) = pool_runs([written(tmp_path / "audio", folds)])
    product, mean = baselines(visual, audio)
    assert product.system == "mrpn n2 x mrpn audio"
    row_of = {clip: row for row, clip in enumerate(audio.clips)}
    rows = [row_of[clip] for clip in visual.clips]
    assert rows != sorted(rows)
    expected = (calibrate(visual)[0] + calibrate(audio)[0][rows]) / 2
    np.testing.assert_allclose(mean.probs, expected, rtol=1e-6)


def test_a_baseline_says_of_both_how_they_were_measured(tmp_path):
    (visual,) = pool_runs([written(tmp_path / "visual", [fold(number, keep="last") for number in range(2)])])
    (audio,) = pool_runs(
        [written(tmp_path / "audio", [fold(number, keep="best", variant="audio") for number in range(2)])]
    )
    measured_on = {each.measured_on for each in baselines(visual, audio)}
    assert measured_on == {"validation, last epoch or validation, best epoch"}


def test_rows_of_one_clip_with_several_faces_are_matched_in_order(tmp_path):
    twice = replace(fold(0, side="test"), clips=np.array([f"clip-{row // 2}" for row in range(2 * CLIPS)]))
    (scores,) = pool_runs([written(tmp_path, [twice])])
    _, mean = baselines(scores, scores)
    np.testing.assert_allclose(mean.probs, calibrate(scores)[0], rtol=1e-6)


def test_a_baseline_of_other_clips_is_refused(tmp_path):
    (whole,) = pool_runs([written(tmp_path / "whole", [fold(number) for number in range(3)])])
    (part,) = pool_runs([written(tmp_path / "part", [fold(number) for number in range(2)])])
    with pytest.raises(ArgumentError, match="not measured on the same clips"):
        baselines(whole, part)
