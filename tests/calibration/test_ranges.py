"""Ranges by brute force, and the memory that they take."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest

from bundle.features import FACE
from calibration.ranges import Method, activation_ranges, limits, ranges_sha256
from perception.onnxrt import OnnxRuntimeEngine

ROOT = Path(__file__).parent.parent.parent

PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from bundle.manifest import DEFAULT_BUNDLE
from calibration.ranges import activation_ranges
from calibration.samples import Samples

count, method = int(sys.argv[1]), sys.argv[2]
faces = np.random.default_rng(0).standard_normal((count, 1, 48, 48), np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
activation_ranges(DEFAULT_BUNDLE / "visual.onnx", Samples((), "", {"visual": faces}).batches("visual"), method)
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def batches(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{FACE: rng.standard_normal((2, 1, 8, 8), np.float32)} for _ in range(count)]


def activations(model: Path, name: str, given: list[dict[str, np.ndarray]], folder: Path) -> np.ndarray:
    """All values of one tensor."""
    opened = onnx.shape_inference.infer_shapes(onnx.load(model))
    opened.graph.output.extend(info for info in opened.graph.value_info if info.name == name)
    onnx.save(opened, folder / "open.onnx")
    engine = OnnxRuntimeEngine(folder / "open.onnx")
    return np.concatenate([engine.run(batch)[name] for batch in given])


def test_min_max_is_that_of_all_batches(tiny: Path, tmp_path: Path) -> None:
    given = batches(7)
    found = limits(activation_ranges(tiny, given, "MinMax"))
    assert list(found) == sorted(found)
    for name in ("a", "b", "c", "d"):
        values = activations(tiny, name, given, tmp_path)
        assert found[name] == pytest.approx((values.min(), values.max()), rel=1e-5)


@pytest.mark.parametrize("method", get_args(Method))
def test_ranges_hold_most_values_and_no_more_than_there_are(tiny: Path, tmp_path: Path, method: Method) -> None:
    given = batches(7)
    low, high = limits(activation_ranges(tiny, given, method))["c"]
    values = activations(tiny, "c", given, tmp_path)
    width = 2 * np.abs(values).max() / 128  # of the calibrator's bins
    assert values.min() - width <= low < high <= values.max() + width
    assert ((values >= low) & (values <= high)).mean() > 0.9


@pytest.mark.parametrize("method", get_args(Method))
def test_hash_is_that_of_the_ranges(tiny: Path, method: Method) -> None:
    first, again, other = (activation_ranges(tiny, batches(count), method) for count in (4, 4, 6))
    assert ranges_sha256(first) == ranges_sha256(again)
    assert ranges_sha256(first) != ranges_sha256(other)


@pytest.mark.slow
@pytest.mark.parametrize("method", get_args(Method))
def test_two_thousand_samples_take_no_more_than_300_mb_above_the_data(method: Method) -> None:
    def peak_mb(count: int) -> float:
        command = [sys.executable, "-c", PEAK, str(count), method]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        before, after = map(int, result.stdout.split())
        return (after - before) / 1024

    few, many = peak_mb(200), peak_mb(2_000)
    print(f"{method}: {few:.0f} MB above the data for 200 samples, {many:.0f} MB for 2,000")
    assert many <= 300
    assert many <= few + 50
