"""FERCNN: layer for layer that of the paper's Fig. 1, and the same in parts as in whole."""

import pytest
import torch
from torch import nn

from networks.fercnn import VARIANTS, Fercnn, FercnnConfig, feature_cnn


def network(name="multimodal"):
    torch.manual_seed(0)
    return Fercnn(VARIANTS[name]).eval()


def batch_of(config, clips=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(clips, size, generator=generator) for name, size in config.inputs.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_as_many_as_the_paper_states(name):
    assert sum(parameter.numel() for parameter in network(name).parameters()) == 152_614


def test_layers_have_the_sizes_and_parameters_of_figure_one():
    """Output shapes and parameters as printed, but 168, 1824 and 24648, which no 152,614 can contain."""
    rows, x = [], torch.zeros(1, 1, 162)
    for layer in feature_cnn(6, 0.2).eval():
        x = layer(x)
        if not isinstance(layer, nn.ReLU):
            rows.append((type(layer).__name__, *x.shape[:0:-1], sum(p.numel() for p in layer.parameters())))
    assert rows == [
        ("Conv1d", 160, 256, 1_024), ("MaxPool1d", 53, 256, 0),
        ("Conv1d", 51, 128, 98_432), ("MaxPool1d", 17, 128, 0), ("Dropout", 17, 128, 0),
        ("Conv1d", 15, 64, 24_640), ("MaxPool1d", 5, 64, 0), ("Dropout", 5, 64, 0),
        ("Conv1d", 3, 64, 12_352), ("MaxPool1d", 3, 64, 0),
        ("Conv1d", 1, 32, 6_176), ("MaxPool1d", 1, 32, 0),
        ("Flatten", 32, 0),
        ("Linear", 256, 8_448), ("Dropout", 256, 0),
        ("Linear", 6, 1_542),
    ]  # fmt: skip


@pytest.mark.parametrize("labels", [1, 8])
def test_labels_are_configurable(labels):
    config = FercnnConfig(labels=labels)
    assert Fercnn(config).eval()(batch_of(config))["probs_fused"].shape == (4, labels)


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_equal_the_whole(name):
    system = network(name)
    batch = batch_of(system.config)
    with torch.inference_mode():
        whole = system(batch)["probs_fused"]
        ((part_name, head),) = system.parts().items()
        for clip in range(4):  # alone, as at run time
            part = head.module(*(batch[tensor][clip : clip + 1] for tensor in head.inputs))
            torch.testing.assert_close(part[0], whole[clip], atol=1e-5, rtol=0)
    assert part_name == "head"
    assert {tensor: (4, *shape) for tensor, shape in head.inputs.items()} == {t: v.shape for t, v in batch.items()}
    assert (4, *head.outputs["probs_fused"]) == whole.shape


@pytest.mark.parametrize("name", VARIANTS)
def test_each_feature_has_an_influence(name):
    system = network(name)
    batch = {tensor: value.requires_grad_() for tensor, value in batch_of(system.config, clips=64).items()}
    system(batch)["probs_fused"].sum().backward()
    for value in batch.values():
        assert value.grad.abs().sum(0).min() > 0


def test_projection_is_applied_before_the_cnn():
    system = network()
    batch = batch_of(system.config)
    weight, bias = torch.randn(162, 610), torch.randn(162)
    system.head.set_projection(weight, bias)
    fused = torch.cat((batch["audio_features"], batch["video_features"]), 1) @ weight.T + bias
    torch.testing.assert_close(system(batch)["probs_fused"], system.head.cnn(fused[:, None]), atol=1e-5, rtol=1e-4)


def test_projection_is_saved_with_the_weights_and_never_trained():
    system, other = network(), Fercnn(FercnnConfig())
    system.head.set_projection(torch.randn(162, 610), torch.randn(162))
    other.load_state_dict(system.state_dict())
    batch = batch_of(system.config)
    torch.testing.assert_close(other.eval()(batch)["probs_fused"], system(batch)["probs_fused"], atol=0, rtol=0)
    assert not {"head.weight", "head.bias"} & {name for name, _ in system.named_parameters()}


def test_gradients_reach_every_parameter():
    system = network().train()
    logits = system(batch_of(system.config))["probs_fused"]
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    unreached = [n for n, p in system.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached


def test_dropout_is_as_often_and_as_strong_as_in_the_paper():
    assert [layer.p for layer in network().modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.2, 0.2]
