"""MRPN: small enough, the same in parts as in whole, and blind to what the masks exclude."""

import numpy as np
import pytest
import torch
from torch import nn

from networks.mrpn import Mrpn, MrpnConfig, ResidualPerceptron, SequenceAggregator, encode_valid

TINY = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=6, hidden_size=5)
IMAGES, SEGMENTS = 7, 5


def batch_of(windows=3, seed=0):
    """Windows of which each lacks some slots, at least one of each modality."""
    generator = torch.Generator().manual_seed(seed)

    def mask(slots):
        valid = (torch.rand(windows, slots, generator=generator) < 0.6).float()
        valid[:, 0], valid[:, -1] = 0, 1
        return valid

    return {
        "faces": torch.randn(windows, IMAGES, 1, 48, 48, generator=generator),
        "visual_mask": mask(IMAGES),
        "segments": torch.randn(windows, SEGMENTS, 1, 64, 100, generator=generator),
        "audio_mask": mask(SEGMENTS),
    }


def tiny_network(config=TINY):
    """In evaluation mode, after its normalisation has seen a batch: no longer as it was made."""
    torch.manual_seed(0)
    network = Mrpn(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the heads' see three windows only: too few to rely on
    with torch.inference_mode():
        network.train()(batch_of())
    return network.eval()


def masked_with(tensor, mask, value):
    return torch.where(mask.bool().reshape(*mask.shape, *[1] * (tensor.ndim - 2)), tensor, torch.tensor(value))


def loss_of(network, batch):
    return sum(nn.functional.cross_entropy(logits, torch.tensor([0, 3, 7])) for logits in network(batch))


def test_default_network_is_slim():
    assert sum(parameter.numel() for parameter in Mrpn(MrpnConfig()).parameters()) < 2_000_000


def test_parts_equal_the_whole():
    network, batch = tiny_network(), batch_of()
    with torch.inference_mode():
        whole = network(batch)
        embeddings = {}
        for name, encoder, chunks in (
            ("visual", network.visual, batch["faces"]),
            ("audio", network.audio, batch["segments"]),
        ):
            embeddings[name] = torch.zeros(*chunks.shape[:2], encoder.embedding_size)
            for window, slot in batch[f"{name}_mask"].nonzero().tolist():  # each chunk when it arrives, alone
                embeddings[name][window, slot] = encoder(chunks[window, slot][None])[0]
        parts = network.head(embeddings["visual"], batch["visual_mask"], embeddings["audio"], batch["audio_mask"])
    for part, output in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, output, atol=1e-5, rtol=0)
        assert output.shape == (3, TINY.labels)


@pytest.mark.parametrize("value", [1e6, -3.0])
def test_chunks_in_masked_slots_have_no_influence(value):
    network, batch = tiny_network(), batch_of()
    garbage = dict(batch)
    garbage["faces"] = masked_with(batch["faces"], batch["visual_mask"], value)
    garbage["segments"] = masked_with(batch["segments"], batch["audio_mask"], value)
    with torch.inference_mode():
        for found, expected in zip(network(garbage), network(batch), strict=True):
            torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize("value", [1e6, -3.0])
def test_embeddings_in_masked_slots_have_no_influence(value):
    network, batch = tiny_network(), batch_of()
    generator = torch.Generator().manual_seed(1)
    visual, audio = (torch.randn(3, slots, 16, generator=generator) for slots in (IMAGES, SEGMENTS))
    masks = batch["visual_mask"], batch["audio_mask"]
    with torch.inference_mode():
        expected = network.head(visual, masks[0], audio, masks[1])
        garbage = masked_with(visual, masks[0], value), masked_with(audio, masks[1], value)
        found = network.head(garbage[0], masks[0], garbage[1], masks[1])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["visual", "audio"])
def test_each_valid_slot_has_an_influence(name):
    network, batch = tiny_network(), batch_of(1)
    chunks = "faces" if name == "visual" else "segments"
    branch = 1 if name == "visual" else 2
    with torch.inference_mode():
        expected = network(batch)
        for slot in batch[f"{name}_mask"][0].nonzero()[:, 0].tolist():
            changed = batch | {chunks: batch[chunks].clone()}
            changed[chunks][0, slot] = torch.linspace(-3, 3, changed[chunks].shape[-1])
            found = network(changed)
            for output in (0, branch):
                assert (found[output] - expected[output]).abs().max() > 1e-6
            torch.testing.assert_close(found[3 - branch], expected[3 - branch], atol=0, rtol=0)  # the other branch


def test_windows_of_a_batch_do_not_mix():
    network, batch = tiny_network(), batch_of()
    with torch.inference_mode():
        together = network(batch)
        alone = [network({name: tensor[n : n + 1] for name, tensor in batch.items()}) for n in range(3)]
    for n, outputs in enumerate(alone):
        for output, expected in zip(outputs, together, strict=True):
            torch.testing.assert_close(output[0], expected[n], atol=1e-5, rtol=1e-5)


def test_audio_branch_alone_gives_the_audio_logits():
    network, batch = tiny_network(), batch_of()
    with torch.inference_mode():
        torch.testing.assert_close(network.audio_logits(batch), network(batch)[2], atol=0, rtol=0)


def test_an_empty_window_gives_finite_logits():
    network, batch = tiny_network(), batch_of()
    empty = batch | {name: torch.zeros_like(batch[name]) for name in ("visual_mask", "audio_mask")}
    with torch.inference_mode():
        for logits in network(empty):
            assert logits.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_residual_perceptron_is_equation_six(training):
    torch.manual_seed(0)
    perceptron = ResidualPerceptron(6).train(training)
    for tensor in (perceptron.norm.weight, perceptron.norm.bias, perceptron.norm.running_mean):
        nn.init.uniform_(tensor, 0.2, 1.0)
    norm, dense = perceptron.norm, perceptron.dense
    weight, bias, gain, shift, mean, variance = (
        tensor.detach().double().numpy().copy()
        for tensor in (dense.weight, dense.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    features = np.random.default_rng(0).normal(size=(4, 6))
    scores = 1 / (1 + np.exp(-(features @ weight.T + bias)))
    if training:
        mean, variance = scores.mean(0), scores.var(0)
    expected = features + (scores - mean) / np.sqrt(variance + norm.eps) * gain + shift
    found = perceptron(torch.tensor(features, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_aggregator_is_the_mean_of_lstm_outputs_over_valid_slots():
    torch.manual_seed(0)
    aggregator = SequenceAggregator(4, 3).eval()
    cell = nn.LSTMCell(5, 3)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in aggregator.lstm.state_dict().items()})
    embeddings, mask = torch.randn(1, 6, 4), torch.tensor([[0.0, 1, 1, 0, 0, 1]])
    state, outputs = None, []
    for vector, valid in zip(embeddings[0], mask[0], strict=True):
        seen = (vector - vector.mean()) / torch.sqrt(vector.var(correction=0) + aggregator.norm.eps)
        state = cell(torch.cat((seen * valid, valid[None]))[None], state)
        outputs += [state[0]] if valid else []
    torch.testing.assert_close(aggregator(embeddings, mask), torch.stack(outputs).mean(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_go_back_to_their_slots_in_float32(training):
    mask = torch.tensor([[0.0, 1, 0], [1, 1, 0]])
    chunks = torch.arange(6.0).reshape(2, 3, 1, 1, 1).expand(2, 3, 1, 2, 2)
    encoder = nn.Sequential(nn.AvgPool2d(2), nn.Flatten()).train(training)
    found = encode_valid(encoder, chunks, mask)
    assert found[..., 0].tolist() == [[0, 1, 0], [3, 4, 0]]
    assert found.dtype == torch.float32


def test_gradients_reach_every_parameter():
    network = tiny_network().train()
    loss_of(network, batch_of()).backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_gradients_spare_a_frozen_visual_encoder_only():
    network = tiny_network().train()
    network.visual.requires_grad_(False)
    loss_of(network, batch_of()).backward()
    unreached = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert unreached == {f"visual.{name}" for name, _ in network.visual.named_parameters()}


def test_sizes_follow_the_configuration():
    config = MrpnConfig(labels=6, visual_width=2, audio_width=3, aggregate_size=4, hidden_size=3)
    network = tiny_network(config=config)
    assert (network.visual.embedding_size, network.audio.embedding_size) == (16, 24)
    with torch.inference_mode():
        assert [tuple(logits.shape) for logits in network(batch_of())] == [(3, 6)] * 3
