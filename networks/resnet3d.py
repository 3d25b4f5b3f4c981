"""3D-ResNet (Hara et al. 2018) of any width, its keys those of the published Kinetics weights, without the classifier.

Published: github.com/kenshohara/3D-ResNets-PyTorch, resnet-18-kinetics.pth (shortcut type A), resnet-50-kinetics.pth
and resnet-101-kinetics.pth (type B), as its README says.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.errors import ArgumentError


class PaddedShortcut(nn.Module):
    """Type A: every `stride`-th voxel, and zeros in the new channels. It has no weights."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        step = self.stride
        return F.pad(x[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self.new_channels))


class BasicBlock3d(nn.Module):
    """Two 3x3x3 convolutions and a type A shortcut."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = PaddedShortcut(channels - channels_in, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + self.downsample(x))


class Bottleneck3d(nn.Module):
    """1x1x1, 3x3x3 and 1x1x1 convolutions to four times the channels, and a type B shortcut: a 1x1x1 convolution."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != 4 * channels:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels_in, 4 * channels, 1, stride, bias=False), nn.BatchNorm3d(4 * channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.relu(self.bn1(self.conv1(x)))
        residual = torch.relu(self.bn2(self.conv2(residual)))
        return torch.relu(self.bn3(self.conv3(residual)) + self.downsample(x))


Block = type[BasicBlock3d] | type[Bottleneck3d]

BLOCKS_BY_DEPTH: Mapping[int, tuple[Block, tuple[int, int, int, int]]] = {
    18: (BasicBlock3d, (2, 2, 2, 2)),
    50: (Bottleneck3d, (3, 4, 6, 3)),
    101: (Bottleneck3d, (3, 4, 23, 3)),
}
"""Blocks of conv2_x to conv5_x (Hara et al. 2018, Table 1)."""


class ResNet3d(nn.Module):
    """Images to the map of conv5: (B, 3, T, H, W) -> (B, channels, T / 16, H / 32, W / 32), rounded up.

    16 images of 224 x 224 become (channels, 1, 7, 7); the stem halves height and width only.

    Parameters
    ----------
    depth : 18, 50 or 101.
    width : channels of the first stage; 64 is the published network.

    Raises
    ------
    ArgumentError : another depth.
    """

    def __init__(self, depth: int = 101, width: int = 64) -> None:
        super().__init__()
        if depth not in BLOCKS_BY_DEPTH:
            raise ArgumentError(f"depth is {depth}; expected one of {sorted(BLOCKS_BY_DEPTH)}.")
        block, counts = BLOCKS_BY_DEPTH[depth]
        grown = [width * 2**stage * block.expansion for stage in range(4)]  # channels after each stage
        self.conv1 = nn.Conv3d(3, width, 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        self.layer1 = _stage(block, width, width, counts[0], 1)
        self.layer2 = _stage(block, grown[0], 2 * width, counts[1], 2)
        self.layer3 = _stage(block, grown[1], 4 * width, counts[2], 2)
        self.layer4 = _stage(block, grown[2], 8 * width, counts[3], 2)
        self.channels = grown[3]
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))  # (B, width, T/2, H/4, W/4)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (B, channels, T/16, H/32, W/32)


def _stage(block: Block, channels_in: int, channels: int, count: int, stride: int) -> nn.Sequential:
    rest = [block(channels * block.expansion, channels, 1) for _ in range(count - 1)]
    return nn.Sequential(block(channels_in, channels, stride), *rest)
