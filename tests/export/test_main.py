"""edge-export: a bundle that edge-run opens, or one line that says why not."""

import numpy as np
import pytest

from bundle.features import PROBS
from bundle.labels import RAVDESS_LABELS
from bundle.manifest import MANIFEST, read_manifest
from export.main import LICENCE, main
from perception.network import open_network


@pytest.fixture(scope="module")
def folder(checkpoint_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "deep" / "cabin"
    assert main(["bundle", "--checkpoint", str(checkpoint_path), "--output", str(folder)]) == 0
    return folder


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


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"], ids=["missing", "empty", "text"])
def test_a_bad_checkpoint_is_one_line_and_exit_code_one(tmp_path, capsys, content):
    path = tmp_path / "mrpn.pt"
    if content is not None:
        path.write_bytes(content)
    assert main(["bundle", "--checkpoint", str(path), "--output", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge-export: {path} cannot be read as a checkpoint")
    assert "expected mrpn.pt of edge-train" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_a_folder_is_one_line_and_exit_code_one(checkpoint_path, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["bundle", "--checkpoint", str(checkpoint_path), "--output", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("edge-export: ")
    assert str(tmp_path / "file") in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["bundle"], ["bundle", "--checkpoint", "mrpn.pt"], ["engine"], ["bundle", "--precision", "int8"]]
)
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: edge-export" in capsys.readouterr().err
