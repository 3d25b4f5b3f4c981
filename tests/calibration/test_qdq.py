"""INT8 graphs of the default bundle's encoders and of a tiny network: types, layers, size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle.features import FACE
from bundle.manifest import DEFAULT_BUNDLE, INT8_ONNXRUNTIME, INT8_TENSORRT
from calibration.qdq import (
    KINDS,
    LARGE_HEAD,
    is_large_head,
    quantizable_layers,
    write_quantized,
    write_quantized_head,
)
from calibration.ranges import activation_ranges, limits
from calibration.samples import INPUTS, Samples
from calibration.sensitivity import embeddings, sqnr_db
from perception.onnxrt import OnnxRuntimeEngine

Quantize = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def quantized(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Quantize:
    """Path of a part in INT8."""
    folder = tmp_path_factory.mktemp("int8")
    for part in INPUTS:
        source = DEFAULT_BUNDLE / f"{part}.onnx"
        ranges = activation_ranges(source, samples.batches(part), "MinMax")
        for precision in KINDS:
            target = folder / f"{part}.{precision}.onnx"
            write_quantized(source, target, ranges, precision, quantizable_layers(source, precision))
    return lambda part, precision: folder / f"{part}.{precision}.onnx"


def quantization_types(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Data types of the zero points of activations and of weights."""
    weights = {i.name: i for i in model.graph.initializer}
    types: dict[str, set[int]] = {"activations": set(), "weights": set()}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            kind = "weights" if node.input[0] in weights else "activations"
            types[kind].add(weights[node.input[2]].data_type)
    return types


@pytest.mark.parametrize("part", INPUTS)
@pytest.mark.parametrize(
    ("precision", "activations"), [(INT8_TENSORRT, TensorProto.INT8), (INT8_ONNXRUNTIME, TensorProto.UINT8)]
)
def test_each_runtime_gets_the_types_it_wants(quantized: Quantize, part: str, precision: str, activations: int) -> None:
    types = quantization_types(onnx.load(quantized(part, precision)))
    assert types["activations"] == {activations}
    assert TensorProto.INT8 in types["weights"]


@pytest.mark.parametrize("part", INPUTS)
@pytest.mark.parametrize(("precision", "largest"), [(INT8_TENSORRT, 127), (INT8_ONNXRUNTIME, 64)])
def test_weights_fill_what_the_runtime_can_multiply(
    quantized: Quantize, part: str, precision: str, largest: int
) -> None:
    """On x86 without VNNI, ONNX Runtime adds two products in 16 bits: 2 x 255 x 64 fits, 2 x 255 x 127 does not."""
    graph = onnx.load(quantized(part, precision)).graph
    weights = [numpy_helper.to_array(each) for each in graph.initializer if each.data_type == TensorProto.INT8]
    assert max(np.abs(each.astype(int)).max() for each in weights if each.ndim == 4) == largest


@pytest.mark.parametrize("part", INPUTS)
def test_tensorrt_graph_is_symmetric_and_keeps_biases_in_float(quantized: Quantize, part: str) -> None:
    model = onnx.load(quantized(part, INT8_TENSORRT))
    zero_points = [numpy_helper.to_array(i) for i in model.graph.initializer if i.name.endswith("zero_point")]
    assert zero_points
    assert not any(zero_point.any() for zero_point in zero_points)
    assert TensorProto.INT32 not in {i.data_type for i in model.graph.initializer}


@pytest.mark.parametrize("part", INPUTS)
@pytest.mark.parametrize("precision", KINDS)
def test_int8_is_close_to_float_and_a_quarter_of_its_size(
    quantized: Quantize, samples: Samples, part: str, precision: str
) -> None:
    source, target = DEFAULT_BUNDLE / f"{part}.onnx", quantized(part, precision)
    batches = samples.batches(part)
    assert sqnr_db(embeddings(source, batches), embeddings(target, batches)) > 25
    assert target.stat().st_size < 0.35 * source.stat().st_size


def test_skips_are_quantized_for_onnxruntime_alone_and_the_last_for_neither(tiny: Path) -> None:
    assert quantizable_layers(tiny, INT8_TENSORRT) == ["first", "second", "third"]
    assert quantizable_layers(tiny, INT8_ONNXRUNTIME) == ["first", "second", "skip", "third"]


@pytest.mark.parametrize("precision", KINDS)
def test_layers_left_out_stay_in_float(tiny: Path, tmp_path: Path, precision: str) -> None:
    ranges = activation_ranges(tiny, [{FACE: np.random.default_rng(0).standard_normal((4, 1, 8, 8), np.float32)}])
    write_quantized(tiny, tmp_path / "q.onnx", ranges, precision, ["second"])
    graph = onnx.load(tmp_path / "q.onnx").graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    quantized = {node.name for node in graph.node if node.op_type == "Conv" and set(node.input) & dequantized}
    assert quantized == {"second"}


@pytest.mark.parametrize("precision", KINDS)
def test_ranges_are_left_as_they_were(tiny: Path, tmp_path: Path, precision: str) -> None:
    ranges = activation_ranges(tiny, [{FACE: np.random.default_rng(0).standard_normal((4, 1, 8, 8), np.float32)}])
    before = limits(ranges)
    write_quantized(tiny, tmp_path / "q.onnx", ranges, precision, quantizable_layers(tiny, precision))
    assert limits(ranges) == before
    assert before["a"][0] < 0 == before["b"][0]  # before and after a ReLU


@pytest.mark.parametrize("precision", KINDS)
def test_no_layer_in_int8_is_the_network_in_float(tiny: Path, tmp_path: Path, precision: str) -> None:
    batch = {FACE: np.random.default_rng(0).standard_normal((4, 1, 8, 8), np.float32)}
    write_quantized(tiny, tmp_path / "q.onnx", activation_ranges(tiny, [batch]), precision, [])
    np.testing.assert_array_equal(embeddings(tmp_path / "q.onnx", [batch]), embeddings(tiny, [batch]))


def write_head(path: Path, size: int) -> Path:
    """A matrix product as PyTorch's Linear is exported, and one of two activations."""
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array((rng.standard_normal((size, size)) / np.sqrt(size)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.standard_normal(size).astype(np.float32), "b"),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], "linear", transB=1),
        helper.make_node("Transpose", ["a"], ["t"], "transpose"),
        helper.make_node("MatMul", ["a", "t"], ["y"], "activations"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", size])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "batch"])]
    graph = helper.make_graph(nodes, "head", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_head_is_large_by_the_weights_of_its_matrix_products(tmp_path: Path) -> None:
    assert LARGE_HEAD == 1000**2
    assert is_large_head(write_head(tmp_path / "large.onnx", 1000))
    assert not is_large_head(write_head(tmp_path / "small.onnx", 999))
    assert not is_large_head(DEFAULT_BUNDLE / "head.onnx")


def test_a_large_head_has_its_weights_in_int8_and_says_nearly_the_same(tmp_path: Path) -> None:
    source, target = write_head(tmp_path / "head.onnx", 1000), tmp_path / "int8.onnx"
    before = source.read_bytes()
    write_quantized_head(source, target)
    assert (source.read_bytes(), {*tmp_path.iterdir()}) == (before, {source, target})
    assert target.stat().st_size < 0.27 * source.stat().st_size
    operations = [node.op_type for node in onnx.load(target).graph.node]
    assert (operations.count("MatMulInteger"), operations.count("MatMul")) == (1, 1)
    inputs = {"x": np.random.default_rng(1).standard_normal((8, 1000), np.float32)}
    expected, found = (OnnxRuntimeEngine(path).run(inputs)["y"] for path in (source, target))
    assert sqnr_db(expected, found) > 30
