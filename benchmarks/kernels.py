"""What a kernel costs, against the libraries one would use without it: one function per piece of work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import librosa
import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from numba import njit

from benchmarks.interleave import Comparison, Conditions, compare
from benchmarks.kernels_face import bench_face
from kernels import SpectrogramStream, spectrogram_segments
from kernels.fft import (
    N_FFT,
    WORK_SIZE,
    power_of_frames,
    sample_offsets,
    transform_tables,
    transpose_hops,
    transposed_width,
)
from kernels.fft_frame import power_of_frame
from kernels.filters import window_function
from kernels.simd import JIT_OPTIONS, LANES, aligned_zeros

HOP, SEGMENT, STEP = 64, 16_000, 3_200
MRPN: dict[str, Any] = {"n_fft": N_FFT, "hop_length": HOP, "segment": SEGMENT, "step": STEP, "output": "logmag"}
"""Log-magnitude segments of 256 x 250 for MRPN (Chang & Skarbek 2021)."""

BINS, COLUMNS, NEW_COLUMNS = N_FFT // 2, SEGMENT // HOP, STEP // HOP
FLOOR = 1e-3**0.5
"""Of the magnitude, before its logarithm: the square root of our floor of the power."""

RUNS = 16
"""Runs in a turn, of which the first does not count."""

TORCH = "torch.stft"
Run = Callable[[], object]


def bench_kernels() -> Iterator[Comparison]:
    """Every piece of work under each condition; a kernel's benchmark is one function here."""
    for conditions in (Conditions(), Conditions(cache="cold"), Conditions(threads=2)):
        with _peer_threads(conditions.threads):
            yield from _bench_tick(conditions)
            yield from _bench_batch(conditions)
            yield from bench_face(conditions)


@contextmanager
def _peer_threads(count: int) -> Iterator[None]:
    """Let the peers use `count` threads each."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        with scipy.fft.set_workers(count):
            yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _bench_tick(conditions: Conditions) -> list[Comparison]:
    """The segment after 0.2 s of new sound, standardised, of which the peers are given all samples as an array."""
    wave = _noise(1.0)
    stream, out = SpectrogramStream(**MRPN, standardize="segment"), np.empty((BINS, COLUMNS), np.float32)

    def push() -> None:
        stream.reset()
        for _ in range(SEGMENT // STEP + RUNS):
            stream.push(wave[:STEP])
        tick()  # takes in the first second

    def tick() -> None:
        if stream.tick(out) is None:
            raise RuntimeError("No step of audio is left to tick over.")

    def push_and_tick() -> None:
        stream.push(wave[:STEP])
        tick()

    peers = _segment_peers(wave)
    floor = {"floor: bare transform, copy": _floor(wave, out)}
    return [
        *compare("tick mrpn 256x250", tick, {**peers, **floor}, 60, RUNS, push, conditions),
        *compare("push 0.2 s and tick", push_and_tick, {TORCH: peers[TORCH]}, 60, RUNS, push, conditions),
    ]


def _bench_batch(conditions: Conditions) -> list[Comparison]:
    """The 16 segments of 4 s, standardised each by its own mean and deviation."""
    wave = _noise(4.0)
    out = np.empty(((len(wave) - SEGMENT) // STEP + 1, BINS, COLUMNS), np.float32)

    def segments() -> None:
        spectrogram_segments(wave, **MRPN, standardize="segment", out=out)

    return compare("batch mrpn 4s", segments, _batch_peers(wave), runs=RUNS, conditions=conditions)


def _segment_peers(samples: npt.NDArray[np.int16]) -> Mapping[str, Run]:
    window, tensor = window_function("hann", N_FFT).astype(np.float32), torch.from_numpy(samples.copy())
    hann, ring = torch.hann_window(N_FFT), torch.zeros(BINS, COLUMNS)
    newest, before = tensor[-(STEP + N_FFT - HOP) :], np.append(samples[: N_FFT - HOP], samples)

    def with_librosa() -> object:
        return _log_magnitude(librosa.stft(_standardized(samples), n_fft=N_FFT, hop_length=HOP)[:BINS, :COLUMNS])

    def with_scipy() -> object:
        frames = np.lib.stride_tricks.sliding_window_view(_standardized(before), N_FFT)[::HOP]
        return _log_magnitude(scipy.fft.rfft(frames * window)[:, :BINS].T)

    @torch.inference_mode()
    def with_torch() -> object:
        wave = tensor.float()
        wave = (wave - wave.mean()) / wave.std(unbiased=False)
        spectrum = torch.stft(wave, N_FFT, HOP, window=hann, center=True, return_complex=True)[:BINS, :COLUMNS]
        return spectrum.abs().clamp_min_(FLOOR).log_()

    @torch.inference_mode()
    def with_torch_incrementally() -> object:
        wave = tensor.float()
        mean, deviation = wave.mean(), wave.std(unbiased=False)
        spectrum = torch.stft(newest - mean, N_FFT, HOP, window=hann, center=False, return_complex=True)[:BINS]
        ring[:, :-NEW_COLUMNS] = ring[:, NEW_COLUMNS:].clone()
        ring[:, -NEW_COLUMNS:] = spectrum.abs().clamp_min_(FLOOR).log_()
        return ring - torch.log(deviation)

    return {
        TORCH: with_torch,
        "torch.stft of the new columns": with_torch_incrementally,
        "librosa.stft": with_librosa,
        "scipy.fft.rfft": with_scipy,
    }


def _batch_peers(samples: npt.NDArray[np.int16]) -> Mapping[str, Run]:
    segments = np.lib.stride_tricks.sliding_window_view(samples, SEGMENT)[::STEP]
    before = torch.from_numpy(np.concatenate((np.zeros(N_FFT - HOP, np.int16), samples)))
    hann, tensor = torch.hann_window(N_FFT), torch.from_numpy(samples)
    window = window_function("hann", N_FFT).astype(np.float32)
    reach = np.lib.stride_tricks.sliding_window_view(before.numpy(), SEGMENT + N_FFT - HOP)[::STEP]

    def with_librosa() -> object:
        spectrum = librosa.stft(_standardized(segments), n_fft=N_FFT, hop_length=HOP)
        return _log_magnitude(spectrum[:, :BINS, :COLUMNS])

    def with_scipy() -> object:
        frames = np.lib.stride_tricks.sliding_window_view(_standardized(reach), N_FFT, axis=1)[:, ::HOP]
        return _log_magnitude(scipy.fft.rfft(frames * window)[..., :BINS].transpose(0, 2, 1))

    @torch.inference_mode()
    def with_torch() -> object:
        waves = tensor.float().unfold(0, SEGMENT, STEP)
        waves = (waves - waves.mean(1, keepdim=True)) / waves.std(1, unbiased=False, keepdim=True)
        spectra = torch.stft(waves, N_FFT, HOP, window=hann, center=True, return_complex=True)[:, :BINS, :COLUMNS]
        return spectra.abs().clamp_min_(FLOOR).log_()

    @torch.inference_mode()
    def with_torch_at_once() -> object:
        wave = before.float()
        wave = (wave - wave.mean()) / wave.std()
        spectrum = torch.stft(wave, N_FFT, HOP, window=hann, center=False, return_complex=True)[:BINS]
        columns = spectrum.abs().clamp_min_(FLOOR).log_()
        return columns.unfold(1, COLUMNS, NEW_COLUMNS).permute(1, 0, 2).contiguous()

    return {
        "torch.stft of the whole wave": with_torch_at_once,
        TORCH: with_torch,
        "librosa.stft": with_librosa,
        "scipy.fft.rfft": with_scipy,
    }


def _floor(wave: npt.NDArray[np.int16], segment: npt.NDArray[np.float32]) -> Run:
    """What cannot be saved: the transform of the new columns, and one pass over a segment's memory."""
    width = transposed_width(HOP, NEW_COLUMNS)
    signal, copy = wave.astype(np.float32), segment.copy()
    offsets, tables = sample_offsets(HOP, width), transform_tables(window_function("hann", N_FFT))
    transposed, work = aligned_zeros((HOP, width)), aligned_zeros((WORK_SIZE,))
    grouped = NEW_COLUMNS - NEW_COLUMNS % LANES

    @njit(**JIT_OPTIONS)
    def transform(signal, offsets, tables, transposed, work):
        transpose_hops(signal, 0, grouped, np.float32(0), transposed)
        for first in range(0, grouped, LANES):
            power_of_frames(transposed, offsets, first, tables, work)
        for frame in range(grouped, NEW_COLUMNS):
            power_of_frame(signal, frame * HOP, np.float32(0), tables, work)

    def transform_and_copy() -> None:
        transform(signal, offsets, tables, transposed, work)
        np.copyto(copy, segment)

    return transform_and_copy


def _standardized(waves: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    samples = waves.astype(np.float32)
    return (samples - samples.mean(-1, keepdims=True)) / samples.std(-1, keepdims=True)


def _log_magnitude(spectrum: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.floating]:
    return np.log(np.maximum(np.abs(spectrum), FLOOR))


def _noise(seconds: float) -> npt.NDArray[np.int16]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(round(seconds * 16_000)) * 3_000).astype(np.int16)
