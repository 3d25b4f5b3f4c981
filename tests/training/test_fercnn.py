"""FERCNN's recipe: what a clip becomes, what is fitted to clips, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from corpora.av_clip import AvClip
from kernels import ClipFeatures, clip_features, interest_point_features
from networks.fercnn import VARIANTS
from training.fercnn import FercnnRecipe, fused_projection
from training.marginal_fisher import marginal_fisher
from training.recipe import Recipe


def clip_of(number, labels=3):
    """A tone as high as its label says, and noise that moves."""
    rng = np.random.default_rng(number)
    label = number % labels
    time = np.arange(20_000) / 16_000
    wave = 6_000 * np.sin(2 * np.pi * 150 * (label + 1) * time * rng.uniform(0.95, 1.05)) + rng.normal(0, 300, 20_000)
    images = rng.integers(0, 256, (12, 48, 48), np.uint8)
    return AvClip(wave.astype(np.int16), images, 10.0, label, number)


def batch_of(recipe, clips):
    inputs = [recipe.inputs(clip, None) for clip in clips]
    return {name: torch.from_numpy(np.stack([each[name] for each in inputs])) for name in inputs[0]}


def test_features_of_the_same_images_are_computed_once(clips, monkeypatch):
    recipe, computed = FercnnRecipe(VARIANTS["video"]), []

    def sum_of(images):
        computed.append(images)
        return images.sum((1, 2), np.float32)

    monkeypatch.setattr("training.fercnn.interest_point_features", sum_of)
    again = replace(clips[0], images=clips[0].images.copy(), wave=clips[1].wave)
    other = replace(clips[0], images=np.concatenate((clips[0].images[:-1], clips[1].images[-1:])))
    reshaped = replace(clips[0], images=clips[0].images.reshape(24, 24, 48))
    for clip in (clips[0], again, other, reshaped, clips[0]):
        found = recipe.inputs(clip, None)["video_features"]
        np.testing.assert_array_equal(found, clip.images.sum((1, 2), np.float32))
    assert len(computed) == 3


def labels_of(clips):
    return torch.tensor([clip.label for clip in clips])


@pytest.fixture(scope="module")
def clips():
    return [clip_of(number) for number in range(9)]


def random_features(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(3, 2, (count, 162)), rng.gamma(1, 5, (count, 448))], np.arange(count) % 4


def test_recipe_is_one(clips):
    recipe: Recipe = FercnnRecipe()
    batch = batch_of(recipe, clips[:2])
    system = recipe.build()
    recipe.loss(system, batch, labels_of(clips[:2])).backward()
    assert {name: value.shape[1:] for name, value in batch.items()} == system.parts()["head"].inputs
    assert all(value.dtype == torch.float32 for value in batch.values())


@pytest.mark.parametrize("name", VARIANTS)
def test_inputs_are_the_features_of_the_modalities_in_use(name, clips):
    found = FercnnRecipe(VARIANTS[name]).inputs(clips[0], None)
    expected = {
        "audio_features": clip_features(clips[0].wave),
        "video_features": interest_point_features(clips[0].images),
    }
    assert list(found) == list(VARIANTS[name].inputs)
    for tensor, value in found.items():
        np.testing.assert_array_equal(value, expected[tensor])


def test_network_has_as_many_outputs_as_there_are_labels():
    assert FercnnRecipe(labels=("angry", "happy")).build().parts()["head"].outputs == {"probs_fused": (2,)}


def test_a_generator_changes_the_sound_and_gives_the_same_each_time(clips):
    recipe = FercnnRecipe()
    plain = recipe.inputs(clips[0], None)
    one, other = (recipe.inputs(clips[0], np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one["audio_features"], other["audio_features"])
    np.testing.assert_array_equal(one["video_features"], plain["video_features"])
    assert not np.allclose(one["audio_features"], plain["audio_features"])


def test_projection_is_standardising_reducing_and_fisher_analysis_in_turn():
    features, labels = random_features(400)
    weight, bias = fused_projection(features, labels)
    audio, video = ((part - part.mean(0)) / part.std(0) for part in features)
    _, vectors = np.linalg.eigh(video.T @ video)  # principal components: the largest eigenvalues come last
    stacked = np.concatenate((audio, video @ vectors[:, :-163:-1]), 1)
    vectors, separations = marginal_fisher(stacked, labels, 162)
    fused = stacked @ vectors * np.sqrt(separations)
    fused /= fused.std(0).max()
    found = np.concatenate(features, 1) @ weight.T + bias
    assert weight.shape == (162, 610)
    np.testing.assert_allclose(np.abs(found), np.abs(fused), atol=1e-6)  # an eigenvector's sign is free


def test_projected_training_features_have_zero_mean_and_unit_deviation_at_most():
    features, labels = random_features(400)
    weight, bias = fused_projection(features, labels)
    fused = np.concatenate(features, 1) @ weight.T + bias
    np.testing.assert_allclose(fused.mean(0), 0, atol=1e-9)
    assert fused.std(0).max() == pytest.approx(1)
    assert weight.any(1).all()


def test_sound_alone_is_standardised_and_no_more():
    (audio, _), labels = random_features(50)
    weight, bias = fused_projection([audio], labels)
    np.testing.assert_allclose(audio @ weight.T + bias, (audio - audio.mean(0)) / audio.std(0), atol=1e-9)


def test_faces_alone_keep_their_principal_components():
    (_, video), labels = random_features(300)
    weight, bias = fused_projection([video], labels)
    fused = video @ weight.T + bias
    np.testing.assert_allclose(np.corrcoef(fused.T), np.eye(162), atol=1e-6)
    assert (np.diff(fused.std(0)) <= 1e-9).all()


def test_a_constant_feature_is_left_out():
    (audio, video), labels = random_features(50)
    audio[:, 5], video[:, 7] = 3.0, 0.0
    weight, bias = fused_projection([audio, video], labels)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    changed = np.concatenate((audio, video), 1)
    before = changed @ weight.T + bias
    np.testing.assert_allclose(before.mean(0), 0, atol=1e-9)


def test_few_clips_leave_unused_features_zero():
    features, labels = random_features(16)
    weight, _ = fused_projection(features, labels)
    assert 0 < weight.any(1).sum() < 16


def test_running_features_through_the_head_equal_the_whole_clip(clips):
    recipe = FercnnRecipe()
    system = recipe.build().eval()
    recipe.prepare(system, clips)
    sound = ClipFeatures()
    for start in range(0, 20_000, 320):
        sound.push(clips[0].wave[start : start + 320])
    parts = torch.from_numpy(sound.value()), torch.from_numpy(interest_point_features(clips[0].images))
    with torch.inference_mode():
        found = system.parts()["head"].module(*(part[None] for part in parts))
        whole = system(batch_of(recipe, clips))["probs_fused"]
    torch.testing.assert_close(found[0], whole[0], atol=1e-5, rtol=0)


def learn_by_heart(recipe, clips, steps):
    """Share of the clips that the whole network gets right after so many steps forward and backward, or fewer."""
    torch.manual_seed(0)
    system = recipe.build()
    recipe.prepare(system, clips)
    batch, labels = batch_of(recipe, clips), labels_of(clips)
    optimizer = torch.optim.AdamW(system.parameters(), lr=recipe.fit.lr, weight_decay=recipe.fit.weight_decay)
    right = 0.0
    for step in range(1, steps + 1):
        loss = recipe.loss(system.train(), batch, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            with torch.inference_mode():
                right = (system.eval()(batch)["probs_fused"].argmax(1) == labels).float().mean().item()
        if right == 1:
            break
    return right


def test_clips_are_learned_by_heart(clips):
    assert learn_by_heart(FercnnRecipe(), clips, 200) == 1


@pytest.mark.data
@pytest.mark.parametrize(
    "name", [name if name == "multimodal" else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_sixteen_real_clips_are_learned_by_heart(name, composite_clips):
    recipe = FercnnRecipe(VARIANTS[name])
    assert learn_by_heart(recipe, composite_clips(recipe.faces), 400) == 1
