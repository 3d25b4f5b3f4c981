"""A bundle with small encoders under the default head, and a network small enough to count by hand."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle.features import FACE
from bundle.manifest import DEFAULT_BUNDLE, Manifest, read_manifest, write_manifest
from calibration.samples import Samples, make_samples

SPLIT = {"train": [1, 7], "validation": [8], "calibration": [3, 6], "held_out": [2, 5]}


def manifest_with_split(split: dict[str, list[int]]) -> Manifest:
    manifest = read_manifest(DEFAULT_BUNDLE)
    return replace(manifest, training={**manifest.training, "split": split, "draws": 1}, calibration={})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Calibrated on nobody yet, with two actors for the gate."""
    return write_small_bundle(tmp_path / "bundle", manifest_with_split(SPLIT))


def write_small_bundle(folder: Path, manifest: Manifest) -> Path:
    """The default head on encoders of two convolutions each, with random weights."""
    shutil.copytree(DEFAULT_BUNDLE, folder)
    rng = np.random.default_rng(0)
    parts = dict(manifest.parts)
    for name, part in manifest.parts.items():
        files = {"float32": part.files["float32"]}
        parts[name] = replace(part, files=files)
        if name != "head":
            (tensor, shape), (width,) = next(iter(part.inputs.items())), part.outputs["embedding"]
            nodes = [
                helper.make_node("Conv", [tensor, "w1"], ["a"], "first", strides=[4, 4]),
                helper.make_node("Relu", ["a"], ["b"], "relu"),
                helper.make_node("Conv", ["b", "w2"], ["c"], "second"),
                helper.make_node("ReduceMean", ["c"], ["embedding"], "mean", axes=[2, 3], keepdims=0),
            ]
            weights = {"w1": (8, 1, 5, 5), "w2": (width, 8, 3, 3)}
            tensors = [numpy_helper.from_array(rng.normal(0, 0.3, w).astype(np.float32), n) for n, w in weights.items()]
            _write_network(folder / files["float32"], nodes, (tensor, shape), width, tensors)
    write_manifest(folder, replace(manifest, name=folder.name, parts=parts))
    return folder


def _write_network(
    path: Path, nodes: list[onnx.NodeProto], given: tuple[str, tuple[int, ...]], width: int,
    weights: list[onnx.TensorProto],
) -> None:  # fmt: skip
    """From one input to an embedding."""
    tensor, shape = given
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def samples(data: Path) -> Samples:
    """Of the calibration actors."""
    return make_samples(manifest_with_split(SPLIT), data)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv "first", ReLU, conv "second", and their skip "skip", ReLU, mean: from a face to an embedding of four."""
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / 3).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", [FACE, "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "c"], ["d"], "skip"),
        helper.make_node("Relu", ["d"], ["e"], "relu2"),
        helper.make_node("Conv", ["e", "w3"], ["f"], "third", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["e", "f"], ["g"], "last skip"),
        helper.make_node("ReduceMean", ["g"], ["embedding"], "mean", axes=[2, 3], keepdims=0),
    ]
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    tensors = [weights("w1", 4, 1, 3, 3), weights("w2", 4, 4, 3, 3), weights("w3", 4, 4, 3, 3)]
    _write_network(path, nodes, (FACE, (1, 8, 8)), 4, tensors)
    return path
