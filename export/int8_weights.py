"""Whether an engine holds the INT8 weights of the graph that it was built from.

A builder may fold a graph that it does not like into zeros, and say nothing.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

CHANNEL_STEPS = (4, 1, 8, 16, 32)
"""Input channels are padded to a multiple of one of these; 4 is what TensorRT-RTX 1.7 was seen to do."""


def weights_in_plan(path: Path, plan: bytes) -> dict[str, bool]:
    """Of each convolution with INT8 weights in the ONNX file: whether they lie in the engine, byte by byte."""
    return {name: _contains(plan, weights) for name, weights in int8_weights(path).items()}


def int8_weights(path: Path) -> dict[str, npt.NDArray[np.int8]]:
    """INT8 weights (out, in, *kernel) of convolutions, by the name of the node."""
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    dequantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = {
        node.name: constants.get(dequantized.get(node.input[1], "")) for node in graph.node if node.op_type == "Conv"
    }
    return {name: numpy_helper.to_array(tensor) for name, tensor in weights.items() if tensor is not None}


def _contains(plan: bytes, weights: npt.NDArray[np.int8]) -> bool:
    """Engines keep the channels last."""
    kernels = np.moveaxis(weights, 1, -1)
    channels = kernels.shape[-1]
    padding = [[(0, 0)] * (kernels.ndim - 1) + [(0, -channels % step)] for step in CHANNEL_STEPS]
    return any(np.pad(kernels, widths).tobytes() in plan for widths in padding)
