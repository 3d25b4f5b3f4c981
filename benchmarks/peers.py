"""What an update costs, against recomputing its whole window as code without a cache of embeddings does."""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.interleave import Comparison, Conditions, compare, seen_from
from benchmarks.updates import Updates, Variant, full_window
from bundle.errors import EngineError
from bundle.features import EMBEDDING, FACE, SPECTROGRAM
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME
from networks.mrpn import layout_of
from perception.engine import Engine, Tensors
from perception.openvino import OpenVinoEngine

Recompute = Callable[[], Tensors]

TOLERANCE = 1e-3
"""By which probabilities of one precision may differ."""

OPENVINO_INT8 = "OpenVINO INT8"
"""Which rounds in its own way: how far it is from ONNX Runtime's INT8 is told, and is no error."""

OUR_FLOAT, OUR_OPENVINO = "ours in float32", "ours on OpenVINO"


def bench_peers(variants: Sequence[str], threads: Sequence[int], rounds: int) -> Iterator[Comparison]:
    """Our update in INT8 against each peer, by variant of MRPN and number of threads.

    Peers are given the window's faces and spectrograms; ours cuts and transforms its own. Finding faces is left out.

    Raises
    ------
    EngineError : a peer computes something else than we do.
    """
    with TemporaryDirectory() as folder:
        for name in variants:
            print(f"{name}: exporting the untrained network, compiling what peers compile", file=sys.stderr)
            variant = Variant(name, Path(folder) / name)
            for count in threads:
                yield from _bench(variant, count, rounds)


def _bench(variant: Variant, threads: int, rounds: int) -> list[Comparison]:
    torch.set_num_threads(threads)
    window, outputs = variant.remember(FLOAT32)
    peers = _available(_peers(variant, window, threads))
    by_precision = {FLOAT32: outputs, INT8_ONNXRUNTIME: variant.remember(INT8_ONNXRUNTIME)[1]}
    report_differences(variant.name, by_precision, {name: run() for name, run in peers.items()})
    engines = {OUR_FLOAT: variant.engines(FLOAT32, threads)}
    if OPENVINO_INT8 in peers:
        engines[OUR_OPENVINO] = _openvino(variant, INT8_ONNXRUNTIME, threads)
    others = {name: Updates(variant.opened(opened)).update for name, opened in engines.items()}
    ours = Updates(variant.opened(variant.engines(INT8_ONNXRUNTIME, threads)))
    rows = compare(f"update {variant.name}", ours.update, {**others, **peers}, rounds, conditions=Conditions(threads))
    return [*rows, *(seen_from(OUR_OPENVINO, rows) if OUR_OPENVINO in others else [])]


def report_differences(name: str, ours: Mapping[str, Tensors], theirs: Mapping[str, Tensors]) -> None:
    """Print how far each peer's probabilities are from ours of its precision; ONNX Runtime's INT8 must equal ours too.

    Raises
    ------
    EngineError : more than `TOLERANCE`, in float32 or in INT8 on the same engine.
    """
    between = _largest_difference(ours[FLOAT32], ours[INT8_ONNXRUNTIME])
    print(f"{name}: our INT8 is within {between:.1e} of our float32, in probabilities", file=sys.stderr)
    for peer, outputs in theirs.items():
        precision = INT8_ONNXRUNTIME if "INT8" in peer else FLOAT32
        difference = _largest_difference(ours[precision], outputs)
        print(f"{name}: {peer} is within {difference:.1e} of our update in {precision}", file=sys.stderr)
        if difference > TOLERANCE and peer != OPENVINO_INT8:
            raise EngineError(
                f"{peer} differs from our update by {difference:.1e} in probabilities; expected <= {TOLERANCE:g}. "
                "Times of different results are no comparison: report this."
            )


def _largest_difference(expected: Tensors, found: Tensors) -> float:
    return max(float(np.abs(found[name] - value).max()) for name, value in expected.items())


def _peers(variant: Variant, window: Tensors, threads: int) -> dict[str, Callable[[], Recompute]]:
    """What makes each of them ready."""
    return {
        "PyTorch eager": lambda: _pytorch(variant, window, lambda module: module),
        "PyTorch eager, channels last": lambda: _pytorch(variant, window, lambda module: module, layout_of),
        "torch.compile": lambda: _pytorch(variant, window, torch.compile),
        "ONNX Runtime FP32": lambda: _engines(variant.engines(FLOAT32, threads), window),
        "ONNX Runtime INT8": lambda: _engines(variant.engines(INT8_ONNXRUNTIME, threads), window),
        "OpenVINO FP32": lambda: _engines(_openvino(variant, FLOAT32, threads), window),
        OPENVINO_INT8: lambda: _engines(_openvino(variant, INT8_ONNXRUNTIME, threads), window),
    }


def _available(makers: Mapping[str, Callable[[], Recompute]]) -> dict[str, Recompute]:
    """Those that run here; of the others, the reason goes to stderr."""
    peers = {}
    for name, make in makers.items():
        try:
            run = make()
            run()
        except Exception as error:  # compilers and optional libraries fail in ways of their own
            print(f"{name} is left out: {type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        else:
            peers[name] = run
    return peers


def _pytorch(
    variant: Variant, window: Tensors, prepare: Callable[[nn.Module], Any],
    layout: Callable[[nn.Module], torch.memory_format] = lambda _: torch.contiguous_format,
) -> Recompute:  # fmt: skip
    """`prepare` makes a network run, in the `layout` that an encoder has its weights and its input in."""
    encoders = {name: copy.deepcopy(variant.parts[name].module) for name in ("visual", "audio")}
    for encoder in encoders.values():
        encoder.to(memory_format=layout(encoder))  # type: ignore[call-overload]
    encode = {name: prepare(encoder) for name, encoder in encoders.items()}
    tensors = {name: torch.from_numpy(value).to(memory_format=layout(encoders[name])) for name, value in window.items()}
    head, outputs = prepare(variant.parts["head"].module), variant.parts["head"].part.outputs

    @torch.inference_mode()
    def recompute() -> Tensors:
        visual, audio = encode["visual"](tensors["visual"]), encode["audio"](tensors["audio"])
        found = head(visual[None], torch.ones(1, len(visual)), audio[None], torch.ones(1, len(audio)))
        return {name: tensor.numpy() for name, tensor in zip(outputs, found, strict=True)}

    return recompute


def _engines(engines: Mapping[str, Engine], window: Tensors) -> Recompute:
    def recompute() -> Tensors:
        visual = engines["visual"].run({FACE: window["visual"]})[EMBEDDING]
        audio = engines["audio"].run({SPECTROGRAM: window["audio"]})[EMBEDDING]
        return engines["head"].run(full_window(visual, audio))

    return recompute


def _openvino(variant: Variant, precision: str, threads: int) -> dict[str, Engine]:
    """The head in float, as the runtime opens it: OpenVINO is slower at ONNX Runtime's INT8 of it."""
    files = {name: part.file(precision if name != "head" else FLOAT32) for name, part in variant.parts.items()}
    return {name: OpenVinoEngine(file, threads=threads) for name, file in files.items()}
