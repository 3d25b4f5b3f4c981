"""A bundle's engines, from the cache or built into it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bundle.engine_cache import (
    FILES,
    PRECISION_OF_FILE,
    Cached,
    EngineKey,
    Precision,
    find_engine,
    store_engine,
    write_atomically,
)
from bundle.errors import ArtefactError
from bundle.manifest import read_manifest
from export.engine_from_onnx import BuildOptions, build_engine, builds_ahead
from export.layer_log import text_of_types
from perception.gpu import compute_capability
from perception.tensorrt import load_engine


@dataclass(frozen=True)
class Source:
    """An ONNX file to build from. inputs : shapes without the batch that it must take; None: whatever it takes."""

    name: str
    path: Path
    precision: Precision
    inputs: Mapping[str, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class EngineReport:
    """One engine.

    onnx : what it was built from. cached : it was there already. reason : why one that was there was built anew.
    seconds : that building took. convolutions : how many run in which type; None where TensorRT does not tell.
    """

    name: str
    precision: Precision
    onnx: str
    path: str
    cached: bool
    reason: str
    megabytes: float
    seconds: float
    convolutions: Mapping[str, int] | None

    def text(self) -> str:
        types = text_of_types(self.convolutions)
        how = "cached" if self.cached else f"built in {self.seconds:.1f} s"
        return f"{self.name}: {self.precision}, {types}; {self.megabytes:.1f} MB, {how}, {self.path}"


def sources_of_bundle(folder: Path, precision: Precision) -> list[Source]:
    """The files of a verified bundle that serve a precision, one for each part."""
    sources = []
    for name, part in read_manifest(folder).parts.items():
        chosen = next(file for file in FILES[precision] if file in part.files)
        sources.append(Source(name, folder / part.files[chosen], PRECISION_OF_FILE[chosen], part.inputs))
    return sources


def target_capability(trt: Any, asked: int | None, present: int | None) -> int:
    """Compute capability to build for: as asked, or the GPU's.

    Raises
    ------
    ArtefactError : neither is known; another than the GPU's is asked of a TensorRT that builds for the GPU at hand.
    """
    if builds_ahead(trt):
        if asked is None and present is None:
            raise ArtefactError(
                "this machine has no NVIDIA GPU to build for; expected one, or --compute-capability, such as 89 for "
                "an RTX 40."
            )
    elif present is None:
        raise ArtefactError(
            f"{trt.__name__} {trt.__version__} builds on the GPU that runs the engine, and this machine has none. "
            "Build there, or use --flavour tensorrt_rtx with --compute-capability."
        )
    elif asked not in (None, present):
        raise ArtefactError(f"{trt.__name__} builds for the GPU at hand, {present}; {asked} was asked. Build it there.")
    return asked or present or 0


def build_engines(
    trt: Any,
    sources: list[Source],
    capability: int,
    folder: Path,
    *,
    max_batch: int = 8,
    workspace_mb: int = 1024,
    rebuild: bool = False,
) -> Iterator[EngineReport]:
    """Engines of the sources, one after the other; those in the cache `folder` are verified and kept."""
    for source in sources:
        options = BuildOptions(capability, source.precision, max_batch, workspace_mb)
        sha256 = hashlib.sha256(source.path.read_bytes()).hexdigest()
        key = EngineKey(sha256, trt.__name__, trt.__version__, capability, source.precision, max_batch)
        cached = Cached(folder / key.file_name, None, {}) if rebuild else _find_engine(trt, key, folder)
        plan, record = cached.plan, cached.record
        if plan is None:
            plan, record = _build(trt, source, options, key, folder)
        yield EngineReport(
            source.name, source.precision, str(source.path), str(cached.path), cached.plan is not None, cached.reason,
            len(plan) / 1e6, record["seconds"], record["convolutions"],
        )  # fmt: skip


def _find_engine(trt: Any, key: EngineKey, folder: Path) -> Cached:
    cached = find_engine(key, folder)
    at_hand = key.compute_capability == compute_capability()
    if cached.plan is not None and at_hand:
        try:
            load_engine(trt, cached.plan)
        except ArtefactError as error:
            return Cached(cached.path, None, {}, f"{cached.path}: {error}")
    return cached


def _build(
    trt: Any, source: Source, options: BuildOptions, key: EngineKey, folder: Path
) -> tuple[bytes, Mapping[str, Any]]:
    """Build an engine and store it; returns its bytes and what is recorded of it."""
    times = folder / f"{key.flavour}-{key.version}-sm{key.compute_capability}.timing"
    kept_times = times.read_bytes() if times.is_file() else b""
    built = build_engine(trt, source.path, options, source.inputs, kept_times)
    record = {"seconds": round(built.seconds, 2), "convolutions": built.convolutions, "options": asdict(options)}
    store_engine(key, folder, built.plan, record)
    if built.timing_cache:
        write_atomically(times, built.timing_cache)
    return built.plan, record
