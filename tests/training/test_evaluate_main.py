"""The command: what it prints, what it refuses."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from bundle.features import PROBS
from bundle.manifest import DEFAULT_BUNDLE, read_manifest, write_manifest
from tests.training.test_pools import fold, written
from training import false_alarms
from training.evaluate_main import main
from training.robustness import SWEEPS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The default bundle's networks, with one actor to be evaluated on."""
    folder = shutil.copytree(DEFAULT_BUNDLE, tmp_path_factory.mktemp("bundle") / "one")
    manifest = read_manifest(folder)
    split = manifest.training["split"] | {"held_out": [2]}
    write_manifest(folder, replace(manifest, training={**manifest.training, "split": split, "draws": 1}))
    return folder


def printed(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_plain_figures_by_output(data, bundle, capsys):
    found = printed(capsys, "--bundle", bundle, "--data", data)
    assert list(found) == list(PROBS)


def test_robustness_is_printed_and_drawn(data, bundle, tmp_path, capsys):
    path = tmp_path / "robustness.png"
    found = printed(capsys, "--bundle", bundle, "--data", data, "--robustness", "--figure", path)
    assert list(found) == ["clean", *SWEEPS]
    assert [row["level"] for row in found["blur"]] == list(SWEEPS["blur"].levels)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_false_alarms_are_printed(data, bundle, capsys):
    found = printed(capsys, "--bundle", bundle, "--data", data, "--false-alarms")
    assert set(found) == {"happy", "angry"}  # what this corpus holds
    assert found["angry"]["state"] == "agitated"


def test_drives_can_be_noisy(data, bundle, capsys, monkeypatch):
    heard = []
    monkeypatch.setattr(false_alarms, "states_of_drive", lambda network, wave, images: heard.append(wave) or ["low"])
    for arguments in ((), ("--road-noise", "0")):
        printed(capsys, "--bundle", bundle, "--data", data, "--false-alarms", *arguments)
    for quiet, noisy in zip(heard[:2], heard[2:], strict=True):
        assert noisy.std() == pytest.approx(2**0.5 * quiet.std(), rel=0.05)  # as loud as the speech


def test_trainings_are_compared_side_by_side(tmp_path, capsys):
    for name, seed in (("sound", 0), ("face", 1)):
        written(tmp_path / name, [fold(number, seed=seed, variant=name) for number in range(3)])
    picture = tmp_path / "confusion.png"
    command = ["--runs", f"CNN-14={tmp_path / 'sound'}", "--runs", str(tmp_path / "face"), "--baseline", "1", "2"]
    rows = printed(capsys, *command, "--json", "--figure", picture)
    names = [(row["system"], row["output"]) for row in rows]
    assert names == [
        ("CNN-14", "probs_fused"), ("mrpn face", "probs_fused"),
        ("CNN-14 x mrpn face", "product"), ("CNN-14 x mrpn face", "mean"),
    ]  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(command) == 0
    table = capsys.readouterr().out
    assert all(f"| {system} | {output} | 3 | 240 |" in table for system, output in names)


def test_a_folder_that_is_no_training_is_one_line_and_exit_code_one(tmp_path, capsys):
    assert main(["--runs", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge-evaluate: {tmp_path} holds no predictions.npz")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("--json",), "for --runs"),
        (("--runs", "a", "--baseline", "1", "2"), r"expected two of 1\.\.1"),
        (("--runs", "a", "--robustness"), "not allowed with"),
        (("--figure", "a.png"), "give both"),
        (("--robustness", "--figure", "no/such/folder/a.png"), "folder that exists"),
        (("--robustness", "--figure", "a.doc"), r"\.png, \.svg, \.pdf"),
        (("--robustness", "--false-alarms"), "not allowed with"),
        (("--road-noise", "10"), "--false-alarms"),
        (("--false-alarms", "--road-noise", "nan"), "expected -100 dB or more"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_measured(wrong, expected, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--data", str(tmp_path), *wrong])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("edge-evaluate: error: ")
    assert re.search(expected, error)


def test_neither_corpora_nor_trainings_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "--data is missing" in capsys.readouterr().err


@pytest.mark.parametrize("measure", ["--robustness", "--false-alarms"])
def test_missing_corpora_are_one_line_and_exit_code_one(bundle, tmp_path, capsys, measure):
    assert main(["--bundle", str(bundle), "--data", str(tmp_path), measure]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge-evaluate: ")
    assert len(err.splitlines()) == 1
