"""The audit: lines that are only ever added, whole and on the disk."""

import json
import os
from pathlib import Path

import pytest

from bundle.errors import InputError
from edge.audit import Audit


def test_start_and_stop_are_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for count in (1, 2):
        with Audit(path, {"profile": "fleet"}) as audit:
            assert len(path.read_text().splitlines()) == 2 * count - 1  # there from the start on
            for state in ["other", "agitated", "other"][: count + 1]:
                audit.count({"state": state})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "stop"] * 2
    assert [line["messages"] for line in lines[1::2]] == [{"other": 1, "agitated": 1}, {"other": 2, "agitated": 1}]


def test_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"event": "sta')
    Audit(path, {})
    assert json.loads(path.read_text().splitlines()[1])["event"] == "start"


def test_each_line_is_on_the_disk_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "audit.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(path.read_text().count("\n")))
    Audit(path, {}).close()
    assert synced == [1, 2]


def test_disk_that_is_full_at_the_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path, {})
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        audit.close()


@pytest.mark.parametrize("where", ["", "no/folder.jsonl"])
def test_file_that_cannot_be_opened_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Audit(tmp_path / where, {})


def test_line_of_which_a_part_was_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is all but full."""
    import resource
    import signal

    path = tmp_path / "audit.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(InputError, match="No space left"):
            Audit(path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == 10
