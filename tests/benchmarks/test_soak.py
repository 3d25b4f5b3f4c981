"""The soak's drive is as long as asked for and whole, and growth is seen."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import DEMO, soak
from perception.chunks import AudioChunk
from perception.clip import decode_clip


def test_a_drive_is_the_clip_over_and_over_without_a_gap(tmp_path: Path) -> None:
    drive = tmp_path / "drive.mkv"
    soak._repeat(DEMO, drive, hours=20 / 3600)
    chunks = [*decode_clip(drive)]
    sound = [chunk for chunk in chunks if isinstance(chunk, AudioChunk)]
    heard_s = sum(len(chunk.samples) for chunk in sound) / 16_000
    assert 20 <= heard_s <= 20 + 7.5
    assert sound[-1].end_ns() / 1e9 - heard_s == pytest.approx(0, abs=0.1)
    assert sum(not isinstance(chunk, AudioChunk) for chunk in chunks) == pytest.approx(30 * heard_s, rel=0.02)


@pytest.mark.parametrize(("grown_mb", "status"), [(0.0, 0), (3.0, 0), (4.0, 1)])
def test_a_hundredth_more_memory_than_after_the_warm_up_fails(
    grown_mb: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times_h = np.linspace(0, 2, 200)
    resident_mb = np.where(times_h < 0.4, 900.0, 350.0)
    resident_mb[-10:] += grown_mb
    monkeypatch.setattr(soak, "_repeat", lambda *_: None)
    monkeypatch.setattr(soak, "_watch", lambda *_: (times_h, resident_mb, 36_000))
    monkeypatch.setattr("sys.argv", ["soak", "--hours", "2"])
    assert soak.main() == status
    assert f"{grown_mb / 350:+.2%}" in capsys.readouterr().out
