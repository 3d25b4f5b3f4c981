"""What the 162 features of a frame are, in NumPy and float64: to be read and to be compared with.

Each is defined as librosa 0.10 defines it; the tests compare with librosa itself.
"""

import numpy as np
import numpy.typing as npt

from kernels.filters import window_function

Floats = npt.NDArray[np.float64]

FRAME_LENGTH = 2_048
HOP_LENGTH = 512

ZERO_CROSSING_RATE, CHROMA, MFCC, RMS, MEL = slice(0, 1), slice(1, 13), slice(13, 33), slice(33, 34), slice(34, 162)
"""Where each kind of feature is among the 162."""

N_FEATURES = MEL.stop
N_CHROMA, N_MFCC, N_MELS = 12, 20, 128

SMALLEST_SAMPLE = 1e-10
"""Samples nearer to zero count as zero, that is as positive, where zero crossings are counted."""

POWER_FLOOR = 1e-10
"""Of a mel band, before the logarithm of the MFCC."""


class ReferenceFeatures:
    """The backend that is the definition."""

    def __init__(self, sample_rate: int) -> None:
        self._mel, self._chroma = slaney_filterbank(sample_rate), chroma_filterbank(sample_rate)
        self._window, self._cosines = window_function("hann", FRAME_LENGTH), cosine_basis()

    def add_frame(self, frame: Floats, begin: int, end: int, sums: Floats) -> None:
        """Add the features of a frame to `sums`.

        Parameters
        ----------
        frame : samples [shape=(FRAME_LENGTH,)]; those before `begin` and from `end` on are padding, zero.
        sums : added to [shape=(N_FEATURES,)].
        """
        power = np.abs(np.fft.rfft(frame * self._window)) ** 2
        chroma = self._chroma @ power
        mel = self._mel @ power
        sums[ZERO_CROSSING_RATE] += zero_crossings(frame[begin:end]) / FRAME_LENGTH
        sums[CHROMA] += chroma / (chroma.max() or 1.0)
        sums[MFCC] += self._cosines @ (10 * np.log10(np.maximum(mel, POWER_FLOOR)))
        sums[RMS] += np.sqrt(np.mean(frame**2))
        sums[MEL] += mel


def zero_crossings(samples: Floats) -> int:
    """How often neighbouring samples differ in sign.

    Srinivas & Mishra 2022, Eq. 9, without its factor 1/2, which belongs to a sign of -1 and 1 and not of 0 and 1.
    """
    negative = samples < -SMALLEST_SAMPLE
    return int(np.count_nonzero(negative[1:] != negative[:-1]))


def slaney_filterbank(sample_rate: int) -> Floats:
    """Triangular mel filters of equal area on Slaney's scale (Slaney 1998), [shape=(N_MELS, FRAME_LENGTH // 2 + 1)].

    The scale is linear up to 1 kHz, 15 mel, and logarithmic above it: a factor of 6.4 every 27 mel.
    """
    mels = np.linspace(0, _slaney_from_hz(sample_rate / 2), N_MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1_000 * 6.4 ** ((mels - 15) / 27))
    bins = np.fft.rfftfreq(FRAME_LENGTH, 1 / sample_rate)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def chroma_filterbank(sample_rate: int) -> Floats:
    """Pitch classes C..B of equal temperament at A = 440 Hz (Ellis 2007), [shape=(N_CHROMA, FRAME_LENGTH // 2 + 1)].

    Each bin is shared by Gaussians around the pitch classes, at least a semitone wide, and weighted by another around
    880 Hz, two octaves wide.
    """
    hz = np.arange(1, FRAME_LENGTH) * sample_rate / FRAME_LENGTH
    octaves = np.log2(hz / 27.5)  # above A0
    octaves = np.concatenate(([octaves[0] - 1.5], octaves))  # the constant: as if one and a half octaves below bin 1
    semitones = N_CHROMA * octaves
    width = np.append(np.maximum(np.diff(semitones), 1.0), 1.0)
    half = N_CHROMA / 2
    distance = (semitones - np.arange(N_CHROMA)[:, None] + half) % N_CHROMA - half
    filters = np.exp(-0.5 * (2 * distance / width) ** 2)
    filters *= np.exp(-0.5 * ((octaves - 5) / 2) ** 2) / np.linalg.norm(filters, axis=0)
    return np.roll(filters, -3, axis=0)[:, : FRAME_LENGTH // 2 + 1]  # from A first to C first


def cosine_basis() -> Floats:
    """The first coefficients of the orthonormal DCT-II of mel bands, [shape=(N_MFCC, N_MELS)]."""
    basis = np.cos(np.pi / N_MELS * np.outer(np.arange(N_MFCC), np.arange(N_MELS) + 0.5)) * np.sqrt(2 / N_MELS)
    basis[0] /= np.sqrt(2)
    return basis


def _slaney_from_hz(hz: float) -> float:
    return hz * 3 / 200 if hz < 1_000 else 15 + 27 * np.log(hz / 1_000) / np.log(6.4)
