"""The cache gives back what was put into it, or says why not; a write that fails leaves what was there."""

import os
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.engine_cache import EngineKey, find_engine, store_engine, write_atomically

KEY = EngineKey("ab" * 32, "tensorrt_rtx", "1.7.1.116", 89, "int8", 8)
PLAN = bytes(range(256)) * 4


def test_an_engine_is_found_with_its_record(tmp_path):
    path = store_engine(KEY, tmp_path / "deep" / "folder", PLAN, {"seconds": 1.5})
    found = find_engine(KEY, tmp_path / "deep" / "folder")
    assert (found.path, found.plan, found.record["seconds"], found.reason) == (path, PLAN, 1.5, "")


def test_an_empty_cache_has_no_reason(tmp_path):
    found = find_engine(KEY, tmp_path)
    assert (found.plan, found.reason) == (None, "")


@pytest.mark.parametrize("field", [field.name for field in fields(EngineKey)])
def test_each_field_of_the_key_makes_another_engine(tmp_path, field):
    store_engine(KEY, tmp_path, PLAN, {})
    value = getattr(KEY, field)
    other = replace(KEY, **{field: value + 1 if isinstance(value, int) else value + "x"})
    assert other.file_name != KEY.file_name
    assert find_engine(other, tmp_path).plan is None


@given(bit=st.integers(0, 8 * len(PLAN) - 1))
def test_a_flipped_bit_is_caught(tmp_path_factory, bit):
    folder = tmp_path_factory.mktemp("cache")
    path = store_engine(KEY, folder, PLAN, {})
    spoiled = bytearray(PLAN)
    spoiled[bit // 8] ^= 1 << bit % 8
    path.write_bytes(spoiled)
    found = find_engine(KEY, folder)
    assert found.plan is None
    assert "is corrupt: SHA-256" in found.reason


def test_a_cut_engine_is_corrupt(tmp_path):
    store_engine(KEY, tmp_path, PLAN, {}).write_bytes(PLAN[:-1])
    assert "is corrupt" in find_engine(KEY, tmp_path).reason


def test_an_engine_under_another_name_is_foreign(tmp_path):
    path = store_engine(replace(KEY, compute_capability=86, version="1.6"), tmp_path, PLAN, {})
    os.rename(path, tmp_path / KEY.file_name)
    os.rename(path.with_suffix(".json"), (tmp_path / KEY.file_name).with_suffix(".json"))
    found = find_engine(KEY, tmp_path)
    assert found.plan is None
    assert found.reason.endswith("is foreign: it was built for another version, compute_capability")


@pytest.mark.parametrize(
    "record",
    [
        None,
        b"",
        b"[]",
        b"{}",
        b'{"key": 1, "sha256": ""}',
        b'{"key": "tensorrt", "sha256": ""}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_engine_without_its_record_is_not_trusted(tmp_path, record):
    path = store_engine(KEY, tmp_path, PLAN, {}).with_suffix(".json")
    path.write_bytes(record) if record is not None else path.unlink()
    found = find_engine(KEY, tmp_path)
    assert found.plan is None
    assert path.name in found.reason


def test_a_failed_write_leaves_the_old_content_and_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "engine"
    write_atomically(path, b"old")

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
