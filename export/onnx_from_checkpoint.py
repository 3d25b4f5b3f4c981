"""Checkpoint to a bundle of ONNX networks, opset 17: what TensorRT 8.5 and later read."""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bundle.errors import ArtefactError
from bundle.features import AUDIO_MASK, FACE, SPECTROGRAM, VISUAL_MASK, AudioSpec, VideoSpec, WindowSpec
from bundle.manifest import Manifest, Part
from export.simplify_onnx import simplify_onnx
from networks.mrpn import Mrpn, MrpnConfig
from perception.onnxrt import OnnxRuntimeEngine

OPSET = 17
TOLERANCE = 1e-5
"""Largest difference between PyTorch and ONNX Runtime on random input, relative to the largest value."""


@dataclass(frozen=True)
class Checkpoint:
    """What `edge-train` left: the trained network and where it comes from."""

    network: Mrpn
    temperatures: list[float]
    labels: tuple[str, ...]
    audio: AudioSpec
    video: VideoSpec
    window: WindowSpec
    training: Mapping[str, Any]
    results: Mapping[str, Any]


class TemperedHead(nn.Module):
    """The head with its outputs as calibrated probabilities: softmax(logits / temperature)."""

    def __init__(self, head: nn.Module, temperatures: list[float]) -> None:
        super().__init__()
        self.head, self.temperatures = head, temperatures

    def forward(self, *window: Tensor) -> tuple[Tensor, ...]:
        return tuple((logits / t).softmax(1) for logits, t in zip(self.head(*window), self.temperatures, strict=True))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running any code that it may hold.

    Raises
    ------
    ArtefactError : `path` is no checkpoint of `edge-train`, or of another network, or of one whose features are for the
        reproduction of a paper only.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            saved = torch.load(path, weights_only=True, map_location="cpu")
        network = Mrpn(MrpnConfig(**saved["network"]))
        network.load_state_dict(saved["model"])
        if not saved["specs"]:
            raise ArtefactError("its features need the whole clip, which no runtime has")
        audio, video, window = saved["specs"]
        training = {"split": saved["split"], **saved["training"]}
        return Checkpoint(
            network.eval(), saved["temperatures"], tuple(saved["labels"]), AudioSpec(**audio), VideoSpec(**video),
            WindowSpec(**window), training, saved["results"],
        )  # fmt: skip
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # whose text advises to run what code the file may hold
            reason = "no file of plain tensors"
        raise ArtefactError(
            f"{path} cannot be read as a checkpoint ({reason}); expected mrpn.pt of edge-train."
        ) from error


def export_parts(checkpoint: Checkpoint, folder: Path) -> dict[str, Part]:
    """Write each part of the network as a simplified ONNX file into `folder`, checked against PyTorch.

    Raises
    ------
    ArtefactError : ONNX Runtime's output differs from PyTorch's by more than TOLERANCE; the network takes chunks of
        another shape than its specs make.
    """
    network = checkpoint.network
    _check_shapes(checkpoint)
    parts = {}
    for name, part in network.parts().items():
        module, file = part.module, f"{name}.onnx"
        if part.runs == "window":
            module = TemperedHead(module, checkpoint.temperatures)
        inputs, outputs = dict(part.inputs), dict(part.outputs)
        export_module(module.eval(), folder / file, inputs, outputs)
        parts[name] = Part({"float32": file}, inputs, outputs)
    return parts


def _check_shapes(checkpoint: Checkpoint) -> None:
    """Refuse a network that expects other chunks than its specs make."""
    window = checkpoint.window
    found: dict[str, tuple[int, ...]] = {}
    for part in checkpoint.network.parts().values():
        found |= part.inputs
    expected = {
        FACE: checkpoint.video.shape,
        SPECTROGRAM: checkpoint.audio.shape,
        VISUAL_MASK: (window.image_slots,),
        AUDIO_MASK: (window.segment_slots(checkpoint.audio),),
    }
    for name, shape in expected.items():
        if found.get(name, shape) != shape:
            raise ArtefactError(
                f"the network takes {name} of shape {found[name]}; its specs make {shape}. "
                "Train it again with specs and network of one size."
            )


def export_module(
    module: nn.Module, path: Path, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
) -> None:
    """Write `module` to `path` with a dynamic batch, simplify it, and compare it with PyTorch on batches of 1 and 3."""
    with warnings.catch_warnings():  # this exporter is deprecated, but its successor cannot write opset 17
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, _random_inputs(inputs, 2), path, dynamo=False, opset_version=OPSET,
            input_names=list(inputs), output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
        )  # fmt: skip
    simplify_onnx(path)
    engine = OnnxRuntimeEngine(path)
    for batch in (1, 3):
        arguments = _random_inputs(inputs, batch)
        with torch.inference_mode():
            expected = module(*arguments)
        found = engine.run({name: value.numpy() for name, value in zip(inputs, arguments, strict=True)})
        for name, tensor in zip(outputs, expected if isinstance(expected, tuple) else (expected,), strict=True):
            error = float(np.abs(found[name] - tensor.numpy()).max() / max(1.0, tensor.abs().max()))
            if not error <= TOLERANCE:
                raise ArtefactError(
                    f"{path}: {name} differs from PyTorch by {error:.2g}; expected <= {TOLERANCE:g}. "
                    "Report this with the checkpoint: the export is wrong."
                )


def bundle_manifest(name: str, checkpoint: Checkpoint, parts: Mapping[str, Part], licence: str) -> Manifest:
    """The manifest of exported parts."""
    return Manifest(
        name, "mrpn", checkpoint.labels, checkpoint.audio, checkpoint.video, checkpoint.window, parts,
        checkpoint.training, checkpoint.results, licence,
    )  # fmt: skip


def _random_inputs(inputs: Mapping[str, tuple[int, ...]], batch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    return tuple(
        torch.rand(batch, *shape, generator=generator).round()
        if name.endswith("_mask")
        else torch.randn(batch, *shape, generator=generator)
        for name, shape in inputs.items()
    )
