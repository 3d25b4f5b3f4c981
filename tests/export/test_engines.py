"""edge-export engine: a bundle's engines, built once, kept, and built anew when they are not what they should be."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import export.engines
from bundle.errors import ArtefactError
from bundle.manifest import DEFAULT_BUNDLE
from export.engines import build_engines, sources_of_bundle, target_capability
from export.int8_weights import int8_weights
from export.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trt():
    return pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this platform")


@pytest.fixture
def bundle(tmp_path):
    """A copy of the default bundle, with nothing but its own files."""
    return shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edge-emotion" / "engines"


def engine(bundle, capsys, *options):
    """Reports of edge-export engine by part, and what it said."""
    arguments = ["engine", "--bundle", str(bundle), "--compute-capability", "89", "--flavour", "tensorrt_rtx", "--json"]
    assert main([*arguments, *options]) == 0
    out, err = capsys.readouterr()
    return {report["name"]: report for report in json.loads(out)["engines"]}, err


def test_engines_of_the_default_bundle_are_built_once(trt, bundle, cache, capsys):
    built, said = engine(bundle, capsys, "--precision", "int8")
    assert [*built] == ["visual", "audio", "head"]
    assert not any(report["cached"] for report in built.values())
    for name in ("visual", "audio"):
        assert built[name]["precision"] == "int8"
        assert built[name]["convolutions"]["Int8"] == len(int8_weights(Path(built[name]["onnx"]))) > 0
        assert f"{name}: int8, convolutions: " in said
    assert built["head"]["precision"] != "int8"  # an LSTM stays in float
    assert {Path(report["path"]).parent for report in built.values()} == {cache}

    again, said = engine(bundle, capsys, "--precision", "int8")
    assert all(report["cached"] for report in again.values())
    assert {name: report["path"] for name, report in again.items()} == {n: r["path"] for n, r in built.items()}
    assert "built in" not in said

    path = Path(built["visual"]["path"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    mended, said = engine(bundle, capsys, "--precision", "int8")
    assert [report["cached"] for report in mended.values()] == [False, True, True]
    assert f"{path} is corrupt" in said
    assert "built anew" in said
    again, _ = engine(bundle, capsys, "--precision", "int8")
    assert again["visual"]["cached"]


def test_rebuilding_may_be_asked_for(trt, onnx_files, tmp_path, cache, capsys):
    path, _ = onnx_files("fercnn")["head.float32"]
    arguments = ["engine", "--onnx", str(path), "--compute-capability", "86", "--json"]
    assert main(arguments) == 2
    assert "--precision is missing; expected that of the files" in capsys.readouterr().err
    arguments += ["--precision", "float32"]
    for options, cached in ([], False), ([], True), (["--rebuild"], False), (["--max-batch", "2"], False):
        assert main([*arguments, *options]) == 0
        (report,) = json.loads(capsys.readouterr().out)["engines"]
        assert report["cached"] == cached
        assert report["name"] == "head"
    assert len(list(cache.glob("*.engine"))) == 2


def test_an_engine_that_the_gpu_does_not_take_is_built_anew(trt, onnx_files, tmp_path, monkeypatch):
    path, inputs = onnx_files("fercnn")["head.float32"]
    sources = [export.engines.Source("head", path, "float32", inputs)]
    assert not next(build_engines(trt, sources, 89, tmp_path)).cached
    monkeypatch.setattr(export.engines, "compute_capability", lambda: 89)  # as if a GPU were here: none can load it
    report = next(build_engines(trt, sources, 89, tmp_path))
    assert not report.cached
    assert "the GPU does not take the engine (tensorrt_rtx" in report.reason


def test_each_part_is_served_by_the_best_file_that_there_is(bundle):
    files = {
        precision: [s.path.name for s in sources_of_bundle(bundle, precision)] for precision in ("float32", "int8")
    }
    assert files["float32"] == ["visual.onnx", "audio.onnx", "head.onnx"]
    assert files["int8"][:2] == ["visual.int8-tensorrt.onnx", "audio.int8-tensorrt.onnx"]


def test_rtx_builds_for_an_absent_gpu_only_when_it_is_named(trt):
    assert target_capability(trt, 120, None) == 120
    assert target_capability(trt, 120, 89) == 120
    assert target_capability(trt, None, 89) == 89
    with pytest.raises(ArtefactError, match="no NVIDIA GPU to build for; expected one, or --compute-capability"):
        target_capability(trt, None, None)


def test_a_spoiled_bundle_gets_no_engine(bundle, cache, capsys):
    path = bundle / "visual.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["engine", "--bundle", str(bundle), "--compute-capability", "89"]) == 1
    assert "visual.onnx has SHA-256" in capsys.readouterr().err
    assert not cache.exists()


def test_wrong_options_are_wrong_usage(trt, bundle, cache, capsys):
    arguments = ["engine", "--bundle", str(bundle), "--compute-capability", "89", "--max-batch", "0"]
    assert main(arguments) == 2
    assert "max_batch is 0; expected 1 or more" in capsys.readouterr().err


def test_building_needs_neither_torch_nor_onnx(trt, onnx_files, tmp_path):
    path, _ = onnx_files("fercnn")["head.float32"]
    code = (
        "import sys; from export.main import main; "
        f"status = main(['engine', '--onnx', {str(path)!r}, '--precision', 'float32', '--compute-capability', '89']); "
        "print(status, [m for m in ('torch', 'onnx', 'onnxruntime', 'numba') if m in sys.modules])"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0 []"


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_within_a_build_ends_it_in_one_line(number, trt, onnx_files, tmp_path):
    """The signal comes once the builder has begun: from its first phase on."""
    path, _ = onnx_files("attention-fusion")["visual.int8"]
    code = (
        "import os, signal, sys, export.build_progress as p; from export.main import main; from tqdm import tqdm\n"
        "class Bar(tqdm):\n"
        "    def update(self, n=1):\n"
        f"        os.kill(os.getpid(), signal.{number})\n"
        "p.tqdm = Bar\n"
        f"sys.exit(main(['engine', '--onnx', {str(path)!r}, '--precision', 'int8', '--compute-capability', '89']))"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin"}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("edge-export: stopped; engines that were built are kept")
    assert not list(tmp_path.rglob("*.engine"))
