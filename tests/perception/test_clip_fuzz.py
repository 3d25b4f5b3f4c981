"""A damaged clip is decoded as far as it goes, or refused as an input, never by another exception."""

import io
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from perception.chunks import AudioChunk, VideoChunk
from perception.clip import decode_clip


def film(container: str) -> bytes:
    """Half a second of 64 by 48 px noise and of a tone."""
    file, rng = io.BytesIO(), np.random.default_rng(0)
    with av.open(file, "w", format=container) as target:
        pictures = target.add_stream("mpeg4", rate=20)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = target.add_stream("pcm_s16le" if container == "matroska" else "aac", rate=16_000, layout="mono")
        for number in range(10):
            image = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
            target.mux(pictures.encode(image))
            samples = (8_000 * np.sin(np.arange(800) / 5)).astype(np.int16)[None]
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 16_000, 800 * number, Fraction(1, 16_000)
            target.mux(sound.encode(block))
        target.mux(pictures.encode(None))
        target.mux(sound.encode(None))
    return file.getvalue()


def speech() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, 16_000, 0, "NONE", ""))
        wav.writeframes(np.arange(8_000, dtype=np.int16).tobytes())
    return file.getvalue()


CLIPS = {"clip.mkv": film("matroska"), "clip.mp4": film("mp4"), "clip.wav": speech()}


def decode(path: Path, data: bytes) -> int:
    """Chunks of the file, each as documented."""
    path.write_bytes(data)
    count = 0
    try:
        for chunk in decode_clip(path):
            assert isinstance(chunk, AudioChunk | VideoChunk)
            assert chunk.captured_ns >= 0
            assert (chunk.samples if isinstance(chunk, AudioChunk) else chunk.image).dtype in (np.int16, np.uint8)
            count += 1
    except InputError:
        pass
    return count


@pytest.mark.parametrize("name", CLIPS)
def test_whole_clip_is_decoded(name: str, tmp_path: Path) -> None:
    assert decode(tmp_path / name, CLIPS[name]) >= 10


@pytest.mark.parametrize("name", CLIPS)
@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_clip_with_bytes_changed_or_cut_off(name: str, tmp_path: Path, data: st.DataObject) -> None:
    clip = bytearray(CLIPS[name])
    for place in data.draw(st.lists(st.integers(0, len(clip) - 1), max_size=12)):
        clip[place] = data.draw(st.integers(0, 255))
    decode(tmp_path / name, bytes(clip[: data.draw(st.integers(0, len(clip)))]))
