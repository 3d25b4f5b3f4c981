"""ONNX to an engine, for TensorRT 8.6, 10 and 11, and for TensorRT-RTX. Neither torch nor onnx is needed.

The ONNX file says the precision: its types and its Q/DQ pairs are kept where TensorRT knows strongly typed networks
(10, 11, RTX), and allowed where it does not (8.6). What a version offers is asked for by name; no version is compared.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.engine_cache import Precision
from bundle.errors import ArgumentError, ArtefactError
from export.build_progress import build_progress
from export.layer_log import convolution_types, layers_from_log, text_of_types
from perception.tensorrt import logger


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    compute_capability : of the target GPU, 10 * major + minor. precision : of the ONNX file. max_batch : largest batch
    that the engine takes; it is fastest at 1. workspace_mb : most memory for a layer's temporary results.
    """

    compute_capability: int
    precision: Precision
    max_batch: int = 8
    workspace_mb: int = 1024

    def __post_init__(self) -> None:
        for name in ("max_batch", "workspace_mb"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}; expected 1 or more.")


@dataclass(frozen=True)
class Built:
    """An engine, what it is made of, and what speeds up the next build.

    convolutions : how many run in which type, as the layer log says; None where the log does not tell.
    """

    plan: bytes
    convolutions: dict[str, int] | None
    timing_cache: bytes
    seconds: float


def builds_ahead(trt: Any) -> bool:
    """Whether it builds for any GPU, with none in this machine; else it builds for the GPU at hand."""
    return hasattr(trt, "ComputeCapability")


def build_engine(
    trt: Any,
    onnx: Path,
    options: BuildOptions,
    inputs: Mapping[str, tuple[int, ...]] | None = None,
    timing_cache: bytes = b"",
) -> Built:
    """Build an engine with one optimisation profile: batches of 1 to `max_batch`.

    Parameters
    ----------
    inputs : shape by name, without the batch, as the manifest has them; None: as the file has them.
    timing_cache : of an earlier build, or empty.

    Raises
    ------
    ArtefactError : the file cannot be parsed or has other inputs, the GPU is not among those that can be built for, the
        build fails, or not one convolution of an INT8 file runs in INT8.
    """
    log = logger(trt)
    log.clear(keep_all=True)
    started_s = time.monotonic()
    builder = trt.Builder(log)
    network = _parse(trt, builder, log, onnx)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the log then tells each layer's types
    _allow_types(trt, config, options.precision)
    if builds_ahead(trt):
        _choose_target(trt, config, options.compute_capability)
    else:  # ahead of time, nothing is timed
        _use_timing_cache(config, timing_cache)
    config.add_optimization_profile(_profile(builder, network, onnx, options.max_batch, inputs))
    with build_progress(trt, config, onnx.stem):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ArtefactError(
            f"{onnx} cannot be built by {trt.__name__} {trt.__version__}: {log.reason()}. "
            "Export it again, or run it on ONNX Runtime."
        )
    times = b"" if builds_ahead(trt) else bytes(config.get_timing_cache().serialize())
    convolutions = _convolutions(trt, network, log.messages)
    _check_types(trt, onnx, options.precision, convolutions or {})
    return Built(bytes(plan), convolutions, times, time.monotonic() - started_s)


def _parse(trt: Any, builder: Any, log: Any, onnx: Path) -> Any:
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        if hasattr(trt.NetworkDefinitionCreationFlag, name):
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise ArtefactError(
            f"{onnx} cannot be parsed by {trt.__name__} {trt.__version__}: {errors or 'no reason given'}. "
            "Expected an ONNX file of opset <= 17; export it again with edge-export."
        )
    return network


def _allow_types(trt: Any, config: Any, precision: Precision) -> None:
    """Let float32 be float32; and where networks have no types of their own, allow those that the file uses."""
    if precision == "float32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return
    if precision != "float32":
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def _choose_target(trt: Any, config: Any, capability: int) -> None:
    known = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    if f"SM{capability}" not in known:
        raise ArtefactError(
            f"{trt.__name__} {trt.__version__} does not build for compute capability {capability}; expected one of "
            f"{', '.join(name[2:] for name in known)}."
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), 0)


def _use_timing_cache(config: Any, content: bytes) -> None:
    """Start from what an earlier build measured, or from nothing where that is of another version or GPU."""
    for times in (content, b""):
        timing_cache = config.create_timing_cache(times)
        if timing_cache is not None and config.set_timing_cache(timing_cache, ignore_mismatch=False):
            return


def _profile(
    builder: Any, network: Any, onnx: Path, max_batch: int, inputs: Mapping[str, tuple[int, ...]] | None
) -> Any:
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    found = {tensor.name: tuple(tensor.shape) for tensor in tensors}
    expected = found if inputs is None else {name: (-1, *shape) for name, shape in inputs.items()}
    if found != expected or any(batch != -1 or -1 in shape for batch, *shape in found.values()):
        wanted = expected if inputs else "a free batch first and sizes after it"
        raise ArtefactError(f"{onnx} takes {found}; expected {wanted}. Export it again with edge-export.")
    profile = builder.create_optimization_profile()
    for name, (_, *shape) in found.items():
        profile.set_shape(name, (1, *shape), (1, *shape), (max_batch, *shape))
    return profile


def _convolutions(trt: Any, network: Any, messages: list[str]) -> dict[str, int] | None:
    layers = (network.get_layer(index) for index in range(network.num_layers))
    names = {layer.name for layer in layers if layer.type == trt.LayerType.CONVOLUTION}
    found = layers_from_log(messages)
    return convolution_types(found, names) if found else None


def _check_types(trt: Any, onnx: Path, precision: Precision, convolutions: Mapping[str, int]) -> None:
    """ArtefactError where the file is of another precision than was said."""
    typed = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")  # else TensorRT chooses for float16
    needed = {"int8": "Int8", "float16": "Half" if typed else "", "float32": "Float"}[precision]
    lacks = needed and needed not in convolutions
    if convolutions and (lacks or (precision == "float32" and len(convolutions) > 1)):
        mend = "Calibrate it again with edge-calibrate" if precision == "int8" else "Give the file's own --precision"
        raise ArtefactError(
            f"{onnx} was to run in {precision}, but its engine runs {text_of_types(convolutions)}. {mend}."
        )
