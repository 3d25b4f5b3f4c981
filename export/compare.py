"""A network at every step from PyTorch to the engine, on the same inputs: how far each step moves each output.

PyTorch is loaded only where a checkpoint is compared with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.engine_cache import PRECISION_OF_FILE
from bundle.errors import ArtefactError
from bundle.manifest import Manifest, Part
from export.engines import EngineReport
from export.int8_weights import weights_in_plan
from export.layer_log import text_of_types
from perception.engine import Tensors
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import ENGINE_DB, FLOAT16_DB, Difference, differences, random_inputs
from perception.tensorrt import TensorRtEngine

if TYPE_CHECKING:
    from export.onnx_from_checkpoint import Checkpoint

FLOAT32_STEPS, FLOAT16_STEP = ("torch -> onnx", "onnx -> simplified"), "simplified -> float16"
"""Steps that must hold; what INT8 costs is for the accuracy gate to judge."""

ENGINE_STEP = " -> engine"
"""Ends the name of a step that must hold too: from a file, under its key in the bundle, to what was built from it."""

BATCH = 8
"""Inputs of each part."""


@dataclass(frozen=True)
class Row:
    """One output tensor after one step. samples : compared. passed : the step is close enough, or has no limit."""

    part: str
    step: str
    tensor: str
    samples: int
    max_error: float
    sqnr_db: float
    passed: bool


@dataclass(frozen=True)
class Proof:
    """What an engine of the part is made of. int8_weights : found in the plan, of how many.

    All of them must be there where the layers can be read; another TensorRT may store weights in another order.
    """

    part: str
    precision: str
    convolutions: Mapping[str, int] | None
    int8_weights: tuple[int, int]

    @property
    def passed(self) -> bool:
        found, expected = self.int8_weights
        return self.convolutions is None or found == expected

    def text(self) -> str:
        found, expected = self.int8_weights
        weights = f"; INT8 weights of {found} of {expected} in the plan" if expected else ""
        return f"{self.part} engine, {self.precision}: {text_of_types(self.convolutions)}{weights}"


def compare_bundle(
    folder: Path, manifest: Manifest, inputs: Mapping[str, Tensors], checkpoint_path: Path | None
) -> Iterator[Row]:
    """Rows of each part: PyTorch and the graph as exported where there is a checkpoint, then the bundle's files.

    Raises
    ------
    ArtefactError : the checkpoint cannot be read, or is of a network with other parts, or parts of other shapes.
    """
    checkpoint = None
    if checkpoint_path:
        from export.onnx_from_checkpoint import read_checkpoint

        checkpoint = read_checkpoint(checkpoint_path)
        found, expected = (
            {name: (dict(part.inputs), dict(part.outputs)) for name, part in parts.items()}
            for parts in (checkpoint.network.parts(), manifest.parts)
        )
        if [*found] != [*expected]:
            raise ArtefactError(
                f"{checkpoint_path} is of {checkpoint.system} with parts {[*found]}; expected the one that {folder}, "
                f"with parts {[*expected]}, was exported from."
            )
        for name in found:
            if found[name] != expected[name]:
                raise ArtefactError(
                    f"{checkpoint_path} has a part {name} of inputs and outputs {found[name]}; expected "
                    f"{expected[name]} of the one that {folder} was exported from."
                )
    for name, part in manifest.parts.items():
        given = inputs[name]
        simplified = OnnxRuntimeEngine(folder / part.files["float32"]).run(given)
        if checkpoint:
            torch, exported = _as_trained(checkpoint, name, given)
            yield from _rows(name, "torch -> onnx", torch, exported)
            yield from _rows(name, "onnx -> simplified", exported, simplified)
        for precision in part.files:
            if precision != "float32":
                yield from _rows(name, f"simplified -> {precision}", simplified, _run(folder, part, precision, given))


def compare_engine(
    trt: Any, folder: Path, part: Part, report: EngineReport, inputs: Tensors, on_gpu: bool
) -> tuple[Proof, list[Row]]:
    """What an engine is made of and, where a GPU is, how far it lies from the file that it was built from."""
    plan = Path(report.path).read_bytes()
    found = weights_in_plan(Path(report.onnx), plan)
    proof = Proof(report.name, report.precision, report.convolutions, (sum(found.values()), len(found)))
    if not on_gpu:
        return proof, []
    precision = next(key for key, file in part.files.items() if file == Path(report.onnx).name)
    expected = _run(folder, part, precision, inputs)
    return proof, _rows(report.name, f"{precision}{ENGINE_STEP}", expected, TensorRtEngine(trt, plan).run(inputs))


def noise_inputs(manifest: Manifest) -> dict[str, dict[str, np.ndarray]]:
    """Seeded noise for each part, where no clip is given."""
    return {name: random_inputs(part.inputs, BATCH) for name, part in manifest.parts.items()}


def table(rows: list[Row]) -> str:
    """Rows as aligned text."""
    lines = [f"{'part':8} {'step':30} {'tensor':14} {'max error':>10} {'SQNR dB':>8}"]
    lines += [
        f"{row.part:8} {row.step:30} {row.tensor:14} {row.max_error:10.2g} {row.sqnr_db:8.1f}"
        + ("" if row.passed else "  too far")
        for row in rows
    ]
    return "\n".join(lines)


def document(rows: list[Row], proofs: list[Proof]) -> dict[str, Any]:
    """The same for machines."""
    return {"rows": [asdict(row) for row in rows], "engines": [asdict(proof) for proof in proofs]}


def _as_trained(checkpoint: "Checkpoint", name: str, inputs: Tensors) -> tuple[Tensors, Tensors]:
    """Outputs of PyTorch, and of the graph as its exporter leaves it."""
    from export.onnx_from_checkpoint import part_module, run_module, write_onnx

    part = checkpoint.network.parts()[name]
    module = part_module(part, checkpoint.temperatures)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        write_onnx(module, path, part.inputs, part.outputs)
        exported = OnnxRuntimeEngine(path).run(inputs)
    return run_module(module, part.outputs, inputs), exported


def _run(folder: Path, part: Part, precision: str, inputs: Tensors) -> Tensors:
    """What TensorRT reads is run node by node: ONNX Runtime's optimiser would change what it computes."""
    as_it_stands = precision in ("float16", "int8-tensorrt")
    return OnnxRuntimeEngine(folder / part.files[precision], optimize=not as_it_stands).run(inputs)


def _rows(part: str, step: str, expected: Tensors, found: Tensors) -> list[Row]:
    samples = len(next(iter(expected.values())))
    return [_row(part, step, samples, difference) for difference in differences(expected, found)]


def _row(part: str, step: str, samples: int, difference: Difference) -> Row:
    passed = True
    if step in FLOAT32_STEPS:
        passed = difference.is_rounding
    elif step == FLOAT16_STEP:
        passed = difference.sqnr_db >= FLOAT16_DB
    elif step.endswith(ENGINE_STEP):
        passed = difference.sqnr_db >= ENGINE_DB[PRECISION_OF_FILE[step.removesuffix(ENGINE_STEP)]]
    return Row(part, step, difference.tensor, samples, difference.max_error, round(difference.sqnr_db, 2), passed)
