"""When somebody speaks."""

import numpy as np
import pytest

from perception.chunks import AudioChunk
from perception.voice import VoiceActivity


def speech_seconds(wave: np.ndarray, size: int) -> list[float]:
    activity = VoiceActivity(keep_s=10)
    for start in range(0, len(wave), size):
        activity.push(AudioChunk(wave[start : start + size], start * 62_500))
    ends = range(0, len(wave) * 62_500, 500_000_000)
    return [activity.speech_s(end - 500_000_000, end) for end in ends]


def test_speech_is_heard_and_noise_and_silence_are_not(espeak: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(48_000) * 300).astype(np.int16)
    assert sum(speech_seconds(np.zeros(48_000, np.int16), 640)) == 0
    assert sum(speech_seconds(noise, 640)) < 0.3
    assert sum(speech_seconds(espeak[:48_000], 640)) > 1.5


def test_result_does_not_depend_on_chunk_sizes(espeak: np.ndarray) -> None:
    assert speech_seconds(espeak[:48_000], 640) == speech_seconds(espeak[:48_000], 7_001)


def test_only_frames_within_the_stretch_count(espeak: np.ndarray) -> None:
    activity = VoiceActivity(keep_s=10)
    activity.push(AudioChunk(espeak[:48_000], 1_000_000_000))
    assert activity.speech_s(0, 1_000_000_000) == 0
    total = activity.speech_s(0, 4_000_000_000)
    parts = [activity.speech_s(s * 10**9, (s + 1) * 10**9) for s in range(4)]
    assert total == pytest.approx(sum(parts))
