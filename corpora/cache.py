"""Files that keep what takes long to make, named after all that it is made of."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError


def kept_path(folder: Path, source: Path, *made_with: object) -> Path:
    """Where in `folder` an .npz made of `source` is kept: another place if the source changes, or how it is made.

    A source counts as changed with its path, size or time of change: hashing a corpus's films would take as long as
    reading them. `made_with` : what prints alike is alike.

    Raises
    ------
    InputError : there is no such source.
    """
    try:
        state = source.stat()
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}).") from error
    parts = source.resolve(), state.st_size, state.st_mtime_ns, *made_with
    return folder / f"{source.stem}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.npz"


def kept_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz by name.

    Raises
    ------
    InputError : it is damaged.
    """
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as kept:
                return dict(kept)
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy raise whatever damaged bytes provoke
            raise InputError(f"{path} is damaged ({error}). Delete it: it is made again.") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Another path to write to, which becomes `path` in the end: what is interrupted leaves nothing half written."""
    partial = path.with_suffix(f".{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: others that fill the same cache wait, and then find what they need."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield
