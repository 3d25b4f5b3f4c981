"""Processes that share batches train what one process trains by whole ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.predictions import read_predictions
from training.ranks import joined, made_by_first, own_device, rank, ranks

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*command):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [str(argument) for argument in command]
    found = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


def test_alone_a_process_is_the_first_of_one():
    assert own_device("cuda") == "cuda"
    with joined("cpu"):
        assert (rank(), ranks()) == (0, 1)
        assert made_by_first(lambda: 3) == 3


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    script = ROOT / "tests" / "training" / "train_together.py"
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    run(sys.executable, script, alone)
    run(*TORCHRUN, script, together)
    saved = [torch.load(path, weights_only=True) for path in (alone / "rank-0-of-1.pt", together / "rank-0-of-2.pt")]
    second = torch.load(together / "rank-1-of-2.pt", weights_only=True)
    assert second["figures"] == saved[1]["figures"]
    assert second["figures"]["loss"] == pytest.approx(saved[0]["figures"]["loss"], rel=1e-5)
    for name, expected in saved[0]["model"].items():
        torch.testing.assert_close(saved[1]["model"][name], expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(second["model"][name], saved[1]["model"][name])
    assert len((together / "small.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.slow
def test_two_processes_train_a_system_by_one_command(data, tmp_path):
    command = ["--system", "fercnn", "--variant", "audio", "--corpus", "ravdess-speech", "--epochs", "2"]
    command += ["--data", data / "ravdess-speech-16k", "--output", tmp_path]
    out = run(*TORCHRUN, "-m", "training.main", *command)
    results = json.loads(out)  # of one process alone
    assert results["subjects"] == "test"
    saved = torch.load(tmp_path / "fercnn.pt", weights_only=True)
    assert saved["results"] == results
    assert set(read_predictions(tmp_path / "predictions.npz").subjects.tolist()) == {2, 5, 14, 15, 16}
    assert json.loads(run(*TORCHRUN, "-m", "training.main", *command)) == results  # resumed when all is done
