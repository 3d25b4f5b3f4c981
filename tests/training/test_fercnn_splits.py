"""FERCNN by both splits: equal but for who is tested, and what knowing the actors is worth."""

import json
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from bundle.errors import ArgumentError, ArtefactError
from corpora.av_clip import AvClip
from kernels import clip_features
from networks.fercnn import VARIANTS
from training.augment import change_speech
from training.fercnn import FercnnRecipe
from training.fercnn_splits import VERSIONS, compare_splits, main, versions_of

ACTORS, LABELS, TAKES = 6, 2, 5


def recipe_of(name="audio", epochs=12):
    recipe = FercnnRecipe(VARIANTS[name], ("angry", "happy"))
    recipe.batch_size, recipe.fit = 32, replace(recipe.fit, epochs=epochs)
    return recipe


@pytest.fixture(scope="module")
def clips():
    """Each actor says each emotion on a tone of their own, half an octave from any other: nothing to be generalised."""
    rng = np.random.default_rng(0)
    tones = rng.permutation(100 * 2 ** (np.arange(ACTORS * LABELS) / 2)).reshape(ACTORS, LABELS)
    images = rng.integers(0, 256, (ACTORS, 4, 48, 48), np.uint8)
    clips = []
    for actor, label, _ in np.ndindex(ACTORS, LABELS, TAKES):
        wave = 6_000 * np.sin(2 * np.pi * tones[actor, label] * np.arange(6_000) / 16_000) + rng.normal(0, 100, 6_000)
        clips.append(AvClip(wave.astype(np.int16), images[actor], 10.0, label, 100 + actor))
    return clips


@pytest.fixture(scope="module")
def compared(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    return compare_splits(recipe_of(), clips, folder, test_fraction=1 / 3), folder


def test_known_actors_are_read_and_unknown_ones_are_not(compared):
    figures, _ = compared
    assert figures["random"]["accuracy"] > 0.8
    assert figures["actor-disjoint"]["accuracy"] < 0.65  # by chance: 0.5


def test_both_splits_train_and_test_as_much(compared):
    (random, disjoint), versions = compared[0].values(), VERSIONS * ACTORS * LABELS * TAKES
    assert random["test"] == disjoint["test"] == versions // 3
    assert 0.5 * versions <= disjoint["train"] <= random["train"] < 2 / 3 * versions


def test_actors_are_apart_in_one_split_and_everywhere_in_the_other(compared, clips):
    subjects = np.repeat([clip.subject for clip in clips], VERSIONS)
    for name, folder in (("random", compared[1] / "random"), ("actor-disjoint", compared[1] / "actor-disjoint")):
        sides = json.loads((folder / "recipe.json").read_text())["sides"]
        assert sorted(chain(*sides)) == list(range(len(subjects)))
        train, validation, test = (set(subjects[side]) for side in sides)
        if name == "random":
            assert train == validation == test == set(subjects)
        else:
            assert not train & validation
            assert not (train | validation) & test


def test_versions_of_a_tested_clip_are_trained_on_in_the_random_split_only(compared):
    leaks = {}
    for name in ("random", "actor-disjoint"):
        train, _, test = json.loads((compared[1] / name / "recipe.json").read_text())["sides"]
        leaks[name] = np.isin(np.array(test) // VERSIONS, np.array(train) // VERSIONS).mean()
    assert leaks["random"] > 0.5
    assert leaks["actor-disjoint"] == 0


def test_a_finished_comparison_is_found_again(compared, clips):
    figures, folder = compared
    before = (folder / "random" / "fercnn-epochs.csv").stat().st_mtime_ns
    assert compare_splits(recipe_of(), clips, folder, test_fraction=1 / 3) == figures
    assert (folder / "random" / "fercnn-epochs.csv").stat().st_mtime_ns == before


def test_another_comparison_in_the_same_folder_is_refused(compared, clips):
    with pytest.raises(ArtefactError, match="recipe"):
        compare_splits(recipe_of(), clips, compared[1], test_fraction=1 / 3, seed=1)


def test_who_is_tested_has_an_influence_on_the_figures_only(clips, tmp_path):
    """Neither sound nor labels of tested clips change a weight; what is right for one label is wrong for the other."""
    _, weights = compared_once(clips, tmp_path / "first")
    sides = json.loads((tmp_path / "first" / "actor-disjoint" / "recipe.json").read_text())["sides"]
    tested = set(np.array(sides[2]) // VERSIONS)
    accuracies = []
    for label in range(LABELS):
        changed = [replace(c, wave=c.wave // 3, label=label) if n in tested else c for n, c in enumerate(clips)]
        figures, same_weights = compared_once(changed, tmp_path / str(label))
        for one, other in zip(weights, same_weights, strict=True):
            torch.testing.assert_close(one, other, atol=0, rtol=0)
        accuracies.append(figures["accuracy"])
    assert sum(accuracies) == pytest.approx(1)
    assert accuracies[0] != accuracies[1]


def compared_once(clips, folder):
    """Figures of the tested actors after an epoch, and the network's weights, its projection among them."""
    figures = compare_splits(recipe_of(epochs=1), clips, folder, test_fraction=1 / 3)["actor-disjoint"]
    saved = torch.load(folder / "actor-disjoint" / "fercnn-epochs.pt", weights_only=True)
    return figures, saved["model"].values()


def test_versions_are_the_clip_and_two_changes_of_its_sound(clips):
    samples = versions_of(recipe_of("multimodal"), clips[:2], seed=4)
    sound, faces = samples.features["audio_features"], samples.features["video_features"]
    np.testing.assert_array_equal(sound[0], clip_features(clips[0].wave))
    changed = change_speech(clips[1].wave, np.random.default_rng((4, 1, 2)))
    np.testing.assert_array_equal(sound[5], clip_features(changed))
    assert len(np.unique(sound, axis=0)) == 2 * VERSIONS
    np.testing.assert_array_equal(faces, np.repeat(faces[::VERSIONS], VERSIONS, 0))
    assert samples.labels.tolist() == [clip.label for clip in clips[:2] for _ in range(VERSIONS)]


def test_one_actor_cannot_be_split(clips, tmp_path):
    with pytest.raises(ArgumentError, match="expected some on both sides"):
        compare_splits(recipe_of(), clips[:10], tmp_path, test_fraction=1 / 3)


@pytest.mark.parametrize("wrong", [["--corpus", "ravdess-speech"], ["--epochs", "0"], ["--seed", "-1"]], ids=" ".join)
def test_options_that_do_not_fit_are_rejected(wrong, tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--output", str(tmp_path), *wrong]) == 2
    assert "expected" in capsys.readouterr().err


def test_a_folder_without_the_corpus_is_named(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.slow
def test_real_voices_are_compared(data_folder, tmp_path, capsys):
    options = ["--corpus", "ravdess-speech", "--variant", "audio", "--epochs", "2"]
    assert main([*options, "--data", str(data_folder / "ravdess-speech-16k"), "--output", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {name: found["test"] for name, found in figures.items()} == {"random": 1_080, "actor-disjoint": 1_080}
