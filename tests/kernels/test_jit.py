"""A cache of compiled functions spares compiling, never keeps them from running, and never gives another function."""

import importlib.util
import os
import resource
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import pytest

from kernels.jit import _CacheFile, compilation_told

SOURCE = """
from kernels.jit import cached_njit

@cached_njit(nogil=True)
def triple(number):
    return 3 * number
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", "")  # beside the source
    path = tmp_path / "compiled_for_a_test.py"
    path.write_text(SOURCE)
    return path


def loaded(path: Path) -> ModuleType:
    """As a new process imports it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compilations(path: Path) -> int:
    """Of a new process that calls the function."""
    function: Any = loaded(path).triple
    assert function(14) == 42
    return sum(function.stats.cache_misses.values())


def kept(path: Path, kind: str) -> Path:
    (file,) = (path.parent / "__pycache__").glob(f"*.{kind}")
    return file


def test_a_compilation_is_told_before_it_begins_and_once(path: Path) -> None:
    told: list[int] = []
    for misses in ([1], [1, 0]):
        with compilation_told(lambda: told.append(1)):
            assert [compilations(path) for _ in misses] == misses
        path.with_name("__pycache__").rename(path.with_name(f"kept{len(told)}"))
    assert told == [1, 1]


def test_a_function_is_compiled_once(path: Path) -> None:
    assert [compilations(path) for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[: len(content) // 2], lambda content: bytes(len(content))]
)
def test_what_a_power_cut_leaves_is_compiled_anew_and_kept(path: Path, kind: str, damage: Any) -> None:
    compilations(path)
    kept(path, kind).write_bytes(damage(kept(path, kind).read_bytes()))
    assert [compilations(path) for _ in range(2)] == [1, 0]


def test_code_that_was_zeroed_is_compiled_anew(path: Path) -> None:
    compilations(path)
    content = kept(path, "nbc").read_bytes()
    begin = content.index(b"BC\xc0\xde")  # LLVM's bitcode
    kept(path, "nbc").write_bytes(content[:begin] + bytes(400) + content[begin + 400 :])
    assert [compilations(path) for _ in range(2)] == [1, 0]


def test_a_damaged_cache_that_may_not_be_written_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compilations(path)
    kept(path, "nbi").write_bytes(b"\0")

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(_CacheFile, "_open_for_write", refused)
    assert [compilations(path) for _ in range(2)] == [1, 1]
    assert kept(path, "nbi").read_bytes() == b"\0"


def test_code_of_other_types_is_compiled_anew(path: Path) -> None:
    """As two processes leave it that compile at once: each gives its first code the same name."""
    compilations(path)
    of_integers = kept(path, "nbc").read_bytes()
    kept(path, "nbi").unlink()
    assert loaded(path).triple(1.5) == 4.5
    kept(path, "nbc").write_bytes(of_integers)
    assert [loaded(path).triple(1.5) for _ in range(2)] == [4.5, 4.5]


def test_code_of_an_older_source_is_compiled_anew(path: Path) -> None:
    """As a process leaves it that ends between writing the index and the code."""
    compilations(path)
    older = kept(path, "nbc").read_bytes()
    path.write_text(SOURCE.replace("3 * number", "number + 30"))
    os.utime(path, (0, 0))
    assert loaded(path).triple(14) == 44
    kept(path, "nbc").write_bytes(older)
    assert [loaded(path).triple(14) for _ in range(2)] == [44, 44]


def test_files_are_on_the_disk_before_they_take_their_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("name"), replace(*names)))
    assert compilations(path) == 1
    assert calls == ["sync", "name"] * 2  # index and code


def test_a_full_disk_is_no_error(path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    function: Any = loaded(path).triple
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        found = function(14)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found == 42
    assert compilations(path) == 1
