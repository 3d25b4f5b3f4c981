"""What a spectrogram segment is: the numbers that every backend of `kernels.spectrogram` is given."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from kernels.arrays import is_whole
from kernels.filters import MelNorm, MelScale, mel_filterbank, window_function

Output = Literal["logmel", "logmag", "mag", "power"]
Edge = Literal["context", "reflect", "zero"]
Standardize = Literal["running", "segment", "none"]

LEAST_STD = 1e-12
"""Far below one step of int16, and yet the gain of silence fits into float32."""


@dataclass(frozen=True)
class SpectrogramSpec:
    """Validated parameters of `kernels.SpectrogramStream`, which explains them; lengths in samples."""

    sample_rate: int = 16_000
    n_fft: int = 512
    hop_length: int = 160
    segment: int = 16_000
    step: int = 3_200
    window: str = "hann"
    output: Output = "logmel"
    n_mels: int = 64
    fmin: float = 50.0
    fmax: float = 8_000.0
    edge: Edge = "context"
    standardize: Standardize = "running"
    statistics: int = 160_000
    std_floor: float = 33.0
    power_floor: float = 1e-3
    mel_scale: MelScale = "htk"
    mel_norm: MelNorm = "peak"

    def __post_init__(self) -> None:
        for name in ("n_fft", "hop_length", "segment", "step", "n_mels", "statistics"):
            value = getattr(self, name)
            if not is_whole(value):
                raise ValueError(f"{name} is {value!r}; expected a whole number, such as int(0.5 * 16_000).")
            object.__setattr__(self, name, int(value))  # NumPy's small integers overflow
        for name, choices in (("output", Output), ("edge", Edge), ("standardize", Standardize)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {get_args(choices)}.")
        if self.n_fft % 2 or not 0 < self.hop_length <= self.n_fft:
            raise ValueError(
                f"n_fft is {self.n_fft}, hop_length is {self.hop_length}; "
                "expected an even n_fft and 0 < hop_length <= n_fft."
            )
        self._require_nesting()
        if self.edge != "context" and self.segment < self.n_fft:
            raise ValueError(f"segment is {self.segment}; expected >= n_fft, {self.n_fft}, with edge={self.edge!r}.")
        if not (LEAST_STD <= self.std_floor < np.inf and 0 < self.power_floor < np.inf):
            raise ValueError(
                f"std_floor is {self.std_floor}, power_floor is {self.power_floor}; expected {LEAST_STD} or more, in "
                "int16 units, and above 0."
            )
        window_function(self.window, self.n_fft)
        if self.output == "logmel":
            self.mel_filters()

    def _require_nesting(self) -> None:
        hop, step, segment, statistics = self.hop_length, self.step, self.segment, self.statistics
        if not 0 < step <= segment or statistics < 0 or step % hop or segment % step or statistics % step:
            raise ValueError(
                f"hop_length {hop}, step {step}, segment {segment}, statistics {statistics} do not nest; "
                "expected hop_length to divide step, and step to divide segment and statistics."
            )

    @property
    def columns(self) -> int:
        return self.segment // self.hop_length

    @property
    def bins(self) -> int:
        """Rows of a segment: mel bands, or frequencies without the Nyquist bin."""
        return self.n_mels if self.output == "logmel" else self.n_fft // 2

    @property
    def lookback(self) -> int:
        """Samples up to a segment's end that have an influence on its columns, its standardisation apart."""
        return self.segment + self.n_fft

    @property
    def statistics_steps(self) -> int:
        """Steps whose mean and deviation standardise a segment; 0: it is not standardised."""
        lengths = {"running": self.statistics, "segment": self.segment, "none": 0}
        return lengths[self.standardize] // self.step

    def mel_filters(self) -> npt.NDArray[np.float64]:
        return mel_filterbank(
            self.sample_rate, self.n_fft, self.n_mels, self.fmin, self.fmax, self.mel_scale, self.mel_norm
        )
