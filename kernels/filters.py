"""Analysis windows and mel filters."""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from kernels.arrays import is_whole

Floats = npt.NDArray[np.float64]
MelScale = Literal["htk", "slaney"]
MelNorm = Literal["peak", "area"]


@lru_cache(maxsize=32)
def window_function(name: str, length: int) -> npt.NDArray[np.float64]:
    """Periodic "hann" or "hamming" window (Harris 1978), float64 [shape=(length,)]; read-only, kept for the next call.

    Examples
    --------
    >>> window_function("hann", 4).round(9).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    phase = 2 * np.pi * np.arange(length) / length
    if name == "hann":
        window = 0.5 - 0.5 * np.cos(phase)
    elif name == "hamming":
        window = 0.54 - 0.46 * np.cos(phase)
    else:
        raise ValueError(f"window is {name!r}; expected 'hann' or 'hamming'.")
    window.flags.writeable = False
    return window


@lru_cache(maxsize=32)
def mel_filterbank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    mel_scale: MelScale = "htk",
    mel_norm: MelNorm = "peak",
) -> npt.NDArray[np.float64]:
    """Triangular mel filters, float64 [shape=(n_mels, n_fft // 2 + 1)]; read-only, kept for the next call.

    Parameters
    ----------
    mel_scale : "htk", mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987); "slaney", 200 / 3 Hz per mel up to 1 kHz,
        27 mels for each factor of 6.4 above (Slaney 1998, Auditory Toolbox).
    mel_norm : "peak", triangles of peak 1; "area", of area 1 over frequency in Hz. "slaney" and "area" are the
        defaults of librosa, on which PANNs are trained.

    Raises
    ------
    ValueError : unless 0 <= fmin < fmax <= sample_rate / 2; n_fft < 2; n_mels < 1; an unknown name.

    Examples
    --------
    >>> mel_filterbank(16_000, 512, 64, 50.0, 8_000.0).shape
    (64, 257)
    """
    if not (is_whole(n_fft) and is_whole(n_mels) and n_fft >= 2 and n_mels >= 1):
        raise ValueError(f"n_fft is {n_fft!r}, n_mels is {n_mels!r}; expected whole numbers, n_fft >= 2, n_mels >= 1.")
    n_fft, n_mels = int(n_fft), int(n_mels)  # NumPy's small integers overflow
    if not 0 <= fmin < fmax <= sample_rate / 2 < np.inf:
        raise ValueError(f"mel range is {fmin}..{fmax} Hz; expected 0 <= fmin < fmax <= {sample_rate / 2:g} Hz.")
    if mel_scale not in _MEL_SCALES or mel_norm not in get_args(MelNorm):
        raise ValueError(
            f"mel_scale is {mel_scale!r}, mel_norm is {mel_norm!r}; "
            f"expected one of {get_args(MelScale)}, one of {get_args(MelNorm)}."
        )
    mel_from_hz, hz_from_mel = _MEL_SCALES[mel_scale]
    edges = hz_from_mel(np.linspace(mel_from_hz(np.float64(fmin)), mel_from_hz(np.float64(fmax)), n_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rising, falling))
    if mel_norm == "area":
        filters *= 2 / (edges[2:] - edges[:-2])[:, None]
    filters.flags.writeable = False
    return filters


def _htk_mel(hz: Floats) -> Floats:
    return 2595 * np.log10(1 + hz / 700)


def _htk_hz(mel: Floats) -> Floats:
    return 700 * (10 ** (mel / 2595) - 1)


def _slaney_mel(hz: Floats) -> Floats:
    return np.where(hz < 1_000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1_000) / 1_000) / np.log(6.4))


def _slaney_hz(mel: Floats) -> Floats:
    return np.where(mel < 15, mel * 200 / 3, 1_000 * np.exp((mel - 15) * np.log(6.4) / 27))


_MEL_SCALES = {"htk": (_htk_mel, _htk_hz), "slaney": (_slaney_mel, _slaney_hz)}
