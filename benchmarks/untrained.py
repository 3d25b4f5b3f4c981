"""Networks of any size without training: one set of weights in PyTorch, ONNX and INT8. Speed does not depend on them.

Weights are seeded, normalisation has seen random input: good enough to measure, and to compare one computation with
another, for nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME
from calibration.conv3d import frames_from_volumes, has_volumes
from calibration.qdq import is_large_head, quantizable_layers, write_quantized, write_quantized_head
from calibration.ranges import activation_ranges
from export.onnx_from_checkpoint import part_module, write_onnx
from export.simplify_onnx import simplify_onnx
from networks.system import NetworkPart, System
from networks.systems import SYSTEMS
from perception.engine import Tensors
from perception.parity import random_inputs

CHUNKS, WINDOWS = 2, 32
"""Inputs that normalisation sees: an encoder's has many values in each, a head's has one."""


@dataclass(frozen=True)
class UntrainedPart:
    """A part in PyTorch and as ONNX files by precision; the head gives probabilities."""

    part: NetworkPart
    module: nn.Module
    files: Mapping[str, Path]

    def file(self, precision: str) -> Path:
        """The file of `precision`, or in float32 where there is none."""
        return self.files.get(precision, self.files[FLOAT32])


def untrained(system: str, config: Any) -> System:
    """A network whose weights depend on its configuration alone, ready to be evaluated."""
    torch.manual_seed(0)
    network = SYSTEMS[system].network(config)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # what it sees is averaged, instead of added to where it begins
    for part in network.parts().values():
        part.module.train()
        inputs = random_inputs(part.inputs, WINDOWS if part.runs == "window" else CHUNKS)
        with torch.no_grad():
            part.module(*(torch.from_numpy(value) for value in inputs.values()))
    return network.eval()


def untrained_parts(parts: Mapping[str, NetworkPart], folder: Path) -> dict[str, UntrainedPart]:
    """The parts of an untrained network, their files in float32 written into `folder`, which is made."""
    folder.mkdir(exist_ok=True)
    exported = {}
    for name, part in parts.items():
        module, path = part_module(part, [1.0] * len(part.outputs)), folder / f"{name}.onnx"
        write_onnx(module, path, part.inputs, part.outputs)
        simplify_onnx(path)
        exported[name] = UntrainedPart(part, module, {FLOAT32: path})
    return exported


def with_int8(exported: UntrainedPart, batch: Tensors) -> UntrainedPart:
    """The encoder with an INT8 file beside its float one, calibrated on one batch."""
    path = exported.files[FLOAT32]
    int8 = path.with_suffix(".int8.onnx")
    ranges = activation_ranges(path, [dict(batch)])
    write_quantized(path, int8, ranges, INT8_ONNXRUNTIME, quantizable_layers(path, INT8_ONNXRUNTIME))
    if has_volumes(int8):
        frames_from_volumes(int8)
    return replace(exported, files={**exported.files, INT8_ONNXRUNTIME: int8})


def with_int8_head(exported: UntrainedPart) -> UntrainedPart:
    """The head with an INT8 file beside its float one, where edge-calibrate would make one."""
    path = exported.files[FLOAT32]
    if not is_large_head(path):
        return exported
    int8 = path.with_suffix(".int8.onnx")
    write_quantized_head(path, int8)
    return replace(exported, files={**exported.files, INT8_ONNXRUNTIME: int8})
