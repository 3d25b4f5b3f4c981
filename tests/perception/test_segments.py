"""Segments of a whole wave: what the runtime's encoder makes of the same sound, chunk by chunk."""

import numpy as np

from bundle.features import EMBEDDING, SPECTROGRAM, AudioSpec, WindowSpec
from perception.chunks import AudioChunk
from perception.encoders import VoiceEncoder
from perception.segments import segments_of_wave

WAVE = np.random.default_rng(0).integers(-9_000, 9_000, 40_000).astype(np.int16)


class Keeper:
    """An engine that keeps what it is given."""

    name = "keeper"

    def __init__(self):
        self.segments = []

    def run(self, inputs):
        self.segments.append(inputs[SPECTROGRAM][0, 0].copy())
        return {EMBEDDING: np.zeros((1, 4), np.float32)}


def test_they_are_those_of_the_runtime():
    keeper = Keeper()
    encoder = VoiceEncoder(AudioSpec(), WindowSpec(), keeper, 4, 0)
    for start in range(0, len(WAVE), 1_111):
        encoder.push(AudioChunk(WAVE[start : start + 1_111], start * 62_500))
    np.testing.assert_array_equal(segments_of_wave(WAVE, AudioSpec()), keeper.segments)
    assert len(keeper.segments) == 8


def test_options_come_before_those_of_the_spec():
    spec = AudioSpec(highpass_hz=0.0)
    by_wave = segments_of_wave(WAVE, spec, standardize="wave")
    assert by_wave.shape == segments_of_wave(WAVE, spec).shape
    assert not np.array_equal(by_wave, segments_of_wave(WAVE, spec))
