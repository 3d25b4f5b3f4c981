"""Ranges of activations, from calibration data of any length in flat memory."""

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

Method = Literal["MinMax", "Entropy", "Percentile"]

CALIBRATED_OPS = ["Conv", "Relu", "Add"]
"""Those whose inputs and outputs are to be quantized."""


class _Reader(CalibrationDataReader):
    def __init__(self, batch: dict[str, Any]) -> None:
        self._batches: Iterator[dict[str, Any]] = iter([batch])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def activation_ranges(model: Path, batches: Iterable[dict[str, Any]], method: Method = "MinMax") -> Any:
    """Range of each activation of `model`, an ONNX file, over the batches; ONNX Runtime's TensorsData.

    Memory holds the activations of one batch, whatever their number.
    """
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            model, CALIBRATED_OPS, augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
        )  # fmt: skip
        with redirect_stdout(io.StringIO()):  # it prints its progress, batch by batch
            for batch in batches:  # one at a time: it keeps every activation of what it is given, 13 GB for 500 samples
                calibrator.collect_data(_Reader(batch))
            return calibrator.compute_data()


def limits(ranges: Any) -> dict[str, tuple[float, float]]:
    """Lowest and highest value by tensor, in the order of their names."""
    ends = {name: ranges[name].range_value for name in sorted(ranges.keys())}
    return {name: (np.min(low).item(), np.max(high).item()) for name, (low, high) in ends.items()}


def ranges_sha256(ranges: Any) -> str:
    """Hash of all ranges."""
    return hashlib.sha256(repr(limits(ranges)).encode()).hexdigest()
