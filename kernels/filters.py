"""Analysis windows and mel filters."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt


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
def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> npt.NDArray[np.float64]:
    """Triangular mel filters of peak 1 on the HTK scale, float64 [shape=(n_mels, n_fft // 2 + 1)]; read-only, likewise.

    mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987). Raises ValueError unless 0 <= fmin < fmax <= sample_rate / 2.

    Examples
    --------
    >>> mel_filterbank(16_000, 512, 64, 50.0, 8_000.0).shape
    (64, 257)
    """
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise ValueError(f"mel range is {fmin}..{fmax} Hz; expected 0 <= fmin < fmax <= {sample_rate / 2:g} Hz.")
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (fmin, fmax))
    edges = 700 * (10 ** (np.linspace(lowest, highest, n_mels + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rising, falling))
    filters.flags.writeable = False
    return filters
