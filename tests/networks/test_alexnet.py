"""AlexNet: torchvision's network by name and shape, its fc7, and spectrograms as its images."""

import pytest
import torch
import torch.nn.functional as F

from networks.alexnet import AlexNet, SpectrogramImage
from networks.pretrained import load_pretrained


def torchvisions_shapes(classes=1000, width=64):
    """Names and shapes of torchvision's alexnet, from Krizhevsky 2014."""
    shapes = {}
    convolutions = {0: (width, 3, 11), 3: (3 * width, width, 5), 6: (6 * width, 3 * width, 3)}
    convolutions |= {8: (4 * width, 6 * width, 3), 10: (4 * width, 4 * width, 3)}
    for place, (channels, before, size) in convolutions.items():
        shapes[f"features.{place}.weight"] = (channels, before, size, size)
        shapes[f"features.{place}.bias"] = (channels,)
    hidden = 64 * width
    for place, (after, before) in {1: (hidden, 144 * width), 4: (hidden, hidden), 6: (classes, hidden)}.items():
        shapes[f"classifier.{place}.weight"] = (after, before)
        shapes[f"classifier.{place}.bias"] = (after,)
    return shapes


def checkpoint(classes=1000, width=64):
    generator = torch.Generator().manual_seed(0)
    return {n: torch.randn(s, generator=generator) * 0.1 for n, s in torchvisions_shapes(classes, width).items()}


def test_parameters_are_the_61_million_of_the_paper():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in AlexNet().parameters()) == 61_100_840


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        assert {name: tuple(t.shape) for name, t in AlexNet().state_dict().items()} == torchvisions_shapes()


def test_published_weights_load_by_key_under_another_last_layer(tmp_path):
    torch.save(checkpoint(width=2), tmp_path / "alexnet.pth")
    network = AlexNet(8, width=2)
    last = network.classifier[6].weight.clone()
    load_pretrained(network, tmp_path / "alexnet.pth", drop=("classifier.6",))
    torch.testing.assert_close(network.classifier[6].weight, last, rtol=0, atol=0)
    for name, tensor in checkpoint(width=2).items():
        if not name.startswith("classifier.6"):
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)


def test_fc7_and_logits_follow_the_definition():
    network, state = AlexNet(8, width=2).eval(), checkpoint(8, width=2)
    network.load_state_dict(state)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))

    def convolved(x, place, **options):
        return F.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], **options).clamp_min(0)

    def linear(x, place):
        return x @ state[f"classifier.{place}.weight"].T + state[f"classifier.{place}.bias"]

    x = F.max_pool2d(convolved(images, 0, stride=4, padding=2), 3, 2)
    x = F.max_pool2d(convolved(x, 3, padding=2), 3, 2)
    for place in (6, 8, 10):
        x = convolved(x, place, padding=1)
    x = F.max_pool2d(x, 3, 2)
    assert x.shape == (2, 8, 6, 6)
    fc7 = linear(linear(x.flatten(1), 1).clamp_min(0), 4).clamp_min(0)
    with torch.inference_mode():
        torch.testing.assert_close(network.fc7(images), fc7, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(images), linear(fc7, 6), rtol=1e-4, atol=1e-5)


def test_fc7_of_the_published_size_is_a_4096_dimensional_vector():
    with torch.inference_mode():
        assert AlexNet(8).eval().fc7(torch.zeros(1, 3, 224, 224)).shape == (1, 4096)


def test_gradients_reach_every_parameter():
    network = AlexNet(8, width=2).eval()  # without dropout, that might blank a layer so narrow
    images = SpectrogramImage()(torch.randn(4, 1, 100, 64, generator=torch.Generator().manual_seed(0)))
    F.cross_entropy(network(images), torch.tensor([0, 3, 5, 7])).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_the_quietest_is_black_and_the_loudest_white():
    log_mel = torch.randn(3, 1, 400, 64, generator=torch.Generator().manual_seed(0)).round() * 5
    images = SpectrogramImage()(log_mel) * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    images = images + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    assert images.shape == (3, 3, 224, 224)
    assert images.min() == pytest.approx(0, abs=0.2)
    assert images.max() == pytest.approx(1, abs=0.2)
    torch.testing.assert_close(images[:, 0], images[:, 2], rtol=0, atol=1e-5)


def test_time_runs_right_and_frequency_up():
    log_mel = torch.full((1, 1, 400, 64), -20.0)
    log_mel[0, 0, 300:, :16] = 0  # low bands, in the last quarter
    loud = SpectrogramImage()(log_mel)[0, 0] > 0
    rows, columns = loud.any(1).nonzero()[:, 0], loud.any(0).nonzero()[:, 0]
    assert (rows.min(), rows.max()) == (168, 223)
    assert (columns.min(), columns.max()) == (168, 223)


def test_loudness_does_not_matter_and_silence_is_finite():
    log_mel = torch.randn(2, 1, 100, 64, generator=torch.Generator().manual_seed(0))
    image = SpectrogramImage()
    torch.testing.assert_close(image(log_mel + 3), image(log_mel), rtol=0, atol=1e-4)
    assert image(torch.full((1, 1, 100, 64), -23.0)).isfinite().all()
