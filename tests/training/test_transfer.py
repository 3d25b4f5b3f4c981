"""The transfer recipe: what a clip becomes, what each loss may change, and that it can be learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bundle.errors import ArgumentError
from corpora.av_clip import AvClip, FaceFormat
from networks.transfer import VARIANTS, SpatialTransformer, TransferConfig, embed_images
from tests.networks.test_panns import checkpoint
from training.fit import FitConfig
from training.transfer import TransferRecipe, cut_to_speech, panns_log_mel

NETWORK = TransferConfig(
    lstm_size=4, lstm_layers=1, attention_layers=1, stn_width=4, audio_width=2, image_slots=6, audio_columns=100
)


def clip(seconds=1.5, fps=6.0, label=3, seed=0):
    """A tone that rises, and images of growing brightness, each with a spot."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    wave = 8_000 * np.sin(2 * np.pi * (300 + 400 * time_s) * time_s) + rng.normal(0, 100, len(time_s))
    count = int(seconds * fps)
    images = np.repeat(20 * np.arange(1, count + 1, dtype=np.uint8)[:, None, None], 48, 1).repeat(48, 2)
    images[:, 20:25, 10:15] = 255
    return AvClip(wave.astype(np.int16), images, fps, label, 1)


def batch_of(recipe, count=4):
    windows = [recipe.inputs(clip(seed=n), None) for n in range(count)]
    return {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}


def undropped(system):
    """Without what is random in training."""
    for module in system.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.LSTM):
            module.dropout = 0.0
    system.audio.spec_augment = nn.Identity()
    return system


def reached(system):
    return {n for n, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_defaults_are_the_runtimes_window():
    recipe = TransferRecipe()
    assert recipe.window_s == 4.0
    assert recipe.faces == FaceFormat(48, 10.0)


def test_training_is_that_of_section_four():
    recipe = TransferRecipe()
    assert recipe.batch_size == 24
    assert recipe.fit == FitConfig(500, 1e-3, 0.0, optimizer="adam", schedule="constant", patience=30)


def test_a_second_of_sound_is_a_hundred_columns_of_64_bands():
    spectrogram = panns_log_mel(clip(1.0).wave, 100)
    assert spectrogram.shape == (1, 100, 64)
    assert spectrogram.dtype == np.float32
    peaks = spectrogram[0, 5:-5].argmax(1)
    assert (np.diff(peaks) >= 0).all()  # the tone rises with time
    assert peaks[-1] > peaks[0]


def test_the_spectrogram_shows_the_waves_end_after_silence():
    wave = clip(1.0).wave
    longer = panns_log_mel(np.concatenate((clip(1.0, seed=1).wave, wave)), 100)
    np.testing.assert_array_equal(longer, panns_log_mel(wave, 100))
    short = panns_log_mel(wave[-4_800:], 100)
    np.testing.assert_allclose(short[0, :68], np.log(1e-10))
    np.testing.assert_allclose(short[0, 72:], panns_log_mel(wave, 100)[0, 72:], atol=1e-3)


def test_full_scale_is_one():
    quiet, loud = (panns_log_mel(np.resize([v, -v], 16_000).astype(np.int16), 100) for v in (16_384, 32_767))
    assert loud[0, 50, -1] - quiet[0, 50, -1] == pytest.approx(2 * np.log(2), abs=1e-3)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    side = (hann * np.exp(1j * np.pi * np.arange(512) / 256)).sum()  # of the Nyquist tone, in the bin before it
    assert quiet[0, 50, -1] == pytest.approx(np.log(0.25 * abs(side) ** 2 * _last_band_at_bin_255()), abs=0.01)


def _last_band_at_bin_255():
    from kernels import mel_filterbank

    return mel_filterbank(16_000, 512, 64, 50.0, 8_000.0, "slaney", "area")[-1, 255]


def test_a_window_holds_the_newest_images_and_marks_those_that_are_missing():
    recipe = TransferRecipe(network=NETWORK)
    assert recipe.faces == FaceFormat(48, 6.0)
    window, whole = recipe.inputs(clip(0.5), None), recipe.inputs(clip(1.5), None)
    assert {name: array.shape for name, array in window.items()} == {
        "faces": (6, 1, 48, 48),
        "saliency": (6, 1, 48, 48),
        "visual_mask": (6,),
        "log_mel": (1, 100, 64),
    }
    assert all(array.dtype == np.float32 for array in window.values())
    assert window["visual_mask"].tolist() == [0, 0, 0, 1, 1, 1]
    assert not window["faces"][:3].any()
    assert not window["saliency"][:3].any()
    assert whole["visual_mask"].all()
    grays = (whole["faces"][:, 0, 0, 0] + 1) * 127.5
    np.testing.assert_allclose(grays, [80, 100, 120, 140, 160, 180], atol=1e-3)  # the last six of nine


def test_images_and_maps_are_within_minus_one_and_one():
    window = TransferRecipe(network=NETWORK).inputs(clip(), None)
    for name in ("faces", "saliency"):
        assert window[name].min() >= -1
        assert window[name].max() == 1
    spot = np.unravel_index(window["saliency"][0, 0].argmax(), (48, 48))
    assert np.hypot(spot[0] - 22, spot[1] - 12) < 6


def test_a_clip_without_images_leaves_all_slots_empty():
    window = TransferRecipe(network=NETWORK).inputs(replace(clip(), images=clip().images[:0]), None)
    assert not window["visual_mask"].any()
    assert not window["faces"].any()


def test_another_source_of_saliency_is_used():
    window = TransferRecipe(network=NETWORK, saliency=lambda image: image.astype(np.float32)).inputs(clip(), None)
    np.testing.assert_allclose((window["saliency"] + 1) * 127.5, (window["faces"] + 1) * 127.5, atol=1e-2)


def test_random_windows_lie_within_the_clip_and_keep_the_newest_image():
    recipe, long = TransferRecipe(network=NETWORK), clip(2.0)
    windows = [recipe.inputs(long, np.random.default_rng(n)) for n in range(30)]
    newest = {int((window["faces"][-1, 0, 0, 0] + 1) * 127.5 / 20 + 0.5) for window in windows}
    assert newest == set(range(6, 13))  # images of the clip: a whole window is always left
    assert all(window["visual_mask"][-1] == 1 for window in windows)
    assert 0.3 < np.mean([window["visual_mask"].mean() for window in windows]) < 0.95
    again = recipe.inputs(long, np.random.default_rng(3))
    for name, array in again.items():
        np.testing.assert_array_equal(array, windows[3][name])


def test_silence_around_speech_is_cut_from_sound_and_images(espeak):
    lead, tail = 24_000, 16_000
    wave = np.concatenate((np.zeros(lead, np.int16), espeak, np.zeros(tail, np.int16)))
    whole = AvClip(wave, np.zeros((int(len(wave) / 1_600), 8, 8), np.uint8), 10.0, 0, 1)
    cut = cut_to_speech(whole)
    start = next(n for n in range(0, len(wave), 512) if np.array_equal(wave[n : n + len(cut.wave)], cut.wave))
    assert lead - 4_000 < start < lead + 8_000
    assert len(wave) - tail - 16_000 < start + len(cut.wave) < len(wave) - tail + 8_000
    assert abs(len(cut.images) - len(cut.wave) / 1_600) <= 1


def test_a_clip_without_speech_stays_whole():
    silent = replace(clip(), wave=np.zeros(24_000, np.int16))
    assert cut_to_speech(silent) is silent
    recipes = (TransferRecipe(network=NETWORK, speech_only=only) for only in (True, False))
    for found, expected in zip(*(recipe.inputs(silent, None).values() for recipe in recipes), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_published_weights_are_loaded_under_new_last_layers(tmp_path):
    torch.save({"model": checkpoint(width=2)}, tmp_path / "cnn14.pth")
    torch.manual_seed(1)
    stn = SpatialTransformer(3, 4)
    torch.save(stn.state_dict(), tmp_path / "stn.pt")
    recipe = TransferRecipe(network=NETWORK, cnn14=tmp_path / "cnn14.pth", stn=tmp_path / "stn.pt")
    system = recipe.build()
    torch.testing.assert_close(system.audio.fc1.weight, checkpoint(width=2)["fc1.weight"], rtol=0, atol=0)
    torch.testing.assert_close(system.visual.stn.conv1.weight, stn.conv1.weight, rtol=0, atol=0)
    assert system.audio.fc_audioset.out_features == system.visual.stn.fc2.out_features == 8


def test_a_network_that_is_not_fine_tuned_keeps_its_own_last_layer(tmp_path):
    stn = SpatialTransformer(7, 4)
    torch.save(stn.state_dict(), tmp_path / "stn.pt")
    network = replace(NETWORK, embedding="posteriors", stn_labels=7)
    system = TransferRecipe(network=network, fine_tune=False, stn=tmp_path / "stn.pt").build()
    torch.testing.assert_close(system.visual.stn.fc2.weight, stn.fc2.weight, rtol=0, atol=0)
    with pytest.raises(ArgumentError, match="Set fine_tune=False"):
        TransferRecipe(network=network)


def test_the_loss_is_the_sum_of_the_stages():
    recipe = TransferRecipe(network=NETWORK)
    torch.manual_seed(0)
    system, batch, labels = recipe.build().eval(), batch_of(recipe), torch.tensor([0, 3, 3, 7])
    batch["visual_mask"][1, :4] = 0

    def mean_surprise(logits, of, weighted):
        logits, weight = logits.double(), (of != 0).double() * -0.5 + 1 if weighted else torch.ones(len(of)).double()
        chosen = (logits.exp() / logits.exp().sum(1, keepdim=True))[torch.arange(len(of)), of]
        return -(weight * chosen.log()).sum() / weight.sum()

    with torch.no_grad():
        found, logits = recipe.loss(system, batch, labels), system(batch)
        valid = batch["visual_mask"].bool()
        images = system.visual.stn(batch["faces"][valid], batch["saliency"][valid])
        expected = (
            mean_surprise(images, labels[valid.nonzero()[:, 0]], True)
            + mean_surprise(logits["probs_visual"], labels, True)
            + mean_surprise(logits["probs_audio"], labels, False)
            + mean_surprise(logits["probs_fused"], labels, False)
        )
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_no_gradient_crosses_from_one_stage_to_another():
    recipe = TransferRecipe(network=NETWORK)
    torch.manual_seed(0)
    system, batch, labels = undropped(recipe.build()).eval(), batch_of(recipe), torch.tensor([0, 3, 3, 7])
    recipe.loss(system, batch, labels).backward()
    together = {name: parameter.grad.clone() for name, parameter in system.named_parameters()}
    weights = torch.tensor([2.0] + [1.0] * 7)

    def assert_alone(prefix, loss):
        system.zero_grad()
        loss.backward()
        for name, parameter in system.named_parameters():
            if name.startswith(prefix):
                torch.testing.assert_close(parameter.grad, together[name], rtol=1e-4, atol=1e-7)

    mask = batch["visual_mask"]
    layers = embed_images(system.visual.stn, batch["faces"], batch["saliency"], mask)
    images = layers["logits"].flatten(0, 1)
    assert_alone("visual.", F.cross_entropy(images, labels.repeat_interleave(6), weights))
    assert_alone("audio.", F.cross_entropy(system.audio(batch["log_mel"]), labels))
    visual = system.head.sequence(layers["flatten810"].detach(), mask)
    assert_alone("head.sequence.", F.cross_entropy(visual, labels, weights))
    assert_alone("head.fusion.", F.cross_entropy(system(batch)["probs_fused"], labels))


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_reach_every_parameter_once_the_transformer_has_left_the_identity(name):
    small = {"stn_width": 4, "audio_width": 2, "image_slots": 6, "audio_columns": 100}
    recipe = TransferRecipe(network=replace(VARIANTS[name], **small, lstm_size=min(VARIANTS[name].lstm_size, 4)))
    torch.manual_seed(0)
    system = undropped(recipe.build()).train()
    nn.init.normal_(system.visual.stn.fc_loc[2].weight, std=0.1)
    recipe.loss(system, batch_of(recipe), torch.tensor([0, 3, 3, 7])).backward()
    assert {n for n, _ in system.named_parameters()} - reached(system) == set()


def test_what_is_frozen_learns_nothing_nor_renews_its_statistics():
    recipe = TransferRecipe(network=NETWORK, fine_tune=False, frozen_blocks=4)
    torch.manual_seed(0)
    system = undropped(recipe.build()).train()
    mean = system.visual.stn.norm.running_mean.clone()
    recipe.loss(system, batch_of(recipe), torch.tensor([0, 3, 3, 7])).backward()
    frozen = ("visual.", "audio.bn0", *(f"audio.conv_block{n}." for n in range(1, 5)))
    assert {n for n, _ in system.named_parameters()} - reached(system) == {
        n for n, _ in system.named_parameters() if n.startswith(frozen)
    }
    assert torch.equal(system.visual.stn.norm.running_mean, mean)


@pytest.mark.data
@pytest.mark.slow
def test_a_narrow_network_learns_real_clips_by_heart(composite_clips):
    network = replace(NETWORK, lstm_size=16, stn_width=10, audio_width=4, image_slots=4, audio_columns=160)
    recipe = TransferRecipe(network=network, speech_only=True)
    clips = composite_clips(recipe.faces)
    windows = [recipe.inputs(each, None) for each in clips]
    batch = {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}
    labels = torch.tensor([each.label for each in clips])
    torch.manual_seed(0)
    system = undropped(recipe.build())
    optimizer = torch.optim.Adam(system.parameters(), lr=5e-3)
    for step in range(1, 81):
        optimizer.zero_grad()
        recipe.loss(system.train(), batch, labels).backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.inference_mode():
                logits = system.eval()(batch)
            if all(torch.equal(output.argmax(1), labels) for output in logits.values()):
                break
    assert {name: (output.argmax(1) == labels).float().mean().item() for name, output in logits.items()} == {
        "probs_fused": 1.0,
        "probs_visual": 1.0,
        "probs_audio": 1.0,
    }
