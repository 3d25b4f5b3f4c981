"""Streaming resampling of mono audio to the 16 kHz at which everything after the microphone works."""

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError

SAMPLE_RATE_HZ = 16_000
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
INT16_STEPS = 32_768.0  # of full scale: -1..1 maps to -32768..32767


class Resampler:
    """Mono audio of any rate to 16 kHz int16, piece by piece.

    Output sample i lies at time i / 16 000 s from the first input sample: libsoxr compensates its filter's
    delay by holding back. What `push` returns therefore trails its input, by up to 40 ms at 44.1 and 48 kHz
    and by up to 115 ms at 8 kHz. The output does not depend on how the input is cut into pieces.

    Parameters
    ----------
    rate_hz : input sample rate, 1 000..768 000 Hz. At 16 kHz, int16 samples pass through untouched.

    Raises
    ------
    ArgumentError : rate_hz < 1 000 or rate_hz > 768 000.

    Examples
    --------
    >>> resampler = Resampler(48_000)
    >>> len(resampler.push(np.zeros(480, np.int16))), len(resampler.push(np.zeros(480, np.int16), last=True))
    (0, 320)
    """

    def __init__(self, rate_hz: int) -> None:
        _check_rate(rate_hz)
        import soxr

        # float32, not int16: libsoxr dithers int16 output.
        stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        self._stream = None if rate_hz == SAMPLE_RATE_HZ else stream

    def push(
        self, samples: npt.NDArray[np.float32] | npt.NDArray[np.int16], *, last: bool = False
    ) -> npt.NDArray[np.int16]:
        """Samples at 16 kHz that are complete by now, int16 [shape=(m,)], rounded and clipped; m may be 0.

        Parameters
        ----------
        samples : float32, -1..1, or int16 ndarray [shape=(n,)]; n may be 0.
        last : True returns what is held back too; the next `push` begins a new stream.

        Raises
        ------
        ArgumentError : samples are not one-dimensional, or neither float32 nor int16.
        """
        _check_samples(samples)
        if self._stream is None:
            return _int16_from_samples(samples)
        resampled = self._stream.resample_chunk(_float32_from_samples(samples), last=last)
        if last:
            self.reset()
        return _int16_from_samples(resampled)

    def reset(self) -> None:
        """Forget what is held back; the next `push` begins a new stream."""
        if self._stream is not None:
            self._stream.clear()


class AdaptiveResampler:
    """Mono audio of a rate that is corrected while it runs, to 16 kHz int16: for a device whose crystal is off.

    As `Resampler`, with libsoxr's variable rate: it holds back 20 ms at most, 16 kHz included.

    Parameters
    ----------
    rate_hz : nominal input sample rate, 1 000..768 000 Hz.

    Raises
    ------
    ArgumentError : as `Resampler`.
    """

    MAX_CORRECTION = 1e-3
    """Of the nominal rate, either way; crystals are off by 1e-4, Bluetooth links by 5e-4."""

    def __init__(self, rate_hz: int) -> None:
        _check_rate(rate_hz)
        self._rate_hz = rate_hz
        self._restart()

    def correct(self, correction: float) -> None:
        """From now on the input's rate is (1 + correction) times the nominal; -1e-3..1e-3, clipped."""
        self._correction = min(max(correction, -self.MAX_CORRECTION), self.MAX_CORRECTION)
        self._stream.set_io_ratio(self.rate_hz, SAMPLE_RATE_HZ, self._rate_hz // 50)

    @property
    def rate_hz(self) -> float:
        """As corrected."""
        return self._rate_hz * (1 + self._correction)

    def push(
        self, samples: npt.NDArray[np.float32] | npt.NDArray[np.int16], *, last: bool = False
    ) -> npt.NDArray[np.int16]:
        """As `Resampler.push`; a new stream begins with the nominal rate."""
        _check_samples(samples)
        resampled = self._stream.resample_chunk(_float32_from_samples(samples), last=last)
        if last:
            self._restart()
        return _int16_from_samples(resampled)

    def _restart(self) -> None:
        import soxr

        self._correction = 0.0
        highest_hz = self._rate_hz * (1 + self.MAX_CORRECTION)
        self._stream = soxr.ResampleStream(highest_hz, SAMPLE_RATE_HZ, 1, dtype="float32", vr=True)
        self._stream.set_io_ratio(self._rate_hz, SAMPLE_RATE_HZ)


def _check_rate(rate_hz: int) -> None:
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise ArgumentError(
            f"sample rate is {rate_hz} Hz; expected {LOWEST_RATE_HZ}..{HIGHEST_RATE_HZ} Hz. "
            "Give the rate at which the samples were recorded."
        )


def _check_samples(samples: npt.NDArray) -> None:
    if samples.ndim != 1 or samples.dtype not in (np.float32, np.int16):
        raise ArgumentError(
            f"samples have dtype {samples.dtype} and shape {samples.shape}; expected float32 (-1..1) or "
            "int16, shape (n,). Convert them, and mix the channels down to one."
        )


def _float32_from_samples(samples: npt.NDArray) -> npt.NDArray[np.float32]:
    if samples.dtype == np.float32:
        return samples
    return samples.astype(np.float32) / np.float32(INT16_STEPS)


def _int16_from_samples(samples: npt.NDArray) -> npt.NDArray[np.int16]:
    if samples.dtype == np.int16:
        return samples
    return np.rint(samples * INT16_STEPS).clip(-INT16_STEPS, INT16_STEPS - 1).astype(np.int16)
