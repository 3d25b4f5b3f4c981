"""The same network in half precision: weights and activations, with float32 inputs and outputs."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnx.numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from bundle.manifest import Part
from perception.engine import Tensors
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import FLOAT16_DB, SILENT_DB, random_inputs, sqnr_db

LARGEST = float(np.finfo(np.float16).max)


def export_float16(folder: Path, name: str, part: Part, made: Path) -> tuple[Part, float]:
    """Write a float16 file of a bundle's part in `folder` to the folder `made`, and keep it if it computes the same.

    Returns the part with the file, if it is kept, and its signal to noise on random input, dB, of the worst output. It
    is none where a weight, or a value between the layers, is beyond float16: ONNX Runtime computes in float32 on a
    CPU, and would not show it.
    """
    source, target = folder / part.files["float32"], made / f"{name}.float16.onnx"
    write_float16(source, target)
    inputs = random_inputs(part.inputs, 3)
    if _largest_value(source, inputs) > LARGEST:
        decibels = -SILENT_DB
    else:
        expected, found = (OnnxRuntimeEngine(path).run(inputs) for path in (source, target))
        decibels = min(sqnr_db(expected[output], found[output]) for output in part.outputs)
    files = {precision: file for precision, file in part.files.items() if precision != "float16"}
    if decibels >= FLOAT16_DB:
        files["float16"] = target.name
    else:
        target.unlink()
    return replace(part, files=files), decibels


def _largest_value(path: Path, inputs: Tensors) -> float:
    """Of the weights, and of what any node makes of the inputs; infinity is a mask's."""
    model = onnx.load(path)
    known = {output.name for output in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name and name not in known]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    with TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        onnx.save(model, whole)
        values = OnnxRuntimeEngine(whole, optimize=False).run(inputs).values()
    arrays = [*values, *map(onnx.numpy_helper.to_array, model.graph.initializer)]
    return max(np.abs(array[np.isfinite(array)]).max(initial=0) for array in arrays if array.dtype == np.float32)


def write_float16(source: Path, target: Path) -> None:
    """Write the float32 ONNX at `source` to `target` in float16; names, shapes and types of its tensors stay.

    Values beyond `LARGEST` do not fit: whether the network still computes the same is for the caller to compare.
    """
    model = OnnxModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    model.topological_sort()  # the converter appends its casts at the end
    onnx.save(model.model, target)
