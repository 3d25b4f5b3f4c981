"""The 162 hand-made features of a clip's sound, means over its frames, known at any time while it plays."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from kernels.clip_features_reference import FRAME_LENGTH, HOP_LENGTH, N_FEATURES, Floats, ReferenceFeatures
from kernels.samples import float_from_samples

Backend = Literal["numba", "numpy"]

_REACH = FRAME_LENGTH // 2
"""Samples of a frame before its centre, and after it."""


class Engine(Protocol):
    """A backend: it adds the features of a frame to sums."""

    def add_frame(self, frame: Floats, begin: int, end: int, sums: Floats) -> None: ...


class ClipFeatures:
    """Features of all audio pushed so far, the same however it is cut into chunks.

    Means over frames of 2,048 samples every 512, as librosa computes them: zero-crossing rate (1), chroma (12, from
    the power spectrum, tuning=0), MFCC (20, of decibels without top_db), root mean square (1) and mel power (128,
    Slaney's scale, 0 Hz .. sample_rate / 2): the 162 inputs of FERCNN (Srinivas & Mishra 2022, Fig. 1). Samples have
    full scale at -1..1.

    Frames are centred on samples 0, 512, 1024, ... as librosa's center=True places them: there is silence before the
    first sample and after the newest, and no zero crossing at either. So `value` completes the newest two or three
    frames with silence each time it is called, and the frames that have all their samples are never computed again.
    `tuning` and `top_db` look at the whole clip in librosa's defaults, which no stream can; hence their values here.

    Parameters
    ----------
    sample_rate : Hz.
    backend : "numba", float64; "numpy", float64: the definition in `kernels.clip_features_reference`.

    Raises
    ------
    ValueError : sample_rate <= 0 or infinite; an unknown backend.

    Examples
    --------
    >>> features = ClipFeatures(backend="numpy")
    >>> features.push(np.zeros(16_000, np.int16))
    >>> features.value().shape
    (162,)
    """

    def __init__(self, *, sample_rate: int = 16_000, backend: Backend = "numba") -> None:
        if not 0 < sample_rate < np.inf:
            raise ValueError(f"sample_rate is {sample_rate}; expected > 0 Hz.")
        self._engine = _engine(sample_rate, backend)
        self.reset()

    def reset(self) -> None:
        """Forget all audio: a new clip begins."""
        self._sums = np.zeros(N_FEATURES)
        self._frames = 0  # in `_sums`
        self._samples = 0  # so far
        self._history = np.zeros(_REACH)  # from the next frame's first sample on, or from the silence before

    def push(self, chunk: npt.NDArray[np.int16 | np.float32]) -> None:
        """Append audio.

        Parameters
        ----------
        chunk : int16, or float32 with full scale at -1..1, ndarray [shape=(n,)], any n, also 0; copied.

        Raises
        ------
        ValueError : another dtype or number of dimensions; a float32 sample that is NaN, infinite or beyond a million.
            Nothing is appended then.
        """
        samples = float_from_samples(chunk)
        self._samples += len(samples)
        history = np.concatenate((self._history, samples))
        complete = max(0, (len(history) - FRAME_LENGTH) // HOP_LENGTH + 1)
        self._add_frames(history, complete, self._sums)
        self._frames += complete
        self._history = history[complete * HOP_LENGTH :].copy()

    def value(self) -> npt.NDArray[np.float32]:
        """Features of the clip so far, float32 [shape=(162,)].

        Raises
        ------
        ValueError : no audio since the start or `reset`.
        """
        if not self._samples:
            raise ValueError("no audio was pushed; expected at least one sample.")
        frames = self._samples // HOP_LENGTH + 1
        sums = self._sums.copy()
        self._add_frames(np.concatenate((self._history, np.zeros(FRAME_LENGTH))), frames - self._frames, sums)
        return (sums / frames).astype(np.float32)

    def _add_frames(self, history: Floats, count: int, sums: Floats) -> None:
        """Add the next `count` frames, of which the first begins with `history`."""
        for number in range(count):
            start = (self._frames + number) * HOP_LENGTH - _REACH  # in the clip
            begin, end = max(0, -start), min(FRAME_LENGTH, self._samples - start)
            frame = history[number * HOP_LENGTH :][:FRAME_LENGTH]
            self._engine.add_frame(frame, begin, end, sums)


def clip_features(
    wave: npt.NDArray[np.int16 | np.float32], *, sample_rate: int = 16_000, backend: Backend = "numba"
) -> npt.NDArray[np.float32]:
    """Features of a whole clip, float32 [shape=(162,)]; see `ClipFeatures`, which computes them.

    Raises
    ------
    ValueError : as `ClipFeatures`; a wave without samples.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    >>> features = clip_features(tone, backend="numpy")
    >>> int(features[1:13].argmax())  # of C, C sharp, ... B: A
    9
    """
    features = ClipFeatures(sample_rate=sample_rate, backend=backend)
    features.push(wave)
    return features.value()


def _engine(sample_rate: int, backend: Backend) -> Engine:
    if backend == "numpy":
        return ReferenceFeatures(sample_rate)
    if backend == "numba":
        from kernels.clip_features_cpu import NumbaFeatures

        return NumbaFeatures(sample_rate)
    raise ValueError(f"backend is {backend!r}; expected 'numba' or 'numpy'.")
