"""The attention-fusion recipe: the paper's sampling, augmentation and loss, and that the network learns by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bundle.errors import ArtefactError
from bundle.labels import CREMA_D_LABELS, RAVDESS_LABELS
from corpora.av_clip import AvClip
from kernels import spectrogram_segments
from networks.attention_fusion import VARIANTS, AttentionFusionConfig
from networks.resnet3d import ResNet3d
from training.attention_fusion import (
    BRIGHTNESS,
    SMALLEST_CROP,
    AttentionFusionRecipe,
    augment,
    image_spectrograms,
    snippets_of,
    uniform_positions,
)
from training.emotion_metric import emotion_metric_loss, triplet_loss
from training.fit import FitConfig

TINY = AttentionFusionConfig(depth=18, visual_width=8, audio_width=8, channels=64, grid=4, images=4, size_px=48)


def clip_of(seconds=3.8, fps=30.0, size=48, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (round(seconds * fps), size, size), dtype=np.uint8)
    wave = (3000 * rng.standard_normal(round(seconds * 16_000))).astype(np.int16)
    return AvClip(wave, images, fps, label=2, subject=1)


def batch_of(recipe, clips):
    inputs = [recipe.inputs(clip, None) for clip in clips]
    return {name: torch.from_numpy(np.stack([one[name] for one in inputs])) for name in inputs[0]}


# What the network sees of a clip


def test_recipe_is_section_four_two():
    recipe = AttentionFusionRecipe()
    assert (recipe.faces.size_px, recipe.batch_size) == (224, 16)
    assert recipe.fit == FitConfig(100, 1e-4, 0.0, optimizer="adam", schedule="constant", patience=20)
    assert (recipe.network.snippets, recipe.network.images, recipe.network.heads) == (6, 16, 8)
    assert recipe.network == next(iter(VARIANTS.values()))


def test_number_of_labels_is_the_corpus_s():
    assert AttentionFusionRecipe(labels=CREMA_D_LABELS).network.labels == 6


@pytest.mark.parametrize("count", [96, 97, 115, 125, 40, 1])
def test_chosen_images_are_spread_evenly(count):
    found = uniform_positions(count, 96)
    assert len(found) == 96
    assert found.min() >= 0
    assert found.max() < count
    assert len(np.unique(found)) == min(96, count)
    assert set(np.diff(found)) <= ({0, 1} if count < 96 else {1, 2})
    assert abs(found.mean() - (count - 1) / 2) < 1  # as much is left out at the start as at the end


@pytest.mark.parametrize("seconds", [3.2, 4.16])
def test_between_chosen_images_of_a_clip_lie_none_to_two(seconds):
    """Section 4.2, of clips of 3.1 to 4.16 s; at 3.1 s a 30-Hz clip has 93 images, of which three are repeated."""
    assert set(np.diff(uniform_positions(round(30 * seconds), 96))) <= {1, 2, 3}


def test_snippets_do_not_overlap_and_hold_the_clip_in_order():
    images = np.arange(192, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    found = snippets_of(images, AttentionFusionConfig(size_px=8), None)
    assert found.shape == (6, 3, 16, 8, 8)
    assert found.dtype == np.float32
    assert (found == found[:, :1, :, :1, :1]).all()  # gray
    assert found[:, 0, :, 0, 0].ravel().tolist() == list(range(1, 192, 2))


@pytest.mark.parametrize("seconds", [1.0, 3.0, 3.8, 9.0])
def test_spectrograms_are_evenly_spaced_seconds_from_the_first_to_the_last(seconds):
    clip = clip_of(seconds)
    found = image_spectrograms(clip.wave, AttentionFusionConfig(size_px=64))
    assert found.shape == (6, 3, 64, 64)
    assert (found == found[:, :1]).all()
    options = {"n_fft": 512, "hop_length": 160, "window": "hamming", "output": "logmag"}
    assert 512 / 16_000 == 0.032
    segments = spectrogram_segments(clip.wave, **options)
    assert segments.shape[1:] == (256, 100)  # 256 frequency components, 10 ms
    for n, image in enumerate(found):
        segment = torch.from_numpy(segments[round(n * (len(segments) - 1) / 5)])[None, None]
        expected = F.interpolate(segment, (64, 64), mode="bilinear")[0, 0].flip(0)  # the highest frequency on top
        expected = (expected - expected.mean()) / expected.std(unbiased=False)
        np.testing.assert_allclose(image[0], expected, atol=1e-5)


def test_clip_shorter_than_a_second_is_followed_by_silence():
    wave = clip_of(0.5).wave
    config = AttentionFusionConfig(size_px=32)
    padded = np.concatenate((wave, np.zeros(8_000, np.int16)))
    np.testing.assert_array_equal(image_spectrograms(wave, config), image_spectrograms(padded, config))


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_gets_its_modalities_only(name):
    config = replace(TINY, attentions=VARIANTS[name].attentions)
    found = AttentionFusionRecipe(config).inputs(clip_of(), None)
    visual = {"snippets": (6, 3, 4, 48, 48), "visual_mask": (6,)}
    audio = {"spectrograms": (6, 3, 48, 48), "audio_mask": (6,)}
    expected = (visual if "VS" in name else {}) | (audio if "AT" in name else {})
    assert {name: array.shape for name, array in found.items()} == expected
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}


# Augmentation


def test_evaluation_is_without_chance_and_training_is_seeded():
    recipe, clip = AttentionFusionRecipe(TINY), clip_of()
    np.testing.assert_array_equal(recipe.inputs(clip, None)["snippets"], recipe.inputs(clip, None)["snippets"])
    one, same, other = (recipe.inputs(clip, np.random.default_rng(seed))["snippets"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 10


def test_all_images_of_a_clip_change_alike():
    face = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    found = augment(face.expand(5, -1, -1, -1), np.random.default_rng(0))
    torch.testing.assert_close(found, found[:1].expand(5, -1, -1, -1))


def test_augmentation_crops_mirrors_and_changes_brightness_within_its_limits():
    """On ramps from left to right and top to bottom, slope and mean tell which."""
    ramp = torch.linspace(50, 150, 64)
    faces = torch.stack((ramp.expand(64, 64), ramp[:, None].expand(64, 64)))[:, None]
    slopes, downs, edges = [], [], []
    for seed in range(200):
        across, down = augment(faces, np.random.default_rng(seed))[:, 0]
        slopes.append(float((across[:, 40] - across[:, 20]).mean() / (ramp[40] - ramp[20])))
        downs.append(float((down[40] - down[20]).mean() / (ramp[40] - ramp[20])))
        edges.append(float(down[0].mean() / 50))
    slopes, downs = np.array(slopes), np.array(downs)
    np.testing.assert_allclose(np.abs(slopes), downs, rtol=0.01)  # never upside down
    assert 0.4 < (slopes > 0).mean() < 0.6
    lowest, highest = SMALLEST_CROP * (1 - BRIGHTNESS), 1 + BRIGHTNESS
    assert lowest <= downs.min() < 0.85
    assert 1.1 < downs.max() <= highest * 1.01
    assert np.std(edges) > 0.1


def test_brightness_stays_within_an_image_s_range():
    bright = [augment(torch.full((1, 1, 32, 32), 250.0), np.random.default_rng(seed)).max() for seed in range(20)]
    assert max(bright) == 255


# Loss


@pytest.mark.parametrize("loss", ["emotion", "triplet", "none"])
def test_loss_is_cross_entropy_and_the_variant_s_metric_on_unit_vectors(loss):
    torch.manual_seed(0)
    recipe = AttentionFusionRecipe(replace(TINY, loss=loss))
    system = recipe.build().eval()
    batch = batch_of(recipe, [clip_of(seed=seed) for seed in range(4)])
    labels = torch.tensor([2, 2, 1, 4])
    with torch.inference_mode():
        units = system.embedding(batch)
        units = units / units.norm(dim=1, keepdim=True)
        metric = {"emotion": emotion_metric_loss(units, labels, RAVDESS_LABELS), "triplet": triplet_loss(units, labels)}
        expected = F.cross_entropy(system(batch)["probs_fused"], labels) + metric.get(loss, 0)
        assert float(recipe.loss(system, batch, labels)) == pytest.approx(float(expected), rel=1e-5)
        if loss != "none":
            assert metric[loss] > 0


def test_metric_loss_teaches_all_but_the_classifier():
    torch.manual_seed(0)
    recipe = AttentionFusionRecipe(TINY)
    system = recipe.build()
    embeddings = system.embedding(batch_of(recipe, [clip_of(seed=seed) for seed in range(4)]))
    emotion_metric_loss(F.normalize(embeddings), torch.tensor([2, 2, 1, 4]), recipe.labels).backward()
    untaught = {name for name, p in system.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert untaught == {"head.classifier.weight", "head.classifier.bias"}


# Published weights


def test_published_weights_are_where_training_starts(tmp_path):
    recipe = AttentionFusionRecipe(TINY)
    visual = {f"module.{name}": tensor for name, tensor in ResNet3d(18, 8).state_dict().items()}
    torch.save({"arch": "resnet-18", "state_dict": visual | {"module.fc.bias": torch.zeros(400)}}, tmp_path / "k.pth")
    audio = {name: 0 * tensor for name, tensor in recipe.build().encoders["audio"].trunk.state_dict().items()}
    torch.save(audio | {"fc.weight": torch.zeros(1000, 64)}, tmp_path / "i.pth")
    system = AttentionFusionRecipe(TINY, kinetics=tmp_path / "k.pth", imagenet=tmp_path / "i.pth").build()
    for name, tensor in system.encoders["visual"].trunk.state_dict().items():
        torch.testing.assert_close(tensor, visual[f"module.{name}"])
    assert not any(tensor.any() for tensor in system.encoders["audio"].trunk.state_dict().values())


@pytest.mark.parametrize("content", [{"conv1.weight": torch.zeros(1)}, {"state_dict": 3}, None])
def test_other_weights_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path) if content else path.write_bytes(b"not weights")
    with pytest.raises(ArtefactError, match=r"weights\.pth"):
        AttentionFusionRecipe(TINY, kinetics=path).build()


# Learning


@pytest.mark.data
def test_small_network_learns_sixteen_real_clips_by_heart(composite_clips):
    torch.manual_seed(0)
    recipe = AttentionFusionRecipe(replace(TINY, visual_width=4, images=2, snippets=2))
    clips = composite_clips(recipe.faces)
    batch, labels = batch_of(recipe, clips), torch.tensor([clip.label for clip in clips])
    system = recipe.build()
    optimizer = torch.optim.Adam(system.parameters(), lr=2e-3)
    for step in range(1, 61):
        optimizer.zero_grad()
        recipe.loss(system.train(), batch, labels).backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.inference_mode():
                right = system.eval()(batch)["probs_fused"].argmax(1) == labels
            if right.all():
                break
    assert right.all()
