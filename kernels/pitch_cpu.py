"""Pitch of a frame by Numba: only the lags of the pitch range are correlated, and without a transform."""

import math

import numpy as np

from kernels.jit import cached_njit
from kernels.pitch_stream import OCTAVE_COST, Floats, PitchSpec
from kernels.simd import JIT_OPTIONS


def frame_pitch(frame: Floats, spec: PitchSpec) -> float:
    """As `kernels.pitch_stream.frame_pitch`."""
    first, last = spec.lags
    options = spec.voicing, spec.silence, OCTAVE_COST
    lag = _period(frame, spec.window, spec.window_autocorrelation, first, last, *options)
    return spec.sample_rate / lag if lag else 0.0


@cached_njit(**JIT_OPTIONS)
def _period(frame, window, window_autocorrelation, first, last, voicing, silence, octave_cost):
    """Period in samples, or 0."""
    centred = frame - frame.mean()
    if math.sqrt((centred * centred).mean()) < silence:
        return 0.0
    centred *= window
    energy = _product(centred, 0)
    normalised = np.empty(last + 1 - first)
    for lag in range(first, last + 1):
        normalised[lag - first] = _product(centred, lag) / energy / window_autocorrelation[lag]
    best, peak = 0.0, 0
    for i in range(1, len(normalised) - 1):
        here = normalised[i]
        if normalised[i - 1] < here and here >= normalised[i + 1] and here >= voicing:
            score = here - octave_cost * math.log2(first + i)
            if peak == 0 or score > best:
                best, peak = score, i
    if peak == 0:
        return 0.0
    before, here, after = normalised[peak - 1 : peak + 2]
    return first + peak + 0.5 * (before - after) / (before - 2 * here + after)


@cached_njit(**JIT_OPTIONS)
def _product(samples, lag):
    total = 0.0
    for n in range(len(samples) - lag):
        total += samples[n] * samples[n + lag]
    return total
