"""Spectrogram segments are what their definition says, whatever is pushed and however it is cut."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import SpectrogramStream, mel_filterbank, spectrogram_segments
from kernels.spectrogram import window_function

RATE = 16_000
SHORT = {"segment": 3_200, "step": 1_600, "statistics": 4_800}  # of the same kind as the defaults, but soon tested


def sound(seconds, *, level=3_000.0, offset=0.0, seed=0):
    """A tone in noise, int16."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    wave = offset + level * (rng.normal(0, 0.3, samples) + np.sin(np.arange(samples) / 3))
    return np.rint(wave).clip(-32_768, 32_767).astype(np.int16)


def mel_by_definition(n_fft, n_mels, fmin, fmax):
    """Triangles from one mel frequency over the next to the one after, drawn by np.interp."""
    mels = np.linspace(*(1127 * np.log(1 + np.array((fmin, fmax)) / 700)), n_mels + 2)
    edges = 700 * (np.exp(mels / 1127) - 1)
    return np.stack([np.interp(np.fft.rfftfreq(n_fft, 1 / RATE), edges[m : m + 3], (0, 1, 0)) for m in range(n_mels)])


def segments_by_definition(
    wave, *, output="logmel", window="hann", n_fft=512, hop_length=160, segment=16_000, step=3_200, n_mels=64,
    fmin=50.0, fmax=8_000.0, statistics=160_000, std_floor=33.0, power_floor=1e-3,
):  # fmt: skip
    """Each segment by itself: standardise all up to its end, transform that with SciPy, take the newest columns."""
    transform = scipy.signal.ShortTimeFFT(scipy.signal.get_window(window, n_fft), hop_length, RATE, phase_shift=None)
    lead = -(-n_fft // 2 // hop_length)  # hops of silence, after which SciPy's slices begin where the frames do
    silence = np.zeros(n_fft // 2 + lead * hop_length)
    segments = []
    for end in range(segment, len(wave) + 1, step):
        recent = wave[max(0, end - statistics) : end].astype(float)
        mean, deviation = (recent.mean(), max(recent.std(), std_floor)) if statistics else (0.0, 1.0)
        standardised = (np.concatenate((silence, wave[:end])) - mean) / deviation
        last = end // hop_length + lead
        power = np.abs(transform.stft(standardised, last + 1 - segment // hop_length, last + 1)) ** 2
        if output == "logmel":
            power = mel_by_definition(n_fft, n_mels, fmin, fmax) @ power
            segments.append(np.log(np.maximum(power, power_floor)))
        elif output == "logmag":
            segments.append(np.log(np.sqrt(np.maximum(power[:-1], power_floor))))
        else:
            segments.append(power[:-1])
    return np.stack(segments)


@pytest.mark.parametrize("output", ["logmel", "logmag", "power"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hop_length": 64, "segment": 16_000, "step": 3_200},
        {"n_fft": 400, "window": "hamming", "n_mels": 40, "fmin": 0.0, "fmax": 7_000.0},
        {"statistics": 0, "power_floor": 1.0},
        {"n_fft": 160},  # frames that do not overlap
        {**SHORT, "segment": 1_600},  # segments that do not overlap
        SHORT,
    ],
    ids=str,
)
def test_segments_follow_their_definition(output, options):
    wave = sound(1.85, offset=500.0)
    found = spectrogram_segments(wave, output=output, **options)
    np.testing.assert_allclose(found, segments_by_definition(wave, output=output, **options), rtol=2e-6, atol=2e-6)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


@pytest.mark.parametrize("output", ["logmel", "logmag", "power"])
@pytest.mark.parametrize(
    "wave",
    [
        sound(1.4, level=5.0),  # quieter than the floor of the deviation
        np.where(sound(1.4) > 0, 32_767, -32_768).astype(np.int16),  # clipped
        sound(1.4, level=100.0, offset=30_000.0),  # a large offset
        np.concatenate((np.zeros(RATE, np.int16), sound(0.4))),  # begins after a silence
    ],
    ids=["quiet", "clipped", "offset", "late"],
)
def test_extreme_sound_follows_the_definition(output, wave):
    found = spectrogram_segments(wave, output=output)
    np.testing.assert_allclose(found, segments_by_definition(wave, output=output), rtol=2e-6, atol=2e-6)


def test_statistics_are_those_of_the_last_ten_seconds():
    wave = sound(11.2)
    wave[: RATE // 2] = 20_000  # within ten seconds of the first segments' ends, not of the last ones'
    found = spectrogram_segments(wave)
    np.testing.assert_allclose(found, segments_by_definition(wave), rtol=2e-6, atol=2e-6)


def test_sound_older_than_the_statistics_and_the_overlap_has_no_influence():
    wave = sound(11.0)
    other = wave.copy()
    other[:RATE] = 12_345  # the last segment ends at 11 s
    found, others = spectrogram_segments(wave), spectrogram_segments(other)
    np.testing.assert_array_equal(found[-1], others[-1])
    assert not np.array_equal(found[-2], others[-2])  # 10 s before its end lie 0.2 s of the difference


def test_deviation_is_exact_on_a_large_offset():
    wave = np.full(11 * RATE, 32_000, np.int16)
    wave[1::2] += 1  # deviation 0.5, mean 32000.5
    options = {"output": "power", "std_floor": 1e-9}
    found = spectrogram_segments(wave, **options)[-1]
    exact = spectrogram_segments(np.where(wave == 32_000, -1, 1).astype(np.int16), statistics=0, **options)[-1]
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("factor", [2, -1])
def test_loudness_and_polarity_do_not_matter(factor):
    wave = sound(1.2)
    found, others = spectrogram_segments(wave), spectrogram_segments(factor * wave)
    np.testing.assert_allclose(others, found, rtol=1e-6, atol=1e-6)


def test_noise_under_the_floor_of_the_deviation_is_not_amplified():
    quiet = spectrogram_segments(sound(1.0, level=8.0), output="power")
    quieter = spectrogram_segments(sound(1.0, level=4.0), output="power")
    assert quieter.sum() < 0.5 * quiet.sum()


@pytest.mark.parametrize("output", ["logmel", "logmag", "power"])
def test_silence_is_the_floor(output):
    floor = {"logmel": np.log(0.01), "logmag": np.log(0.1), "power": 0.0}[output]
    found = spectrogram_segments(np.zeros(12 * RATE, np.int16), output=output, power_floor=0.01)
    np.testing.assert_allclose(found, floor, rtol=1e-6)


@pytest.mark.parametrize("value", [1, 32_767, -32_768])
def test_a_constant_is_silence_once_the_frames_lie_within_it(value):
    found = spectrogram_segments(np.full(11 * RATE, value, np.int16))
    np.testing.assert_allclose(found[1:], np.log(1e-3), rtol=1e-6)


def test_the_newest_sample_is_in_the_newest_column_only():
    wave = np.zeros(RATE, np.int16)
    found = spectrogram_segments(wave, output="power", statistics=0, window="hamming")
    wave[-1] = 1_000
    clicked = spectrogram_segments(wave, output="power", statistics=0, window="hamming")
    changed = (clicked != found).any((0, 1))
    assert changed.tolist() == [False] * 99 + [True]


def test_the_oldest_columns_hold_the_real_past():
    wave = np.zeros(RATE + 3_200, np.int16)
    wave[3_199] = 1_000  # the last sample before the second segment
    first, second = spectrogram_segments(wave, output="power", statistics=0)
    energetic = second.any(0)
    assert energetic.tolist() == [True] * 3 + [False] * 97  # 512 samples reach back over three columns of 160
    np.testing.assert_array_equal(second[:, :80], first[:, 20:])


def test_the_future_has_no_influence():
    wave = sound(2.0)
    whole = spectrogram_segments(wave)
    for count, end in enumerate(range(RATE, len(wave), 3_200), 1):
        np.testing.assert_array_equal(spectrogram_segments(wave[:end]), whole[:count])


def test_a_tone_is_loudest_in_the_bin_of_its_frequency():
    wave = np.rint(10_000 * np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)).astype(np.int16)
    magnitudes, mels = (spectrogram_segments(wave, output=output)[0] for output in ("logmag", "logmel"))
    assert set(magnitudes[:, 4:].argmax(0)) == {1_000 * 512 // RATE}
    peak = mel_by_definition(512, 64, 50.0, 8_000.0)[:, 32].argmax()
    assert set(mels[:, 4:].argmax(0)) == {peak}


WAVE = sound(0.7, offset=200.0)
WHOLE = spectrogram_segments(WAVE, **SHORT)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, len(WAVE)), max_size=40), at_once=st.booleans())
def test_any_chunking_gives_bit_identical_segments(cuts, at_once):
    stream, found = SpectrogramStream(**SHORT), []
    for chunk in np.split(WAVE, sorted(cuts)):  # equal cuts make empty chunks
        stream.push(chunk)
        if not at_once:
            found += stream.segments()
    found += stream.segments()
    np.testing.assert_array_equal(np.stack(found), WHOLE)


def test_a_segment_comes_with_its_last_sample_and_once():
    stream = SpectrogramStream(**SHORT)
    stream.push(WAVE[:3_199])
    assert stream.tick() is None
    stream.push(WAVE[3_199:3_200])
    np.testing.assert_array_equal(stream.tick(), WHOLE[0])
    assert stream.tick() is None
    stream.push(WAVE[3_200:4_800])
    np.testing.assert_array_equal(stream.tick(), WHOLE[1])
    assert stream.tick() is None


def test_pushed_audio_and_returned_segments_are_the_callers():
    stream, buffer = SpectrogramStream(**SHORT), np.empty(800, np.int16)
    found = []
    for start in range(0, len(WAVE), 800):
        buffer[:] = WAVE[start : start + 800]
        stream.push(buffer)
        buffer[:] = 0
        for segment in stream.segments():
            found.append(segment.copy())
            segment[:] = 0
    np.testing.assert_array_equal(np.stack(found), WHOLE)


def test_after_a_reset_nothing_is_left():
    stream = SpectrogramStream(**SHORT)
    stream.push(sound(0.61, seed=1))
    assert len(list(stream.segments())) == 5
    stream.reset()
    stream.push(WAVE)
    np.testing.assert_array_equal(np.stack(list(stream.segments())), WHOLE)


@pytest.mark.parametrize("samples", [0, 1, 15_999])
def test_a_wave_shorter_than_a_segment_has_none(samples):
    assert spectrogram_segments(np.zeros(samples, np.int16)).shape == (0, 64, 100)


@pytest.mark.parametrize("output", ["logmel", "logmag", "power"])
def test_shape_is_known_before_any_audio(output):
    stream = SpectrogramStream(output=output, n_mels=40)
    shape = stream.shape
    stream.push(np.zeros(RATE, np.int16))
    assert stream.tick().shape == shape


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(10, np.float32),
        np.zeros(10, np.int32),
        np.zeros(10, np.uint16),
        np.zeros((10, 1), np.int16),
        np.int16(3),
    ],
    ids=lambda chunk: f"{chunk.dtype}{chunk.shape}",
)
def test_anything_but_mono_int16_is_rejected(chunk):
    with pytest.raises(ValueError, match=r"expected int16 with shape \(n,\)"):
        SpectrogramStream().push(chunk)


def test_hop_longer_than_frame_is_rejected():
    with pytest.raises(ValueError, match="hop_length <= n_fft"):
        SpectrogramStream(n_fft=128)


@pytest.mark.parametrize("hop_length", [0, -160])
def test_hop_that_goes_nowhere_is_rejected(hop_length):
    with pytest.raises(ValueError, match="0 < hop_length"):
        SpectrogramStream(hop_length=hop_length)


def test_hop_longer_than_step_is_rejected():
    with pytest.raises(ValueError, match="do not nest"):
        SpectrogramStream(hop_length=400, step=200)


@pytest.mark.parametrize(
    "options",
    [{"step": 3_000}, {"segment": 15_000}, {"statistics": 5_000}, {"step": 0}, {"segment": 0}, {"step": 32_000}],
)
def test_lengths_that_do_not_nest_are_rejected(options):
    with pytest.raises(ValueError, match="do not nest"):
        SpectrogramStream(**options)


@pytest.mark.parametrize("options", [{"output": "mfcc"}, {"window": "kaiser"}])
def test_unknown_output_and_window_are_rejected(options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        SpectrogramStream(**options)


@pytest.mark.parametrize(("fmin", "fmax"), [(-1.0, 8_000.0), (50.0, 8_001.0), (4_000.0, 4_000.0)])
def test_mel_range_outside_the_spectrum_is_rejected(fmin, fmax):
    with pytest.raises(ValueError, match="expected 0 <= fmin < fmax <= 8000"):
        SpectrogramStream(fmin=fmin, fmax=fmax)


@pytest.mark.parametrize(("n_fft", "n_mels", "fmin", "fmax"), [(512, 64, 50.0, 8_000.0), (400, 23, 0.0, 4_000.0)])
def test_mel_filters_are_triangles_of_peak_one(n_fft, n_mels, fmin, fmax):
    found = mel_filterbank(RATE, n_fft, n_mels, fmin, fmax)
    np.testing.assert_allclose(found, mel_by_definition(n_fft, n_mels, fmin, fmax), atol=1e-9)


@pytest.mark.parametrize(("n_fft", "n_mels", "fmin", "fmax"), [(512, 64, 50.0, 8_000.0), (400, 23, 0.0, 4_000.0)])
def test_mel_filters_equal_librosas(n_fft, n_mels, fmin, fmax):
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    expected = librosa.filters.mel(
        sr=RATE, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=True, norm=None, dtype=np.float64
    )
    np.testing.assert_allclose(mel_filterbank(RATE, n_fft, n_mels, fmin, fmax), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["hann", "hamming"])
def test_windows_are_periodic(name):
    np.testing.assert_allclose(window_function(name, 400), scipy.signal.get_window(name, 400), atol=1e-15)
