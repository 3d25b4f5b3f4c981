"""AlexNet in one tower (Krizhevsky 2014), its keys those of torchvision's `alexnet`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AlexNet(nn.Module):
    """Images to logits: RGB, normalised as ImageNet's, (B, 3, 224, 224) -> (B, classes).

    Parameters
    ----------
    classes : 1000 is the published network, of 61,100,840 parameters.
    width : channels of the first convolution; 64 is published. All other layers follow.
    """

    def __init__(self, classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        hidden = 64 * width
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 11, 4, 2), nn.ReLU(),  # (B, 64, 55, 55)
            nn.MaxPool2d(3, 2),  # (B, 64, 27, 27)
            nn.Conv2d(width, 3 * width, 5, padding=2), nn.ReLU(),  # (B, 192, 27, 27)
            nn.MaxPool2d(3, 2),  # (B, 192, 13, 13)
            nn.Conv2d(3 * width, 6 * width, 3, padding=1), nn.ReLU(),  # (B, 384, 13, 13)
            nn.Conv2d(6 * width, 4 * width, 3, padding=1), nn.ReLU(),  # (B, 256, 13, 13)
            nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(3, 2),  # (B, 256, 6, 6)
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(4 * width * 36, hidden), nn.ReLU(),
            nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(images), 1))

    def fc7(self, images: Tensor) -> Tensor:
        """The second hidden layer, rectified: (B, 3, 224, 224) -> (B, 4096)."""
        return self.classifier[:-1](torch.flatten(self.features(images), 1))


class SpectrogramImage(nn.Module):
    """A log-mel spectrogram as the photograph that AlexNet expects: (B, 1, T, M) -> (B, 3, 224, 224).

    Time runs to the right, frequency upwards; each spectrogram's own range becomes black to white. The paper does not
    say how its spectrograms became images. DeepSpectrum's are plots in false colours; these are gray.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)  # ImageNet's
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        lowest, highest = log_mel.amin((2, 3), keepdim=True), log_mel.amax((2, 3), keepdim=True)
        gray = ((log_mel - lowest) / (highest - lowest).clamp_min(1e-6)).transpose(2, 3).flip(2)  # (B, 1, M, T)
        gray = F.interpolate(gray, (224, 224), mode="bilinear", align_corners=False)
        return (gray - self.mean) / self.std  # (B, 3, 224, 224)
