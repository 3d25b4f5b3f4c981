"""CNN-14 of PANNs (Kong et al. 2020, Table I), its keys those of the published `Cnn14_16k` checkpoint.

The checkpoint also holds the transform and mel filters of its own front end, under PANNS_FRONT_END: constants, which
`kernels` compute here. Load it with `load_pretrained(cnn14, path, drop=PANNS_FRONT_END, key="model")`, and with
"fc_audioset" dropped too where the classes are not AudioSet's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.errors import ArgumentError

AUDIOSET_CLASSES = 527
MEL_BANDS = 64
PANNS_FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")
DB_PER_NEPER = 10 / math.log(10)
"""Natural logarithm of power to decibels: the published front end ends in 10 log10."""


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each normalised and rectified: (B, C, T, M) -> (B, channels, T, M)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class SpecAugment(nn.Module):
    """In training, two stripes of time and two of mel bands become 0, the mean, in each spectrogram (B, 1, T, M).

    Park et al. 2019, as PANNs apply it; widths are drawn from 0 up to, not including, `columns` and `bands`.
    """

    def __init__(self, columns: int = 64, bands: int = 8) -> None:
        super().__init__()
        self.columns, self.bands = columns, bands

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        for _ in range(2):
            x = x * _outside_stripe(x, 2, self.columns) * _outside_stripe(x, 3, self.bands)
        return x


def _outside_stripe(x: Tensor, axis: int, longest: int) -> Tensor:
    """Zeros along a random stripe of `axis`, another for each of the batch, and ones elsewhere; it broadcasts to x."""
    length = x.shape[axis]
    width = torch.randint(0, min(longest, length), (len(x), 1))
    start = (torch.rand(len(x), 1) * (length - width)).long()
    place = torch.arange(length)
    inside = (place >= start) & (place < start + width)  # (B, length)
    shape = [len(x), 1, 1, 1]
    shape[axis] = length
    return (~inside).to(x).view(shape)


class Cnn14(nn.Module):
    """Log-mel of a whole recording to logits of its classes: (B, 1, T, 64) -> (B, classes), T >= 32.

    Parameters
    ----------
    classes : 527 is the published network, of 80,753,615 parameters.
    width : channels of the first block; 64 is published.

    Notes
    -----
    The input is the natural logarithm of power, as `kernels.spectrogram_segments` returns it transposed. What the
    published weights need: 16 kHz, samples in -1..1, not standardised, n_fft 512, hop 160, edge "reflect", 64 bands
    of 50..8000 Hz with mel_scale "slaney" and mel_norm "area", power_floor 1e-10.
    """

    def __init__(self, classes: int = AUDIOSET_CLASSES, width: int = 64) -> None:
        super().__init__()
        sizes = [1] + [width * 2**block for block in range(6)]
        self.embedding_size = sizes[-1]
        self.bn0 = nn.BatchNorm2d(MEL_BANDS)
        self.conv_block1 = ConvBlock(sizes[0], sizes[1])
        self.conv_block2 = ConvBlock(sizes[1], sizes[2])
        self.conv_block3 = ConvBlock(sizes[2], sizes[3])
        self.conv_block4 = ConvBlock(sizes[3], sizes[4])
        self.conv_block5 = ConvBlock(sizes[4], sizes[5])
        self.conv_block6 = ConvBlock(sizes[5], sizes[6])
        self.fc1 = nn.Linear(sizes[6], sizes[6])
        self.fc_audioset = nn.Linear(sizes[6], classes)
        self.spec_augment = SpecAugment()
        self.block_dropout, self.dropout = nn.Dropout(0.2), nn.Dropout(0.5)
        self._frozen: list[nn.Module] = []
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        for layer in (self.fc1, self.fc_audioset):
            nn.init.zeros_(layer.bias)

    @property
    def blocks(self) -> list[ConvBlock]:
        return [
            self.conv_block1, self.conv_block2, self.conv_block3,
            self.conv_block4, self.conv_block5, self.conv_block6,
        ]  # fmt: skip

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.fc_audioset(self.dropout(self.embedding(log_mel)))

    def embedding(self, log_mel: Tensor) -> Tensor:
        """What the last layer sees, the paper's embedding of a recording: (B, 1, T, 64) -> (B, 32 * width)."""
        x = (log_mel * DB_PER_NEPER).transpose(1, 3)  # (B, 64, T, 1)
        x = self.spec_augment(self.bn0(x).transpose(1, 3))  # (B, 1, T, 64), normalised by band
        for block in self.blocks[:-1]:
            x = self.block_dropout(F.avg_pool2d(block(x), 2))  # (B, C, T / 2, M / 2)
        x = self.block_dropout(self.conv_block6(x))  # (B, 32 * width, T / 32, 2)
        x = x.mean(3)  # (B, 32 * width, T / 32)
        x = x.amax(2) + x.mean(2)  # (B, 32 * width)
        return torch.relu(self.fc1(self.dropout(x)))

    def freeze(self, blocks: int) -> None:
        """Keep `bn0` and the first `blocks` blocks as they are, normalisation too; 6 leaves the two last layers.

        Raises
        ------
        ArgumentError : not 0..6.
        """
        if not 0 <= blocks <= len(self.blocks):
            raise ArgumentError(f"{blocks} blocks are to be frozen; expected 0..{len(self.blocks)}.")
        self._frozen = [self.bn0, *self.blocks[:blocks]] if blocks else []
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Cnn14":
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self
