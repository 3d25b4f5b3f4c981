"""Ctrl-C ends every long command in one line that says what is left."""

import pytest

import benchmarks.main
import calibration.main
import edge.report
import export.main
import training.evaluate_main
import training.fercnn_splits
import training.main

FOLDERS = ["--data", ".", "--output", "out"]
COMMANDS = {
    "edge-train": (training.main, "_train", FOLDERS),
    "edge-evaluate": (training.evaluate_main, "_evaluate", ["--data", "."]),
    "edge-calibrate": (calibration.main, "_calibrate", ["--bundle", ".", "--data", "."]),
    "edge-export": (export.main, "_export_bundle", ["bundle", "--checkpoint", "c.pt", "--output", "out"]),
    "edge-bench": (benchmarks.main, "_rows", ["kernels"]),
    "edge-report": (edge.report, "_write", ["session.jsonl"]),
    "fercnn_splits": (training.fercnn_splits, "_compare", FOLDERS),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stopped_command_says_so_in_one_line(name, monkeypatch, tmp_path, capsys):
    module, worker, arguments = COMMANDS[name]

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, worker, stopped)
    assert module.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{name}: stopped")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
