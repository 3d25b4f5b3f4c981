"""The command on small networks and a small corpus: what it writes, tells and refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import calibration.calibrate
import calibration.main
import calibration.qdq
from bundle.errors import ArgumentError, ArtefactError
from bundle.features import PROBS
from bundle.manifest import (
    INT8_ONNXRUNTIME,
    INT8_TENSORRT,
    Manifest,
    preprocessing_sha256,
    read_manifest,
    why_ungated,
    write_manifest,
)
from calibration.calibrate import check_folds
from calibration.gate import Figure
from calibration.main import main
from perception.network import open_network
from perception.onnxrt import OnnxRuntimeEngine
from tests.calibration.conftest import SPLIT, manifest_with_split, write_small_bundle

PRECISIONS = INT8_TENSORRT, INT8_ONNXRUNTIME


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def calibrated(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two bundles of two folds, calibrated together, and the page about it."""
    folder = tmp_path_factory.mktemp("calibrated")
    for name, held_out in (("one", [2, 5]), ("two", [4])):
        write_small_bundle(folder / name, manifest_with_split({**SPLIT, "held_out": held_out}))
    report = folder / "report.html"
    bundles = [str(folder / name) for name in ("one", "two")]
    assert main(["--bundle", *bundles, "--data", str(data), "--report", str(report)]) in (0, 1)
    return folder, report


def test_passport_says_from_whom_and_how(calibrated: tuple[Path, Path]) -> None:
    manifest = read_manifest(calibrated[0] / "one")
    passport = manifest.calibration
    assert passport["subjects"] == [3, 6]
    assert passport["samples"] == {"visual": 32, "audio": 16}
    assert passport["method"] == "MinMax"
    assert passport["preprocessing_sha256"] == preprocessing_sha256(manifest)
    assert set(passport["versions"]) == {"numpy", "onnx", "onnxruntime"}
    assert {part: len(value) for part, value in passport["ranges_sha256"].items()} == {"visual": 64, "audio": 64}
    assert min(passport["sqnr_db"][INT8_TENSORRT].values()) > 25


def test_gate_of_all_folds_is_in_each_manifest(calibrated: tuple[Path, Path]) -> None:
    one, two = (read_manifest(calibrated[0] / name).calibration["gate"] for name in ("one", "two"))
    assert one == two
    for precision in PRECISIONS:
        assert one[precision]["subjects"] == [2, 4, 5]
        assert one[precision]["windows"] == 6
        assert {figure["of"] for figure in one[precision]["figures"]} >= set(PROBS)
        assert one[precision]["held"] == all(figure["held"] for figure in one[precision]["figures"])
        assert [worst["of"] for worst in one[precision]["worst_subjects"]] == list(PROBS)


def test_verdict_decides_what_may_be_run(calibrated: tuple[Path, Path]) -> None:
    manifest = read_manifest(calibrated[0] / "one")
    for precision in PRECISIONS:
        held = manifest.calibration["gate"][precision]["held"]
        assert (why_ungated(manifest, precision) is None) == held


@pytest.mark.parametrize("precision", PRECISIONS)
def test_int8_files_run(calibrated: tuple[Path, Path], precision: str) -> None:
    manifest = read_manifest(calibrated[0] / "one")
    assert manifest.parts["visual"].files[precision] == f"visual.{precision}.onnx"
    assert precision not in manifest.parts["head"].files
    open_network(calibrated[0] / "one", precision=precision)


def test_page_needs_no_other_file(calibrated: tuple[Path, Path]) -> None:
    page = calibrated[1].read_text()
    assert page.count("<img ") == page.count("src='data:image/png;base64,") == 2 + 2 * 2  # a picture for each part
    assert "http" not in page
    for precision in PRECISIONS:
        assert f"<h2>{precision}: " in page


def figure(held: bool, of: str = PROBS[0]) -> Figure:
    return Figure(of, "UAR drop", 0.5, 0.5, 0.0, 0.0, 0.0, 0.01, "high", held)


@pytest.mark.parametrize("needed", [0, 2, 999])
def test_layers_go_back_to_float_worst_first_until_the_gate_holds(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], needed: int
) -> None:
    """The gate here holds at the given try; how bad each layer is, is given too."""
    tries = {"count": 0}
    sqnr = {"visual": {f"v{number}": 40.0 + number for number in range(3)}, "audio": {"a0": 20.0, "a1": 60.0}}
    written: list[list[tuple[str, str]]] = []

    def judge(*_: object) -> list[Figure]:
        tries["count"] += 1
        return [figure(held=tries["count"] > needed)]

    def write(fold: object, precision: str, quantized: list[tuple[str, str]], _: object) -> dict[str, float]:
        written.append(quantized)
        for part in ("visual", "audio"):
            shutil.copy(bundle / f"{part}.onnx", fold.target(part, precision))  # type: ignore[attr-defined]
        return {"visual": 0.0, "audio": 0.0}

    monkeypatch.setattr(calibration.main, "PRECISIONS", (INT8_TENSORRT,))
    monkeypatch.setattr(calibration.calibrate, "layer_sqnr_db", lambda source, *_: sqnr[source.stem])
    monkeypatch.setattr(calibration.calibrate, "_write_parts", write)
    monkeypatch.setattr(calibration.calibrate, "judge_windows", judge)
    monkeypatch.setattr(calibration.calibrate, "judge_drives", lambda *_: [figure(held=True, of="drives")])
    assert main(["--bundle", str(bundle), "--data", str(data)]) == (1 if needed == 999 else 0)
    order = [("audio", "a0"), ("visual", "v0"), ("visual", "v1"), ("visual", "v2"), ("audio", "a1")]
    tried = min(needed, len(order) // 2)
    assert written == [order[count:] for count in range(tried + 1)]
    passport = read_manifest(bundle).calibration
    assert passport["gate"][INT8_TENSORRT]["held"] == (needed != 999)
    assert sum(map(len, passport["left_in_float"][INT8_TENSORRT].values())) == tried
    assert ("FAILED" in capsys.readouterr().out) == (needed == 999)


@pytest.mark.parametrize("needed", [0, 1])
def test_a_large_head_goes_to_int8_and_is_the_first_to_go_back(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch, needed: int
) -> None:
    """The gate here holds at the given try; the bundle had a head in INT8 before."""
    manifest, opened = read_manifest(bundle), list[str]()
    head, file = manifest.parts["head"], f"head.{INT8_ONNXRUNTIME}.onnx"
    shutil.copy(bundle / head.files["float32"], bundle / file)
    before = replace(head, files={**head.files, INT8_ONNXRUNTIME: file})
    write_manifest(bundle, replace(manifest, parts={**manifest.parts, "head": before}))
    tries = iter(range(needed + 1))

    def open_noted(path: Path) -> OnnxRuntimeEngine:
        opened.append(path.name)
        return OnnxRuntimeEngine(path)

    monkeypatch.setattr(calibration.calibrate, "OnnxRuntimeEngine", open_noted)  # of the gate
    monkeypatch.setattr(calibration.main, "PRECISIONS", (INT8_ONNXRUNTIME,))
    monkeypatch.setattr(calibration.qdq, "LARGE_HEAD", 1)
    monkeypatch.setattr(calibration.calibrate, "judge_windows", lambda *_: [figure(held=next(tries) == needed)])
    monkeypatch.setattr(calibration.calibrate, "judge_drives", lambda *_: [figure(held=True, of="drives")])
    assert main(["--bundle", str(bundle), "--data", str(data)]) == 0
    manifest = read_manifest(bundle)
    in_int8 = {name: part.files.get(INT8_ONNXRUNTIME) for name, part in manifest.parts.items()}
    encoders = {name: f"{name}.{INT8_ONNXRUNTIME}.onnx" for name in ("visual", "audio")}
    assert in_int8 == {**encoders, "head": None if needed else file}
    assert (bundle / file).exists() == (not needed)
    left = {"visual": [], "audio": [], "head": ["matrix products"] if needed else []}
    assert manifest.calibration["left_in_float"] == {INT8_ONNXRUNTIME: left}
    assert opened == [*encoders.values(), file, *(encoders.values() if needed else [])]
    open_network(bundle, precision=INT8_ONNXRUNTIME)


def test_a_stopped_calibration_leaves_the_bundle_as_it_was(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    before = contents(bundle)
    monkeypatch.setattr(calibration.calibrate, "predict_windows", stopped)  # once the ranges are known
    assert main(["--bundle", str(bundle), "--data", str(data)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "edge-calibrate: stopped; the bundles are as they were"
    assert contents(bundle) == before


def test_samples_are_kept_and_refused_once_they_are_stale(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--bundle", str(bundle), "--data", str(data), "--samples", str(tmp_path / "kept.npz")]
    monkeypatch.setattr(calibration.main, "say_in_float", lambda _: (_ for _ in ()).throw(ArtefactError("far enough")))
    assert main(arguments) == 1
    assert (tmp_path / "kept.npz").exists()
    assert "far enough" in capsys.readouterr().err
    monkeypatch.setattr(calibration.main, "make_samples", None)  # they are not made again
    assert main(arguments) == 1
    assert "far enough" in capsys.readouterr().err
    manifest = read_manifest(bundle)
    write_manifest(bundle, replace(manifest, audio=replace(manifest.audio, std_floor=30.0)))
    assert main(arguments) == 1
    assert "calibration data are stale" in capsys.readouterr().err


def test_missing_bundle_is_refused_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path), "--data", str(tmp_path)]) == 1
    assert "holds no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        (["--report", "page.pdf"], "--report is page.pdf"),
        (["--report", "no/such/folder/page.html"], "folder that exists"),
        (["--samples", "kept.txt"], "expected an .npz file"),
        (["--samples", "no/such/folder/kept.npz"], "folder that exists"),
        (["--bundle", "a", "b", "--samples", "kept.npz"], "those of one bundle"),
        (["--method", "Guess"], "invalid choice"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], tells: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--bundle", "b", "--data", ".", *arguments])
    assert stopped.value.code == 2
    assert tells in capsys.readouterr().err


def other(held_out: list[int], **changes: object) -> Manifest:
    return replace(manifest_with_split({**SPLIT, "held_out": held_out}), **changes)  # type: ignore[arg-type]


def test_folds_of_one_training_are_judged_together() -> None:
    check_folds([other([2]), other([4, 5])])


@pytest.mark.parametrize(
    ("second", "tells"),
    [(other([2, 4]), "subjects \\[2\\]"), (other([4], labels=("happy", "sad")), "differ in system, labels")],
)
def test_bundles_that_do_not_belong_together_are_refused(second: Manifest, tells: str) -> None:
    with pytest.raises(ArgumentError, match=tells):
        check_folds([other([2, 5]), second])


def test_manifest_is_plain_json(calibrated: tuple[Path, Path]) -> None:
    text = (calibrated[0] / "one" / "manifest.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["calibration"]["left_in_float"].keys() == set(PRECISIONS)
