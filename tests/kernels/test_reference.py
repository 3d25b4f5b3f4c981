"""The reference is exact: it is compared in float64, before anything is rounded to float32."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.signal
import torch

from kernels.reference import ReferenceSpectrogram, mean_and_deviation, spectrogram_segment, sums_of
from kernels.spec import SpectrogramSpec
from kernels.spectrogram_cpu import integer_moments

WAVE = np.random.default_rng(0).integers(-9_000, 11_000, 3 * 16_000).astype(np.int16)


def segments_in_float64(wave, spec):
    """The reference's segments, written to float64."""
    reference = ReferenceSpectrogram(spec)
    history = np.concatenate((np.zeros(spec.lookback), wave)).astype(np.float32)
    segments = []
    for end in range(spec.step, len(wave) + 1, spec.step):
        out = np.empty((spec.bins, spec.columns)) if end >= spec.segment else None
        reference.step(history, spec.lookback + end, out)
        if out is not None:
            segments.append(out)
    return np.stack(segments)


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("hop_length", [64, 160])
def test_columns_equal_those_of_the_whole_wave(hop_length, window):
    spec = SpectrogramSpec(hop_length=hop_length, window=window, output="mag", standardize="none")
    frames = np.lib.stride_tricks.sliding_window_view(np.append(np.zeros(512 - hop_length), WAVE), 512)[::hop_length]
    whole = np.abs(scipy.fft.rfft(frames * scipy.signal.get_window(window, 512))).T[:-1]
    for number, segment in enumerate(segments_in_float64(WAVE, spec)):
        first = number * spec.step // hop_length
        np.testing.assert_allclose(segment, whole[:, first : first + spec.columns], rtol=0, atol=1e-12 * whole.max())


@pytest.mark.parametrize("edge", ["reflect", "zero"])
@pytest.mark.parametrize("hop_length", [64, 160])
def test_centred_columns_equal_torchs(hop_length, edge):
    spec = SpectrogramSpec(hop_length=hop_length, output="mag", edge=edge, standardize="segment")
    for number, segment in enumerate(segments_in_float64(WAVE, spec)):
        samples = torch.from_numpy(WAVE[number * spec.step :][: spec.segment].astype(float))
        standardised = (samples - samples.mean()) / samples.std(unbiased=False)
        spectrum = torch.stft(
            standardised, 512, hop_length, window=torch.hann_window(512, dtype=torch.float64), center=True,
            pad_mode="reflect" if edge == "reflect" else "constant", return_complex=True,
        )  # fmt: skip
        expected = spectrum.abs().numpy()[:-1, : spec.columns]
        np.testing.assert_allclose(segment, expected, rtol=0, atol=1e-12 * expected.max())


@pytest.mark.parametrize("center", [True, False])
def test_magnitudes_equal_librosas(center):
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    spec = SpectrogramSpec(hop_length=64, output="mag", edge="reflect" if center else "context", standardize="none")
    history = WAVE[: spec.lookback].astype(float)
    samples = history[-spec.segment :] if center else history[-spec.segment - 448 :]
    spectrum = librosa.stft(samples, n_fft=512, hop_length=64, center=center, pad_mode="reflect", dtype=np.complex128)
    expected = np.abs(spectrum[:-1, : spec.columns])
    np.testing.assert_allclose(spectrogram_segment(history, spec), expected, rtol=0, atol=1e-12 * expected.max())


def test_log_mel_is_the_logarithm_of_filtered_power():
    power, mel = (
        spectrogram_segment(WAVE[:20_000], SpectrogramSpec(output=output, power_floor=1e-9))
        for output in ("power", "logmel")
    )
    filters = SpectrogramSpec().mel_filters()[:, :-1]
    np.testing.assert_allclose(np.exp(mel), filters @ power, rtol=1e-12)


EIGHT_HOURS = 8 * 3_600 * 16_000
LOUD = 32_768


@pytest.mark.parametrize("moments", [mean_and_deviation, integer_moments], ids=["numpy", "numba"])
@pytest.mark.parametrize(
    ("total", "squares", "count"),
    [
        (0, EIGHT_HOURS * LOUD**2, EIGHT_HOURS),  # clipped, as often up as down
        (-LOUD * EIGHT_HOURS, LOUD**2 * EIGHT_HOURS, EIGHT_HOURS),  # always clipped: no deviation
        (-LOUD * EIGHT_HOURS + 1, LOUD**2 * EIGHT_HOURS - 2 * LOUD + 1, EIGHT_HOURS),  # but one sample, by one
        (32_001 * EIGHT_HOURS, (32_001**2 + 1) * EIGHT_HOURS, EIGHT_HOURS),  # one to each side of 32001
        (12_345_678_901_234, 12_345_678_901_234**2 // EIGHT_HOURS + 987_654_321, EIGHT_HOURS),
        (64_001, 32_000**2 + 32_001**2, 2),
        (-64_001, 32_000**2 + 32_001**2, 2),
        (7, 49, 1),
    ],
)
def test_moments_are_exact_over_eight_hours(moments, total, squares, count):
    variance = Fraction(squares, count) - Fraction(total, count) ** 2
    mean, deviation = moments(total, squares, count)
    assert mean == pytest.approx(float(Fraction(total, count)), rel=1e-15)
    assert deviation == pytest.approx(float(variance) ** 0.5, rel=1e-14, abs=0)


def test_sums_of_integers_do_not_overflow():
    total, squares = sums_of(np.full(3_200, -32_768, np.float32), integer=True)
    assert (total, squares) == (-32_768 * 3_200, 32_768**2 * 3_200)
    assert isinstance(squares, int)
