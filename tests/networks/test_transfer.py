"""The transfer-learning system: Table A1 layer by layer, each equation, and the same in parts as in whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bundle.errors import ArgumentError
from bundle.features import PROBS
from networks.pretrained import load_pretrained
from networks.transfer import (
    VARIANTS,
    MaxVoting,
    SelfAttention,
    SequenceModel,
    SpatialTransformer,
    Transfer,
    TransferConfig,
    TransferHead,
    embed_images,
)

SLOTS, COLUMNS = 7, 64
SMALL = {"stn_width": 2, "audio_width": 2, "image_slots": SLOTS, "audio_columns": COLUMNS}
TINY = TransferConfig(lstm_size=3, **SMALL)

TABLE_A1 = {  # layer of the network, output size (height, width, depth) of Table A1
    "localization.0": (42, 42, 8),
    "localization.1": (21, 21, 8),
    "localization.3": (17, 17, 10),
    "localization.4": (8, 8, 10),
    "fc_loc.0": (32,),
    "fc_loc.2": (6,),
    "conv1": (46, 46, 10),
    "conv2": (44, 44, 10),
    "conv3": (20, 20, 10),
    "conv4": (18, 18, 10),
    "norm": (18, 18, 10),
    "dropout": (9, 9, 10),
    "fc1": (50,),
    "fc2": (8,),
}


def variants():
    """Each variant, as narrow as may be."""
    return {n: replace(c, **SMALL, lstm_size=min(c.lstm_size, 3)) for n, c in VARIANTS.items()}


def batch_of(windows=3, seed=0):
    """Windows of which each lacks some images."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(windows, SLOTS, generator=generator) < 0.6).float()
    mask[:, 0], mask[:, -1] = 0, 1
    return {
        "faces": torch.rand(windows, SLOTS, 1, 48, 48, generator=generator) * 2 - 1,
        "saliency": torch.rand(windows, SLOTS, 1, 48, 48, generator=generator) * 2 - 1,
        "visual_mask": mask,
        "log_mel": torch.randn(windows, 1, COLUMNS, 64, generator=generator) * 3 - 8,
    }


def settled(network, batch=None):
    """In evaluation mode, each parameter moved, after its normalisation has seen a batch: no longer as it was made."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        network.train()(batch if batch is not None else batch_of())
    return network.eval()


def system(config=TINY):
    torch.manual_seed(0)
    return settled(Transfer(config))


def images(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, count, 1, 48, 48, generator=generator) * 2 - 1


def test_layers_have_the_sizes_of_table_a1():
    network, sizes = SpatialTransformer().eval(), {}
    for name in TABLE_A1:
        network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: sizes.update({name: out.shape}))
    with torch.inference_mode():
        layers = network.layers(*images(1))
    channels_last = {name: (*s[2:], s[1]) if len(s) == 4 else tuple(s[1:]) for name, s in sizes.items()}
    assert channels_last == TABLE_A1
    assert {name: layer.shape[1] for name, layer in layers.items()} == {
        "flatten810": 810,
        "fc50": 50,
        "logits": 8,
        "posteriors": 8,
    }


def test_layers_follow_table_a1():
    """Row by row, on the image as it is: the localization network still says the identity."""
    torch.manual_seed(0)
    network = SpatialTransformer().eval()
    for tensor in (network.norm.running_mean, network.norm.weight, network.norm.bias):
        nn.init.normal_(tensor)  # where the gain is negative, pooling first would be another network
    nn.init.uniform_(network.norm.running_var, 0.01, 0.1)
    state, (faces, saliency) = network.state_dict(), images()

    def convolved(x, name):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = convolved(faces, "conv1").clamp_min(0)
    x = F.max_pool2d(convolved(x, "conv2"), 2).clamp_min(0)
    x = convolved(convolved(x, "conv3").clamp_min(0), "conv4")
    mean, variance, gain, shift = (
        state[f"norm.{kind}"].view(-1, 1, 1) for kind in ("running_mean", "running_var", "weight", "bias")
    )
    flat = F.max_pool2d((x - mean) / torch.sqrt(variance + 1e-5) * gain + shift, 2).clamp_min(0).flatten(1)
    fc50 = (flat @ state["fc1.weight"].T + state["fc1.bias"]).clamp_min(0)
    logits = fc50 @ state["fc2.weight"].T + state["fc2.bias"]
    x = F.max_pool2d(convolved(saliency, "localization.0"), 2).clamp_min(0)
    x = F.max_pool2d(convolved(x, "localization.3"), 2).clamp_min(0).flatten(1)
    x = (x @ state["fc_loc.0.weight"].T + state["fc_loc.0.bias"]).clamp_min(0)
    with torch.inference_mode():
        layers = network.layers(faces, saliency)
        for name, expected in {"flatten810": flat, "fc50": fc50, "logits": logits}.items():
            torch.testing.assert_close(layers[name], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layers["posteriors"], logits.exp() / logits.exp().sum(1, keepdim=True))
        torch.testing.assert_close(network.fc_loc[:2](network.localization(saliency).flatten(1)), x)
    assert (network.dropout.p, (fc50 > 0).any().item(), (x > 0).any().item()) == (0.5, True, True)


def test_parameters_are_those_that_table_a1_implies():
    localization = (49 + 1) * 8 + (25 * 8 + 1) * 10 + (640 + 1) * 32 + (32 + 1) * 6
    convolutions = (9 + 1) * 10 + 3 * (9 * 10 + 1) * 10 + 2 * 10  # the last for batch normalisation
    found = sum(parameter.numel() for parameter in SpatialTransformer().parameters())
    assert found == localization + convolutions + (810 + 1) * 50 + (50 + 1) * 8 == 66_928


def test_weights_of_the_authors_network_load_by_key(tmp_path):
    shapes = {
        "conv1.weight": (10, 1, 3, 3), "conv2.weight": (10, 10, 3, 3), "conv3.weight": (10, 10, 3, 3),
        "conv4.weight": (10, 10, 3, 3), "norm.weight": (10,), "norm.bias": (10,), "norm.running_mean": (10,),
        "norm.running_var": (10,), "norm.num_batches_tracked": (), "fc1.weight": (50, 810), "fc1.bias": (50,),
        "fc2.weight": (3, 50), "fc2.bias": (3,), "localization.0.weight": (8, 1, 7, 7), "localization.0.bias": (8,),
        "localization.3.weight": (10, 8, 5, 5), "localization.3.bias": (10,), "fc_loc.0.weight": (32, 640),
        "fc_loc.0.bias": (32,), "fc_loc.2.weight": (6, 32), "fc_loc.2.bias": (6,),
    }  # fmt: skip
    shapes |= {f"conv{n}.bias": (10,) for n in range(1, 5)}
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "stn.pt")
    network = SpatialTransformer(labels=8)
    last = network.fc2.weight.clone()
    load_pretrained(network, tmp_path / "stn.pt", drop=("fc2",))
    for name, tensor in network.state_dict().items():
        expected = last if name == "fc2.weight" else torch.ones(tensor.shape)
        assert name == "fc2.bias" or torch.equal(tensor, expected)


def test_a_fresh_transformer_returns_the_image():
    network, (faces, saliency) = SpatialTransformer(), images()
    theta = network.theta(saliency)
    assert torch.equal(theta, torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(4, 2, 3))
    torch.testing.assert_close(network.sample(faces, theta), faces, rtol=0, atol=1e-5)


def test_a_shift_by_one_pixel_moves_the_image_and_shows_zeros_beside_it():
    faces, _ = images()
    right = torch.tensor([[1.0, 0, 2 / 48], [0, 1, 0]]).expand(4, 2, 3)
    found = SpatialTransformer().sample(faces, right)
    torch.testing.assert_close(found[..., :-1], faces[..., 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[..., -1], torch.zeros(4, 1, 48), rtol=0, atol=1e-4)


def test_sampling_equals_pytorchs_affine_grid():
    faces, _ = images()
    theta = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(2))
    expected = F.grid_sample(faces, F.affine_grid(theta, list(faces.shape), align_corners=False), align_corners=False)
    torch.testing.assert_close(SpatialTransformer().sample(faces, theta), expected, rtol=0, atol=1e-4)


def test_saliency_says_where_to_look_and_the_image_what_is_seen():
    network, (faces, saliency) = SpatialTransformer().eval(), images()
    with torch.inference_mode():
        fresh = network(faces, saliency)
        torch.testing.assert_close(network(faces, -saliency), fresh)  # a fresh transformer looks at all of it
        nn.init.normal_(network.fc_loc[2].weight, std=0.5)
        assert (network(faces, saliency) - fresh).abs().max() > 1e-4
        assert (network(faces, saliency) - network(faces, -saliency)).abs().max() > 1e-4
        blank = network.layers(torch.zeros_like(faces), saliency)["fc50"]
        torch.testing.assert_close(blank, blank[:1].expand(4, 50))  # nothing of the saliency map itself is seen


def test_attention_weights_are_a_distribution_over_valid_slots():
    torch.manual_seed(0)
    mask = torch.tensor([[1.0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]])
    feature, weights = SelfAttention(6, 2, 0.3).eval()(torch.randn(3, 4, 6), mask)
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 1, 0]))
    assert (weights[mask == 0] == 0).all()
    assert (weights[mask == 1] > 0).all()
    assert torch.equal(feature[2], torch.zeros(6))


def test_attention_is_the_sum_of_states_by_softmax_of_their_scores():
    torch.manual_seed(0)
    attention, states = SelfAttention(6, 2, 0.3).eval(), torch.randn(1, 5, 6)
    first, last = (m for m in attention.mlp if isinstance(m, nn.Linear))
    h = states[0].double().numpy()
    (w1, b1), (w2, b2) = ((m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in (first, last))
    scores = np.tanh(np.tanh(h @ w1.T + b1) @ w2.T + b2)[:, 0]
    weights = np.exp(scores) / np.exp(scores).sum()
    feature, found = attention(states, torch.ones(1, 5))
    np.testing.assert_allclose(found[0].detach().numpy(), weights, rtol=1e-5)
    np.testing.assert_allclose(feature[0].detach().numpy(), weights @ h, rtol=1e-4, atol=1e-6)


def test_states_are_forward_and_backward_side_by_side():
    """Equation 1, by two LSTM cells that run towards each other."""
    torch.manual_seed(0)
    model = SequenceModel(4, replace(TINY, lstm_layers=1)).eval()
    inputs = torch.randn(1, 5, 4)
    directions = []
    for suffix, order in (("_l0", range(5)), ("_l0_reverse", range(4, -1, -1))):
        cell, state, outputs = nn.LSTMCell(4, 3), None, {}
        weights = {n: t for n, t in model.lstm.state_dict().items() if n.endswith(suffix)}
        cell.load_state_dict({name.removesuffix(suffix): tensor for name, tensor in weights.items()})
        for t in order:
            state = cell(inputs[:, t], state)
            outputs[t] = state[0]
        directions.append(torch.stack([outputs[t] for t in range(5)], 1))
    feature, _ = model.attention(torch.cat(directions, 2), torch.ones(1, 5))
    torch.testing.assert_close(model(inputs, torch.ones(1, 5)), model.classify(feature), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_sequence_models_have_the_layers_of_table_a2(name):
    layers = {"flatten810": (810, 300, 2, 2), "fc50": (50, 150, 1, 1), "posteriors": (8, 25, 1, 1)}
    with torch.device("meta"):
        sequence = TransferHead({"flatten810": 810, "fc50": 50}.get(name, 8), VARIANTS[name]).sequence
    if name == "max-voting":
        assert not list(sequence.parameters())
        return
    lstm = sequence.lstm
    attention = sum(isinstance(module, nn.Linear) for module in sequence.attention.mlp)
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, attention) == layers[name]
    assert lstm.bidirectional
    assert sequence.dropout.p == 0.3


def test_the_first_variant_is_the_default():
    assert next(iter(VARIANTS.values())) == TransferConfig()


def test_the_class_with_most_votes_is_the_clips():
    posteriors = torch.tensor([[[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.4, 0.5, 0.1], [0.9, 0.1, 0.0], [0.1, 0.2, 0.7]]])
    everyone, without_one = torch.ones(1, 5), torch.tensor([[1.0, 1, 1, 0, 1]])
    shares = MaxVoting()(posteriors, without_one).softmax(1)
    torch.testing.assert_close(shares, torch.tensor([[0.25, 0.5, 0.25]]), rtol=0, atol=1e-5)
    shares = MaxVoting()(posteriors, everyone).softmax(1)
    torch.testing.assert_close(shares, torch.tensor([[0.4, 0.4, 0.2]]), rtol=0, atol=1e-5)
    assert MaxVoting()(posteriors, everyone).argmax(1).tolist() == [0]  # of two equal, the first


def test_fusion_is_a_logistic_regression_on_both_posteriors():
    head, generator = system().head, torch.Generator().manual_seed(3)
    audio, visual = (torch.randn(2, 8, generator=generator).double() for _ in range(2))
    weight, bias = (tensor.detach().double() for tensor in (head.fusion.weight, head.fusion.bias))
    posteriors = [x.exp() / x.exp().sum(1, keepdim=True) for x in (audio, visual)]
    expected = posteriors[0] @ weight[:, :8].T + posteriors[1] @ weight[:, 8:].T + bias
    found = head.fuse(audio.float(), visual.float())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_equal_the_whole(name):
    network, batch = system(variants()[name]), batch_of()
    parts = network.parts()
    assert [part.runs for part in parts.values()] == ["image", "window", "window"]
    visual = torch.zeros(3, *parts["head"].inputs["visual_embeddings"])
    with torch.inference_mode():
        for window, slot in batch["visual_mask"].nonzero().tolist():  # each image when it arrives, alone
            chosen = (batch[key][window, slot][None] for key in ("faces", "saliency"))
            visual[window, slot] = parts["visual"].module(*chosen)[0]
        audio = torch.cat([parts["audio"].module(each[None]) for each in batch["log_mel"]])
        found = parts["head"].module(visual, batch["visual_mask"], audio)
        whole = network(batch)
    assert list(whole) == list(parts["head"].outputs) == list(PROBS)
    for one, other in zip(found, whole.values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_say_the_shapes_of_their_tensors(name):
    for part in system(variants()[name]).parts().values():
        with torch.inference_mode():
            outputs = part.module(*(torch.zeros(2, *shape) for shape in part.inputs.values()))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert [tuple(output.shape[1:]) for output in outputs] == list(part.outputs.values())


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("value", [1e6, -3.0])
def test_what_lies_in_empty_slots_has_no_influence(name, value):
    network, batch = system(variants()[name]), batch_of()
    empty = batch["visual_mask"].bool()[..., None, None, None]
    garbage = batch | {key: torch.where(empty, batch[key], torch.tensor(value)) for key in ("faces", "saliency")}
    embeddings = torch.rand(3, SLOTS, network.visual.embedding_size)
    spoilt = torch.where(empty[..., 0, 0], embeddings, torch.tensor(value))
    with torch.inference_mode():
        for found, expected in zip(network(garbage).values(), network(batch).values(), strict=True):
            torch.testing.assert_close(found, expected, atol=0, rtol=0)
        mask, audio = batch["visual_mask"], torch.zeros(3, 8)
        for found, expected in zip(
            network.head(spoilt, mask, audio), network.head(embeddings, mask, audio), strict=True
        ):
            torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_window_without_faces_gives_finite_logits(name):
    network, batch = system(variants()[name]), batch_of()
    with torch.inference_mode():
        found = network(batch | {"visual_mask": torch.zeros(3, SLOTS)})
    assert all(logits.isfinite().all() for logits in found.values())
    torch.testing.assert_close(found["probs_audio"], network(batch)["probs_audio"])


def test_windows_of_a_batch_do_not_mix():
    network, batch = system(), batch_of()
    with torch.inference_mode():
        together = network(batch)
        for n in range(3):
            alone = network({name: tensor[n : n + 1] for name, tensor in batch.items()})
            for name, logits in alone.items():
                torch.testing.assert_close(logits[0], together[name][n], atol=1e-4, rtol=1e-4)


def test_embedded_images_go_back_to_their_slots():
    batch, network = batch_of(), system().visual.stn
    with torch.inference_mode():
        layers = embed_images(network, batch["faces"], batch["saliency"], batch["visual_mask"])
        for window, slot in [(0, SLOTS - 1), (2, SLOTS - 1)]:
            alone = network.layers(batch["faces"][window, slot][None], batch["saliency"][window, slot][None])
            for name, values in layers.items():
                torch.testing.assert_close(values[window, slot], alone[name][0], atol=1e-3, rtol=0)  # noise, resampled
        assert not layers["posteriors"][:, 0].any()


def test_unknown_embedding_is_rejected():
    with pytest.raises(ArgumentError, match="embedding is 'fc7'; expected one of flatten810, fc50, posteriors"):
        TransferConfig(embedding="fc7")


def test_images_that_vote_need_posteriors_of_the_systems_labels():
    with pytest.raises(ArgumentError, match="expected 'posteriors' of 8"):
        TransferConfig(lstm_size=0)
    with pytest.raises(ArgumentError, match="expected 'posteriors' of 8"):
        TransferConfig(lstm_size=0, embedding="posteriors", stn_labels=7)


def test_a_network_pretrained_on_seven_classes_gives_seven_posteriors():
    network = system(replace(TINY, embedding="posteriors", stn_labels=7))
    assert network.parts()["visual"].outputs == {"embedding": (7,)}
    with torch.inference_mode():
        assert network(batch_of())["probs_visual"].shape == (3, 8)


@pytest.mark.slow
def test_the_full_system_learns_from_a_step():
    torch.manual_seed(0)
    network = Transfer(TransferConfig()).train()
    generator = torch.Generator().manual_seed(0)
    batch = {
        "faces": torch.rand(2, 40, 1, 48, 48, generator=generator),
        "saliency": torch.rand(2, 40, 1, 48, 48, generator=generator),
        "visual_mask": torch.ones(2, 40),
        "log_mel": torch.randn(2, 1, 400, 64, generator=generator),
    }
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters())
    sum(F.cross_entropy(logits, torch.tensor([0, 7])) for logits in network(batch).values()).backward()
    optimizer.step()
    still = {name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])}
    assert still <= {f"visual.stn.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in ("weight", "bias")} | {
        "visual.stn.fc_loc.0.weight", "visual.stn.fc_loc.0.bias",  # behind the zeros that make it the identity
        "visual.stn.localization.0.weight", "visual.stn.localization.0.bias",
        "visual.stn.localization.3.weight", "visual.stn.localization.3.bias",
    }  # fmt: skip
    assert all(parameter.isfinite().all() for parameter in network.parameters())
