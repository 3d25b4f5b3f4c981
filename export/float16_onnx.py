"""The same network in half precision: weights and activations, with float32 inputs and outputs."""

from dataclasses import replace
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from bundle.manifest import Part
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import FLOAT16_DB, random_inputs, sqnr_db


def export_float16(folder: Path, name: str, part: Part) -> tuple[Part, float]:
    """Write a float16 file beside the float32 one of a bundle's part, and keep it if it computes the same.

    Returns the part with the file, if it is kept, and its signal to noise on random input, dB, of the worst output.
    """
    source, target = folder / part.files["float32"], folder / f"{name}.float16.onnx"
    write_float16(source, target)
    inputs = random_inputs(part.inputs, 3)
    expected, found = (OnnxRuntimeEngine(path).run(inputs) for path in (source, target))
    decibels = min(sqnr_db(expected[output], found[output]) for output in part.outputs)
    files = {precision: file for precision, file in part.files.items() if precision != "float16"}
    if decibels >= FLOAT16_DB:
        files["float16"] = target.name
    else:
        target.unlink()
    return replace(part, files=files), decibels


def write_float16(source: Path, target: Path) -> None:
    """Write the float32 ONNX at `source` to `target` in float16; names, shapes and types of its tensors stay.

    Values beyond 65,504 do not fit: whether the network still computes the same is for the caller to compare.
    """
    model = OnnxModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    model.topological_sort()  # the converter appends its casts at the end
    onnx.save(model.model, target)
