"""The clip as devices would give it."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from benchmarks import DEMO, camera_clip
from benchmarks.camera_clip import write_camera_clip
from bundle.errors import InputError
from perception.chunks import AudioChunk, VideoChunk
from perception.clip import decode_clip
from tests.edge.test_run import remuxed


@pytest.mark.parametrize(("kept", "lacks"), [("video", "sound"), ("audio", "pictures")])
def test_clip_of_one_sense_is_refused(tmp_path: Path, kept: Literal["video", "audio"], lacks: str) -> None:
    with pytest.raises(InputError, match=f"has no {lacks}; expected a driver, seen and heard"):
        write_camera_clip(remuxed(tmp_path / "half.mp4", keep=kept), tmp_path / "camera.mkv")


def test_driver_and_then_an_empty_cabin_at_720p(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_clip, "DRIVER_S", 0.5)
    monkeypatch.setattr(camera_clip, "EMPTY_S", 0.5)
    driver_s = write_camera_clip(DEMO, tmp_path / "camera.mkv")
    assert driver_s == pytest.approx(0.5, abs=0.05)
    chunks = list(decode_clip(tmp_path / "camera.mkv"))
    images = [chunk for chunk in chunks if isinstance(chunk, VideoChunk)]
    assert {chunk.image.shape for chunk in images} == {(720, 1280, 3)}
    assert len(images) == pytest.approx(30 * (driver_s + 0.5), abs=1)
    spread = [float(chunk.image.std()) for chunk in images]
    assert min(spread[:10]) > 20, "somebody is there"
    assert max(spread[-10:]) < 5, "nobody is there"
    assert all((a.image != b.image).any() for a, b in pairwise(images)), "the same image twice is a frozen camera's"
    sound = np.concatenate([chunk.samples for chunk in chunks if isinstance(chunk, AudioChunk)])
    assert len(sound) == pytest.approx(16_000 * (driver_s + 0.5), abs=200)
    assert np.abs(sound[-4_000:]).max() <= 31
