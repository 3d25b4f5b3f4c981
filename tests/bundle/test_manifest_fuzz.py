"""A manifest of any content is read or refused as an artefact, never by another exception."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.errors import ArtefactError
from bundle.manifest import DEFAULT_BUNDLE, MANIFEST, MANIFEST_HASH, Manifest, read_manifest

DOCUMENT = json.loads((DEFAULT_BUNDLE / MANIFEST).read_text())

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(["..", "/", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    for file in DEFAULT_BUNDLE.iterdir():
        if file.suffix == ".onnx":
            (folder / file.name).symlink_to(file)
    return folder


def read(folder: Path, data: bytes) -> None:
    (folder / MANIFEST).write_bytes(data)
    (folder / MANIFEST_HASH).write_text(f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n")
    try:
        manifest = read_manifest(folder)
    except ArtefactError:
        return
    assert isinstance(manifest, Manifest)


@given(st.sampled_from(places(DOCUMENT)), JSON)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_place(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    read(folder, json.dumps(replaced(DOCUMENT, place, value)).encode())


@given(st.binary(max_size=50))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(folder: Path, data: bytes) -> None:
    read(folder, data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"format":' + b"9" * 5_000 + b"}", b"1", b'"format"'])
def test_odd_documents(folder: Path, data: bytes) -> None:
    read(folder, data)
