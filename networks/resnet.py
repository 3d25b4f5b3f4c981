"""ResNet-18 (He et al. 2016) of any width, its keys those of torchvision's, as an encoder of one chunk."""

import torch
from torch import Tensor, nn

NARROW = 16
"""Networks of fewer channels keep channels first: with them last, the gradient of a strided 1x1 convolution of fewer
than 16 writes past its buffer in oneDNN's AVX-512 kernels (PyTorch 2.13), which ends in wrong weights or a crash."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (He et al. 2016, Fig. 5 left)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + self.downsample(x))


class ResNet18(nn.Module):
    """Chunk to embedding: (B, channels_in, H, W) -> (B, 8 * width).

    Parameters
    ----------
    width : channels of the first stage; 64 is the published network.
    small_input : a 3x3 stem of stride `stem_stride` and no pooling, for inputs of 100 pixels or fewer; otherwise the
        published 7x7 stem of stride 2 and pooling.
    standardize : bring each input to zero mean and unit deviation first, against dark and bright cabins.

    `layout` is the memory format in which to train it: the fastest that is safe.
    """

    def __init__(
        self, channels_in: int, width: int = 64, *, small_input: bool = False, stem_stride: int = 2,
        standardize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.standardize = standardize
        if small_input:
            self.conv1 = nn.Conv2d(channels_in, width, 3, stem_stride, 1, bias=False)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(channels_in, width, 7, 2, 3, bias=False)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width, 1))
        self.embedding_size = 8 * width
        self.layout = torch.channels_last if width >= NARROW else torch.contiguous_format

    def forward(self, x: Tensor) -> Tensor:
        if self.standardize:
            x = x - x.mean((2, 3), keepdim=True)
            x = x / torch.sqrt((x * x).mean((2, 3), keepdim=True) + 1e-2)
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))  # (B, width, H/2, W/2) or as the stem says
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (B, 8 * width, h, w)
        return x.mean((2, 3))
