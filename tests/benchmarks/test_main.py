"""edge-bench: rows to stdout, a table to stderr, one line for what goes wrong."""

import json
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks import main
from benchmarks.interleave import Comparison
from benchmarks.runtime import Measure

ROW = Comparison("update slim", "PyTorch eager", 1000.0, 20_000.0, 20.0, 1, "hot", "a machine")
MEASURE = Measure("age", "ms", 300, 90.0, 120.0, 140.0, 151.0, "a machine")


@pytest.mark.parametrize(("arguments", "row"), [(["peers"], ROW), (["cost"], ROW), (["runtime"], MEASURE)])
def test_rows_go_to_stdout_and_a_table_to_stderr(
    arguments: list[str], row: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "_rows", lambda _: ([row], None))
    assert main.main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [vars(row)]
    assert "a machine" in err
    assert main.main(arguments) == 0
    assert capsys.readouterr().out == ""


def test_without_matplotlib_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "benchmarks.figures", raising=False)
    monkeypatch.delattr(benchmarks, "figures", raising=False)
    monkeypatch.setattr(main, "_comparisons", lambda _: pytest.fail("measured"))
    assert main.main(["peers", "--figure", str(tmp_path / "a.png")]) == 1
    assert "matplotlib.figure is not installed" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_costs_no_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(main, "_rows", lambda _: ([ROW], lambda path: path.write_bytes(b"")))
    picture = tmp_path / "a.png"
    picture.mkdir()
    assert main.main(["peers", "--json", "--figure", str(picture)]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == [vars(ROW)]
    assert "Is a directory" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runtime", "--duration", "-1"],
        ["runtime", "--duration", "long"],
        ["runtime", "--duration", "0.5"],
        ["runtime", "--figure", "no/such/folder/a.png"],
        ["cost", "--figure", "a.foo"],
        ["peers", "--threads", "0"],
        ["peers", "--rounds", "1001"],
        ["peers", "--threads", "65"],
        ["cost", "--variant", "wide"],
        [],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main.main(arguments)
    assert exit_.value.code == 2


def test_a_clip_that_is_none_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["runtime", "--clip", str(tmp_path / "none.mp4")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
