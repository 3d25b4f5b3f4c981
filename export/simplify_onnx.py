"""Fewer, larger ONNX nodes: constants folded, what the exporter left over removed."""

from pathlib import Path

import onnx
import onnxsim

from bundle.errors import ArtefactError


def simplify_onnx(path: Path) -> tuple[int, int]:
    """Simplify the model at `path` in place; returns its number of nodes before and after.

    Raises
    ------
    ArtefactError : the simplified model does not compute the same.
    """
    model = onnx.load(path)
    simplified, same = onnxsim.simplify(model)
    if not same:
        raise ArtefactError(f"{path}: onnxsim changed what the model computes. Report this with the checkpoint.")
    onnx.save(simplified, path)
    return len(model.graph.node), len(simplified.graph.node)
