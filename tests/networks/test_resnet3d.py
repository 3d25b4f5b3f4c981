"""3D-ResNet: the published networks by name and shape, and what they do to time and space."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bundle.errors import ArgumentError
from networks.pretrained import load_pretrained
from networks.resnet3d import BasicBlock3d, Bottleneck3d, PaddedShortcut, ResNet3d

COUNTS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def published_shapes(depth, width=64, classes=400):
    """Names and shapes of the Kinetics weights, from Table 1 of the paper and the shortcut types of the repository."""

    def norm(name, channels):
        vectors = {f"{name}.{kind}": (channels,) for kind in ("weight", "bias", "running_mean", "running_var")}
        return vectors | {f"{name}.num_batches_tracked": ()}

    shapes = {"conv1.weight": (width, 3, 7, 7, 7)} | norm("bn1", width)
    before = width
    for stage, count in enumerate(COUNTS[depth], 1):
        planes = width * 2 ** (stage - 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            convolutions = [(planes, before, 3), (planes, planes, 3)]
            if depth > 18:
                convolutions = [(planes, before, 1), (planes, planes, 3), (4 * planes, planes, 1)]
            for number, (out, channels_in, size) in enumerate(convolutions, 1):
                shapes[f"{name}.conv{number}.weight"] = (out, channels_in, size, size, size)
                shapes |= norm(f"{name}.bn{number}", out)
            if depth > 18 and block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * planes, before, 1, 1, 1)
                shapes |= norm(f"{name}.downsample.1", 4 * planes)
            before = convolutions[-1][0]
    return shapes | {"fc.weight": (classes, before), "fc.bias": (classes,)}


def shapes_of(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("depth", COUNTS)
def test_full_width_has_the_published_names_and_shapes(depth):
    with torch.device("meta"):
        found = shapes_of(ResNet3d(depth))
    published = published_shapes(depth)
    assert found == {name: shape for name, shape in published.items() if not name.startswith("fc.")}
    assert ("layer1.0.downsample.0.weight" in found) == (depth > 18)


@pytest.mark.parametrize(("depth", "millions"), [(18, 33.0), (50, 46.2), (101, 85.2)])
def test_number_of_parameters_is_that_of_the_published_network(depth, millions):
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in ResNet3d(depth).parameters())
    assert round(found / 1e6, 1) == millions


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("counted", [True, False], ids=["recent", "before batches were counted"])
def test_published_state_loads_as_it_is_named(prefix, counted, tmp_path):
    shapes = published_shapes(50, width=2)
    state = {prefix + name: torch.full(shape, 0.5 if shape else 7) for name, shape in shapes.items()}
    if not counted:
        state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    network = ResNet3d(50, 2)
    torch.save({"arch": "resnet-50", "state_dict": state}, tmp_path / "kinetics.pth")
    load_pretrained(network, tmp_path / "kinetics.pth", drop=("fc.",), key="state_dict")
    assert all((parameter == 0.5).all() for parameter in network.parameters())


@pytest.mark.parametrize("depth", COUNTS)
def test_sixteen_images_become_one_time_step_of_seven_by_seven(depth):
    sizes = []
    network = ResNet3d(depth, 2).eval()
    for stage in (network.conv1, network.maxpool, network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda module, arguments, output: sizes.append(tuple(output.shape[2:])))
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 16, 224, 224)).shape == (1, network.channels, 1, 7, 7)
    assert network.channels == (16 if depth == 18 else 64)
    assert sizes == [(16, 112, 112), (8, 56, 56), (8, 56, 56), (4, 28, 28), (2, 14, 14), (1, 7, 7)]


def resnet3d_by_definition(state, depth, x):
    """Hara et al. 2018, Fig. 3 and Table 1, on weights by name; in evaluation mode."""

    def convolved(x, conv, norm, stride=1):
        x = F.conv3d(x, state[f"{conv}.weight"], stride=stride, padding=state[f"{conv}.weight"].shape[2] // 2)
        mean, variance, gain, shift = (
            state[f"{norm}.{kind}"].view(-1, 1, 1, 1) for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift

    x = F.max_pool3d(convolved(x, "conv1", "bn1", (1, 2, 2)).clamp_min(0), 3, 2, 1)
    strided = 1 if depth == 18 else 2  # the first 3x3x3 convolution
    for stage, count in enumerate(COUNTS[depth], 1):
        for block in range(count):
            name, stride, found = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1, x
            last = 2 if depth == 18 else 3
            for number in range(1, last + 1):
                found = convolved(
                    found, f"{name}.conv{number}", f"{name}.bn{number}", stride if number == strided else 1
                )
                found = found.clamp_min(0) if number < last else found
            if f"{name}.downsample.0.weight" in state:
                x = convolved(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            elif x.shape != found.shape:
                x = x[:, :, ::2, ::2, ::2]
                x = torch.cat((x, torch.zeros_like(x)), 1)
            x = (found + x).clamp_min(0)
    return x


@pytest.mark.parametrize("depth", [18, 50])
def test_map_of_conv5_follows_the_definition(depth):
    """Where strides and rectifiers are, which no published name or shape tells."""
    generator = torch.Generator().manual_seed(0)
    network = ResNet3d(depth, 2).double().eval()
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.dim() == 1:  # of a normalisation
            drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(drawn + 0.5 if name.endswith(("weight", "var")) else drawn - 0.5)
    state["bn1.bias"].copy_(torch.tensor([-1.0, 0.5]))  # for one channel to be negative wherever it is pooled
    images = 0.1 * torch.randn(2, 3, 16, 32, 48, generator=generator, dtype=torch.float64)
    expected = resnet3d_by_definition(state, depth, images)
    assert (expected > 0).double().mean() > 0.2
    with torch.inference_mode():
        torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


def test_padded_shortcut_keeps_every_second_voxel_and_adds_empty_channels():
    x = torch.arange(2 * 4 * 5 * 6.0).reshape(1, 2, 4, 5, 6)
    found = PaddedShortcut(3, 2)(x)
    assert found.shape == (1, 5, 2, 3, 3)
    torch.testing.assert_close(found[:, :2], torch.nn.functional.avg_pool3d(x, 1, 2))
    assert not found[:, 2:].any()


@pytest.mark.parametrize("block", [BasicBlock3d(8, 8, 1), Bottleneck3d(8, 2, 1)], ids=["basic", "bottleneck"])
def test_block_whose_residual_is_nothing_passes_its_input(block):
    nn.init.zeros_(block.bn2.weight if isinstance(block, BasicBlock3d) else block.bn3.weight)
    images = torch.rand(2, 8, 2, 4, 4)
    torch.testing.assert_close(block.eval()(images), images)
    torch.testing.assert_close(block(-images), torch.zeros_like(images))  # the last ReLU is after the sum


@pytest.mark.parametrize("depth", [18, 50])
def test_the_order_of_images_matters(depth):
    torch.manual_seed(0)
    network = ResNet3d(depth, 2).train()
    images = torch.randn(2, 3, 16, 32, 32)
    with torch.inference_mode():
        assert (network(images) - network(images.flip(2))).abs().max() > 1e-3


def test_unknown_depth_is_rejected():
    with pytest.raises(ArgumentError, match=r"depth is 34; expected one of \[18, 50, 101\]"):
        ResNet3d(34)
