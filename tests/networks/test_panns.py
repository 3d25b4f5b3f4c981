"""CNN-14: the published network by name, shape and arithmetic, and what fine-tuning leaves alone."""

import math

import pytest
import torch
import torch.nn.functional as F

from bundle.errors import ArgumentError, ArtefactError
from networks.panns import PANNS_FRONT_END, Cnn14, SpecAugment
from networks.pretrained import load_pretrained

FRONT_END = {
    "spectrogram_extractor.stft.conv_real.weight": (257, 1, 512),
    "spectrogram_extractor.stft.conv_imag.weight": (257, 1, 512),
    "logmel_extractor.melW": (257, 64),
}
"""What a published 16-kHz checkpoint holds beside the network: n_fft 512, 64 mel bands."""


def norm(name, channels):
    vectors = {f"{name}.{kind}": (channels,) for kind in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def published_shapes(classes=527, width=64):
    """Names and shapes of Cnn14 in the authors' `models.py`, from Kong et al. 2020, Table I."""
    shapes = norm("bn0", 64)
    before = 1
    for block in range(1, 7):
        channels = width * 2 ** (block - 1)
        shapes[f"conv_block{block}.conv1.weight"] = (channels, before, 3, 3)
        shapes[f"conv_block{block}.conv2.weight"] = (channels, channels, 3, 3)
        shapes |= norm(f"conv_block{block}.bn1", channels) | norm(f"conv_block{block}.bn2", channels)
        before = channels
    shapes |= {"fc1.weight": (before, before), "fc1.bias": (before,)}
    return shapes | {"fc_audioset.weight": (classes, before), "fc_audioset.bias": (classes,)}


def checkpoint(classes=527, width=64):
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in (FRONT_END | published_shapes(classes, width)).items():
        if len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * (2 / math.prod(shape[1:])) ** 0.5
        else:  # variances too, so above 0
            state[name] = torch.rand(shape, generator=generator) + 0.5 if shape else torch.tensor(7)
    return state


def settled(network):
    """In evaluation mode, with weights as no initialisation leaves them."""
    network.load_state_dict({name: t for name, t in checkpoint(5, 2).items() if not name.startswith(PANNS_FRONT_END)})
    return network.eval()


def spectrograms(count=3, columns=70, seed=0):
    return torch.randn(count, 1, columns, 64, generator=torch.Generator().manual_seed(seed)) * 3 - 8


def test_parameters_are_the_81_million_of_the_paper():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Cnn14().parameters()) == 80_753_615  # Kong et al. 2020


def test_names_and_shapes_are_those_published():
    with torch.device("meta"):
        assert {name: tuple(t.shape) for name, t in Cnn14().state_dict().items()} == published_shapes()


def test_a_published_checkpoint_loads_by_key(tmp_path):
    torch.save({"model": checkpoint(width=2), "iteration": 600_000}, tmp_path / "cnn14.pth")
    network = Cnn14(width=2)
    load_pretrained(network, tmp_path / "cnn14.pth", drop=PANNS_FRONT_END, key="model")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, checkpoint(width=2)[name], rtol=0, atol=0)


def test_emotions_keep_their_own_last_layer(tmp_path):
    torch.save({"model": checkpoint(width=2)}, tmp_path / "cnn14.pth")
    network = Cnn14(8, width=2)
    last = network.fc_audioset.weight.clone()
    load_pretrained(network, tmp_path / "cnn14.pth", drop=(*PANNS_FRONT_END, "fc_audioset"), key="model")
    torch.testing.assert_close(network.fc_audioset.weight, last, rtol=0, atol=0)
    torch.testing.assert_close(network.fc1.weight, checkpoint(width=2)["fc1.weight"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bn0.bias"), "missing: bn0.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: extra"),
        (lambda state: state.update({"fc1.bias": torch.zeros(3)}), "of another shape: fc1.bias"),
    ],
    ids=["missing", "unexpected", "misshaped"],
)
def test_other_keys_are_named_and_nothing_is_loaded(tmp_path, change, message):
    state = checkpoint(width=2)
    change(state)
    torch.save({"model": state}, tmp_path / "cnn14.pth")
    network = Cnn14(width=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ArtefactError, match=message):
        load_pretrained(network, tmp_path / "cnn14.pth", drop=PANNS_FRONT_END, key="model")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("saved", [{"weights": {}}, {"model": {"a": print}}, [1, 2]], ids=str)
def test_what_is_no_state_dict_is_refused(tmp_path, saved):
    torch.save(saved, tmp_path / "cnn14.pth")
    with pytest.raises(ArtefactError, match="cannot be read as weights"):
        load_pretrained(Cnn14(width=2), tmp_path / "cnn14.pth", key="model")


def cnn14_by_definition(state, log_mel):
    """Kong et al. 2020: log-mel in dB, normalised by band; blocks and average pooling; maximum plus mean over time."""

    def normed(x, name, axis=1):
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        mean, variance, gain, shift = (
            state[f"{name}.{kind}"].double().view(shape) for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift

    x = normed(10 * log_mel.double() / torch.log(torch.tensor(10.0).double()), "bn0", axis=3)
    for block in range(1, 7):
        for layer in (1, 2):
            x = F.conv2d(x, state[f"conv_block{block}.conv{layer}.weight"].double(), padding=1)
            x = normed(x, f"conv_block{block}.bn{layer}").clamp_min(0)
        if block < 6:
            rows, columns = x.shape[2] // 2, x.shape[3] // 2
            x = x[:, :, : 2 * rows, : 2 * columns].unflatten(2, (rows, 2)).unflatten(4, (columns, 2)).mean((3, 5))
    x = x.mean(3)
    x = x.max(2).values + x.mean(2)
    return (x @ state["fc1.weight"].double().T + state["fc1.bias"]).clamp_min(0)


@pytest.mark.parametrize("columns", [32, 70, 100])
def test_embedding_and_logits_follow_the_definition(columns):
    network, inputs = settled(Cnn14(5, width=2)), spectrograms(columns=columns)
    state = network.state_dict()
    embedding = cnn14_by_definition(state, inputs)
    assert (embedding > 0).float().mean() > 0.2
    with torch.inference_mode():
        torch.testing.assert_close(network.embedding(inputs).double(), embedding, rtol=1e-4, atol=1e-4)
        logits = embedding @ state["fc_audioset.weight"].double().T + state["fc_audioset.bias"]
        torch.testing.assert_close(network(inputs).double(), logits, rtol=1e-4, atol=1e-4)


def test_embedding_has_32_times_the_width():
    network = settled(Cnn14(5, width=2))
    with torch.inference_mode():
        assert network.embedding(spectrograms()).shape == (3, network.embedding_size) == (3, 64)


def test_recordings_of_a_batch_do_not_mix():
    network, inputs = settled(Cnn14(5, width=2)), spectrograms()
    with torch.inference_mode():
        torch.testing.assert_close(network(inputs)[1], network(inputs[1:2])[0], rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter():
    network = Cnn14(5, width=2).train()
    F.cross_entropy(network(spectrograms()), torch.tensor([0, 2, 4])).backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached


@pytest.mark.parametrize("blocks", [0, 2, 6])
def test_frozen_blocks_neither_learn_nor_renew_their_statistics(blocks):
    network = Cnn14(5, width=2)
    network.freeze(blocks)
    before = {name: buffer.clone() for name, buffer in network.named_buffers() if name.endswith("running_mean")}
    F.cross_entropy(network.train()(spectrograms()), torch.tensor([0, 2, 4])).backward()
    frozen = tuple(f"conv_block{n}." for n in range(1, blocks + 1)) + (("bn0.",) if blocks else ())
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen)
    for name, buffer in before.items():
        assert torch.equal(network.get_buffer(name), buffer) == name.startswith(frozen)


@pytest.mark.parametrize("blocks", [-1, 7])
def test_blocks_that_are_not_there_cannot_be_frozen(blocks):
    with pytest.raises(ArgumentError, match=f"{blocks} blocks are to be frozen; expected 0..6"):
        Cnn14(5, width=2).freeze(blocks)


def test_dropout_is_0_2_after_blocks_and_0_5_around_fc1():
    """As the authors' `models.py`; seen in training as how much of each tensor is 0."""
    torch.manual_seed(0)
    network, zeros = Cnn14(5, width=8).train(), {}
    for name, module in {"blocks": network.block_dropout, "fc1": network.dropout}.items():
        module.register_forward_hook(
            lambda _, given, out, name=name: zeros.setdefault(name, []).append(
                (out[given[0] != 0] == 0).float().mean().item()
            )
        )
    network(spectrograms(8))
    assert {name: len(shares) for name, shares in zeros.items()} == {"blocks": 6, "fc1": 2}
    assert zeros["blocks"] == pytest.approx([0.2] * 6, abs=0.05)
    assert zeros["fc1"] == pytest.approx([0.5] * 2, abs=0.05)


def test_stripes_are_blanked_in_normalised_spectrograms():
    network, seen = Cnn14(5, width=2).train(), []
    network.spec_augment.register_forward_hook(lambda _, given, out: seen.extend((*given, out)))
    network(spectrograms())
    before, after = seen
    torch.testing.assert_close(before.mean((0, 1, 2)), torch.zeros(64), rtol=0, atol=1e-4)
    assert (after == 0).any()
    torch.testing.assert_close(after[after != 0], before[after != 0])


def test_spec_augment_blanks_two_stripes_of_time_and_of_bands_in_training_only():
    torch.manual_seed(0)
    augment, ones = SpecAugment(), torch.ones(200, 1, 300, 64)
    assert torch.equal(augment.eval()(ones), ones)
    found = augment.train()(ones)[:, 0] == 0
    for axis, longest in ((2, 64), (1, 8)):
        blank = found.all(axis)  # columns, then bands, that hold nothing
        starts = (blank[:, 1:] & ~blank[:, :-1]).sum(1) + blank[:, 0]
        assert starts.max() <= 2
        assert 0 < blank.sum(1).max() <= 2 * (longest - 1)
        assert blank.sum(1).float().mean() == pytest.approx(longest - 1, rel=0.15)  # two of half that, few overlap
    assert torch.equal(found, found.all(1, keepdim=True) | found.all(2, keepdim=True))
    assert len(found.flatten(1).unique(dim=0)) > 190  # each recording its own


def test_the_full_network_learns_from_a_step():
    torch.manual_seed(0)
    network = Cnn14(8).train()
    weight = network.conv_block1.conv1.weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    F.cross_entropy(network(spectrograms(2, 64)), torch.tensor([0, 7])).backward()
    optimizer.step()
    assert not torch.equal(network.conv_block1.conv1.weight, weight)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
