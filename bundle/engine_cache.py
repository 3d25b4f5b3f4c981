"""Engines on disk, each beside a record of what it is: found again, or told why not."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Precision = Literal["float32", "float16", "int8"]

FILES: Mapping[Precision, tuple[str, ...]] = {
    "int8": ("int8-tensorrt", "float16", "float32"),
    "float16": ("float16", "float32"),
    "float32": ("float32",),
}
"""Files of a part that serve a wanted precision, the best first: what has no lower one stays in a higher."""

PRECISION_OF_FILE: Mapping[str, Precision] = {"int8-tensorrt": "int8", "float16": "float16", "float32": "float32"}


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on. version : of the flavour. compute_capability : of the GPU."""

    onnx_sha256: str
    flavour: str
    version: str
    compute_capability: int
    precision: str
    max_batch: int

    @property
    def file_name(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.flavour}-sm{self.compute_capability}-{self.precision}-{digest[:24]}.engine"


@dataclass(frozen=True)
class Cached:
    """What the cache has: the engine and its record, or neither and the reason, empty if there never was one."""

    path: Path
    plan: bytes | None
    record: Mapping[str, Any]
    reason: str = ""


def find_engine(key: EngineKey, folder: Path) -> Cached:
    """The engine under `key`, if its bytes and its record are those that were written."""
    path = folder / key.file_name
    try:
        plan = path.read_bytes()
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
        found_key, sha256 = dict(record["key"]), str(record["sha256"])
    except FileNotFoundError as error:
        lost = path.exists() or _record_path(path).exists()
        return Cached(path, None, {}, f"{error.filename} is missing" if lost else "")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Cached(path, None, {}, f"{_record_path(path)} is no record of an engine ({error})")
    if found_key != asdict(key):
        differing = ", ".join(name for name, value in asdict(key).items() if found_key.get(name) != value)
        return Cached(path, None, {}, f"{path} is foreign: it was built for another {differing}")
    found = hashlib.sha256(plan).hexdigest()
    if found != sha256:
        return Cached(path, None, {}, f"{path} is corrupt: SHA-256 {found[:16]}..., expected {sha256[:16]}...")
    return Cached(path, plan, record)


def engines_of(onnx_sha256: str, folder: Path) -> list[EngineKey]:
    """Keys of all engines that were built from one ONNX file, as their records say."""
    keys = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            keys.append(EngineKey(**json.loads(path.read_bytes())["key"]))
    return [key for key in keys if key.onnx_sha256 == onnx_sha256]


def store_engine(key: EngineKey, folder: Path, plan: bytes, details: Mapping[str, Any]) -> Path:
    """Write an engine and then its record; whoever reads meanwhile finds the old ones, the new ones, or a reason."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / key.file_name
    record = {"key": asdict(key), "sha256": hashlib.sha256(plan).hexdigest(), **details}
    write_atomically(path, plan)
    write_atomically(_record_path(path), (json.dumps(record, indent=2) + "\n").encode())
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it has its old content or all of the new, whatever happens meanwhile."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # a service reads what its administrator built
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _record_path(engine: Path) -> Path:
    return engine.with_suffix(".json")
