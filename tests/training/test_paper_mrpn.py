"""The paper's recipe: what the network sees of a clip, what the loss is, and that every variant can learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bundle.errors import ArgumentError, ArtefactError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import CREMA_D_LABELS
from corpora.av_clip import AvClip, FaceFormat
from kernels import spectrogram_segments
from networks.mrpn import VARIANTS
from networks.resnet import ResNet18
from training.fit import FitConfig, fit
from training.paper_mrpn import PAPER_FIT, PaperMrpnRecipe

SPARSE = AudioSpec(step_s=1.0), VideoSpec(), WindowSpec(window_s=4.0, step_s=0.8, image_period_s=0.8)
"""Features of which a clip holds five images and four segments: enough to tell sixteen clips apart, soon computed."""

REDUCED = {
    name: replace(
        config, visual_width=2, audio_width=2, aggregate_size=32, hidden_size=32, dropout=0.0, small_input=True,
        standardize_faces=True,
    )
    for name, config in VARIANTS.items()
}  # fmt: skip


def clip(seconds=2.5, fps=25.0, size=224, seed=0):
    rng = np.random.default_rng(seed)
    wave = np.rint(rng.normal(500, 2_000, int(seconds * 16_000))).astype(np.int16)
    return AvClip(wave, rng.integers(0, 256, (int(seconds * fps), size, size), np.uint8), fps, 3, 1)


@pytest.fixture(scope="module")
def recipe():
    return PaperMrpnRecipe(VARIANTS["n2"])


def test_clips_are_prepared_as_the_paper_says(recipe):
    arrays = recipe.inputs(clip(), None)
    assert recipe.faces == FaceFormat(224, 25.0)
    assert arrays["faces"].shape == (135, 1, 224, 224)
    assert arrays["visual_mask"].tolist() == [0.0] * 73 + [1.0] * 62  # the newest last
    np.testing.assert_allclose(arrays["faces"][73:, 0], (clip().images - 127.0) / 64, atol=1e-5)
    assert arrays["segments"].shape == (23, 1, 256, 250)
    assert arrays["audio_mask"].tolist() == [0.0] * 15 + [1.0] * 8  # at 1.0, 1.2, ... 2.4 s
    assert not arrays["segments"][:15].any()
    assert not arrays["faces"][:73].any()


def test_sound_is_standardized_by_the_whole_clip(recipe):
    wave = clip().wave
    plain = recipe.inputs(clip(), None)["segments"][15:]
    standardized = (wave - wave.mean()) / wave.std()
    magnitude = np.abs(np.fft.rfft(standardized[15_488:16_000] * np.hanning(513)[:512]))[:256]
    np.testing.assert_allclose(plain[0, 0, :, -1], np.log(np.maximum(magnitude, np.sqrt(1e-3))), atol=2e-3)
    louder = replace(clip(), wave=wave * 3)
    np.testing.assert_allclose(recipe.inputs(louder, None)["segments"][-8:], plain, atol=2e-3)


def test_a_stream_can_compute_the_features_of_a_running_standardization():
    causal = PaperMrpnRecipe(VARIANTS["n2"], standardize="running")
    segments = causal.inputs(clip(), None)["segments"]
    expected = spectrogram_segments(clip().wave, **causal.features[0].stream_options())
    np.testing.assert_array_equal(segments[-8:, 0], expected)
    assert causal.specs == causal.features
    assert PaperMrpnRecipe(VARIANTS["n2"]).specs == ()


def test_of_a_clip_longer_than_the_window_the_end_is_seen(recipe):
    long = clip(6.0, size=224)
    arrays = recipe.inputs(long, None)
    assert arrays["visual_mask"].all()
    assert arrays["audio_mask"].all()
    np.testing.assert_allclose(arrays["faces"][-1, 0], (long.images[-1] - 127.0) / 64, atol=1e-5)
    last = spectrogram_segments(long.wave, standardize="wave", **recipe.features[0].stream_options())[-1]
    np.testing.assert_array_equal(arrays["segments"][-1, 0], last)


def test_a_clip_shorter_than_a_segment_is_followed_by_silence(recipe):
    for rng in (None, np.random.default_rng(0)):
        assert recipe.inputs(clip(0.5), rng)["audio_mask"].sum() == 1


def test_a_clip_without_images_has_an_empty_mask(recipe):
    blind = replace(clip(), images=np.empty((0, 224, 224), np.uint8))
    for rng in (None, np.random.default_rng(0)):
        assert not recipe.inputs(blind, rng)["visual_mask"].any()


def test_augmented_clips_are_sliced_and_the_generator_repeats_them(recipe):
    once, again, other = (recipe.inputs(clip(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name in once:
        np.testing.assert_array_equal(once[name], again[name])
    assert any((once[name] != other[name]).any() for name in once)
    lengths = {int(recipe.inputs(clip(), np.random.default_rng(n))["visual_mask"].sum()) for n in range(12)}
    assert len(lengths) > 4
    assert 25 <= min(lengths) <= max(lengths) <= 62


@pytest.mark.parametrize("alike", [True, False])
def test_whole_clips_and_images_each_for_itself_are_the_papers_comparison(alike):
    recipe = PaperMrpnRecipe(VARIANTS["n2"], slices=False, alike=alike)
    assert recipe.options == {"standardize": "wave", "slices": False, "alike": alike}
    still = replace(clip(1.5), images=np.repeat(clip(1.5).images[:1], 37, 0))
    for seed in range(4):
        arrays, plain = recipe.inputs(still, np.random.default_rng(seed)), recipe.inputs(still, None)
        for name in ("visual_mask", "segments", "audio_mask"):  # neither slices nor changes of sound
            np.testing.assert_array_equal(arrays[name], plain[name])
        faces = arrays["faces"][-37:]
        assert len(np.unique(faces.reshape(37, -1), axis=0)) == (1 if alike else 37)
        assert (faces != plain["faces"][-37:]).any()


def test_a_colour_network_gets_gray_in_each_channel():
    colour = PaperMrpnRecipe(replace(VARIANTS["n2"], face_shape=(3, 224, 224)))
    faces = colour.inputs(clip(1.0), None)["faces"]
    assert faces.shape == (135, 3, 224, 224)
    np.testing.assert_array_equal(faces[:, 0], faces[:, 2])


@pytest.mark.parametrize(
    ("name", "keys"), [("visual", {"faces", "visual_mask"}), ("audio", {"segments", "audio_mask"})]
)
def test_one_modality_gets_its_own_input_only(name, keys):
    assert set(PaperMrpnRecipe(VARIANTS[name]).inputs(clip(1.0), None)) == keys


def test_schedule_is_the_papers():
    assert (PAPER_FIT.optimizer, PAPER_FIT.lr, PAPER_FIT.schedule) == ("adamw", 5e-5, "plateau")


def test_loss_has_a_term_per_output():
    for name, terms in (("n0", 1), ("n1", 3), ("n2", 3)):
        recipe = PaperMrpnRecipe(REDUCED[name], CREMA_D_LABELS, SPARSE)
        torch.manual_seed(0)
        system, batch = recipe.build().eval(), batch_of(recipe, [clip(2.0, 1.25, 48, seed) for seed in range(2)])
        outputs, labels = system(batch), torch.tensor([5, 1])
        assert len(outputs) == terms
        expected = -sum(F.log_softmax(logits, 1)[[0, 1], labels].mean() for logits in outputs.values())
        torch.testing.assert_close(recipe.loss(system, batch, labels), expected)
        assert all(logits.shape == (2, 6) for logits in outputs.values())


def test_encoders_start_from_published_resnets(tmp_path):
    torch.manual_seed(0)
    published = nn.Sequential(ResNet18(3), nn.Linear(512, 7))
    state = published[0].state_dict() | {f"fc.{key}": value for key, value in published[1].state_dict().items()}
    torch.save(state, tmp_path / "resnet18.pth")
    system = PaperMrpnRecipe(VARIANTS["n2"], resnets={"visual": tmp_path / "resnet18.pth"}).build()
    encoder = system.modalities["visual"].encoder
    torch.testing.assert_close(encoder.conv1.weight, published[0].conv1.weight.sum(1, keepdim=True))
    assert torch.equal(encoder.layer4[1].conv2.weight, published[0].layer4[1].conv2.weight)
    with pytest.raises(ArtefactError, match="does not fit"):
        PaperMrpnRecipe(REDUCED["n2"], resnets={"visual": tmp_path / "resnet18.pth"}).build()


def test_late_fusion_takes_over_its_branches_and_freezes_them(tmp_path):
    branches, states = {}, {}
    for number, name in enumerate(("visual", "audio")):
        torch.manual_seed(number)
        branches[name] = tmp_path / f"{name}.pt"
        fresh = PaperMrpnRecipe(REDUCED[name], features=SPARSE).build().state_dict()
        trained = {key: torch.rand(value.shape).to(value.dtype) for key, value in fresh.items()}  # normalisation too
        torch.save({"model": trained}, branches[name])
        states |= trained
    torch.manual_seed(9)
    recipe = PaperMrpnRecipe(REDUCED["n0-late"], features=SPARSE, branches=branches)
    assert set(recipe.stages) == set(branches.values())  # of whose split the training makes sure
    system = recipe.build()
    for key, value in system.state_dict().items():
        assert key.startswith("head.fusion") or torch.equal(value, states[key]), key
    assert {n.split(".")[1] for n, p in system.named_parameters() if p.requires_grad} == {"fusion", "fusion_norm"}


def test_late_fusion_without_trained_branches_is_refused(tmp_path):
    for branches in (None, {"visual": tmp_path / "visual.pt"}):
        with pytest.raises(ArgumentError, match="Train the variants of one modality first"):
            PaperMrpnRecipe(VARIANTS["n0-late"], branches=branches)


def batch_of(recipe, clips):
    inputs = [recipe.inputs(each, None) for each in clips]
    return {name: torch.from_numpy(np.stack([arrays[name] for arrays in inputs])) for name in inputs[0]}


def overfit(recipe, clips, folder):
    """Accuracies on the clips that the network was trained on, by output."""
    torch.manual_seed(0)
    system, batch, labels = recipe.build(), batch_of(recipe, clips), torch.tensor([each.label for each in clips])
    for module in system.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.5  # one batch is all there is: its statistics need no long memory

    def accuracies():
        return {name: float((logits.argmax(1) == labels).float().mean()) for name, logits in system(batch).items()}

    trained = [parameter for parameter in system.parameters() if parameter.requires_grad]
    fit(
        "small", system, trained, lambda epoch: [batch], 1, lambda batch: recipe.loss(system, batch, labels),
        lambda: {"uar": min(accuracies().values())}, recipe.fit, 0, folder,
    )  # fmt: skip
    torch.save({"model": system.state_dict()}, folder / "system.pt")
    with torch.inference_mode():
        return accuracies()


@pytest.mark.data
@pytest.mark.parametrize(
    "name", [name if name == "full" else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_every_variant_in_small_overfits_sixteen_real_clips(name, composite_clips, tmp_path):
    config = FitConfig(epochs=25, lr=1.5e-2, weight_decay=1e-2, schedule="constant")
    stages = ["visual", "audio", name] if name == "n0-late" else [name]
    branches = {}
    for stage in stages:
        folder = tmp_path / stage
        folder.mkdir()
        recipe = PaperMrpnRecipe(
            REDUCED[stage], features=SPARSE, fit=config, branches=branches if stage == "n0-late" else None
        )
        branches[stage] = folder / "system.pt"
        assert set(overfit(recipe, composite_clips(recipe.faces), folder).values()) == {1.0}
