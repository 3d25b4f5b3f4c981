"""Resampling: where a sound lies in time, that cutting the input changes nothing, and what is refused."""

import numpy as np
import pytest

from bundle.errors import ArgumentError
from perception.resample import AdaptiveResampler, Resampler

RATES_HZ = (8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000)


def push_in_pieces(resampler, samples, piece_lengths):
    """All output for `samples` cut into pieces of the given lengths, which repeat."""
    output, start, index = [], 0, 0
    while start < len(samples):
        stop = start + piece_lengths[index % len(piece_lengths)]
        output.append(resampler.push(samples[start:stop]))
        start, index = stop, index + 1
    output.append(resampler.push(samples[:0], last=True))
    return np.concatenate(output)


def noise(seconds, rate_hz, *, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate_hz)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_stays_at_its_time(rate_hz):
    time_s = np.arange(2 * rate_hz) / rate_hz
    pulse = (0.5 * np.exp(-(((time_s - 1.25) / 0.002) ** 2))).astype(np.float32)
    output = push_in_pieces(Resampler(rate_hz), pulse, [rate_hz // 50]).astype(float)
    centre_s = (output * np.arange(len(output))).sum() / output.sum() / 16_000
    assert len(output) == 2 * 16_000
    assert centre_s == pytest.approx(1.25, abs=1e-5)


@pytest.mark.parametrize("rate_hz", [*RATES_HZ, 16_000])
def test_output_does_not_depend_on_how_the_input_is_cut(rate_hz):
    samples = noise(1.3, rate_hz)
    whole = push_in_pieces(Resampler(rate_hz), samples, [len(samples)])
    for piece_lengths in ([160], [rate_hz // 50], [1, 997, 3, 4096, 0, 31]):
        np.testing.assert_array_equal(push_in_pieces(Resampler(rate_hz), samples, piece_lengths), whole)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_tone_below_8_khz_is_kept_and_above_is_removed(rate_hz):
    time_s = np.arange(rate_hz) / rate_hz
    for tone_hz in (440, 9_000):
        if tone_hz >= rate_hz / 2:
            continue
        tone = (0.5 * np.sin(2 * np.pi * tone_hz * time_s)).astype(np.float32)
        middle = Resampler(rate_hz).push(tone, last=True)[4_000:12_000].astype(float)
        expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4_000, 12_000) / 16_000) * (tone_hz == 440)
        assert np.abs(middle / 32_768 - expected).max() < 1e-4


def test_output_trails_the_input_by_no_more_than_documented():
    for rate_hz, limit_s in ((44_100, 0.040), (48_000, 0.040), (8_000, 0.115)):
        resampler, received = Resampler(rate_hz), 0
        for pushed in range(1, 151):
            received += len(resampler.push(np.zeros(rate_hz // 50, np.float32)))
            assert pushed / 50 - received / 16_000 <= limit_s + 1e-9


def test_16_khz_int16_passes_through_untouched():
    samples = np.array([-32_768, -1, 0, 1, 32_767], np.int16)
    assert Resampler(16_000).push(samples) is samples


def test_float_and_int16_input_mean_the_same():
    samples = (noise(0.5, 48_000) * 32_768).astype(np.int16)
    as_float = samples.astype(np.float32) / 32_768
    for rate_hz in (16_000, 48_000):
        from_float, from_int16 = (Resampler(rate_hz).push(x, last=True) for x in (as_float, samples))
        np.testing.assert_array_equal(from_float, from_int16)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_too_loud_input_is_clipped_not_wrapped(rate_hz):
    output = Resampler(rate_hz).push(np.full(rate_hz, 1.5, np.float32), last=True)
    assert set(output[4_000:12_000]) == {32_767}


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_new_stream_after_last_or_reset_equals_the_first(rate_hz):
    resampler, samples = Resampler(rate_hz), noise(0.5, rate_hz)
    first = resampler.push(samples, last=True)
    after_last = resampler.push(samples, last=True)
    resampler.push(noise(0.1, rate_hz, seed=1))
    resampler.reset()
    np.testing.assert_array_equal(after_last, first)
    np.testing.assert_array_equal(resampler.push(samples, last=True), first)


@pytest.mark.parametrize("rate_hz", [0, -16_000, 999, 768_001, float("nan")])
def test_rate_out_of_range_is_rejected(rate_hz):
    with pytest.raises(ArgumentError, match=r"expected 1000\.\.768000 Hz"):
        Resampler(rate_hz)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 480), np.int16), np.zeros(480, np.float64), np.zeros(480, np.int32)],
    ids=lambda x: x.dtype,
)
def test_samples_of_another_shape_or_dtype_are_rejected(samples):
    with pytest.raises(ArgumentError, match="expected float32"):
        Resampler(48_000).push(samples)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_adaptive_resampler_equals_the_fixed_one_while_nothing_is_corrected(rate_hz):
    time_s = np.arange(2 * rate_hz) / rate_hz
    tone = (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    fixed, adaptive = (push_in_pieces(kind(rate_hz), tone, [rate_hz // 50]) for kind in (Resampler, AdaptiveResampler))
    middle = slice(4_000, 28_000)
    spectrum = [
        np.vdot(np.exp(2j * np.pi * 440 * np.arange(4_000, 28_000) / 16_000), x[middle]) for x in (fixed, adaptive)
    ]
    assert abs(np.angle(spectrum[1] / spectrum[0])) / (2 * np.pi * 440) < 0.2e-3
    assert abs(spectrum[1] / spectrum[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("correction", [-1e-3, -1e-4, 1e-3])
def test_corrected_rate_gives_samples_accordingly_and_leaves_no_click(correction):
    resampler = AdaptiveResampler(48_000)
    time_s = np.arange(10 * 48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32).reshape(-1, 960)
    output = [resampler.push(block) for block in tone[:100]]
    resampler.correct(correction)
    output += [resampler.push(block) for block in tone[100:]]
    assert sum(map(len, output)) == pytest.approx(16_000 * (2 + 8 / (1 + correction)), abs=400)
    heard = np.concatenate(output)[2_000:].astype(float) / 32_768
    curvature = heard[:-2] - 2 * np.cos(2 * np.pi * 440 / 16_000) * heard[1:-1] + heard[2:]
    assert np.abs(curvature).max() < 2e-3  # zero for a pure tone; a click of one sample would be 0.2
    assert resampler.rate_hz == pytest.approx(48_000 * (1 + correction))


def test_correction_beyond_the_limit_is_clipped():
    resampler = AdaptiveResampler(16_000)
    resampler.correct(0.5)
    assert resampler.rate_hz == pytest.approx(16_016)
