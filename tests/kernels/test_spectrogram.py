"""Spectrogram segments are what their definition says, whatever is pushed and however it is cut."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels.spectrogram
from kernels import SpectrogramStream, mel_filterbank, spectrogram_segments
from kernels.spectrogram import window_function
from kernels.spectrogram_cpu import _compiled_steps

RATE = 16_000
SHORT = {"segment": 3_200, "step": 1_600, "statistics": 4_800}  # of the same kind as the defaults, but soon tested
OUTPUTS = ["logmel", "logmag", "mag", "power"]
BACKENDS = ["numba", "numpy"]

SPECS = {
    "MRPN": {"hop_length": 64},
    "Mocanu": {"hop_length": 160, "window": "hamming"},  # 32 ms every 10 ms
    "PANNs": {"hop_length": 160, "n_mels": 64, "fmin": 50.0, "fmax": 8_000.0},
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


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


def power_by_scipy(wave, end, columns, *, window, n_fft, hop_length):
    """Power of the newest columns of all up to `end`, before which all is silence."""
    transform = scipy.signal.ShortTimeFFT(scipy.signal.get_window(window, n_fft), hop_length, RATE, phase_shift=None)
    lead = -(-n_fft // 2 // hop_length)  # hops of silence, after which SciPy's slices begin where the frames do
    last = end // hop_length + lead
    return np.abs(transform.stft(wave[: n_fft // 2 + lead * hop_length + end], last + 1 - columns, last + 1)) ** 2


def power_by_torch(segment, columns, *, window, n_fft, hop_length, edge):
    spectrum = torch.stft(
        torch.from_numpy(segment), n_fft, hop_length, window=torch.from_numpy(scipy.signal.get_window(window, n_fft)),
        center=True, pad_mode="reflect" if edge == "reflect" else "constant", return_complex=True,
    )  # fmt: skip
    return np.abs(spectrum.numpy()[:, :columns]) ** 2


def segments_by_definition(
    wave, *, output="logmel", window="hann", n_fft=512, hop_length=160, segment=16_000, step=3_200, n_mels=64,
    fmin=50.0, fmax=8_000.0, edge="context", standardize="running", statistics=160_000, std_floor=33.0,
    power_floor=1e-3,
):  # fmt: skip
    """Each segment by itself: standardise all up to its end, transform that with SciPy or torch."""
    frame = {"window": window, "n_fft": n_fft, "hop_length": hop_length}
    columns = segment // hop_length
    silence = np.zeros(n_fft // 2 + -(-n_fft // 2 // hop_length) * hop_length)
    segments = []
    for end in range(segment, len(wave) + 1, step):
        recent = {"running": wave[max(0, end - statistics) : end], "segment": wave[end - segment : end], "wave": wave}
        mean, deviation = 0.0, 1.0
        if standardize != "none" and statistics:
            known = recent[standardize].astype(float)
            mean, deviation = known.mean(), max(known.std(), std_floor)
        if edge == "context":
            standardised = (np.concatenate((silence, wave[:end])) - mean) / deviation
            power = power_by_scipy(standardised, end, columns, **frame)
        else:
            power = power_by_torch((wave[end - segment : end] - mean) / deviation, columns, edge=edge, **frame)
        if output == "logmel":
            power = mel_by_definition(n_fft, n_mels, fmin, fmax) @ power
            segments.append(np.log(np.maximum(power, power_floor)))
        elif output == "logmag":
            segments.append(np.log(np.sqrt(np.maximum(power[:-1], power_floor))))
        else:
            segments.append(power[:-1] if output == "power" else np.sqrt(power[:-1]))
    return np.stack(segments)


def magnitudes(segments, output):
    """What the output's logarithm or square was made of."""
    segments = np.asarray(segments, float)
    if output == "mag":
        return segments
    return np.sqrt(segments) if output == "power" else np.exp(segments if output == "logmag" else segments / 2)


def assert_close(found, expected, output, backend):
    """float32 is held to the loudest bin, before the logarithm; the float64 reference to each value."""
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    if backend == "numpy":
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
    else:
        loudest = magnitudes(expected, output).max()
        np.testing.assert_allclose(magnitudes(found, output), magnitudes(expected, output), rtol=0, atol=1e-5 * loudest)


@pytest.mark.parametrize("standardize", ["running", "segment", "none", "wave"])
@pytest.mark.parametrize("edge", ["context", "reflect", "zero"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", SPECS)
def test_every_combination_follows_its_definition(name, output, edge, standardize, backend):
    options = {**SPECS[name], "output": output, "edge": edge, "standardize": standardize, "statistics": 9_600}
    wave = sound(1.4, offset=500.0)
    found = spectrogram_segments(wave, backend=backend, **options)
    assert_close(found, segments_by_definition(wave, **options), output, backend)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("columns", [1, 6, 7, 16, 17, 22, 23])
def test_steps_of_any_number_of_columns_follow_the_definition(columns, output):
    step = 64 * columns
    options = {"hop_length": 64, "segment": 3 * step, "step": step, "statistics": 4 * step, "output": output}
    wave = sound(0.5)
    assert_close(spectrogram_segments(wave, **options), segments_by_definition(wave, **options), output, "numba")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hop_length": 64, "segment": 16_000, "step": 3_200},
        {"n_fft": 400, "window": "hamming", "n_mels": 40, "fmin": 0.0, "fmax": 7_000.0},
        {"statistics": 0, "power_floor": 1.0},
        {"n_fft": 160},  # frames that do not overlap
        {"n_fft": 400, "edge": "reflect"},
        {"hop_length": 16, "edge": "zero"},
        {"hop_length": 512, "segment": 10_240, "step": 5_120, "statistics": 10_240, "edge": "reflect"},
        {"fmin": 0.0, "n_mels": 40},  # mel bands that hold the bins a constant touches
        {"fmin": 0.0, "n_mels": 200},  # and bands before them that hold no bin
        {**SHORT, "segment": 1_600},  # segments that do not overlap
        SHORT,
    ],
    ids=str,
)
def test_segments_follow_their_definition(output, options, backend):
    wave = sound(1.85, offset=500.0)
    found = spectrogram_segments(wave, output=output, backend=backend, **options)
    assert_close(found, segments_by_definition(wave, output=output, **options), output, backend)


@pytest.mark.parametrize("output", OUTPUTS)
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
def test_extreme_sound_follows_the_definition(output, wave, backend):
    found = spectrogram_segments(wave, output=output, backend=backend)
    assert_close(found, segments_by_definition(wave, output=output), output, backend)


def test_statistics_are_those_of_the_last_ten_seconds(backend):
    wave = sound(11.2)
    wave[: RATE // 2] = 20_000  # within ten seconds of the first segments' ends, not of the last ones'
    found = spectrogram_segments(wave, backend=backend)
    assert_close(found, segments_by_definition(wave), "logmel", backend)


def test_sound_older_than_the_statistics_and_the_overlap_has_no_influence(backend):
    wave = sound(11.0)
    other = wave.copy()
    other[:RATE] = 12_345  # the last segment ends at 11 s
    found, others = (spectrogram_segments(each, backend=backend) for each in (wave, other))
    np.testing.assert_array_equal(found[-1], others[-1])
    assert not np.array_equal(found[-2], others[-2])  # 10 s before its end lie 0.2 s of the difference


def test_deviation_is_exact_on_a_large_offset(backend):
    wave = np.full(11 * RATE, 32_000, np.int16)
    wave[1::2] += 1  # deviation 0.5, mean 32000.5
    options = {"output": "power", "std_floor": 1e-9, "backend": backend}
    found = spectrogram_segments(wave, **options)[-1]
    exact = spectrogram_segments(np.where(wave == 32_000, -1, 1).astype(np.int16), statistics=0, **options)[-1]
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6 * exact.max())


@pytest.mark.parametrize("factor", [2, -1])
def test_loudness_and_polarity_do_not_matter(backend, factor):
    wave = sound(1.2)
    found, others = (spectrogram_segments(each, backend=backend) for each in (wave, factor * wave))
    assert_close(others, found, "logmel", backend)


def test_noise_under_the_floor_of_the_deviation_is_not_amplified(backend):
    quiet = spectrogram_segments(sound(1.0, level=8.0), output="power", backend=backend)
    quieter = spectrogram_segments(sound(1.0, level=4.0), output="power", backend=backend)
    assert quieter.sum() < 0.5 * quiet.sum()


@pytest.mark.parametrize("output", OUTPUTS)
def test_silence_is_the_floor(backend, output):
    floor = {"logmel": np.log(0.01), "logmag": np.log(0.1), "mag": 0.0, "power": 0.0}[output]
    found = spectrogram_segments(np.zeros(12 * RATE, np.int16), output=output, power_floor=0.01, backend=backend)
    np.testing.assert_allclose(found, floor, rtol=1e-6)


@pytest.mark.parametrize("value", [1, 32_767, -32_768])
def test_a_constant_is_silence_once_the_frames_lie_within_it(backend, value):
    found = spectrogram_segments(np.full(11 * RATE, value, np.int16), backend=backend)
    np.testing.assert_allclose(found[1:], np.log(1e-3), rtol=1e-6)


def test_the_newest_sample_is_in_the_newest_column_only(backend):
    wave = np.zeros(RATE, np.int16)
    found = spectrogram_segments(wave, output="power", statistics=0, window="hamming", backend=backend)
    wave[-1] = 1_000
    clicked = spectrogram_segments(wave, output="power", statistics=0, window="hamming", backend=backend)
    changed = (clicked != found).any((0, 1))
    assert changed.tolist() == [False] * 99 + [True]


def test_the_oldest_columns_hold_the_real_past(backend):
    wave = np.zeros(RATE + 3_200, np.int16)
    wave[3_199] = 1_000  # the last sample before the second segment
    first, second = spectrogram_segments(wave, output="power", statistics=0, backend=backend)
    energetic = second.any(0)
    assert energetic.tolist() == [True] * 3 + [False] * 97  # 512 samples reach back over three columns of 160
    np.testing.assert_array_equal(second[:, :80], first[:, 20:])


def test_the_future_has_no_influence(backend):
    wave = sound(2.0)
    whole = spectrogram_segments(wave, backend=backend)
    for count, end in enumerate(range(RATE, len(wave), 3_200), 1):
        np.testing.assert_array_equal(spectrogram_segments(wave[:end], backend=backend), whole[:count])


def test_a_tone_is_loudest_in_the_bin_of_its_frequency(backend):
    wave = np.rint(10_000 * np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)).astype(np.int16)
    magnitudes, mels = (
        spectrogram_segments(wave, output=output, backend=backend)[0] for output in ("logmag", "logmel")
    )
    assert set(magnitudes[:, 4:].argmax(0)) == {1_000 * 512 // RATE}
    peak = mel_by_definition(512, 64, 50.0, 8_000.0)[:, 32].argmax()
    assert set(mels[:, 4:].argmax(0)) == {peak}


WAVE = sound(0.7, offset=200.0)
FLOAT_WAVE = (WAVE / 40_000).astype(np.float32)
CASES = [
    {"backend": "numpy"},
    {"backend": "numba"},
    {"backend": "numba", "output": "logmag", "hop_length": 64, "edge": "reflect", "segment": 6_400, "step": 3_200},
    {"backend": "numba", "output": "mag", "hop_length": 32, "edge": "zero", "standardize": "none"},
]


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("wave", [WAVE, FLOAT_WAVE], ids=["int16", "float32"])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, len(WAVE)), max_size=40), at_once=st.booleans())
def test_any_chunking_gives_bit_identical_segments(wave, options, cuts, at_once):
    options = {**SHORT, "statistics": 3_200, **options}
    stream, found = SpectrogramStream(**options), []
    for chunk in np.split(wave, sorted(cuts)):  # equal cuts make empty chunks
        stream.push(chunk)
        if not at_once:
            found += stream.segments()
    found += stream.segments()
    np.testing.assert_array_equal(np.stack(found), spectrogram_segments(wave, **options))


def test_a_segment_comes_with_its_last_sample_and_once(backend):
    whole = spectrogram_segments(WAVE, **SHORT, backend=backend)
    stream = SpectrogramStream(**SHORT, backend=backend)
    stream.push(WAVE[:3_199])
    assert stream.tick() is None
    stream.push(WAVE[3_199:3_200])
    np.testing.assert_array_equal(stream.tick(), whole[0])
    assert stream.tick() is None
    stream.push(WAVE[3_200:4_800])
    np.testing.assert_array_equal(stream.tick(), whole[1])
    assert stream.tick() is None


def test_pushed_audio_and_returned_segments_are_the_callers(backend):
    whole = spectrogram_segments(WAVE, **SHORT, backend=backend)
    stream, buffer = SpectrogramStream(**SHORT, backend=backend), np.empty(800, np.int16)
    found = []
    for start in range(0, len(WAVE), 800):
        buffer[:] = WAVE[start : start + 800]
        stream.push(buffer)
        buffer[:] = 0
        for segment in stream.segments():
            found.append(segment.copy())
            segment[:] = 0
    np.testing.assert_array_equal(np.stack(found), whole)


def test_after_a_reset_nothing_is_left(backend):
    whole = spectrogram_segments(WAVE, **SHORT, backend=backend)
    stream = SpectrogramStream(**SHORT, backend=backend)
    stream.push(sound(0.61, seed=1))
    assert len(list(stream.segments())) == 5
    stream.reset()
    stream.push(WAVE)
    np.testing.assert_array_equal(np.stack(list(stream.segments())), whole)


@pytest.mark.parametrize("samples", [0, 1, 15_999])
def test_a_wave_shorter_than_a_segment_has_none(backend, samples):
    assert spectrogram_segments(np.zeros(samples, np.int16), backend=backend).shape == (0, 64, 100)


@pytest.mark.parametrize("output", OUTPUTS)
def test_shape_is_known_before_any_audio(backend, output):
    stream = SpectrogramStream(output=output, n_mels=40, backend=backend)
    shape = stream.shape
    stream.push(np.zeros(RATE, np.int16))
    assert stream.tick().shape == shape


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(10),
        np.zeros(10, ">i2"),
        np.zeros(10, np.int32),
        np.zeros(10, np.uint16),
        np.zeros((10, 1), np.int16),
        np.int16(3),
    ],
    ids=lambda chunk: f"{chunk.dtype}{chunk.shape}",
)
def test_anything_but_mono_int16_or_float32_is_rejected(chunk):
    with pytest.raises(ValueError, match=r"expected int16 or float32 with shape \(n,\)"):
        SpectrogramStream().push(chunk)


def test_a_list_is_rejected():
    with pytest.raises(ValueError, match="chunk is of type list; expected a NumPy array"):
        SpectrogramStream(**SHORT).push([0, 1])


@pytest.mark.parametrize("standardize", ["running", "segment", "wave"])
def test_float32_and_int16_sound_the_same_once_standardised(backend, standardize):
    wave = sound(1.4, offset=300.0)
    found = spectrogram_segments((wave / 32_768).astype(np.float32), standardize=standardize, backend=backend)
    assert_close(found, spectrogram_segments(wave, standardize=standardize, backend=backend), "logmel", backend)


def test_float32_keeps_its_unit_if_not_standardised(backend):
    wave, options = sound(1.0), {"output": "mag", "standardize": "none", "backend": backend}
    found = spectrogram_segments((wave / 32_768).astype(np.float32), **options)
    np.testing.assert_allclose(found * 32_768, spectrogram_segments(wave, **options), rtol=1e-6, atol=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 2e6])
@pytest.mark.parametrize("position", [0, 5, 9])
def test_a_sample_that_is_no_sound_is_rejected_and_leaves_the_stream_as_it_was(backend, value, position):
    stream, chunk = SpectrogramStream(**SHORT, backend=backend), np.zeros(10, np.float32)
    chunk[position] = value
    stream.push(FLOAT_WAVE[:2_000])
    with pytest.raises(ValueError, match="NaN, infinity"):
        stream.push(chunk)
    stream.push(FLOAT_WAVE[2_000:])
    found = np.stack(list(stream.segments()))
    np.testing.assert_array_equal(found, spectrogram_segments(FLOAT_WAVE, **SHORT, backend=backend))


def test_dtype_may_change_after_a_reset_only(backend):
    stream = SpectrogramStream(**SHORT, backend=backend)
    stream.push(FLOAT_WAVE)
    with pytest.raises(ValueError, match="call reset"):
        stream.push(WAVE)
    stream.reset()
    stream.push(WAVE)
    found = np.stack(list(stream.segments()))
    np.testing.assert_array_equal(found, spectrogram_segments(WAVE, **SHORT, backend=backend))


@pytest.mark.parametrize("wave", [WAVE, FLOAT_WAVE], ids=["int16", "float32"])
def test_strided_audio_is_accepted(backend, wave):
    stereo = np.stack((wave, -wave), axis=1)
    found = spectrogram_segments(stereo[:, 0], **SHORT, backend=backend)
    np.testing.assert_array_equal(found, spectrogram_segments(wave, **SHORT, backend=backend))


def test_quiet_sound_on_a_large_offset_is_not_lost(backend):
    wave = sound(1.2, level=10.0, offset=-30_000.37)
    found = spectrogram_segments(wave, output="mag", standardize="segment", std_floor=1e-3, backend=backend)[1]
    expected = segments_by_definition(wave, output="mag", standardize="segment", std_floor=1e-3)[1]
    assert_close(found, expected, "mag", backend)


def test_segments_are_written_to_the_callers_memory(backend):
    stream, out = SpectrogramStream(**SHORT, backend=backend), np.empty((64, 20), np.float32)
    stream.push(WAVE)
    assert stream.tick(out) is out
    whole = np.empty((6, 64, 20), np.float32)
    assert spectrogram_segments(WAVE, **SHORT, backend=backend, out=whole) is whole
    np.testing.assert_array_equal(out, whole[0])


@pytest.mark.parametrize(
    "out",
    [
        np.empty((64, 20)),
        np.empty((64, 21), np.float32),
        np.empty((20, 64), np.float32).T,
        np.frombuffer(bytes(5_120), np.float32).reshape(64, 20),
    ],
    ids=["f8", "21", "T", "read-only"],
)
def test_memory_of_another_kind_is_rejected(backend, out):
    stream = SpectrogramStream(**SHORT, backend=backend)
    with pytest.raises(ValueError, match="expected writeable, C-contiguous float32"):
        stream.tick(out)


def test_memory_for_another_number_of_segments_is_rejected(backend):
    with pytest.raises(ValueError, match=r"expected writeable, C-contiguous float32 \(6, 64, 20\)"):
        spectrogram_segments(WAVE, **SHORT, backend=backend, out=np.empty((5, 64, 20), np.float32))


def test_memory_for_segments_that_is_not_contiguous_is_rejected(backend):
    with pytest.raises(ValueError, match="C-contiguous"):
        spectrogram_segments(WAVE, **SHORT, backend=backend, out=np.empty((12, 64, 20), np.float32)[::2])


def test_work_areas_that_another_wave_left_have_no_influence(backend):
    options = SHORT | {"standardize": "none", "backend": backend}
    expected = spectrogram_segments(WAVE, **options)
    spectrogram_segments(FLOAT_WAVE[::-1], **options | {"standardize": "wave"})
    with pytest.raises(ValueError, match="expected int16 or float32"):
        spectrogram_segments(WAVE.astype(np.int32), **options)
    spectrogram_segments(WAVE[5_000:], **options)
    np.testing.assert_array_equal(spectrogram_segments(WAVE, **options), expected)


def test_waves_may_be_transformed_by_several_threads_at_once(backend):
    waves = [np.roll(WAVE, 1_000 * shift) for shift in range(16)]
    expected = [spectrogram_segments(wave, **SHORT, backend=backend) for wave in waves]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda wave: spectrogram_segments(wave, **SHORT, backend=backend), waves))
            np.testing.assert_array_equal(found, expected)


def test_moments_of_a_whole_wave_are_exact_however_it_is_counted(monkeypatch):
    wave = np.full(10_000, -32_768, np.int16)
    wave[::3] += 1  # 3334 of 10000: mean -32767.6666, deviation sqrt(0.3334 * 0.6666)
    for at_once in (2**20, 777):
        monkeypatch.setattr(kernels.spectrogram, "_COUNTED_AT_ONCE", at_once)
        for samples in (wave, (wave / 32_768).astype(np.float32)):
            mean, deviation = kernels.spectrogram._moments_of(samples, 1e-9)
            assert mean == pytest.approx(-32_767.6666, rel=1e-15)
            assert deviation == pytest.approx((0.3334 * 0.6666) ** 0.5, rel=1e-14 if samples is wave else 1e-6)


def test_a_long_stream_stays_exact(backend):
    """Long enough for kept columns and samples to be moved back to their memory's beginning, repeatedly."""
    wave = sound(20.0, offset=100.0)
    options = {"hop_length": 64, "output": "mag", "segment": 1_600, "step": 320, "statistics": 1_600}
    stream = SpectrogramStream(**options, backend=backend)
    streamed = []
    for chunk in np.array_split(wave, 333):
        stream.push(chunk)
        streamed += stream.segments()
    assert_close(np.stack(streamed), segments_by_definition(wave, **options), "mag", backend)


def test_one_compilation_serves_all_options_and_inputs():
    for options in ({}, {"std_floor": 1, "power_floor": 1}, {"output": "mag", "edge": "zero"}, {"standardize": "none"}):
        for wave in (WAVE, FLOAT_WAVE):
            spectrogram_segments(wave, **{**SHORT, **options})
    assert len(_compiled_steps().signatures) == 1


@pytest.mark.parametrize("statement", ["import kernels", "import edge.run"])
def test_importing_does_not_import_numba(statement):
    code = f"{statement}; import sys; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


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


@pytest.mark.parametrize("name", ["n_fft", "hop_length", "segment", "step", "n_mels", "statistics"])
def test_lengths_that_are_not_whole_are_rejected(name):
    with pytest.raises(ValueError, match=f"{name} is 512.0; expected a whole number"):
        SpectrogramStream(**{name: 512.0})


def test_numpys_small_integers_do_not_overflow():
    lengths = {"n_fft": 512, "hop_length": 160, "segment": RATE, "step": 3_200}
    wave = np.arange(RATE, dtype=np.int16)
    found = spectrogram_segments(wave, **{name: np.int16(length) for name, length in lengths.items()})
    np.testing.assert_array_equal(found, spectrogram_segments(wave, **lengths))


def test_lengths_are_judged_alike_whatever_came_before():
    wave = np.zeros(RATE, np.int16)
    assert spectrogram_segments(wave, hop_length=160).shape == (1, 64, 100)
    with pytest.raises(ValueError, match=r"hop_length is 160\.0; expected a whole number"):
        spectrogram_segments(wave, hop_length=160.0)


def test_a_list_to_write_to_is_rejected():
    with pytest.raises(ValueError, match="out is of type list; expected a NumPy array"):
        spectrogram_segments(np.zeros(RATE, np.int16), out=[1])


@pytest.mark.parametrize(
    "floor", [{"std_floor": 0.0}, {"std_floor": 1e-20}, {"power_floor": 0.0}, {"std_floor": np.nan}]
)
def test_floors_that_bound_nothing_are_rejected(floor):
    with pytest.raises(ValueError, match="in int16 units, and above 0"):
        SpectrogramStream(**floor)


def test_a_segment_shorter_than_a_frame_has_no_edges_to_mirror():
    with pytest.raises(ValueError, match="expected >= n_fft"):
        SpectrogramStream(segment=480, step=480, statistics=480, edge="reflect")


@pytest.mark.parametrize("n_fft", [511, 513])
def test_odd_frames_are_rejected(n_fft):
    with pytest.raises(ValueError, match="even n_fft"):
        SpectrogramStream(n_fft=n_fft)


@pytest.mark.parametrize(
    "options",
    [{"output": "mfcc"}, {"window": "kaiser"}, {"edge": "wrap"}, {"standardize": "wave"}, {"backend": "opencl"}],
)
def test_unknown_names_are_rejected(options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        SpectrogramStream(**options)


def test_a_whole_wave_may_be_standardised_by_itself_too():
    with pytest.raises(ValueError, match=r"standardize is 'clip'; expected one of \('wave', 'running'"):
        spectrogram_segments(np.zeros(RATE, np.int16), standardize="clip")


@pytest.mark.parametrize(("fmin", "fmax"), [(-1.0, 8_000.0), (50.0, 8_001.0), (4_000.0, 4_000.0)])
def test_mel_range_outside_the_spectrum_is_rejected(fmin, fmax):
    with pytest.raises(ValueError, match="expected 0 <= fmin < fmax <= 8000"):
        SpectrogramStream(fmin=fmin, fmax=fmax)


@pytest.mark.parametrize(("n_fft", "n_mels"), [(512, 0), (512, -1), (0, 64), (512, 64.0)])
def test_no_mel_bands_and_no_bins_are_rejected(n_fft, n_mels):
    with pytest.raises(ValueError, match="expected whole numbers, n_fft >= 2, n_mels >= 1"):
        mel_filterbank(RATE, n_fft, n_mels, 50.0, 8_000.0)


@pytest.mark.parametrize(("n_fft", "n_mels", "fmin", "fmax"), [(512, 64, 50.0, 8_000.0), (400, 23, 0.0, 4_000.0)])
def test_mel_filters_are_triangles_of_peak_one(n_fft, n_mels, fmin, fmax):
    found = mel_filterbank(RATE, n_fft, n_mels, fmin, fmax)
    np.testing.assert_allclose(found, mel_by_definition(n_fft, n_mels, fmin, fmax), atol=1e-9)


@pytest.mark.parametrize(("n_fft", "n_mels", "fmin", "fmax"), [(512, 64, 50.0, 8_000.0), (400, 23, 0.0, 4_000.0)])
@pytest.mark.parametrize(("scale", "htk"), [("htk", True), ("slaney", False)])
@pytest.mark.parametrize(("mel_norm", "norm"), [("peak", None), ("area", "slaney")])
def test_mel_scales_and_norms_equal_librosas(n_fft, n_mels, fmin, fmax, scale, htk, mel_norm, norm):
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    expected = librosa.filters.mel(
        sr=RATE, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm, dtype=np.float64
    )
    found = mel_filterbank(RATE, n_fft, n_mels, fmin, fmax, scale, mel_norm)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("options", [{"mel_scale": "bark"}, {"mel_norm": "slaney"}], ids=str)
def test_unknown_mel_filters_are_rejected(options):
    with pytest.raises(ValueError, match="expected one of"):
        SpectrogramStream(**options)


def test_panns_front_end_equals_librosas(backend):
    """Kong et al. 2020: centred frames mirrored at the ends, Slaney's mel of unit area, dB of power."""
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    wave = (sound(4.0) / 32_768).astype(np.float32)
    found = spectrogram_segments(
        wave, segment=len(wave), step=len(wave), edge="reflect", standardize="none", statistics=0, power_floor=1e-10,
        mel_scale="slaney", mel_norm="area", backend=backend,
    )[0]  # fmt: skip
    power = librosa.feature.melspectrogram(
        y=wave.astype(float), sr=RATE, n_fft=512, hop_length=160, n_mels=64, fmin=50, fmax=8_000, pad_mode="reflect"
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)[:, :-1]
    np.testing.assert_allclose(10 / np.log(10) * found, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["hann", "hamming"])
def test_windows_are_periodic(name):
    np.testing.assert_allclose(window_function(name, 400), scipy.signal.get_window(name, 400), atol=1e-15)
