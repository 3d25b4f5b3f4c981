"""Two INT8 graphs from one calibration: no single one serves both TensorRT and ONNX Runtime well.

TensorRT wants signed symmetric activations, and convolutions alone. ONNX Runtime on x86 wants unsigned activations,
and the skips quantized too, for its fused kernels; and weights of seven bits, for without VNNI it adds two products in
16 bits, which eight would overflow. Of a large head it wants the matrix products, uncalibrated, for it measures their
activations in each run. Nothing else is quantized: an LSTM stays in float.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx.shape_inference import infer_shapes
from onnxruntime.quantization import QuantizationMode, QuantType
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from bundle.manifest import INT8_ONNXRUNTIME, INT8_TENSORRT


@dataclass(frozen=True)
class GraphKind:
    """seven_bit_weights : in place of eight. operations : of the layers that are quantized. options : of ONNX Runtime's
    quantizer.
    """

    activations: QuantType
    seven_bit_weights: bool
    operations: list[str]
    options: Mapping[str, Any]


KINDS: Mapping[str, GraphKind] = {
    INT8_TENSORRT: GraphKind(  # S8 weights per channel, S8 activations, all symmetric; biases stay float
        QuantType.QInt8,
        False,
        ["Conv"],
        {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,  # an int32 bias is a parse error in TensorRT
            "OpTypesToExcludeOutputQuantization": ["Conv"],
            "AddQDQPairToWeight": False,
        },
    ),
    INT8_ONNXRUNTIME: GraphKind(  # U8 activations, S8 weights
        QuantType.QUInt8, True, ["Conv", "Add"], {"ActivationSymmetric": False, "WeightSymmetric": True}
    ),
}


LARGE_HEAD = 1_000_000
"""Weights in matrix products. Measured with VNNI, INT8 gains half and more with so many, and nothing with few."""
_PRODUCTS = ["Gemm", "MatMul"]


def is_large_head(source: Path) -> bool:
    """Whether a head is worth taking to INT8."""
    graph = onnx.load(source).graph
    sizes = {weight.name: prod(weight.dims) for weight in graph.initializer}
    return sum(sizes.get(node.input[1], 0) for node in graph.node if node.op_type in _PRODUCTS) >= LARGE_HEAD


def write_quantized_head(source: Path, target: Path) -> None:
    """Write a head with the weights of its matrix products in INT8, for ONNX Runtime.

    They have seven bits, as those of the encoders.
    """
    quantizer = ONNXQuantizer(
        infer_shapes(onnx.load(source)), per_channel=True, reduce_range=True, mode=QuantizationMode.IntegerOps,
        static=False, weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=None,
        nodes_to_quantize=[], nodes_to_exclude=[], op_types_to_quantize=_PRODUCTS,
        extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target))


def quantizable_layers(source: Path, precision: str) -> list[str]:
    """Names of the layers that an INT8 graph of this kind quantizes, in the network's order."""
    nodes, floats = onnx.load(source).graph.node, _float_additions(source)
    return [node.name for node in nodes if node.op_type in KINDS[precision].operations and node.name not in floats]


def write_quantized(source: Path, target: Path, ranges: Any, precision: str, layers: Collection[str]) -> None:
    """Write `source` to `target` with Q/DQ around `layers`, and all others in float."""
    kind, nodes = KINDS[precision], [*layers]
    if precision == INT8_ONNXRUNTIME:
        nodes += _relus_after(source, layers)  # it then quantizes the layer's output as the ReLU leaves it
    quantizer = QDQQuantizer(  # which narrows the ranges it is given, before a ReLU
        onnx.load(source), per_channel=True, reduce_range=kind.seven_bit_weights, weight_qType=QuantType.QInt8,
        activation_qType=kind.activations, tensors_range=deepcopy(ranges), nodes_to_quantize=nodes, nodes_to_exclude=[],
        op_types_to_quantize=[*kind.operations, "Relu"], extra_options=dict(kind.options),
    )  # fmt: skip
    if layers:  # an empty list would stand for all
        quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target))


def layer_outputs(source: Path) -> dict[str, str]:
    """Name of each layer's output, on which its range is."""
    return {node.name: node.output[0] for node in onnx.load(source).graph.node}


def _relus_after(source: Path, layers: Collection[str]) -> list[str]:
    graph = onnx.load(source).graph
    outputs = {name for node in graph.node if node.name in layers for name in node.output}
    return [node.name for node in graph.node if node.op_type == "Relu" and node.input[0] in outputs]


def _float_additions(source: Path) -> list[str]:
    """Additions that hurt when quantized: those that are no skip, and the last skip, which makes the embedding."""
    graph = onnx.load(source).graph
    produced = {name for node in graph.node for name in node.output}
    additions = [node for node in graph.node if node.op_type == "Add"]
    skips = [node for node in additions if all(name in produced for name in node.input)]
    return [node.name for node in additions if node not in skips or node is skips[-1]]
