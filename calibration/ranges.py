"""Ranges of activations, from calibration data of any length in flat memory."""

import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

Method = Literal["MinMax", "Entropy", "Percentile"]

QUANTIZED_OPS = ["Conv", "Add"]

BATCHES_AT_ONCE = 5
"""The calibrator keeps every activation of what it is given at once: 13 GB for 500 samples, were it all."""


class _Reader(CalibrationDataReader):
    def __init__(self, batches: Iterable[dict[str, Any]]) -> None:
        self._batches: Iterator[dict[str, Any]] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def activation_ranges(model: Path, batches: list[dict[str, Any]], method: Method = "Entropy") -> Any:
    """Range of each activation of `model`, an ONNX file, over the batches; ONNX Runtime's TensorsData."""
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            model, QUANTIZED_OPS, augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
        )  # fmt: skip
        with redirect_stdout(io.StringIO()):  # it prints its progress, batch by batch
            for start in range(0, len(batches), BATCHES_AT_ONCE):
                calibrator.collect_data(_Reader(batches[start : start + BATCHES_AT_ONCE]))
            return calibrator.compute_data()
