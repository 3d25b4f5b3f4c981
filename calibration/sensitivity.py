"""Which layers hurt in INT8: each is quantized alone, and what that does to the embedding is measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.features import EMBEDDING
from calibration.qdq import quantizable_layers, write_quantized
from calibration.samples import Batch
from perception.onnxrt import OnnxRuntimeEngine

Floats = npt.NDArray[np.float32]

SWEPT_BATCHES = 24
"""Of the calibration samples: 96 order the layers as all do."""


def layer_sqnr_db(source: Path, ranges: Any, precision: str, batches: Sequence[Batch]) -> dict[str, float]:
    """Signal to quantization noise of the embedding, dB, by the one layer that is quantized; in the network's order."""
    batches = batches[:: max(1, len(batches) // SWEPT_BATCHES)]
    expected = embeddings(source, batches)
    found = {}
    with TemporaryDirectory() as folder:
        for layer in tqdm(quantizable_layers(source, precision), desc=f"{source.stem} {precision}", leave=False):
            write_quantized(source, Path(folder) / "one.onnx", ranges, precision, [layer])
            found[layer] = sqnr_db(expected, embeddings(Path(folder) / "one.onnx", batches))
    return found


def worst_first(sqnr_db: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """(part, layer) of `layer_sqnr_db` by part, the one that hurts most first."""
    layers = [(value, part, layer) for part, values in sqnr_db.items() for layer, value in values.items()]
    return [(part, layer) for _, part, layer in sorted(layers)]


def embeddings(model: Path, batches: Sequence[Batch]) -> Floats:
    """What the encoder makes of the batches [shape=(n, width)]."""
    engine = OnnxRuntimeEngine(model)
    return np.concatenate([engine.run(batch)[EMBEDDING] for batch in batches])


def sqnr_db(expected: Floats, found: Floats) -> float:
    """10 log10 of the power of `expected` over that of what `found` differs by."""
    noise = float(np.square(found - expected).sum())
    return round(10 * float(np.log10(np.square(expected).sum() / max(noise, 1e-30))), 2)
