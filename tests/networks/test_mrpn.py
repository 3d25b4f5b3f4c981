"""MRPN: small enough, the same in parts as in whole, and blind to what the masks exclude."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from bundle.errors import ArgumentError
from bundle.features import (
    AUDIO_EMBEDDINGS,
    AUDIO_MASK,
    EMBEDDING,
    FACE,
    PROBS,
    PROBS_FUSED,
    SPECTROGRAM,
    VISUAL_EMBEDDINGS,
    VISUAL_MASK,
    AudioSpec,
    VideoSpec,
    WindowSpec,
)
from networks.mrpn import VARIANTS, Modality, Mrpn, MrpnConfig, MrpnHead, ResidualPerceptron, encode_valid
from networks.resnet import ResNet18
from training.losses import multi_term_error, multi_term_loss

TINY = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=8, hidden_size=5)
REDUCED = {
    name: replace(
        config, visual_width=2, audio_width=2, aggregate_size=8, hidden_size=5, face_shape=(1, 48, 48),
        segment_shape=(1, 64, 100),
    )
    for name, config in VARIANTS.items()
}  # fmt: skip
"""Each variant in small, on small chunks."""

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
    return multi_term_loss(network(batch).values(), torch.tensor([0, 3, 7]))


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
    for part, output in zip(parts, whole.values(), strict=True):
        torch.testing.assert_close(part, output, atol=1e-5, rtol=0)
        assert output.shape == (3, TINY.labels)


@pytest.mark.parametrize("value", [1e6, -3.0])
def test_chunks_in_masked_slots_have_no_influence(value):
    network, batch = tiny_network(), batch_of()
    garbage = dict(batch)
    garbage["faces"] = masked_with(batch["faces"], batch["visual_mask"], value)
    garbage["segments"] = masked_with(batch["segments"], batch["audio_mask"], value)
    with torch.inference_mode():
        torch.testing.assert_close(network(garbage), network(batch), atol=0, rtol=0)


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
    other = "audio" if name == "visual" else "visual"
    with torch.inference_mode():
        expected = network(batch)
        for slot in batch[f"{name}_mask"][0].nonzero()[:, 0].tolist():
            changed = batch | {chunks: batch[chunks].clone()}
            changed[chunks][0, slot] = torch.linspace(-3, 3, changed[chunks].shape[-1])
            found = network(changed)
            for output in (PROBS_FUSED, f"probs_{name}"):
                assert (found[output] - expected[output]).abs().max() > 1e-6
            torch.testing.assert_close(found[f"probs_{other}"], expected[f"probs_{other}"], atol=0, rtol=0)


def test_windows_of_a_batch_do_not_mix():
    network, batch = tiny_network(), batch_of()
    with torch.inference_mode():
        together = network(batch)
        alone = [network({name: tensor[n : n + 1] for name, tensor in batch.items()}) for n in range(3)]
    for n, outputs in enumerate(alone):
        for name, output in outputs.items():
            torch.testing.assert_close(output[0], together[name][n], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["visual", "audio"])
def test_a_branch_alone_gives_its_logits(name):
    network, batch = tiny_network(), batch_of()
    with torch.inference_mode():
        torch.testing.assert_close(network.branch_logits(name, batch), network(batch)[f"probs_{name}"], atol=0, rtol=0)


def test_an_empty_window_gives_finite_logits():
    network, batch = tiny_network(), batch_of()
    empty = batch | {name: torch.zeros_like(batch[name]) for name in ("visual_mask", "audio_mask")}
    with torch.inference_mode():
        for logits in network(empty).values():
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


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_go_back_to_their_slots_in_float32(training):
    mask = torch.tensor([[0.0, 1, 0], [1, 1, 0]])
    chunks = torch.arange(6.0).reshape(2, 3, 1, 1, 1).expand(2, 3, 1, 2, 2)
    encoder = nn.Sequential(nn.AvgPool2d(2), nn.Flatten()).train(training)
    found = encode_valid(encoder, chunks, mask)
    assert found[..., 0].tolist() == [[0, 1, 0], [3, 4, 0]]
    assert found.dtype == torch.float32


def grads(network, batch):
    loss_of(network, batch).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    return {n: 0.0 if p.grad is None else float(p.grad.abs().max()) for n, p in network.named_parameters()}


def idle_by_definition(config):
    """What only moves features that a normalisation then brings back: no loss can depend on it."""
    kinds = {"n0": ["feature_norm.{}.bias"], "n1": [], "n2": ["perceptron.{}.norm.bias"]}
    idle = kinds[config.fusion] + ["aggregator.{}.output_norm.bias"] * (config.aggregator == "transformer")
    return {f"head.{kind.format(m)}" for kind in idle for m in config.modalities}


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "n0-late"])
def test_gradients_reach_every_parameter_that_can_learn(name):
    network = tiny_network(REDUCED[name]).train()
    network.head.double()  # so that rounding reaches nothing
    network.head.register_forward_pre_hook(lambda module, window: tuple(tensor.double() for tensor in window))
    unreached = {name for name, size in grads(network, batch_of()).items() if size < 1e-12}
    assert unreached == idle_by_definition(network.config)


def test_gradients_of_late_fusion_reach_the_fusion_component_only():
    network = tiny_network(REDUCED["n0-late"]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    reached = {name for name, size in grads(network, batch_of()).items() if size > 0}
    assert reached == {name for name, _ in network.named_parameters() if name.startswith("head.fusion")}
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in changed} == {"fusion_norm", "fusion"}  # running statistics of no other


def test_gradients_spare_a_frozen_visual_encoder_only():
    network = tiny_network().train()
    network.visual.requires_grad_(False)
    unreached = {name for name, size in grads(network, batch_of()).items() if not size > 0}
    assert unreached >= {f"visual.{name}" for name, _ in network.visual.named_parameters()}
    assert unreached <= {n for n, _ in network.named_parameters() if n.startswith("visual.")} | idle_by_definition(TINY)


def test_sizes_follow_the_configuration():
    config = MrpnConfig(labels=6, visual_width=2, audio_width=3, aggregate_size=4, hidden_size=3)
    network = tiny_network(config=config)
    assert (network.visual.embedding_size, network.audio.embedding_size) == (16, 24)
    with torch.inference_mode():
        assert [tuple(logits.shape) for logits in network(batch_of()).values()] == [(3, 6)] * 3


def test_default_parts_bear_the_names_and_shapes_of_the_default_specs():
    parts, window = Mrpn(MrpnConfig()).parts(), WindowSpec()
    assert [(name, part.runs) for name, part in parts.items()] == [
        ("visual", "image"), ("audio", "segment"), ("head", "window"),
    ]  # fmt: skip
    assert parts["visual"].inputs == {FACE: VideoSpec().shape}
    assert parts["audio"].inputs == {SPECTROGRAM: AudioSpec().shape}
    images, segments = window.image_slots, window.segment_slots(AudioSpec())
    assert list(parts["head"].inputs.items()) == [
        (VISUAL_EMBEDDINGS, (images, 128)), (VISUAL_MASK, (images,)),
        (AUDIO_EMBEDDINGS, (segments, 128)), (AUDIO_MASK, (segments,)),
    ]  # fmt: skip
    assert tuple(parts["head"].outputs) == PROBS


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_equals_its_parts(name):
    network, batch = tiny_network(REDUCED[name]), batch_of()
    parts = network.parts()
    *encoders, head = parts
    with torch.inference_mode():
        window = []
        for encoder in encoders:
            chunks, mask = batch[network.modalities[encoder].chunks], batch[f"{encoder}_mask"]
            encoded = parts[encoder].module(chunks.flatten(0, 1)).unflatten(0, mask.shape)
            assert encoded.shape[2:] == parts[encoder].outputs[EMBEDDING]
            window += [encoded, mask]
        found = dict(zip(parts[head].outputs, parts[head].module(*window), strict=True))
        torch.testing.assert_close(found, network(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variants_configuration_survives_a_checkpoint(name, tmp_path):
    torch.save(asdict(VARIANTS[name]), tmp_path / "config.pt")
    assert MrpnConfig(**torch.load(tmp_path / "config.pt", weights_only=True)) == VARIANTS[name]


def test_checkpoints_of_the_default_bundles_training_still_load():
    fields = {"labels": 8, "visual_width": 16, "audio_width": 16, "aggregate_size": 96, "hidden_size": 64}
    network = Mrpn(MrpnConfig(**fields, dropout=0.3))
    keys = set(network.state_dict())
    assert sum(p.numel() for p in network.parameters()) == 1_608_952
    assert {"visual.conv1.weight", "audio.layer4.1.bn2.running_var", "head.aggregator.visual.lstm.weight_ih_l0",
            "head.perceptron.audio.dense.weight", "head.branch.visual.1.bias", "head.fusion.4.weight",
            "head.fusion_norm.running_mean", "head.aggregator.audio.norm.weight"} <= keys  # fmt: skip


@pytest.mark.parametrize("name", ["full", "n2", "n1", "n0", "n0-late"])
def test_paper_size_networks_have_two_published_resnets(name):
    with torch.device("meta"):
        network = Mrpn(VARIANTS[name])
    stem = 64 * 2 * 7 * 7  # one input channel instead of three
    for modality in network.modalities.values():
        assert sum(p.numel() for p in modality.encoder.parameters()) == 11_689_512 - 513_000 - stem
        assert modality.embedding_size == 512
    parts = network.parts()
    assert parts["visual"].inputs == {FACE: (1, 224, 224)}
    assert parts["audio"].inputs == {SPECTROGRAM: (1, 256, 250)}
    assert AudioSpec(hop_length=64, output="logmag").shape == (1, 256, 250)


def test_n0_and_n1_are_one_network_at_test_time():
    n0, n1 = tiny_network(REDUCED["n0"]), tiny_network(REDUCED["n1"])
    shared = {name: value for name, value in n1.state_dict().items() if ".branch." not in name}
    n0.load_state_dict(shared)
    with torch.inference_mode():
        torch.testing.assert_close(n0(batch_of())[PROBS_FUSED], n1(batch_of())[PROBS_FUSED], atol=0, rtol=0)
    assert list(n0(batch_of())) == [PROBS_FUSED]


@pytest.mark.parametrize("fusion", ["n1", "n2"])
def test_head_is_equation_eight_or_nine(fusion):
    config = replace(TINY, fusion=fusion)
    torch.manual_seed(0)
    head = MrpnHead({"visual": 4, "audio": 6}, config).eval()
    for name, buffer in head.named_buffers():
        if "running" in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    window = torch.randn(2, 3, 4), torch.ones(2, 3), torch.randn(2, 5, 6), torch.ones(2, 5)

    def normalised(norm, x):
        return (x - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias

    normal, fused, branches = {}, [], []
    for number, name in enumerate(("visual", "audio")):
        f = head.aggregator[name](*window[2 * number : 2 * number + 2])
        normal[name] = normalised(head.feature_norm[name], f)
        branches.append(normal[name] @ head.branch[name][1].weight.T + head.branch[name][1].bias)
        if fusion == "n2":
            perceptron = head.perceptron[name]
            sigmoid = 1 / (1 + torch.exp(-(normal[name] @ perceptron.dense.weight.T + perceptron.dense.bias)))
            normal[name] = normal[name] + normalised(perceptron.norm, sigmoid)
        fused.append(normal[name])
    g = normalised(head.fusion_norm, torch.cat(fused, 1))
    _, dense, _, norm, last = head.fusion
    hidden = normalised(norm, (g @ dense.weight.T + dense.bias).clamp(min=0))
    expected = [hidden @ last.weight.T + last.bias, *branches]
    torch.testing.assert_close(list(head(*window)), expected, atol=1e-5, rtol=1e-5)


class Pulse(nn.Module):
    """Encodes one second of a signal that is neither seen nor heard."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(30, 4)

    def forward(self, x):
        return torch.tanh(self.dense(x))


def modalities(count):
    known = {
        "visual": Modality(FACE, "faces", (1, 48, 48), IMAGES, "image", ResNet18(1, 2, small_input=True), 16),
        "audio": Modality(
            SPECTROGRAM, "segments", (1, 64, 100), SEGMENTS, "segment", ResNet18(1, 2, small_input=True), 16
        ),
        "pulse": Modality("beat", "beats", (30,), 4, "window", Pulse(), 4),
    }
    return dict([*known.items()][:count])


@pytest.mark.parametrize("fusion", ["n0", "n1", "n2"])
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_modalities_classifies_or_regresses(count, task, fusion):
    torch.manual_seed(0)
    config = replace(TINY, labels=2, task=task, fusion=fusion, aggregator="transformer")
    network = Mrpn(config, modalities(count)).train()
    batch = batch_of() | {"beats": torch.randn(3, 4, 30), "pulse_mask": torch.ones(3, 4)}
    outputs = network(batch)
    kind = "probs" if task == "classification" else "values"
    names = ["fused", *(list(modalities(count)) if fusion != "n0" else [])]
    assert list(outputs) == [f"{kind}_{name}" for name in names] == list(network.parts()["head"].outputs)
    assert all(output.shape == (3, 2) for output in outputs.values())
    if task == "classification":
        loss = multi_term_loss(outputs.values(), torch.tensor([0, 1, 1]))
    else:
        loss = multi_term_error(outputs.values(), torch.randn(3, 2))
    loss.backward()
    for modality in network.modalities.values():
        assert all(p.grad.abs().sum() > 0 for p in modality.encoder.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fusion": "n3"}, "fusion is 'n3'"),
        ({"aggregator": "gru"}, "aggregator is 'gru'"),
        ({"task": "ranking"}, "task is 'ranking'"),
        ({"aggregator": "transformer", "aggregate_size": 6}, "multiple of 4"),
        ({"modalities": ("visual", "text")}, "modalities are"),
        ({"modalities": ()}, "modalities are"),
        ({"modalities": ("visual", "visual")}, "modalities are"),
        ({"modalities": ("audio", "visual")}, "in this order"),
        ({"visual_width": 0}, "visual_width is 0; expected 1 or more"),
    ],
)
def test_an_impossible_configuration_is_refused(change, said):
    with pytest.raises(ArgumentError, match=said):
        MrpnConfig(**change)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_full_size_step(name):
    config = VARIANTS[name]
    torch.manual_seed(0)
    network = Mrpn(config).train()
    batch = {
        "faces": torch.randn(2, 2, *config.face_shape),
        "visual_mask": torch.ones(2, 2),
        "segments": torch.randn(2, 2, *config.segment_shape),
        "audio_mask": torch.ones(2, 2),
    }
    loss = multi_term_loss(network(batch).values(), torch.tensor([1, 2]))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)
