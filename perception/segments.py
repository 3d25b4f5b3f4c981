"""Spectrogram segments of a whole wave, as `VoiceEncoder` makes them of a stream."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bundle.features import AudioSpec
from kernels import high_pass, spectrogram_segments


def segments_of_wave(wave: npt.NDArray[np.int16], audio: AudioSpec, **options: Any) -> npt.NDArray[np.float32]:
    """All segments [shape=(segments, bins, columns)]; none of a wave that is shorter than one.

    options : of `spectrogram_segments` instead of the spec's, such as standardize="wave".
    """
    heard = high_pass(wave, audio.highpass_hz, audio.sample_rate_hz)
    return spectrogram_segments(heard, **audio.stream_options() | options)
