"""Two INT8 graphs from one calibration: no single one serves both TensorRT and ONNX Runtime well.

TensorRT wants signed symmetric activations, and convolutions alone. ONNX Runtime on x86 wants unsigned activations,
and the skips quantized too, for its fused kernels.
"""

from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from calibration.ranges import QUANTIZED_OPS


def write_for_tensorrt(source: Path, target: Path, ranges: Any) -> None:
    """Q/DQ around convolutions: S8 weights per channel, S8 activations, all symmetric; biases stay float."""
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,  # an int32 bias is a parse error in TensorRT
        "OpTypesToExcludeOutputQuantization": ["Conv"],
        "AddQDQPairToWeight": False,
    }
    _write(source, target, ranges, QuantType.QInt8, ["Conv"], [], options)


def write_for_onnxruntime(source: Path, target: Path, ranges: Any) -> None:
    """Q/DQ around convolutions and skips: U8 activations, S8 weights; the last skip and what follows stay float."""
    options = {"ActivationSymmetric": False, "WeightSymmetric": True}
    _write(source, target, ranges, QuantType.QUInt8, QUANTIZED_OPS, _float_additions(source), options)


def _float_additions(source: Path) -> list[str]:
    """Additions that hurt when quantized: those that are no skip, and the last skip, which makes the embedding."""
    graph = onnx.load(source).graph
    produced = {name for node in graph.node for name in node.output}
    additions = [node for node in graph.node if node.op_type == "Add"]
    skips = [node for node in additions if all(name in produced for name in node.input)]
    return [node.name for node in additions if node not in skips or node is skips[-1]]


def _write(
    source: Path, target: Path, ranges: Any, activations: QuantType, operations: list[str], excluded: list[str],
    options: dict[str, Any],
) -> None:  # fmt: skip
    quantizer = QDQQuantizer(
        onnx.load(source), per_channel=True, reduce_range=False, weight_qType=QuantType.QInt8,
        activation_qType=activations, tensors_range=ranges, nodes_to_quantize=[], nodes_to_exclude=excluded,
        op_types_to_quantize=operations, extra_options=options,
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target))
