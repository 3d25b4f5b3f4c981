"""How the cost of an update grows with window, camera and faces, and what each system costs."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.interleave import Comparison, Conditions, compare
from benchmarks.untrained import UntrainedPart, untrained, untrained_parts, with_int8, with_int8_head
from benchmarks.updates import Updates, Variant
from bundle.errors import ArgumentError
from bundle.features import WindowSpec
from bundle.manifest import INT8_ONNXRUNTIME
from networks.attention_fusion import AttentionFusionConfig
from networks.systems import variant_config
from perception.network import Network
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import random_inputs

WINDOWS_S = (2, 4, 8, 16)
CAMERAS_FPS = (10, 5, 15, 30, 60)
FACES = (1, 2, 4, 8)

SYSTEMS: Mapping[str, tuple[str, Any]] = {
    "mrpn slim": ("mrpn", variant_config("mrpn", "slim")[1]),
    "mrpn full": ("mrpn", variant_config("mrpn", "full")[1]),
    "attention-fusion 112": ("attention-fusion", AttentionFusionConfig(size_px=112)),
    "attention-fusion 224": ("attention-fusion", AttentionFusionConfig(size_px=224)),
    "transfer": ("transfer", variant_config("transfer")[1]),
    "fercnn": ("fercnn", variant_config("fercnn")[1]),
}
"""Networks by the names under which they are shown; an attention-fusion's is followed by the size of its images."""

COSTS = ("updates", *SYSTEMS)


def bench_cost(of: Sequence[str], variants: Sequence[str], threads: Sequence[int], rounds: int) -> Iterator[Comparison]:
    """What is asked for, of `COSTS`.

    variants : of MRPN, whose updates are measured by window, camera and faces: ours is the first setting, which ends
    the row's name, and the peer another one. threads : with which the systems' parts run.

    Raises
    ------
    ArgumentError : something else is asked for.
    """
    for name in of:
        if name not in COSTS:
            raise ArgumentError(f"there is no cost of {name!r}; expected some of: {', '.join(map(repr, COSTS))}.")
    for name in of:
        if name == "updates":
            yield from _bench_updates(variants, rounds)
        else:
            yield from _bench_system(name, threads, rounds)


def _bench_updates(variants: Sequence[str], rounds: int) -> Iterator[Comparison]:
    with TemporaryDirectory() as folder:
        for name in variants:
            print(f"{name}: exporting the untrained network", file=sys.stderr)
            variant = Variant(name, Path(folder) / name)
            network = variant.opened(variant.engines(INT8_ONNXRUNTIME))
            windows = {f"{s} s": Updates(_with_window(variant, s, Path(folder) / f"{name} {s}")) for s in WINDOWS_S}
            yield from _compare_updates(name, "window", windows, rounds)
            cameras = {f"{fps} fps": Updates(network, fps) for fps in CAMERAS_FPS}
            yield from _compare_updates(name, "camera", cameras, rounds)
            faces = {f"{count}": Updates(network, faces=count) for count in FACES}
            yield from _compare_updates(name, "faces", faces, rounds)


def _with_window(variant: Variant, window_s: float, folder: Path) -> Network:
    longer = Variant(variant.name, folder, WindowSpec(window_s=window_s), variant.encoders)
    return longer.opened(longer.engines(INT8_ONNXRUNTIME))


def _compare_updates(name: str, what: str, settings: Mapping[str, Updates], rounds: int) -> list[Comparison]:
    """Encoders and head apart, each against the first setting."""

    def estimate_all() -> None:  # an encoder's embeddings are kept until a head has looked at them
        for updates in settings.values():
            updates.estimate()

    encoders, heads = ({key: getattr(u, run) for key, u in settings.items()} for run in ("push", "estimate"))
    return [
        *_against_first(f"{name} encoders: {what}", encoders, rounds, prepare=estimate_all),
        *_against_first(f"{name} head: {what}", heads, rounds),
    ]


def _against_first(
    work: str, runs: Mapping[str, Callable[[], object]], rounds: int, prepare: Callable[[], object] = lambda: None
) -> list[Comparison]:
    (first, ours), *others = runs.items()
    return compare(f"{work} {first}", ours, dict(others), 10 * rounds, prepare=prepare)  # each takes a few ms


def _bench_system(label: str, threads: Sequence[int], rounds: int) -> Iterator[Comparison]:
    """One run of each part, in INT8 but for small heads, against ONNX Runtime in float32 and PyTorch."""
    print(f"{label}: exporting the untrained network", file=sys.stderr)
    with TemporaryDirectory() as folder:
        for name, part in untrained_parts(untrained(*SYSTEMS[label]).parts(), Path(folder)).items():
            inputs = random_inputs(part.part.inputs, 1)
            part = with_int8_head(part) if name == "head" else with_int8(part, inputs)
            for count in threads:
                yield from _compare_part(f"{label} {name}", part, inputs, Conditions(count), rounds)


def _compare_part(
    work: str, part: UntrainedPart, inputs: Mapping[str, Any], conditions: Conditions, rounds: int
) -> list[Comparison]:
    torch.set_num_threads(conditions.threads)
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    engines = {precision: OnnxRuntimeEngine(file, threads=conditions.threads) for precision, file in part.files.items()}

    @torch.inference_mode()
    def eager() -> object:
        return part.module(*tensors)

    runs = [lambda engine=engine: engine.run(inputs) for engine in engines.values()]
    in_float = {"ONNX Runtime FP32": runs[0]} if len(runs) > 1 else {}
    return compare(work, runs[-1], {**in_float, "PyTorch eager": eager}, rounds, conditions=conditions)
