"""edge-export compare: each step against the one before, on the same inputs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bundle.errors import ArtefactError
from bundle.features import PROBS
from bundle.manifest import read_manifest, write_manifest
from export import float16_onnx
from export.clip_inputs import clip_inputs
from export.compare import Proof, _rows, compare_bundle, noise_inputs
from export.engine_from_onnx import BuildOptions, build_engine
from export.main import main
from networks.mrpn import Mrpn, MrpnConfig
from perception.gpu import compute_capability
from perception.parity import SILENT_DB, differences, sqnr_db
from perception.tensorrt import TensorRtEngine
from tests.export.conftest import quantize

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(checkpoint_path, tmp_path_factory):
    """A bundle with float16 and INT8 files, calibrated on noise."""
    folder = tmp_path_factory.mktemp("compare") / "bundle"
    assert main(["bundle", "--checkpoint", str(checkpoint_path), "--output", str(folder)]) == 0
    manifest = read_manifest(folder)
    parts = dict(manifest.parts)
    for name in ("visual", "audio"):
        files = dict(parts[name].files)
        for precision in ("int8-tensorrt", "int8-onnxruntime"):
            files[precision] = f"{name}.{precision}.onnx"
            quantize(folder / files["float32"], folder / files[precision], dict(parts[name].inputs), precision)
        parts[name] = replace(parts[name], files=files)
    write_manifest(folder, replace(manifest, parts=parts))
    return folder


def test_sqnr_is_a_ratio_of_powers():
    expected = np.array([[3.0, 4.0]], np.float32)
    assert sqnr_db(expected, expected + np.array([[0.05, 0.0]], np.float32)) == pytest.approx(40, abs=1e-4)
    assert sqnr_db(expected, expected) == SILENT_DB
    assert sqnr_db(expected, np.full((1, 2), np.nan, np.float32)) == -SILENT_DB
    assert sqnr_db(expected, np.full((1, 2), np.inf, np.float32)) == -SILENT_DB
    assert sqnr_db(np.zeros((1, 2), np.float32), expected) == -SILENT_DB


def test_differences_name_each_tensor():
    expected = {"a": np.zeros((2, 3), np.float32), "b": np.ones((2, 1), np.float32)}
    found = {"a": np.full((2, 3), -0.5, np.float32), "b": np.ones((2, 1), np.float32)}
    first, second = differences(expected, found)
    assert (first.tensor, first.max_error) == ("a", 0.5)
    assert (second.tensor, second.max_error, second.sqnr_db) == ("b", 0, SILENT_DB)


@pytest.mark.parametrize(
    ("expected", "found", "is_rounding"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1.9e-5], True),
        ([1.0, 2.0], [1.0, 2.0 + 2e-3], False),
        ([1e-3, 2e-3], [1e-3, 2e-3 + 9e-6], True),  # below a signal of 50 dB, but the sums it comes from are of order 1
        ([1e-3, 2e-3], [1e-3, 2e-3 + 2e-5], False),
        ([100.0] * 1000, [100.01] + [100.0] * 999, True),  # one of a thousand
        ([100.0] * 1000, [101.0] + [100.0] * 999, False),
        ([1.0], [float("nan")], False),
    ],
)
def test_rounding_is_told_from_error(expected, found, is_rounding):
    (difference,) = differences({"x": np.array(expected, np.float32)}, {"x": np.array(found, np.float32)})
    assert difference.is_rounding == is_rounding


def test_every_step_of_every_part_is_compared(bundle, checkpoint_path, capsys):
    assert main(["compare", "--bundle", str(bundle), "--checkpoint", str(checkpoint_path), "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)["rows"]
    steps = ["torch -> onnx", "onnx -> simplified", "simplified -> float16"]
    int8 = ["simplified -> int8-tensorrt", "simplified -> int8-onnxruntime"]
    for part, tensors, expected in ("visual", ["embedding"], steps + int8), ("head", [*PROBS], steps):
        found = [(row["step"], row["tensor"]) for row in rows if row["part"] == part]
        assert found == [(step, tensor) for step in expected for tensor in tensors]
    for row in rows:
        assert row["samples"] == 8
        assert row["passed"]
        assert row["step"] in err
        least = {"torch -> onnx": 90, "onnx -> simplified": 90, "simplified -> float16": 40}.get(row["step"], 15)
        assert row["sqnr_db"] > least, row
        assert (row["max_error"] == 0) == (row["sqnr_db"] == SILENT_DB)


def test_a_bundle_of_other_weights_fails(bundle, checkpoint_path, tmp_path, capsys):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    model = onnx.load(folder / "visual.onnx")
    weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, folder / "visual.onnx")
    write_manifest(folder, read_manifest(bundle))  # of the copy's files
    assert main(["compare", "--bundle", str(folder), "--checkpoint", str(checkpoint_path)]) == 1
    failed = [line for line in capsys.readouterr().err.splitlines() if line.endswith("too far")]
    assert len(failed) == 1
    assert failed[0].startswith("visual   onnx -> simplified")


def test_a_checkpoint_of_another_size_is_refused(bundle, saved, tmp_path, capsys):
    config = saved["network"] | {"visual_width": 4}
    model = Mrpn(MrpnConfig(**config)).state_dict()
    torch.save(saved | {"network": config, "model": model}, tmp_path / "mrpn.pt")
    assert main(["compare", "--bundle", str(bundle), "--checkpoint", str(tmp_path / "mrpn.pt")]) == 1
    assert "has a part visual of inputs and outputs" in capsys.readouterr().err


def test_fewer_inputs_than_are_compared_are_refused(bundle, capsys):
    assert main(["compare", "--bundle", str(bundle), "--engines", "--max-batch", "4"]) == 2
    assert "--max-batch is 4; expected 8 or more" in capsys.readouterr().err


def test_inputs_are_the_same_every_time(bundle):
    manifest = read_manifest(bundle)
    first, second = ([*compare_bundle(bundle, manifest, noise_inputs(manifest), None)] for _ in range(2))
    assert first == second


def test_engines_are_looked_into_where_no_gpu_can_run_them(bundle, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this platform")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("perception.gpu.compute_capability", lambda: None)
    arguments = ["compare", "--bundle", str(bundle), "--engines", "--compute-capability", "89"]
    assert main([*arguments, "--flavour", "tensorrt_rtx", "--json"]) == 0
    out, err = capsys.readouterr()
    engines = json.loads(out)["engines"]
    found = {(engine["part"], engine["precision"]): engine for engine in engines}
    assert len(found) == 8
    assert found["visual", "int8"]["int8_weights"] == [20, 20]
    assert found["visual", "int8"]["convolutions"] == {"Int8": 20}
    assert found["visual", "float16"]["convolutions"] == {"Half": 20}
    assert found["head", "float16"]["int8_weights"] == [0, 0]
    assert "no GPU to run these engines on: their outputs are not compared" in err
    assert not [row for row in json.loads(out)["rows"] if "engine" in row["step"]]


@pytest.mark.parametrize(
    ("file", "noise", "passed"),
    [
        ("float32", 1e-4, True), ("float32", 1e-2, False), ("float16", 1e-2, True), ("float16", 0.1, False),
        ("int8-tensorrt", 0.3, True), ("int8-tensorrt", 1.0, False), ("float32", np.nan, False),
    ],
)  # fmt: skip
def test_an_engine_that_computes_something_else_fails(file, noise, passed):
    expected = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    found = expected + noise * np.random.default_rng(1).standard_normal((8, 16)).astype(np.float32)
    (row,) = _rows("visual", f"{file} -> engine", {"embedding": expected}, {"embedding": found})
    assert row.passed == passed


@pytest.mark.parametrize(
    ("convolutions", "found", "passed"), [({"Int8": 20}, 20, True), ({"Int8": 20}, 19, False), (None, 0, True)]
)
def test_missing_weights_fail_where_the_engine_can_be_read(convolutions, found, passed):
    proof = Proof("visual", "int8", convolutions, (found, 20))
    assert proof.passed == passed
    assert f"INT8 weights of {found} of 20 in the plan" in proof.text()


@pytest.mark.skipif(compute_capability() is not None, reason="this machine has a GPU")
def test_an_engine_that_no_gpu_takes_is_explained(onnx_files):
    trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this platform")
    path, inputs = onnx_files("fercnn")["head.float32"]
    with pytest.raises(ArtefactError, match="the GPU does not take the engine"):
        TensorRtEngine(trt, build_engine(trt, path, BuildOptions(89, "float32"), inputs).plan)


def test_inputs_of_a_clip_are_what_the_parts_see(bundle):
    manifest = read_manifest(bundle)
    inputs = clip_inputs(bundle, ROOT / "demo" / "driver.mp4", 5)
    for name, part in manifest.parts.items():
        assert {tensor: value.shape for tensor, value in inputs[name].items()} == {
            tensor: (5, *shape) for tensor, shape in part.inputs.items()
        }
    for tensor, value in (inputs["visual"] | inputs["audio"] | inputs["head"]).items():
        assert set(np.unique(value)) <= {0, 1} if tensor.endswith("_mask") else (value[0] != value[-1]).any(), tensor


def test_float16_files_can_be_added_to_a_bundle(bundle, tmp_path, capsys):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = read_manifest(folder)
    plain = {
        name: replace(part, files={p: f for p, f in part.files.items() if p != "float16"})
        for name, part in manifest.parts.items()
    }
    write_manifest(folder, replace(manifest, parts=plain))
    for half in folder.glob("*.float16.onnx"):
        half.unlink()
    assert main(["float16", "--bundle", str(folder)]) == 0
    assert "head: float16" in capsys.readouterr().err
    again = read_manifest(folder)
    assert {name: set(part.files) for name, part in again.parts.items()} == {
        name: set(part.files) for name, part in manifest.parts.items()
    }
    for part in manifest.parts.values():
        assert (folder / part.files["float16"]).read_bytes() == (bundle / part.files["float16"]).read_bytes()


def test_float16_that_is_stopped_leaves_the_bundle_as_it_was(bundle, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(bundle, tmp_path / "cabin")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    made = float16_onnx.write_float16

    def stopped_at_the_second(source, target):
        if "visual" not in target.name:
            raise KeyboardInterrupt
        made(source, target)
        model = onnx.load(target)
        model.producer_version = "another"
        onnx.save(model, target)

    monkeypatch.setattr(float16_onnx, "write_float16", stopped_at_the_second)
    assert main(["float16", "--bundle", str(folder)]) == 1
    assert capsys.readouterr().err == f"edge-export: stopped; {folder} is as it was\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_options_of_engines_need_engines(bundle, capsys):
    command = ["compare", "--bundle", str(bundle), "--rebuild", "--max-batch", "9"]
    assert main(command) == 2
    assert "--max-batch, --rebuild without --engines" in capsys.readouterr().err
