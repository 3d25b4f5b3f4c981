"""Real engines, built on the CPU by TensorRT-RTX: all systems, all precisions, and what their layers run in."""

import onnx
import pytest

from bundle.errors import ArgumentError, ArtefactError
from export.engine_from_onnx import BuildOptions, build_engine
from export.int8_weights import weights_in_plan
from networks.systems import SYSTEMS
from perception.onnxrt import OnnxRuntimeEngine

TYPES = {"float32": "Float", "float16": "Half", "int8": "Int8"}


@pytest.fixture(scope="module")
def trt():
    return pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this platform")


def count_convolutions(path):
    return sum(node.op_type == "Conv" for node in onnx.load(path).graph.node)


def build_all(trt, files, capability):
    """Build each file, and check that every convolution runs in the file's precision, with the file's weights."""
    for name, (path, inputs) in files.items():
        precision = name.split(".")[1]
        built = build_engine(trt, path, BuildOptions(capability, precision), inputs)
        convolutions = count_convolutions(path)
        assert built.convolutions == ({TYPES[precision]: convolutions} if convolutions else {}), name
        weights = weights_in_plan(path, built.plan)
        assert len(weights) == (convolutions if precision == "int8" else 0), name
        assert all(weights.values()), name


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_part_builds_in_its_lowest_precision(trt, onnx_files, system):
    files = onnx_files(system)
    lowest = {name: file for name, file in files.items() if name.endswith(".int8")}
    head = {"head.float16": files["head.float16"]} if "head.int8" not in files else {}
    assert len(lowest | head) == len({name.split(".")[0] for name in files})
    build_all(trt, lowest | head, 89)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [86, 89, 120])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_part_builds_in_every_precision_for_every_gpu(trt, onnx_files, system, capability):
    files = onnx_files(system)
    assert {name.split(".")[1] for name in files} == {*TYPES}
    build_all(trt, files, capability)


def test_spoiled_weights_are_not_in_the_plan(trt, onnx_files, tmp_path):
    path, inputs = onnx_files("fercnn")["head.int8"]
    model = onnx.load(path)
    spoiled = next(
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    )
    values = onnx.numpy_helper.to_array(spoiled)
    spoiled.CopyFrom(onnx.numpy_helper.from_array(values // 2, spoiled.name))
    onnx.save(model, tmp_path / "other.onnx")
    plan = build_engine(trt, tmp_path / "other.onnx", BuildOptions(89, "int8"), inputs).plan
    assert sorted(weights_in_plan(path, plan).values()) == [False, True, True, True, True]


def test_int8_weights_are_found_by_their_bytes_alone(onnx_files):
    path, _ = onnx_files("fercnn")["head.int8"]
    assert not any(weights_in_plan(path, bytes(10_000_000)).values())


@pytest.mark.parametrize(
    ("file", "precision", "told"),
    [
        ("head.float32", "int8", r"was to run in int8, but its engine runs convolutions: 5 Float\. Calibrate it again"),
        ("head.float32", "float16", r"was to run in float16, .*: 5 Float\. Give the file's own --precision"),
        ("head.float16", "float32", r"was to run in float32, .*: 5 Half\. Give"),
        ("head.int8", "float32", r"was to run in float32, .*: 5 Int8\. Give"),
    ],
)
def test_a_file_does_not_pass_for_one_of_another_precision(file, precision, told, trt, onnx_files):
    path, inputs = onnx_files("fercnn")[file]
    with pytest.raises(ArtefactError, match=told):
        build_engine(trt, path, BuildOptions(89, precision), inputs)


def test_what_is_no_network_is_refused(trt, tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ArtefactError, match=r"network\.onnx cannot be parsed by tensorrt_rtx .*export it again"):
        build_engine(trt, path, BuildOptions(89, "float32"))


def test_a_file_with_other_inputs_than_the_manifests_is_refused(trt, onnx_files):
    path, _ = onnx_files("fercnn")["head.float32"]
    inputs = {"audio_features": (162,), "video_features": (21,)}
    with pytest.raises(ArtefactError, match=r"takes .*\(-1, 20\).*; expected .*\(-1, 21\)"):
        build_engine(trt, path, BuildOptions(89, "float32"), inputs)


def test_a_fixed_batch_is_refused(trt, onnx_files, tmp_path):
    model = onnx.load(onnx_files("fercnn")["head.float32"][0])
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "fixed.onnx")
    assert OnnxRuntimeEngine(tmp_path / "fixed.onnx")
    with pytest.raises(ArtefactError, match="expected a free batch first"):
        build_engine(trt, tmp_path / "fixed.onnx", BuildOptions(89, "float32"))


def test_a_gpu_that_the_flavour_does_not_know_is_refused(trt, onnx_files):
    path, inputs = onnx_files("fercnn")["head.float32"]
    with pytest.raises(ArtefactError, match=r"does not build for compute capability 87; expected one of .*89"):
        build_engine(trt, path, BuildOptions(87, "float32"), inputs)


@pytest.mark.parametrize("option", ["max_batch", "workspace_mb"])
def test_options_below_one_are_rejected(option):
    with pytest.raises(ArgumentError, match=f"{option} is 0; expected 1 or more"):
        BuildOptions(89, "float32", **{option: 0})
