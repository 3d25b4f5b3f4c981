"""Spectrogram segments of a stream, each the same however the audio is cut into chunks.

Two 1-s segments 0.2 s apart share 80 % of their columns; the Numba backend transforms only what is new.
"""

from collections.abc import Iterator
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from kernels.arrays import check_array
from kernels.filters import MelNorm, MelScale, mel_filterbank, window_function
from kernels.reference import Moments, ReferenceSpectrogram, mean_and_deviation, sums_of
from kernels.samples import FLOAT32, INT16, check_same_dtype, check_samples
from kernels.spec import Edge, Output, SpectrogramSpec, Standardize

__all__ = ["SpectrogramStream", "mel_filterbank", "spectrogram_segments", "window_function"]

Backend = Literal["numba", "cuda", "numpy"]
Samples = npt.NDArray[np.int16 | np.float32]

FULL_SCALE = 32_768.0
"""float32 samples are multiplied by this, so that one `std_floor` serves both kinds of input."""

_BUFFERED_STEPS = 16

_MOST_IDLE = 8

_COUNTED_AT_ONCE = 2**20
"""Samples: sums of a wave of hours need no copy of it, eight bytes a sample."""

_SLACK_HOPS = 16
"""After the newest sample; a backend may read, but not use, what is there."""


class Engine(Protocol):
    """A backend: it turns steps of audio into segments."""

    moments: Moments | None

    def reset(self, *, integer: bool = True) -> None: ...

    def steps(
        self, history: npt.NDArray[np.float32], end: int, skipped: int, count: int, out: npt.NDArray[np.float32]
    ) -> None: ...


_idle: dict[tuple[Any, ...], "SpectrogramStream"] = {}
"""By options, for the next wave: fresh memory costs as much as half the work. Each is one caller's at a time."""


class SpectrogramStream:
    """Spectrogram segments from audio pushed in chunks of any size.

    A segment is complete `segment` samples after the start or `reset`, then every `step`. The result does not depend
    on how the audio is cut into chunks.

    Parameters
    ----------
    segment, step : samples per segment and between segment ends; hop_length divides step, step divides segment.
    window : "hann" or "hamming", periodic.
    output : "logmel", natural log of mel power; "logmag", natural log of magnitude, Nyquist bin dropped; "mag" and
        "power", likewise without the logarithm.
    mel_scale, mel_norm : of the mel filters, as `mel_filterbank` says.
    edge : "context": column c is the transform of the `n_fft` samples that end at sample (c + 1) * hop_length of the
        segment, so the first reach into the sound before it (silence before the stream's first sample).
        "reflect", "zero": column c is centred on sample c * hop_length, and the segment is mirrored, or followed and
        preceded by zeros once standardised, as `torch.stft(center=True)` does; its last column is dropped.
    standardize : "running": the wave is standardised by mean and standard deviation of the last `statistics` samples
        up to the segment's end, or of all there are; "segment": of the segment's own; "none".
    statistics : samples; step divides it. 0: not standardised.
    std_floor : lower bound of the standard deviation in int16 units, also for float32 input: 33 is -60 dBFS.
    power_floor : lower bound of (mel) power before the logarithm.
    backend : "numba", float32; "cuda", float32, on a GPU, for n_fft 512 and edge "context"; "numpy", float64, slow: the
        definition in `kernels.reference`. The first stream with "numba" imports Numba, and compiles for some seconds,
        once per machine: the result is cached beside this file or, where that is read-only, in the user's cache
        folder. With "cuda" each process compiles for some seconds; `kernels.cuda.CudaTick` leaves segments on the GPU.

    Raises
    ------
    ValueError : hop_length < 1 or > n_fft; odd n_fft; lengths that are not whole or do not divide as said; segment <
        n_fft with an edge other than "context"; a floor <= 0; an unknown name; no mel bands, or a mel range that is
        not within 0..sample_rate / 2.

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
        edge: Edge = "context",
        standardize: Standardize = "running",
        statistics: int = 160_000,
        std_floor: float = 33.0,
        power_floor: float = 1e-3,
        mel_scale: MelScale = "htk",
        mel_norm: MelNorm = "peak",
        backend: Backend = "numba",
    ) -> None:
        spec = SpectrogramSpec(
            sample_rate, n_fft, hop_length, segment, step, window, output, n_mels, fmin, fmax, edge, standardize,
            statistics, std_floor, power_floor, mel_scale, mel_norm,
        )  # fmt: skip
        self._spec, self._engine = spec, _engine(spec, backend)
        self._shape = spec.bins, spec.columns
        self._capacity = spec.lookback + _BUFFERED_STEPS * spec.step
        self._history = np.zeros(self._capacity + _SLACK_HOPS * spec.hop_length, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all audio: the next segment is complete after `segment` further samples, of either dtype."""
        self._dtype: np.dtype[Any] | None = None
        self._standardize_by(None)
        self._done = self._end = self._spec.lookback  # of what `_history` holds: transformed, and written
        self._history[: self._end] = 0
        self._needed = self._spec.segment  # samples after `_done`, for the next segment

    def push(self, chunk: Samples) -> None:
        """Append audio.

        Parameters
        ----------
        chunk : int16 or float32 ndarray [shape=(n,)], any n, also 0; copied. float32 has full scale at -1..1; what is
            not standardised keeps its unit.

        Raises
        ------
        ValueError : another dtype or number of dimensions; another dtype than before; a float32 sample that is NaN,
            infinite or beyond a million. Nothing is appended then.
        """
        count = self._checked_length(chunk)
        if self._end + count > self._capacity:
            self._make_room(count)
        samples = self._history[self._end : self._end + count]
        if chunk.dtype == FLOAT32 and self._scaled:
            np.multiply(chunk, FULL_SCALE, out=samples)
        else:
            samples[:] = chunk
        self._end += count

    def tick(self, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32] | None:
        """Return the next segment, float32 [shape=(bins, columns)], or None until more audio is pushed.

        Parameters
        ----------
        out : where to write it: C-contiguous, of that shape. Without it each segment is a new array.

        Raises
        ------
        ValueError : `out` has another dtype, shape or layout, or cannot be written to.
        """
        if out is not None:
            _check_out(out, self._shape)
        if self._end - self._done < self._needed:
            return None
        if out is None:
            out = np.empty(self._shape, np.float32)
        self._write(1, out)
        return out

    def segments(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each segment that the audio pushed so far completes."""
        while (segment := self.tick()) is not None:
            yield segment

    @property
    def shape(self) -> tuple[int, int]:
        """(bins, columns) of a segment."""
        return self._shape

    def _complete_segments(self) -> int:
        """Segments that the audio pushed so far completes, and that are not written yet."""
        return max(0, (self._end - self._done - self._needed) // self._spec.step + 1)

    def _write(self, count: int, out: npt.NDArray[np.float32]) -> None:
        """Write the next `count` segments, which are complete, one below the other."""
        step, needed = self._spec.step, self._needed
        self._engine.steps(self._history, self._done + step, needed // step - 1, count, out)
        self._done += needed + (count - 1) * step
        self._needed = step

    def _standardize_by(self, moments: Moments | None) -> None:
        """Use these mean and deviation in all segments until `reset`."""
        self._engine.moments = moments
        self._scaled = bool(self._spec.statistics_steps) or moments is not None

    def _checked_length(self, chunk: Samples) -> int:
        """Samples in `chunk`, once sure that it can follow what was pushed before."""
        check_samples(chunk, "chunk")
        check_same_dtype(chunk, self._dtype)
        if self._dtype is None:
            self._dtype = chunk.dtype
            self._engine.reset(integer=chunk.dtype == INT16)
        return len(chunk)

    def _make_room(self, count: int) -> None:
        """Drop what no segment needs any more, so that `count` samples can follow."""
        dropped = self._done - self._spec.lookback
        kept = self._history[dropped : self._end]
        if len(kept) + count > self._capacity:
            self._capacity = len(kept) + count
            self._history = np.zeros(self._capacity + _SLACK_HOPS * self._spec.hop_length, np.float32)
        self._history[: len(kept)] = kept
        self._done -= dropped
        self._end -= dropped


def spectrogram_segments(
    wave: Samples,
    *,
    standardize: Standardize | Literal["wave"] = "running",
    out: npt.NDArray[np.float32] | None = None,
    **options: Any,
) -> npt.NDArray[np.float32]:
    """All segments of a whole wave, float32 [shape=(segments, bins, columns)]; options of `SpectrogramStream`.

    It iterates the stream, so offline and live features cannot differ; but for standardize="wave", by mean and
    deviation of the whole wave, which no stream can know. A wave shorter than a segment has no segments.

    Parameters
    ----------
    out : where to write them: C-contiguous, of that shape. A large new array costs as much as half the work.

    Examples
    --------
    >>> spectrogram_segments(np.zeros(16_000 + 3_200, np.int16)).shape
    (2, 64, 100)
    """
    if standardize != "wave" and standardize not in get_args(Standardize):
        raise ValueError(f"standardize is {standardize!r}; expected one of {('wave', *get_args(Standardize))}.")
    options["standardize"] = "none" if standardize == "wave" else standardize
    key = tuple(sorted((name, type(value).__name__, value) for name, value in options.items()))  # 160.0 is not 160
    stream = _idle.pop(key, None) or SpectrogramStream(**options)
    spec, count = stream._spec, stream._checked_length(wave)
    shape = (max(0, (count - spec.segment) // spec.step + 1), *stream.shape)
    if out is None:
        out = np.empty(shape, np.float32)
    else:
        _check_out(out, shape)
    if standardize == "wave" and count:
        stream._standardize_by(_moments_of(wave, spec.std_floor))
    piece = _BUFFERED_STEPS * spec.step
    rows, written = out.reshape(-1, spec.columns), 0
    for start in range(0, count, piece):
        stream.push(wave[start : start + piece])
        complete = stream._complete_segments()
        if complete > 0:
            stream._write(complete, rows[written * spec.bins :])
            written += complete
    stream.reset()
    if len(_idle) == _MOST_IDLE:
        _idle.clear()
    _idle[key] = stream
    return out


def _check_out(out: npt.NDArray[np.float32], shape: tuple[int, ...]) -> None:
    check_array(out, "out")
    if out.dtype != FLOAT32 or out.shape != shape or not out.flags.carray:
        raise ValueError(f"out is {out.dtype} {out.shape}; expected writeable, C-contiguous float32 {shape}.")


def _moments_of(wave: Samples, std_floor: float) -> Moments:
    """Mean and deviation of a whole wave, in int16 units."""
    integer = wave.dtype == np.int16
    pieces = (wave[start : start + _COUNTED_AT_ONCE] for start in range(0, len(wave), _COUNTED_AT_ONCE))
    scaled = (piece if integer else piece.astype(np.float64) * FULL_SCALE for piece in pieces)
    totals, squares = zip(*(sums_of(piece, integer=integer) for piece in scaled), strict=True)
    mean, deviation = mean_and_deviation(sum(totals), sum(squares), len(wave))
    return mean, max(deviation, std_floor)


def _engine(spec: SpectrogramSpec, backend: Backend) -> Engine:
    """The backend that serves `spec`: the fast one is for frames of 512 samples, hops of whole vectors of 16.

    Whatever else is asked of "numba" is served by the definition: slower, and more exact.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend is {backend!r}; expected one of {get_args(Backend)}.")
    if backend == "cuda":
        from kernels.cuda import CudaSpectrogram

        return CudaSpectrogram(spec)
    if backend == "numpy" or spec.n_fft != 512 or spec.hop_length % 16:
        return ReferenceSpectrogram(spec)
    from kernels.spectrogram_cpu import LaneSpectrogram

    return LaneSpectrogram(spec)
