"""edge-export: a bundle that edge-run opens, or one line that says why not."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bundle.features import PROBS
from bundle.labels import RAVDESS_LABELS
from bundle.manifest import DEFAULT_BUNDLE, MANIFEST, read_manifest
from export.main import LICENCE, LICENCES, main
from networks.systems import SYSTEMS
from networks.transfer import SoundOfTransfer
from perception.network import open_network
from tests.export.conftest import SMALL


@pytest.fixture(scope="module")
def folder(checkpoint_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "deep" / "cabin"
    assert main(["bundle", "--checkpoint", str(checkpoint_path), "--output", str(folder)]) == 0
    return folder


def test_weights_bear_the_licence_of_their_corpus(saved, tmp_path):
    torch.save(saved | {"corpus": "crema-d"}, tmp_path / "mrpn.pt")
    assert main(["bundle", "--checkpoint", str(tmp_path / "mrpn.pt"), "--output", str(tmp_path / "cabin")]) == 0
    assert read_manifest(tmp_path / "cabin").licence == LICENCES["crema-d"]


def test_exported_bundle_opens_and_runs(folder):
    network = open_network(folder)
    assert network.labels == RAVDESS_LABELS
    shapes = read_manifest(folder).parts["head"].inputs
    outputs = network.engines["head"].run({name: np.ones((1, *shape), np.float32) for name, shape in shapes.items()})
    assert tuple(outputs) == PROBS


def test_bundle_is_named_after_its_folder_and_bears_its_licence(folder, saved):
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.system, manifest.licence) == ("cabin", "mrpn", LICENCE)
    assert "non-commercial" in manifest.licence
    assert manifest.results == saved["results"]


def test_bundle_holds_what_its_manifest_names_and_nothing_else(folder):
    named = {name for part in read_manifest(folder).parts.values() for name in part.files.values()}
    assert {path.name for path in folder.iterdir()} == named | {MANIFEST, "manifest.sha256"}


def test_name_and_licence_may_be_given(checkpoint_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["bundle", "--checkpoint", str(checkpoint_path), "--output", "."]
    assert main([*arguments, "--name", "Kabine", "--licence", "CC0"]) == 0
    assert (read_manifest(".").name, read_manifest(".").licence) == ("Kabine", "CC0")
    assert main(arguments) == 0
    assert read_manifest(tmp_path).name == tmp_path.name
    out, err = capsys.readouterr()
    assert out == ""
    assert "verified" in err


def test_a_bundle_in_place_of_another_leaves_none_of_its_files(checkpoint_path, tmp_path):
    folder = shutil.copytree(DEFAULT_BUNDLE, tmp_path / "cabin")  # with INT8
    assert main(["bundle", "--checkpoint", str(checkpoint_path), "--output", str(folder)]) == 0
    named = {name for part in read_manifest(folder).parts.values() for name in part.files.values()}
    assert {path.name for path in folder.iterdir()} == named | {MANIFEST, "manifest.sha256"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_parts_of_every_system_become_onnx_files(system_checkpoint, system, tmp_path, capsys):
    arguments = ["onnx", "--checkpoint", str(system_checkpoint(system)), "--output", str(tmp_path / "onnx"), "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["system"] == system
    expected = SYSTEMS[system].network(SMALL[system]).parts()
    assert [*document["parts"]] == [*expected]
    for name, part in document["parts"].items():
        for file in part["part"]["files"].values():
            graph = onnx.load(tmp_path / "onnx" / file).graph
            assert tuple(value.name for value in graph.input) == tuple(expected[name].inputs)
            assert tuple(value.name for value in graph.output) == tuple(expected[name].outputs)
            assert {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} == {"batch"}
        before, after = part["nodes"]
        assert f"{name}: {before} nodes, {after} simplified" in err
        assert len(onnx.load(tmp_path / "onnx" / f"{name}.onnx").graph.node) == after


def test_cnn14_alone_becomes_an_onnx_file_and_is_compared_with_no_bundle(saved, tmp_path, capsys):
    network = SoundOfTransfer(SMALL["transfer"])
    changes = {"network": asdict(network.config), "model": network.state_dict(), "temperatures": [1.0], "specs": []}
    path = tmp_path / "transfer.pt"
    torch.save(saved | changes | {"system": "transfer", "training": {"audio_only": True}}, path)
    assert main(["onnx", "--checkpoint", str(path), "--output", str(tmp_path / "onnx")]) == 0
    assert [file.name for file in (tmp_path / "onnx").glob("*.onnx") if "float16" not in file.name] == ["audio.onnx"]
    assert main(["compare", "--checkpoint", str(path)]) == 1
    assert "is of transfer with parts ['audio']; expected" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["attention-fusion", "transfer", "fercnn"])
def test_a_system_that_edge_run_cannot_feed_is_no_bundle(system_checkpoint, system, tmp_path, capsys):
    arguments = ["--checkpoint", str(system_checkpoint(system)), "--output", str(tmp_path / "bundle")]
    assert main(["bundle", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"edge-export: the checkpoint is of {system} with parts")
    assert "edge-export onnx" in err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_a_bundle_has_the_same_bytes_in_another_process(checkpoint_path, folder, tmp_path):
    command = [sys.executable, "-m", "export.main", "bundle", "--checkpoint", str(checkpoint_path), "--name", "cabin"]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    subprocess.run([*command, "--output", str(tmp_path)], check=True, env=environment, cwd=Path(__file__).parents[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in folder.iterdir())
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"], ids=["missing", "empty", "text"])
def test_a_bad_checkpoint_is_one_line_and_exit_code_one(tmp_path, capsys, content):
    path = tmp_path / "mrpn.pt"
    if content is not None:
        path.write_bytes(content)
    assert main(["bundle", "--checkpoint", str(path), "--output", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge-export: {path} cannot be read as a checkpoint")
    assert "expected one that edge-train wrote" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "export.onnx_from_checkpoint", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["onnx", "--checkpoint", str(tmp_path / "mrpn.pt"), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "edge-export: torch is not installed; expected it. pip install -e '.[train]'\n"


def test_an_output_that_cannot_be_a_folder_is_one_line_and_exit_code_one(checkpoint_path, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["bundle", "--checkpoint", str(checkpoint_path), "--output", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("edge-export: ")
    assert str(tmp_path / "file") in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bundle"],
        ["bundle", "--checkpoint", "mrpn.pt"],
        ["onnx"],
        ["engine", "--precision", "int4"],
        ["bundle", "--precision", "int8"],
    ],
)
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: edge-export" in capsys.readouterr().err
