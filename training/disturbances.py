"""What a car does to sound and pictures: each a function of what was captured, a level and a random generator.

Sound is int16 [shape=(n,)], 16 kHz, mono. Faces are the aligned crops of one clip, uint8 gray
[shape=(t, height, width)]. Level 0 changes nothing; of road noise, whose level is a ratio, infinity. Equal generators
make equal draws at every level: a louder noise is the same noise, a larger box lies to the same side.
"""

from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, signal

from corpora.av_clip import SAMPLE_RATE_HZ

Wave = npt.NDArray[np.int16]
Faces = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

PEAK = 32767
ROAD_CORNER_HZ = 80.0
"""Tyres and wind excite a cabin most below 100 Hz; above, the noise falls by some 12 dB per octave (ours, after the
shape of the car recordings of NOISEX-92, Varga & Steeneken 1993)."""
ENGINE_RPM = 1_200, 3_500
ENGINE_SHARE = 0.25  # of the noise's power
ENGINE_HARMONICS = 8
CYLINDERS = 4
PHASOR_BLOCK = 256  # samples
DECAY_TO_60_DB = 3 * np.log(10)  # of an amplitude
READ_NOISE = 2.0  # gray levels, of a small sensor at high gain


def amplified(wave: Wave, gain_db: float, rng: np.random.Generator) -> Wave:
    """Sound louder or softer by `gain_db`, clipped at full scale: where a microphone sits, how it is set."""
    return np.clip(np.rint(wave * 10 ** (gain_db / 20)), -PEAK - 1, PEAK).astype(np.int16)


def with_road_noise(wave: Wave, snr_db: float, rng: np.random.Generator) -> Wave:
    """Sound in a driving car, `snr_db` above its noise: the ratio of the RMS of the whole clip to that of the noise.

    Nine tenths of its power lie below 100 Hz, so at speed the ratio may well be negative. Where the sum would not fit,
    it is turned down, as the gain of a microphone is set for the cabin that it hears.
    """
    speech = wave.astype(np.float64)
    noise = road_noise(len(wave), rng) * _rms(speech) * 10 ** (-snr_db / 20)
    mixed = speech + noise
    return np.rint(mixed * min(1.0, PEAK / max(np.abs(mixed).max(), 1.0))).astype(np.int16)


def road_noise(length: int, rng: np.random.Generator) -> Floats:
    """Noise of RMS 1 [shape=(length,)]: tyres and wind, and an engine at a steady speed that `rng` draws."""
    firing_hz = rng.uniform(*ENGINE_RPM) / 60 * CYLINDERS / 2  # four strokes: each cylinder every second turn
    turn = _phasor(firing_hz / SAMPLE_RATE_HZ, length)
    amplitudes = np.exp(2j * np.pi * rng.random(ENGINE_HARMONICS)) / np.arange(1, ENGINE_HARMONICS + 1) ** 2
    engine = np.polyval([*amplitudes[::-1], 0], turn).imag  # of turn ** k for the k-th harmonic
    padded = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(rng.standard_normal(padded))
    road = fft.irfft(spectrum / (1 + (fft.rfftfreq(padded, 1 / SAMPLE_RATE_HZ) / ROAD_CORNER_HZ) ** 2), padded)[:length]
    noise = _unit(engine) * ENGINE_SHARE**0.5 + _unit(road) * (1 - ENGINE_SHARE) ** 0.5
    return _unit(noise)


def _phasor(frequency: float, length: int) -> npt.NDArray[Any]:
    """`exp(2j * pi * frequency * n)` of n from 0, frequency in cycles per sample, by few calls of the slow `exp`."""
    within, starts = np.arange(PHASOR_BLOCK), PHASOR_BLOCK * np.arange(ceil(length / PHASOR_BLOCK))
    return np.outer(*(np.exp(2j * np.pi * frequency * n) for n in (starts, within))).ravel()[:length]


def reverberated(wave: Wave, rt60_ms: float, rng: np.random.Generator) -> Wave:
    """Sound in a cabin whose reverberation falls by 60 dB in `rt60_ms`, as long and, nearly, as loud as it was."""
    heard = signal.fftconvolve(wave.astype(np.float64), cabin_response(rt60_ms, rng))[: len(wave)]
    return np.clip(np.rint(heard), -PEAK - 1, PEAK).astype(np.int16)


def cabin_response(rt60_ms: float, rng: np.random.Generator) -> Floats:
    """Impulse response of unit energy: half of it direct sound, half noise that decays exponentially (Polack 1988).

    So the speaker sits where both are equally strong. At 0 ms it is the impulse alone.
    """
    length = round(rt60_ms / 1000 * SAMPLE_RATE_HZ)
    if not length:
        return np.ones(1)
    tail = rng.standard_normal(length) * np.exp(-DECAY_TO_60_DB * np.arange(length) / length)
    return np.concatenate(([1.0], tail / np.linalg.norm(tail))) / np.sqrt(2)


def darkened(faces: Faces, stops: float, rng: np.random.Generator) -> Faces:
    """Faces whose gray levels are halved `stops` times, with a sensor's noise, each image its own, in whole levels."""
    if not stops:
        return faces
    dark = faces * 2.0**-stops + rng.normal(0, READ_NOISE, faces.shape)
    return np.rint(dark).clip(0, 255).astype(np.uint8)


def blurred(faces: Faces, sigma_px: float, rng: np.random.Generator) -> Faces:
    """Faces out of focus: a Gaussian of `sigma_px` pixels of the crop."""
    return ndimage.gaussian_filter(faces, (0, sigma_px, sigma_px), mode="nearest")


def occluded(faces: Faces, share: float, rng: np.random.Generator) -> Faces:
    """Faces behind a gray box over a `share`, 0..1, of the crop, in the same place in all: a hand, a phone, a mask."""
    height, width = faces.shape[1:]
    stretch, down, right, gray = rng.uniform((-1, 0, 0, 0), (1, 1, 1, 255))
    tall = min(height, max(ceil(height * share), round(height * share**0.5 * 2 ** (stretch / 2))))
    wide = round(share * height * width / max(tall, 1))
    top, left = round(down * (height - tall)), round(right * (width - wide))
    covered = faces.copy()
    covered[:, top : top + tall, left : left + wide] = round(gray)
    return covered


def rotated(faces: Faces, degrees: float, rng: np.random.Generator) -> Faces:
    """Faces turned by `degrees` to a side that `rng` draws, as where the eyes were found in the wrong place."""
    side = rng.choice((-1, 1))
    return ndimage.rotate(faces, side * degrees, axes=(2, 1), reshape=False, order=1, mode="nearest")


def _rms(wave: Floats) -> float:
    return float(np.sqrt(np.mean(wave**2)))


def _unit(wave: Floats) -> Floats:
    return wave / _rms(wave)
