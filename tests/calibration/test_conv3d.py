"""3-D convolutions as 2-D ones: the same output, in float and in INT8."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bundle.manifest import INT8_ONNXRUNTIME
from calibration.conv3d import frames_from_volumes, has_volumes
from calibration.qdq import quantizable_layers, write_quantized
from calibration.ranges import activation_ranges
from networks.resnet3d import Bottleneck3d
from perception.onnxrt import OnnxRuntimeEngine

SHAPE = 3, 7, 12, 10
"""Channels, images, height, width: none like another, so that no axis passes for another one."""


class Volumes(nn.Module):
    """All that a 3D-ResNet is made of: normalisation before padding, a stem, pooling, strides in time, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(3, affine=False)
        self.stem = nn.Conv3d(3, 4, (7, 3, 5), (1, 2, 1), (3, 1, 2))
        self.pool = nn.MaxPool3d(3, 2, 1)
        self.blocks = nn.Sequential(Bottleneck3d(4, 2, 1), Bottleneck3d(8, 2, 2))
        self.norm.running_mean.add_(0.5)  # else zeros would stay zeros, and padding could be anywhere

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.pool(torch.relu(self.stem(self.norm(volume))))).mean((2, 3, 4))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The graph in float and in INT8."""
    from export.onnx_from_checkpoint import write_onnx
    from export.simplify_onnx import simplify_onnx

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("conv3d")
    path, int8 = folder / "float.onnx", folder / "int8.onnx"
    write_onnx(Volumes().eval(), path, {"volume": SHAPE}, {"features": (8,)})
    simplify_onnx(path)
    ranges = activation_ranges(path, [volumes(3)])
    write_quantized(path, int8, ranges, INT8_ONNXRUNTIME, quantizable_layers(path, INT8_ONNXRUNTIME))
    return path, int8


def volumes(count: int) -> dict[str, np.ndarray]:
    return {"volume": np.random.default_rng(count).standard_normal((count, *SHAPE), np.float32)}


@pytest.mark.parametrize(("which", "tolerance"), [(0, 1e-6), (1, 0.0)])
def test_output_stays_the_same(graphs: tuple[Path, Path], which: int, tolerance: float, tmp_path: Path) -> None:
    path = tmp_path / "frames.onnx"
    shutil.copy(graphs[which], path)
    frames_from_volumes(path)
    for seed in range(3):
        volume = {"volume": volumes(seed + 1)["volume"][-1:]}
        before, after = (OnnxRuntimeEngine(file).run(volume)["features"] for file in (graphs[which], path))
        assert np.ptp(before) > 0.05
        np.testing.assert_allclose(after, before, atol=tolerance, rtol=0)


def test_no_3d_operation_is_left(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "frames.onnx"
    shutil.copy(graphs[1], path)
    frames_from_volumes(path)
    sizes = {len(a.ints) for node in onnx.load(path).graph.node for a in node.attribute if a.name == "kernel_shape"}
    assert sizes == {2}
    onnx.checker.check_model(str(path), full_check=True)


def test_nothing_is_computed_in_vain(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "frames.onnx"
    shutil.copy(graphs[1], path)
    frames_from_volumes(path)
    graph = onnx.load(path).graph
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(used.intersection(node.output) for node in graph.node)


def test_stem_has_channels_by_fours_in_int8_alone(graphs: tuple[Path, Path], tmp_path: Path) -> None:
    channels = []
    for which in graphs:
        path = tmp_path / which.name
        shutil.copy(which, path)
        frames_from_volumes(path)
        channels.append([tensor.dims[1] for tensor in onnx.load(path).graph.initializer if tensor.dims[2:] == [3, 5]])
    assert channels == [[7 * 3], [8 * 3]]


def test_graphs_that_take_volumes_are_told_from_others(graphs: tuple[Path, Path]) -> None:
    from bundle.manifest import DEFAULT_BUNDLE

    assert has_volumes(graphs[0])
    assert not has_volumes(DEFAULT_BUNDLE / "visual.onnx")
