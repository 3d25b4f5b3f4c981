"""Checkpoint to ONNX networks, opset 17: what TensorRT 8.5 and later read."""

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
from bundle.features import AUDIO_MASK, FACE, PROBS, SPECTROGRAM, VISUAL_MASK, AudioSpec, VideoSpec, WindowSpec
from bundle.manifest import Manifest, Part
from export.float16_onnx import export_float16
from export.simplify_onnx import count_nodes, simplify_onnx
from networks.system import NetworkPart, System
from networks.systems import SYSTEMS, variant_config
from networks.transfer import SoundOfTransfer
from perception.network import PARTS
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import FLOAT32_ERROR, differences, random_inputs

OPSET = 17
Specs = tuple[AudioSpec, VideoSpec, WindowSpec]


@dataclass(frozen=True)
class Checkpoint:
    """What `edge-train` left: the trained network and where it comes from.

    specs : the features of its input; None where no runtime computes them. corpus : as edge-train names it; "" for the
        default recipe's composite.
    """

    system: str
    network: System
    temperatures: list[float]
    labels: tuple[str, ...]
    specs: Specs | None
    training: Mapping[str, Any]
    results: Mapping[str, Any]
    corpus: str


@dataclass(frozen=True)
class ExportedPart:
    """A part as ONNX files.

    float16_db : signal to noise of the float16 file against float32; below FLOAT16_DB there is no such file.
    nodes : of the float32 graph as exported, and as simplified.
    """

    part: Part
    float16_db: float
    nodes: tuple[int, int]


class TemperedHead(nn.Module):
    """The head with its outputs as calibrated probabilities: softmax(logits / temperature)."""

    def __init__(self, head: nn.Module, temperatures: list[float]) -> None:
        super().__init__()
        self.head, self.temperatures = head, temperatures

    def forward(self, *window: Tensor) -> tuple[Tensor, ...]:
        outputs = _as_tuple(self.head(*window))
        return tuple((logits / t).softmax(1) for logits, t in zip(outputs, self.temperatures, strict=True))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any system without running any code that it may hold.

    Raises
    ------
    ArtefactError : `path` is no checkpoint of `edge-train`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            saved = torch.load(path, weights_only=True, map_location="cpu")
        system = saved["system"]
        config = type(variant_config(system)[1])(**saved["network"])
        kind = SoundOfTransfer if saved["training"].get("audio_only") else SYSTEMS[system].network
        network = kind(config)
        network.load_state_dict(saved["model"])
        specs = None
        if saved["specs"]:
            audio, video, window = saved["specs"]
            specs = AudioSpec(**audio), VideoSpec(**video), WindowSpec(**window)
        training = {"split": saved["split"], **saved["training"]}
        return Checkpoint(
            system, network.eval(), saved["temperatures"], tuple(saved["labels"]), specs, training, saved["results"],
            saved.get("corpus", ""),
        )  # fmt: skip
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # whose text advises to run what code the file may hold
            reason = "no file of plain tensors"
        raise ArtefactError(
            f"{path} cannot be read as a checkpoint ({reason}); expected one that edge-train wrote, such as mrpn.pt."
        ) from error


def check_deployable(checkpoint: Checkpoint) -> None:
    """Refuse a network that `edge-run` has no way to feed.

    Raises
    ------
    ArtefactError : another system than MRPN, or one modality of it; no outputs of the senses alone; features that need
        the whole clip; chunks of another shape than the specs make.
    """
    found = tuple(checkpoint.network.parts())
    if checkpoint.system != "mrpn" or found != PARTS:
        raise ArtefactError(
            f"the checkpoint is of {checkpoint.system} with parts {list(found)}; edge-run runs mrpn with parts "
            f"{list(PARTS)}. Write its parts as ONNX files with edge-export onnx."
        )
    outputs = checkpoint.network.parts()["head"].outputs
    if tuple(outputs) != PROBS:
        raise ArtefactError(
            f"the checkpoint's head has outputs {list(outputs)}; edge-run needs {list(PROBS)}, those of each sense "
            "for when the other is missing. Train n1 or n2, which have side branches."
        )
    if checkpoint.specs is None:
        raise ArtefactError(
            "the checkpoint's features need the whole clip, which no runtime has; expected streaming ones. "
            "Write its parts as ONNX files with edge-export onnx."
        )
    _check_shapes(checkpoint.network, checkpoint.specs)


def _check_shapes(network: System, specs: Specs) -> None:
    """Refuse a network that expects other chunks than its specs make."""
    audio, video, window = specs
    found: dict[str, tuple[int, ...]] = {}
    for part in network.parts().values():
        found |= part.inputs
    expected = {
        FACE: video.shape,
        SPECTROGRAM: audio.shape,
        VISUAL_MASK: (window.image_slots,),
        AUDIO_MASK: (window.segment_slots(audio),),
    }
    for name, shape in expected.items():
        if found.get(name, shape) != shape:
            raise ArtefactError(
                f"the network takes {name} of shape {found[name]}; its specs make {shape}. "
                "Train it again with specs and network of one size."
            )


def export_parts(checkpoint: Checkpoint, folder: Path) -> dict[str, ExportedPart]:
    """Write each part of the network into `folder` as simplified ONNX, checked against PyTorch, and in float16.

    The same checkpoint gives the same bytes.

    Raises
    ------
    ArtefactError : ONNX Runtime's output differs from PyTorch's by more than rounding.
    """
    exported = {}
    for name, part in checkpoint.network.parts().items():
        file = f"{name}.onnx"
        module = part_module(part, checkpoint.temperatures)
        nodes = export_module(module, folder / file, part.inputs, part.outputs)
        plain = Part({"float32": file}, dict(part.inputs), dict(part.outputs))
        exported[name] = ExportedPart(*export_float16(folder, name, plain, folder), nodes)
    return exported


def part_module(part: NetworkPart, temperatures: list[float]) -> nn.Module:
    """What is exported of a part: the module itself, or the head with probabilities as outputs."""
    is_head = part.runs == "window" and all(name.startswith("probs_") for name in part.outputs)
    return (TemperedHead(part.module, temperatures) if is_head else part.module).eval()


def export_module(
    module: nn.Module, path: Path, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
) -> tuple[int, int]:
    """Write `module` to `path` with a dynamic batch, simplify it, and compare both graphs with PyTorch.

    Returns how many nodes the graph had before and after.
    """
    write_onnx(module, path, inputs, outputs)
    exported = count_nodes(path)
    _check_parity(module, path, inputs, outputs)
    simplify_onnx(path)
    _check_parity(module, path, inputs, outputs)
    return exported, count_nodes(path)


def write_onnx(
    module: nn.Module, path: Path, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
) -> None:
    """Write `module` to `path` as the exporter leaves it."""
    arguments = tuple(torch.from_numpy(value) for value in random_inputs(inputs, 2).values())
    with warnings.catch_warnings():  # this exporter is deprecated, but its successor cannot write opset 17
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, arguments, path, dynamo=False, opset_version=OPSET,
            input_names=list(inputs), output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
        )  # fmt: skip


def run_module(
    module: nn.Module, outputs: Mapping[str, tuple[int, ...]], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """PyTorch's outputs by name."""
    with torch.inference_mode():
        found = module(*(torch.from_numpy(value) for value in inputs.values()))
    return {name: tensor.numpy() for name, tensor in zip(outputs, _as_tuple(found), strict=True)}


def _check_parity(
    module: nn.Module, path: Path, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
) -> None:
    """Compare the ONNX file with PyTorch on batches of 1 and 3."""
    engine = OnnxRuntimeEngine(path)
    for batch in (1, 3):
        arguments = random_inputs(inputs, batch)
        expected = run_module(module, outputs, arguments)
        for difference in differences(expected, engine.run(arguments)):
            if not difference.is_rounding:
                raise ArtefactError(
                    f"{path}: {difference.tensor} differs from PyTorch by {difference.max_error:.2g}; expected <= "
                    f"{FLOAT32_ERROR * difference.scale:.2g}. Report this with the checkpoint: the export is wrong."
                )


def bundle_manifest(name: str, checkpoint: Checkpoint, parts: Mapping[str, Part], licence: str) -> Manifest:
    """The manifest of exported parts of a checkpoint that `check_deployable` lets pass."""
    assert checkpoint.specs is not None
    return Manifest(
        name, checkpoint.system, checkpoint.labels, *checkpoint.specs, parts, checkpoint.training, checkpoint.results,
        licence,
    )  # fmt: skip


def _as_tuple(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)
