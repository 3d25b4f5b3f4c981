"""Published weights: taken by key, adapted where asked, refused with every misfit named, never executed."""

import numpy as np
import pytest
import torch
from torch import nn

from bundle.errors import ArtefactError
from networks.pretrained import load_pretrained
from networks.resnet import ResNet18


def torchvision_resnet18():
    """Names and shapes of torchvision's resnet18, filled with noise; 11,689,512 parameters."""
    shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)}
    norms = {"bn1": 64}
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, channels, 3, 3)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            norms |= {f"{name}.bn1": width, f"{name}.bn2": width}
            if channels != width:
                shapes[f"{name}.downsample.0.weight"] = (width, channels, 1, 1)
                norms[f"{name}.downsample.1"] = width
            channels = width
    parameters = ("weight", "bias")
    for name, width in norms.items():
        shapes |= {f"{name}.{tensor}": (width,) for tensor in (*parameters, "running_mean", "running_var")}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def state():
    return torchvision_resnet18()


@pytest.fixture(scope="module")
def path(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "resnet18.pth"
    torch.save(state, path)
    return path


def parameters(state):
    return sum(value.numel() for name, value in state.items() if "running" not in name)


def test_names_and_shapes_are_torchvisions(state):
    assert parameters(state) == 11_689_512
    own = {name: value.shape for name, value in ResNet18(3).state_dict().items() if "num_batches" not in name}
    assert own == {name: value.shape for name, value in state.items() if not name.startswith("fc.")}


def test_published_resnet18_loads_without_its_classifier(state, path):
    encoder = ResNet18(3)
    load_pretrained(encoder, path, drop=["fc."])
    for name, value in encoder.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, state[name]), name


def test_a_gray_stem_takes_gray_as_the_colour_stem_takes_gray_in_three_channels(path):
    gray, colour = ResNet18(1).eval(), ResNet18(3).eval()
    load_pretrained(gray, path, drop=["fc."], sum_channels=["conv1.weight"])
    load_pretrained(colour, path, drop=["fc."])
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(gray.conv1(image), colour.conv1(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_weights_below_a_key_into_a_network_with_more_parts(tmp_path):
    torch.manual_seed(0)
    published, ours = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    torch.save({"model": published.state_dict(), "epoch": torch.tensor(3)}, tmp_path / "net.pt")
    kept = ours[1].weight.clone()
    load_pretrained(ours, tmp_path / "net.pt", key="model", drop=["1."])
    assert torch.equal(ours[0].weight, published[0].weight)
    assert torch.equal(ours[1].weight, kept)


def test_every_misfit_is_named_and_nothing_is_changed(state, path, tmp_path):
    changed = {name: value for name, value in state.items() if name != "layer4.1.bn2.bias"}
    torch.save(changed, tmp_path / "changed.pth")
    encoder = ResNet18(1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(ArtefactError) as error:
        load_pretrained(encoder, tmp_path / "changed.pth")
    message = str(error.value)
    assert "1 missing: layer4.1.bn2.bias" in message
    assert "2 unexpected: fc.bias, fc.weight" in message
    assert "1 of another shape: conv1.weight (64, 3, 7, 7), expected (64, 1, 7, 7)" in message
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_weights_without_channels_to_sum_are_of_another_shape(state, tmp_path):
    torch.save(state | {"conv1.weight": torch.ones(64)}, tmp_path / "flat.pth")
    with pytest.raises(ArtefactError, match=r"conv1\.weight \(64,\), expected \(64, 1, 7, 7\)"):
        load_pretrained(ResNet18(1), tmp_path / "flat.pth", drop=["fc."], sum_channels=["conv1.weight"])


class Trap:
    """Unpickled by a careless reader, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_arrays_beside_the_model_are_no_harm(tmp_path):
    """As in PANNs' checkpoints, which hold their sampler's state."""
    sampler = {"indexes": np.arange(5), "pointer": 3}
    torch.save({"iteration": 4, "model": {"weight": torch.ones(1, 1)}, "sampler": sampler}, tmp_path / "net.pt")
    layer = nn.Linear(1, 1, bias=False)
    load_pretrained(layer, tmp_path / "net.pt", key="model")
    assert layer.weight.item() == 1


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "net.pt")
    with pytest.raises(ArtefactError, match="no file of plain tensors"):
        load_pretrained(nn.Linear(1, 1), tmp_path / "net.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"epoch": 3}}, torch.ones(2)], ids=repr)
@pytest.mark.parametrize("key", [None, "model"])
def test_a_file_without_named_tensors_is_refused(tmp_path, content, key):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(ArtefactError, match="cannot be read as weights"):
        load_pretrained(nn.Linear(1, 1), tmp_path / "net.pt", key=key)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="cannot be read as weights"):
        load_pretrained(nn.Linear(1, 1), tmp_path / "none.pt")
