"""Attention fusion: each equation by hand, each variant as the tables say, the parts equal to the whole."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from bundle.errors import ArgumentError
from networks.attention_fusion import (
    VARIANTS,
    AttentionFusion,
    AttentionFusionConfig,
    CrossModalAttention,
    SelfAttention,
    masked_mean,
)

TINY = AttentionFusionConfig(
    depth=18, visual_width=2, audio_width=2, channels=24, grid=4, snippets=3, images=4, size_px=48, labels=5
)  # whose conv5 is 2 x 2
SIZES = {field: getattr(TINY, field) for field in vars(TINY) if field not in ("attentions", "loss")}
TINY_VARIANTS = {name: replace(config, **SIZES) for name, config in VARIANTS.items()}


def batch_of(config=TINY, windows=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = config.size_px
    mask = torch.ones(windows, config.snippets)
    return {
        "snippets": 255 * torch.rand(windows, config.snippets, 3, config.images, size, size, generator=generator),
        "visual_mask": mask,
        "spectrograms": torch.randn(windows, config.snippets, 3, size, size, generator=generator),
        "audio_mask": mask.clone(),
    }


def tiny_network(config=TINY):
    """In evaluation mode, after its normalisation has seen a batch: no longer as it was made."""
    torch.manual_seed(0)
    network = AttentionFusion(config)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.inference_mode():
        network.train()(batch_of(config))
    return network.eval()


def softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def matrix(linear):
    """The W of `x W`, as the paper writes projections."""
    return linear.weight.detach().double().numpy().T


def features(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Eq. 1-6: self-attention


def attended_by_hand(attention, x):
    """Eq. 1-3 of one sample, head by head with the slices of the parameter matrices."""
    heads, width = attention.heads, x.shape[1] // attention.heads
    found = []
    for h in range(heads):
        columns = slice(h * width, (h + 1) * width)
        query, key, value = (x @ matrix(w)[:, columns] for w in (attention.query, attention.key, attention.value))
        found.append(softmax(query @ key.T / np.sqrt(width)) @ value)
    return np.concatenate(found, 1) @ matrix(attention.out)


def test_self_attention_is_equations_one_to_three():
    torch.manual_seed(0)
    attention, x = SelfAttention(12, 4, 7), features(2, 5, 12)
    with torch.inference_mode():
        found = attention(x)
    for sample, output in zip(x.double().numpy(), found, strict=True):
        np.testing.assert_allclose(output, attended_by_hand(attention, sample), atol=1e-5)


def test_rows_of_self_attention_sum_to_one():
    torch.manual_seed(0)
    weights = SelfAttention(12, 4, 7).weights(10 * features(2, 5, 12))
    assert weights.shape == (2, 4, 5, 5)
    torch.testing.assert_close(weights.sum(3), torch.ones(2, 4, 5))
    assert weights.min() >= 0


def test_self_attention_without_queries_is_the_mean_of_the_values():
    torch.manual_seed(0)
    attention, x = SelfAttention(12, 4, 7), features(2, 5, 12)
    nn.init.zeros_(attention.query.weight)
    expected = attention.out(attention.value(x).mean(1, keepdim=True)).expand(2, 5, 7)
    torch.testing.assert_close(attention(x), expected)


def test_self_attention_of_masked_positions_is_that_of_the_others():
    torch.manual_seed(0)
    attention, x = SelfAttention(12, 4, 7), features(2, 5, 12)
    x[:, 2] = 1e3
    kept = [0, 1, 3, 4]
    mask = torch.tensor([[1.0, 1, 0, 1, 1]]).expand(2, 5)
    torch.testing.assert_close(attention(x, mask)[:, kept], attention(x[:, kept]))
    torch.testing.assert_close(attention(x, torch.ones(2, 5)), attention(x), rtol=0, atol=0)


def test_visual_encoder_is_spatial_then_channel_attention_then_pooling():
    """Eq. 1-5: positions attend to positions, then feature maps to feature maps, then the mean over positions."""
    encoder = tiny_network().encoders["visual"]
    snippets = batch_of()["snippets"][0]
    with torch.inference_mode():
        maps = encoder.project(encoder.trunk(encoder.norm(snippets)).mean(2))
        assert maps.shape == (3, TINY.channels, 2, 2)
        maps = nn.functional.interpolate(maps, (4, 4), mode="bilinear").flatten(2).double().numpy()  # (N, m, s)
        found = encoder(snippets)
    for sample, output in zip(maps, found, strict=True):
        spatial = attended_by_hand(encoder.spatial, sample.T)  # Eq. 3, (s, m)
        channel = attended_by_hand(encoder.channel, spatial.T)  # Eq. 4-5, (m, s)
        np.testing.assert_allclose(output, channel.mean(1), atol=1e-5)


def test_temporal_attention_lets_snippets_see_each_other():
    """Eq. 6 over the N snippets: one of them changed, the attended features of all others change."""
    head = tiny_network().head
    x = features(1, 3, TINY.channels)
    changed = x.clone()
    changed[0, 1] += 1
    found, before = head.temporal["visual"](changed), head.temporal["visual"](x)
    assert ((found - before).abs().amax(2) > 1e-4).all()
    np.testing.assert_allclose(
        before[0].detach(), attended_by_hand(head.temporal["visual"], x[0].double().numpy()), atol=1e-5
    )


# Eq. 7-11: fusion


def fused_by_hand(cross, visual, audio):
    """Eq. 7-10 of one window: each column of Corr and of its transpose is normalised, and weighs the segments."""
    correlation = audio @ cross.weight.detach().double().numpy() @ visual.T
    found = {}
    for modality, x, scores in (("audio", audio, correlation), ("visual", visual, correlation.T)):
        attended = np.zeros_like(x)
        for column in range(len(x)):
            weights = np.exp(scores[:, column]) / np.exp(scores[:, column]).sum()
            attended[column] = sum(weight * row for weight, row in zip(weights, x, strict=True))
        found[modality] = np.tanh(x + attended)
    return found["visual"], found["audio"]


def test_cross_modal_attention_is_equations_seven_to_ten():
    torch.manual_seed(0)
    cross, visual, audio = CrossModalAttention(6), features(2, 4, 6), features(2, 4, 6, seed=2)
    found = cross(visual, torch.ones(2, 4), audio, torch.ones(2, 4))
    for n in range(2):
        expected = fused_by_hand(cross, visual[n].double().numpy(), audio[n].double().numpy())
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[n].detach(), other, atol=1e-5)


def test_rows_of_cross_modal_attention_sum_to_one():
    torch.manual_seed(0)
    cross, ones = CrossModalAttention(6), torch.ones(2, 4)
    for weights in cross.weights(3 * features(2, 4, 6), ones, 3 * features(2, 4, 6, seed=2), ones):
        torch.testing.assert_close(weights.sum(2), ones)
        assert weights.std() > 0.05


def test_without_correlation_each_modality_gets_its_own_mean():
    cross, visual, audio = CrossModalAttention(6), features(2, 4, 6), features(2, 4, 6, seed=2)
    nn.init.zeros_(cross.weight)
    found = cross(visual, torch.ones(2, 4), audio, torch.ones(2, 4))
    for one, x in zip(found, (visual, audio), strict=True):
        torch.testing.assert_close(one, torch.tanh(x + x.mean(1, keepdim=True)))


def test_embedding_is_the_visual_then_the_audio_mean_and_the_classifier_is_one_layer():
    """Eq. 11 and the dense layer, from the embeddings of a window on."""
    head = tiny_network().head
    visual, audio, ones = features(1, 3, TINY.channels), features(1, 3, TINY.features, seed=2), torch.ones(1, 3)
    attended = [
        attended_by_hand(head.temporal[m], x[0].double().numpy()) for m, x in (("visual", visual), ("audio", audio))
    ]
    expected = np.concatenate([x.mean(0) for x in fused_by_hand(head.cross, *attended)])
    with torch.inference_mode():
        found = head.embedding(visual, ones, audio, ones)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        logits = expected @ matrix(head.classifier) + head.classifier.bias.numpy()
        np.testing.assert_allclose(head(visual, ones, audio, ones)[0], logits, atol=1e-5)


def test_masked_mean_counts_valid_slots_only():
    x = torch.tensor([[[1.0, 2], [3, 4], [100, 100]], [[1, 1], [1, 1], [1, 1]]])
    found = masked_mean(x, torch.tensor([[1.0, 1, 0], [0, 0, 0]]))
    assert found.tolist() == [[2, 3], [0, 0]]


# The paper's sizes


def test_sizes_are_the_papers():
    with torch.device("meta"):
        network = AttentionFusion(AttentionFusionConfig())
        visual, head = network.encoders["visual"], network.head
        parts = network.parts()
        map_of_conv5 = visual.trunk(torch.empty(1, 3, 16, 224, 224))
    assert map_of_conv5.shape == (1, 2048, 1, 7, 7)  # the paper says 16 x 16 and 1024
    assert dict(parts["visual"].inputs) == {"snippet": (3, 16, 224, 224)}
    assert dict(parts["audio"].inputs) == {"spectrogram": (3, 224, 224)}
    assert dict(parts["visual"].outputs) == {"embedding": (1024,)}
    assert dict(parts["audio"].outputs) == {"embedding": (512,)}
    assert parts["head"].inputs["visual_embeddings"] == (6, 1024)
    assert parts["head"].inputs["audio_embeddings"] == (6, 512)
    assert dict(parts["head"].outputs) == {"probs_fused": (8,)}
    assert [part.runs for part in parts.values()] == ["snippet", "segment", "window"]

    def parameters(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert parameters(visual.spatial) == 4 * 1024**2  # W^Q, W^K, W^V of all heads, and W_0, Eq. 1-3
    assert parameters(visual.channel) == 4 * 256**2  # Eq. 4-5
    assert parameters(head.temporal["visual"]) == 3 * 1024**2 + 1024 * 512  # Eq. 6
    assert parameters(head.temporal["audio"]) == 4 * 512**2
    assert head.cross.weight.shape == (512, 512)  # Eq. 7
    assert parameters(head.classifier) == 1024 * 8 + 8
    assert {attention.heads for attention in network.modules() if isinstance(attention, SelfAttention)} == {8}


def test_matrices_of_attention_start_as_xavier_says():
    torch.manual_seed(0)
    found = AttentionFusion(replace(TINY, channels=64, audio_width=8))
    weights = [found.head.cross.weight] + [
        linear.weight for module in found.modules() if isinstance(module, SelfAttention) for linear in module.children()
    ]
    assert len(weights) == 17
    for weight in weights:
        limit = (6 / sum(weight.shape)) ** 0.5
        assert 0.9 * limit < weight.abs().max() <= limit


# Variants


EXPECTED_PIECES = {  # modules besides the encoders' trunks, by the row of the tables
    "AT+VS+VC+VT+emotion": {"spatial", "channel", "visual temporal", "audio temporal", "cross"},
    "AT+VS+VC+VT": {"spatial", "channel", "visual temporal", "audio temporal", "cross"},
    "VS+VC+VT": {"spatial", "channel", "visual temporal"},
    "VS+VC": {"spatial", "channel"},
    "VS": {"spatial"},
    "AT": {"audio temporal"},
    "AT+VS+VC+VT+softmax": {"spatial", "channel", "visual temporal", "audio temporal", "cross"},
}


def pieces(network):
    found = {f"{name} temporal" for name in network.head.temporal}
    if network.head.cross is not None:
        found.add("cross")
    if "visual" in network.encoders:
        visual = network.encoders["visual"]
        found |= {name for name in ("spatial", "channel") if isinstance(getattr(visual, name), SelfAttention)}
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_has_the_attentions_of_its_row(name):
    network = AttentionFusion(TINY_VARIANTS[name])
    assert pieces(network) == EXPECTED_PIECES[name]
    assert list(network.encoders) == (["visual"] if "VS" in name else []) + (["audio"] if "AT" in name else [])


def test_variants_are_the_rows_of_the_tables_and_differ_in_nothing_else():
    assert list(VARIANTS) == list(EXPECTED_PIECES)
    full = next(iter(VARIANTS.values()))
    assert full == AttentionFusionConfig()
    for name, config in VARIANTS.items():
        assert replace(config, attentions=full.attentions, loss=full.loss) == full
        assert config.loss == {"emotion": "emotion", "softmax": "none"}.get(name.split("+")[-1], "triplet")
        assert set(config.attentions) == set(name.split("+")) - {"emotion", "softmax"}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_learns_in_every_parameter(name):
    torch.manual_seed(0)
    config = TINY_VARIANTS[name]
    network = AttentionFusion(config)
    logits = network(batch_of(config))["probs_fused"]
    assert logits.shape == (3, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 2, 4])).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7]
    assert not without
    assert not [name for name, p in network.named_parameters() if not p.requires_grad]


@pytest.mark.parametrize(("removed", "kept"), [("VC", ("VS", "VT", "AT")), ("VS", ("VC", "VT", "AT"))])
def test_removing_an_attention_leaves_all_other_weights_as_they_were(removed, kept):
    names = {"VS": "encoders.visual.spatial", "VC": "encoders.visual.channel"}
    with torch.device("meta"):
        full = AttentionFusion(AttentionFusionConfig()).state_dict()
        less = AttentionFusion(AttentionFusionConfig(attentions=kept)).state_dict()
    assert {k: v.shape for k, v in less.items()} == {
        k: v.shape for k, v in full.items() if not k.startswith(names[removed])
    }


@pytest.mark.parametrize("attentions", [(), ("VS", "AT"), ("VX",)])
def test_attentions_that_do_not_make_a_network_are_rejected(attentions):
    with pytest.raises(ArgumentError, match="attentions are"):
        AttentionFusionConfig(attentions=attentions)


def test_unknown_loss_is_rejected():
    with pytest.raises(ArgumentError, match="loss is 'contrastive'; expected one of emotion, triplet, none"):
        AttentionFusionConfig(loss="contrastive")


@pytest.mark.parametrize("sizes", [{"grid": 7}, {"channels": 100}])
def test_sizes_that_eight_heads_cannot_share_are_rejected(sizes):
    with pytest.raises(ArgumentError, match="expected multiples of heads = 8"):
        AttentionFusionConfig(**sizes)


# Parts


def run_parts(network, batch):
    """Each chunk alone, as it arrives, then the head on what was cached."""
    window = {}
    parts = dict(network.parts())
    head = parts.pop("head")
    for name, part in parts.items():
        chunks = batch["snippets" if name == "visual" else "spectrograms"]
        embeddings = [torch.stack([part.module(chunk[None])[0] for chunk in chunks_of_one]) for chunks_of_one in chunks]
        window |= {f"{name}_embeddings": torch.stack(embeddings), f"{name}_mask": batch[f"{name}_mask"]}
    return head.module(*(window[name] for name in head.inputs))


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_equal_the_whole(name):
    network, batch = tiny_network(TINY_VARIANTS[name]), batch_of(TINY)
    batch["visual_mask"][0, 1] = batch["audio_mask"][0, 2] = 0
    with torch.inference_mode():
        whole = network(batch)
        assert list(whole) == ["probs_fused"]
        torch.testing.assert_close(run_parts(network, batch), whole["probs_fused"], atol=1e-5, rtol=0)
        assert whole["probs_fused"].std(0).max() > 1e-3


@pytest.mark.parametrize("slots", [[1], [0, 2]])
def test_chunks_in_masked_slots_have_no_influence(slots):
    network, batch = tiny_network(), batch_of()
    batch["visual_mask"][:, slots] = batch["audio_mask"][:, [(slot + 1) % 3 for slot in slots]] = 0
    garbage = dict(batch)
    for chunks, mask in (("snippets", "visual_mask"), ("spectrograms", "audio_mask")):
        garbage[chunks] = batch[chunks].clone()
        garbage[chunks][batch[mask] == 0] = 77
    with torch.inference_mode():
        torch.testing.assert_close(network(garbage), network(batch), atol=1e-6, rtol=0)


def test_a_window_without_anything_gives_finite_logits():
    network, batch = tiny_network(), batch_of()
    empty = batch | {name: torch.zeros_like(batch[name]) for name in ("visual_mask", "audio_mask")}
    with torch.inference_mode():
        assert network(empty)["probs_fused"].isfinite().all()


@pytest.mark.parametrize("name", ["AT+VS+VC+VT+emotion", "VS", "AT"])
def test_parts_run_as_onnx_of_opset_seventeen_at_any_batch(name, tmp_path):
    network = tiny_network(TINY_VARIANTS[name])
    for part_name, part in network.parts().items():
        path = tmp_path / f"{part_name}.onnx"
        example = tuple(torch.ones(2, *shape) for shape in part.inputs.values())
        with warnings.catch_warnings():  # this exporter is deprecated, but its successor cannot write opset 17
            warnings.simplefilter("ignore")
            torch.onnx.export(
                part.module, example, path, dynamo=False, opset_version=17,
                input_names=list(part.inputs), output_names=list(part.outputs),
                dynamic_axes={tensor: {0: "batch"} for tensor in (*part.inputs, *part.outputs)},
            )  # fmt: skip
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for batch in (1, 3):
            inputs = {tensor: features(batch, *shape) for tensor, shape in part.inputs.items()}
            inputs |= {tensor: (inputs[tensor] > -1).float() for tensor in inputs if tensor.endswith("mask")}
            found = session.run(None, {tensor: value.numpy() for tensor, value in inputs.items()})[0]
            with torch.inference_mode():
                expected = part.module(*inputs.values()).numpy()
            assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.slow  # a minute and 5.4 GB
def test_full_size_network_takes_a_forward_and_a_backward_step():
    torch.manual_seed(0)
    config = AttentionFusionConfig()
    network = AttentionFusion(config)
    logits = network(batch_of(config, windows=1))["probs_fused"]
    nn.functional.cross_entropy(logits, torch.tensor([3])).backward()
    assert logits.shape == (1, 8)
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0
