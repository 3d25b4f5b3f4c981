"""Folds are trained apart: one that fails takes no other with it, and where they run makes no difference."""

import json

import pytest

from networks.systems import SYSTEMS
from training.main import main
from training.predictions import read_predictions
from training.sweep import fold_command, run_fold, train_folds

QUICK = ["--list", "--json"]


def test_a_folds_command_is_what_one_would_type(tmp_path):
    arguments = ["--system", "mrpn", "--weights", "visual=faces/fold-{fold}/mrpn.pt", "--cache", "mine"]
    command = fold_command(arguments, 3, tmp_path, threads=2)
    assert command[-6:] == ["--fold", "3", "--output", str(tmp_path / "fold-3"), "--threads", "2"]
    assert "visual=faces/fold-3/mrpn.pt" in command
    assert command.index("mine") > command.index(str(tmp_path))  # what was asked for comes later, and counts


def test_a_fold_leaves_its_figures_and_its_log(tmp_path):
    shown = []
    code, line = run_fold(["--no-such-option"], 0, tmp_path, 1, lambda fold, line: shown.append((fold, line)))
    assert code == 2
    assert shown[-1] == (0, line)
    assert "unrecognized arguments: --no-such-option" in line
    assert line in (tmp_path / "log.txt").read_text()
    assert run_fold(QUICK, 0, tmp_path, 1)[0] == 0
    assert run_fold(["--no-such-option"], 0, tmp_path, 1)[0] == 2  # leaves them
    assert len(json.loads((tmp_path / "results.json").read_text())) == len(SYSTEMS)


@pytest.mark.slow
def test_folds_are_trained_by_one_command_and_one_that_fails_is_named(data, tmp_path, capsys):
    (tmp_path / "fold-1").mkdir()
    (tmp_path / "fold-1" / "recipe.json").write_text("{}")  # of another training
    (tmp_path / "fold-1" / "fercnn-epochs.pt").touch()
    command = ["--system", "fercnn", "--variant", "audio", "--corpus", "ravdess-speech", "--epochs", "1"]
    command += ["--data", str(data / "ravdess-speech-16k"), "--output", str(tmp_path), "--jobs", "2"]
    assert main([*command, "--folds", "1,0,1"]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert list(found["folds"]) == ["0"]
    assert found["folds"]["0"]["subjects"] == "test"
    assert "recipe.json" in found["failed"]["1"]
    assert "fold 0: done" in err
    assert "fold 1: failed with exit code 1" in err
    assert set(read_predictions(tmp_path / "fold-0" / "predictions.npz").subjects.tolist()) == {2, 5, 14, 15, 16}


@pytest.mark.slow
def test_a_dask_cluster_trains_folds_too(tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp://"}
    arguments = [*QUICK, "--epochs", "{fold}"]  # which 0 is no number of
    with distributed.LocalCluster(**options, dashboard_address=None) as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        found = train_folds(arguments, [0, 4], tmp_path, jobs=1, threads=1, scheduler=cluster.scheduler_address)
    assert len(found["folds"].pop(4)) == len(SYSTEMS)
    assert "'0' is not a whole number of 1 or more" in found["failed"].pop(0)
    assert found == {"folds": {}, "failed": {}}


@pytest.mark.parametrize(
    ("options", "expected"), [(["--folds", "0,5"], "names 5; expected 0..4"), (["--protocol", "p"], "expected one of")]
)
def test_folds_that_the_protocol_does_not_have_are_refused(options, expected, tmp_path, capsys):
    command = ["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--folds", "all", *options]
    assert main(command) == 2
    assert expected in capsys.readouterr().err


def test_folds_must_be_numbers(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--folds", "0,x"])
    assert "not a whole number" in capsys.readouterr().err
