"""ResNet-18: the published network by name and shape, and its small variants."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from networks.resnet import BasicBlock, ResNet18

ROOT = Path(__file__).parent.parent.parent


def torchvisions_shapes():
    """Names and shapes of torchvision's resnet18 without its classifier, from the paper's table 1."""

    def norm(name, channels):
        vectors = {f"{name}.{kind}": (channels,) for kind in ("weight", "bias", "running_mean", "running_var")}
        return vectors | {f"{name}.num_batches_tracked": ()}

    shapes = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    for stage, (before, channels) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (channels, channels if block else before, 3, 3)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes |= norm(f"{name}.bn1", channels) | norm(f"{name}.bn2", channels)
        if before != channels:
            shapes[f"layer{stage}.0.downsample.0.weight"] = (channels, before, 1, 1)
            shapes |= norm(f"layer{stage}.0.downsample.1", channels)
    return shapes


def settled(network, inputs):
    """The network after its normalisation has seen `inputs`, in evaluation mode: no longer as it was made."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        network.train()(inputs)
    return network.eval()


def chunks_of(count, height=48, width=48):
    return torch.randn(count, 1, height, width, generator=torch.Generator().manual_seed(1))


def sizes_of_stages(network, inputs):
    sizes = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda module, arguments, output: sizes.append(tuple(output.shape[1:])))
    network.eval()(inputs)
    return sizes


def test_full_width_has_the_published_names_and_shapes():
    found = {name: tuple(tensor.shape) for name, tensor in ResNet18(3).state_dict().items()}
    assert found == torchvisions_shapes()
    assert len(found) == 120
    assert found["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert found["layer4.1.bn2.running_var"] == (512,)
    assert "layer1.0.downsample.0.weight" not in found


def test_full_width_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in ResNet18(3).parameters()) == 11_176_512


def test_published_stem_divides_by_thirty_two():
    sizes = sizes_of_stages(ResNet18(3, 4), torch.zeros(1, 3, 224, 224))
    assert sizes == [(4, 56, 56), (8, 28, 28), (16, 14, 14), (32, 7, 7)]


@pytest.mark.parametrize(("stride", "first"), [(1, 48), (2, 24)])
def test_small_stem_keeps_what_its_stride_says(stride, first):
    sizes = sizes_of_stages(ResNet18(1, 4, small_input=True, stem_stride=stride), torch.zeros(1, 1, 48, 48))
    assert sizes == [(4 * 2**n, first // 2**n, first // 2**n) for n in range(4)]


@pytest.mark.parametrize("shape", [(64, 100), (48, 48), (33, 17)])
def test_embedding_has_eight_times_the_width_whatever_the_input(shape):
    network = ResNet18(1, 4, small_input=True).eval()
    assert network.embedding_size == 32
    with torch.inference_mode():
        assert network(chunks_of(2, *shape)).shape == (2, 32)


def test_chunks_of_a_batch_do_not_mix():
    chunks = chunks_of(5, 40, 40)
    network = settled(ResNet18(1, 4, small_input=True), chunks)
    with torch.inference_mode():
        alone = torch.cat([network(chunk[None]) for chunk in chunks])
        torch.testing.assert_close(network(chunks), alone, atol=1e-5, rtol=1e-5)
    assert alone.std(0).max() > 0.01


def test_block_whose_residual_is_nothing_passes_its_input():
    block = BasicBlock(4, 4, 1).eval()
    nn.init.zeros_(block.bn2.weight)
    chunks = torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(block(chunks), chunks)
    torch.testing.assert_close(block(-chunks), torch.zeros_like(chunks))  # the last ReLU is after the sum


def test_standardized_input_is_independent_of_brightness_and_nearly_of_contrast():
    torch.manual_seed(0)
    chunks = chunks_of(4)
    network = settled(ResNet18(1, 4, small_input=True, standardize=True), chunks)
    with torch.inference_mode():
        plain = network(chunks)
        torch.testing.assert_close(network(chunks + 3), plain, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network(chunks * 2), plain, atol=0.02, rtol=0.02)
        assert (network(chunks * 0.01) - plain).abs().max() > 0.1  # noise in the dark is not amplified
        assert network(torch.full_like(chunks, 7)).isfinite().all()


def test_without_standardization_brightness_matters():
    chunks = chunks_of(4)
    network = settled(ResNet18(1, 4, small_input=True), chunks)
    with torch.inference_mode():
        assert (network(chunks + 3) - network(chunks)).abs().max() > 0.1


NARROW = """
import sys, torch
from networks.resnet import ResNet18

torch.manual_seed(0)
network = ResNet18(1, int(sys.argv[1]), small_input=True)
exact = ResNet18(1, int(sys.argv[1]), small_input=True).double()
exact.load_state_dict(network.state_dict())
network.to(memory_format=network.layout)
chunks, wish = torch.randn(8, 1, 48, 48), torch.randn(8, network.embedding_size)
(exact(chunks.double()) * wish).sum().backward()
for _ in range(5):
    network.zero_grad()
    (network(chunks.to(memory_format=network.layout)) * wish).sum().backward()
    for parameter, other in zip(network.parameters(), exact.parameters(), strict=True):
        assert (parameter.grad - other.grad).norm() < 1e-3 * other.grad.norm() + 1e-4
"""


@pytest.mark.parametrize("width", [2, 8, 16])
def test_gradients_in_its_layout_are_those_of_double_precision(width):
    """In a process of its own: in another layout, narrow networks write past their buffers on some processors."""
    done = subprocess.run([sys.executable, "-c", NARROW, str(width)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
