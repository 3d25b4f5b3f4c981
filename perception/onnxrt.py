"""ONNX Runtime on the CPU."""

import os
from pathlib import Path

from bundle.errors import ArtefactError
from perception.engine import Tensors


class OnnxRuntimeEngine:
    """Runs an ONNX file.

    No thread spins: several spinning sessions in one process slow each other down.

    Parameters
    ----------
    threads : of one run.
    optimize : False runs each node of the file as it stands: what a file made for TensorRT computes there.

    Raises
    ------
    ArtefactError : the file is no ONNX model that this ONNX Runtime can run.
    """

    name = "onnxruntime-cpu"

    def __init__(self, path: str | Path, *, threads: int = 1, optimize: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3  # errors only; they are raised as well
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class but this
            raise ArtefactError(
                f"{path} cannot be run: {error}. Expected an ONNX model of opset <= 17; "
                "export it again with edge-export."
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Tensors) -> Tensors:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
