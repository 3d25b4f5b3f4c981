"""Spectrogram segments of a stream: each short-time Fourier column is computed once and kept.

Two 1-s segments 0.2 s apart share 80 % of their columns, so a tick transforms only what is new. Standardising the
wave, (x - m) / s, is done after the transform: it is linear, and the transform of a constant is known.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Output = Literal["logmel", "logmag", "power"]


class SpectrogramStream:
    """Spectrogram segments from audio pushed in chunks of any size.

    Column c is the transform of the `n_fft` samples that end at sample (c + 1) * hop_length, so no column waits for
    the future; before the stream's first sample lies silence. The result does not depend on how the audio is cut
    into chunks.

    Parameters
    ----------
    segment, step : samples per segment and between segment ends; hop_length divides step, step divides segment.
    output : "logmel", natural log of mel power (HTK mel, triangles of peak 1); "logmag", natural log of magnitude,
        Nyquist bin dropped; "power", likewise without the logarithm.
    statistics : samples; mean and standard deviation of the last `statistics` samples up to the segment's end
        standardise the wave (exact: integer sums). 0: not standardised.
    std_floor : lower bound of the standard deviation, in units of the input.
    power_floor : lower bound of (mel) power before the logarithm.

    Raises
    ------
    ValueError : hop_length < 1 or > n_fft; lengths that do not divide as said; an unknown `window` or `output`;
        a mel range that is not within 0..sample_rate / 2.

    Examples
    --------
    >>> stream = SpectrogramStream()
    >>> stream.push(np.zeros(16_000, np.int16))
    >>> stream.tick().shape
    (64, 100)
    >>> stream.tick() is None
    True
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop_length: int = 160,
        segment: int = 16_000,
        step: int = 3_200,
        window: str = "hann",
        output: Output = "logmel",
        n_mels: int = 64,
        fmin: float = 50.0,
        fmax: float = 8_000.0,
        statistics: int = 160_000,
        std_floor: float = 33.0,
        power_floor: float = 1e-3,
    ) -> None:
        if not 0 < hop_length <= n_fft:
            raise ValueError(f"hop_length is {hop_length}; expected 0 < hop_length <= n_fft, {n_fft}.")
        if not 0 < step <= segment or step % hop_length or segment % step or statistics % step:
            raise ValueError(
                f"hop_length {hop_length}, step {step}, segment {segment}, statistics {statistics} do not nest; "
                "expected hop_length to divide step, and step to divide segment and statistics."
            )
        if output not in ("logmel", "logmag", "power"):
            raise ValueError(f"output is {output!r}; expected 'logmel', 'logmag' or 'power'.")
        self._step, self._hop, self._n_fft = step, hop_length, n_fft
        self._output, self._std_floor, self._power_floor = output, std_floor, power_floor
        self._window = window_function(window, n_fft)
        self._constant_column = np.fft.rfft(self._window)  # the transform of x = 1
        self._mel = mel_filterbank(sample_rate, n_fft, n_mels, fmin, fmax) if output == "logmel" else None
        self._columns = np.empty((segment // hop_length, n_fft // 2 + 1), np.complex128)
        self._sums = np.zeros((statistics // step, 2), np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget all audio: the next segment is complete after `segment` further samples."""
        self._pending = np.zeros(self._n_fft - self._hop, np.int16)
        self._sums[:] = 0
        self._ticks = 0

    def push(self, chunk: npt.NDArray[np.int16]) -> None:
        """Append audio.

        Parameters
        ----------
        chunk : int16 ndarray [shape=(n,)], any n, also 0; copied.

        Raises
        ------
        ValueError : another dtype or number of dimensions.
        """
        if chunk.dtype != np.int16 or chunk.ndim != 1:
            raise ValueError(f"chunk is {chunk.dtype} with shape {chunk.shape}; expected int16 with shape (n,).")
        self._pending = np.concatenate((self._pending, chunk))

    def tick(self) -> npt.NDArray[np.float32] | None:
        """Return the next segment, float32 [shape=(bins, columns)], or None until more audio is pushed."""
        overlap = self._n_fft - self._hop
        while len(self._pending) >= overlap + self._step:
            self._advance(self._pending[: overlap + self._step])
            self._pending = self._pending[self._step :]
            self._ticks += 1
            if self._ticks * self._step >= len(self._columns) * self._hop:
                return self._segment()
        return None

    def segments(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each segment that the audio pushed so far completes."""
        while (segment := self.tick()) is not None:
            yield segment

    @property
    def shape(self) -> tuple[int, int]:
        """(bins, columns) of a segment."""
        bins = self._n_fft // 2 if self._mel is None else len(self._mel)
        return bins, len(self._columns)

    def _advance(self, samples: npt.NDArray[np.int16]) -> None:
        """Transform the columns that end in the newest step; `samples` begins with the overlap before it."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, self._n_fft)[:: self._hop]
        new = len(frames)
        self._columns[:-new] = self._columns[new:]
        self._columns[-new:] = np.fft.rfft(frames * self._window)
        if len(self._sums):
            newest = samples[-self._step :].astype(np.int64)
            self._sums[self._ticks % len(self._sums)] = newest.sum(), (newest * newest).sum()

    def _segment(self) -> npt.NDArray[np.float32]:
        columns, deviation = self._columns, 1.0
        if len(self._sums):
            count = min(self._ticks, len(self._sums)) * self._step
            total, squares = (int(value) for value in self._sums.sum(axis=0))
            mean = total / count
            variance = (count * squares - total * total) / count**2  # exact integers until the division
            deviation = max(variance**0.5, self._std_floor)
            columns = columns - mean * self._constant_column
        power = (columns.real**2 + columns.imag**2) / deviation**2
        if self._mel is not None:
            bins = np.log(np.maximum(power @ self._mel.T, self._power_floor))
        elif self._output == "logmag":
            bins = 0.5 * np.log(np.maximum(power[:, :-1], self._power_floor))
        else:
            bins = power[:, :-1]
        return np.ascontiguousarray(bins.T, np.float32)


def spectrogram_segments(wave: npt.NDArray[np.int16], **options: Any) -> npt.NDArray[np.float32]:
    """All segments of a whole wave, float32 [shape=(segments, bins, columns)]; options of `SpectrogramStream`.

    It iterates the stream, so offline and live features cannot differ. A wave shorter than a segment has none.

    Examples
    --------
    >>> spectrogram_segments(np.zeros(16_000 + 3_200, np.int16)).shape
    (2, 64, 100)
    """
    stream = SpectrogramStream(**options)
    stream.push(wave)
    segments = list(stream.segments())
    return np.stack(segments) if segments else np.empty((0, *stream.shape), np.float32)


def window_function(name: str, length: int) -> npt.NDArray[np.float64]:
    """Periodic "hann" or "hamming" window (Harris 1978), float64 [shape=(length,)]."""
    phase = 2 * np.pi * np.arange(length) / length
    if name == "hann":
        return 0.5 - 0.5 * np.cos(phase)
    if name == "hamming":
        return 0.54 - 0.46 * np.cos(phase)
    raise ValueError(f"window is {name!r}; expected 'hann' or 'hamming'.")


def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> npt.NDArray[np.float64]:
    """Triangular mel filters of peak 1 on the HTK scale, float64 [shape=(n_mels, n_fft // 2 + 1)].

    mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987). Raises ValueError unless 0 <= fmin < fmax <= sample_rate / 2.
    """
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise ValueError(f"mel range is {fmin}..{fmax} Hz; expected 0 <= fmin < fmax <= {sample_rate / 2:g} Hz.")
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (fmin, fmax))
    edges = 700 * (10 ** (np.linspace(lowest, highest, n_mels + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))
