"""Pictures of what was measured."""

from pathlib import Path

import cv2
import pytest

from benchmarks.figures import draw_comparisons, draw_runtime
from benchmarks.interleave import Comparison
from benchmarks.runtime import RuntimeRun
from tests.benchmarks.test_runtime import drive


def is_drawn(path: Path) -> bool:
    image = cv2.imread(str(path))
    return image is not None and image.std() > 5


@pytest.mark.parametrize("count", [1, 4])
def test_comparisons_are_drawn(tmp_path: Path, count: int) -> None:
    rows = [
        Comparison(f"work {number}", peer, 10.0, 50.0, 5.0, 1, "hot", "a machine")
        for number in range(count)
        for peer in ("one", "another")
    ]
    draw_comparisons(rows, tmp_path / "rows.png")
    assert is_drawn(tmp_path / "rows.png")


def test_a_run_is_drawn(tmp_path: Path) -> None:
    seconds = [(1.0, 20.0), (2.0, 30.0)]
    samples = {"CPU": ("% of a core", seconds), "memory": ("MB", seconds)}
    draw_runtime(RuntimeRun(drive("calm", "calm"), samples, {"state": [3.0, 4.0]}, [], []), tmp_path / "run.png")
    assert is_drawn(tmp_path / "run.png")
