"""INT8 files of the default bundle's encoders, from random batches: the graphs, not the figures, are tested."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import calibration.main
from bundle.errors import ArtefactError
from bundle.features import FACE, SPECTROGRAM
from bundle.manifest import DEFAULT_BUNDLE, Manifest, read_manifest, write_manifest
from calibration.batches import calibration_batches
from calibration.main import calibrate_bundle, main

SPLIT = {"train": [1, 2], "validation": [3], "calibration": [4, 5], "held_out": [6]}


def manifest_with_split(split: dict[str, list[int]]) -> Manifest:
    manifest = read_manifest(DEFAULT_BUNDLE)
    return replace(manifest, training={**manifest.training, "split": split})


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    shutil.copytree(DEFAULT_BUNDLE, folder)
    rng = np.random.default_rng(0)
    manifest = manifest_with_split(SPLIT)
    batches = {
        "visual": [{FACE: rng.standard_normal((4, *manifest.video.shape), np.float32)} for _ in range(12)],
        "audio": [{SPECTROGRAM: 2 * rng.standard_normal((4, *manifest.audio.shape), np.float32)} for _ in range(12)],
    }
    return folder, calibrate_bundle(folder, manifest, batches, "MinMax", folder)


def test_a_stopped_calibration_leaves_the_bundle_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def stopped(*_: object) -> float:
        raise KeyboardInterrupt

    faces = np.random.default_rng(0).standard_normal((4, 1, 48, 48), np.float32)
    monkeypatch.setattr(calibration.main, "calibration_batches", lambda *_: {"visual": [{FACE: faces}] * 2})
    monkeypatch.setattr(calibration.main, "_sqnr_db", stopped)  # once an INT8 file is written
    assert main(["--bundle", str(folder), "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "edge-calibrate: stopped; the bundle is as it was"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def quantization_types(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Data types of the zero points of activations and of weights."""
    weights = {i.name: i for i in model.graph.initializer}
    types: dict[str, set[int]] = {"activations": set(), "weights": set()}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            kind = "weights" if node.input[0] in weights else "activations"
            types[kind].add(weights[node.input[2]].data_type)
    return types


@pytest.mark.parametrize("part", ["visual", "audio"])
@pytest.mark.parametrize(
    ("precision", "activations"), [("int8-tensorrt", TensorProto.INT8), ("int8-onnxruntime", TensorProto.UINT8)]
)
def test_each_runtime_gets_the_types_it_wants(
    calibrated: tuple[Path, Manifest], part: str, precision: str, activations: int
) -> None:
    folder, manifest = calibrated
    types = quantization_types(onnx.load(folder / manifest.parts[part].files[precision]))
    assert types["activations"] == {activations}
    assert TensorProto.INT8 in types["weights"]


@pytest.mark.parametrize("part", ["visual", "audio"])
def test_tensorrt_graph_is_symmetric_and_keeps_biases_in_float(calibrated: tuple[Path, Manifest], part: str) -> None:
    folder, manifest = calibrated
    model = onnx.load(folder / manifest.parts[part].files["int8-tensorrt"])
    zero_points = [numpy_helper.to_array(i) for i in model.graph.initializer if i.name.endswith("zero_point")]
    assert zero_points
    assert not any(zero_point.any() for zero_point in zero_points)
    assert TensorProto.INT32 not in {i.data_type for i in model.graph.initializer}


def test_int8_is_close_to_float_and_a_quarter_of_its_size(calibrated: tuple[Path, Manifest]) -> None:
    folder, manifest = calibrated
    assert min(manifest.calibration["sqnr_db"].values()) > 20
    for part in ("visual", "audio"):
        files = manifest.parts[part].files
        for precision in ("int8-tensorrt", "int8-onnxruntime"):
            assert (folder / files[precision]).stat().st_size < 0.35 * (folder / files["float32"]).stat().st_size


def test_bundle_with_int8_files_is_written_and_read_again(calibrated: tuple[Path, Manifest]) -> None:
    folder, manifest = calibrated
    write_manifest(folder, manifest)
    assert read_manifest(folder).calibration["subjects"] == [4, 5]
    assert read_manifest(folder).calibration["samples"] == {"visual": 48, "audio": 48}


@pytest.mark.parametrize(
    "split", [{**SPLIT, "train": [1, 4]}, {**SPLIT, "held_out": [5]}, {**SPLIT, "calibration": []}]
)
def test_calibration_on_subjects_that_serve_another_purpose_is_refused(
    split: dict[str, list[int]], tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="calibration actors"):
        calibration_batches(manifest_with_split(split), tmp_path)


def test_missing_bundle_is_refused_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path), "--data", str(tmp_path)]) == 1
    assert "holds no manifest.json" in capsys.readouterr().err
