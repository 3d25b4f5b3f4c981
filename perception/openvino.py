"""OpenVINO on the CPU, for car PCs with an Intel or AMD processor."""

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import ArtefactError
from perception.engine import Tensors


class OpenVinoEngine:
    """Runs an ONNX file, in float32 where the file is.

    Its threads are tied to no core: others have work on each.

    Parameters
    ----------
    threads : of one run.

    Raises
    ------
    ArtefactError : OpenVINO is not installed, or the file is no ONNX model that it can run.
    """

    name = "openvino-cpu"

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        core = _core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else some processors compute float32 in bfloat16
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._request = core.compile_model(os.fspath(path), "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise ArtefactError(
                f"{path} cannot be run by OpenVINO: {error}. Expected an ONNX model; export it again with edge-export."
            ) from error

    def run(self, inputs: Tensors) -> Tensors:
        outputs = self._request.infer(dict(inputs))
        return {output.get_any_name(): np.array(value) for output, value in outputs.items()}


@lru_cache
def _core() -> Any:
    """The process's only one: each takes the stack of signal handlers into its own memory, and not all give it back.

    The next signal would end the process.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing openvino would call home by it
    try:
        import openvino
    except ImportError as error:
        raise ArtefactError(f"OpenVINO cannot be loaded ({error}); pip install -e '.[openvino]'") from error
    return openvino.Core()
