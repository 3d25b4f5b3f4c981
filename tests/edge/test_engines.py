"""Which engine is chosen, and what is said of the others.

No GPU is here: its driver, its TensorRT and what runs engines are replaced, and an "engine" holds an ONNX file, which
really runs. The cache, the choice and the canary are the real ones.
"""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edge.engines
from bundle.engine_cache import PRECISION_OF_FILE, EngineKey, store_engine
from bundle.errors import ArtefactError
from bundle.folders import engine_folder
from bundle.manifest import DEFAULT_BUNDLE, read_manifest, write_manifest
from calibration.qdq import write_quantized_head
from edge.canary import golden_inputs
from edge.engines import Engines
from perception.engine import Tensors
from perception.onnxrt import OnnxRuntimeEngine
from tests.edge.test_canary import Slow, with_weights
from tests.edge.test_run import DEMO, edge_run, judged_bundle

MANIFEST = read_manifest(DEFAULT_BUNDLE)
NO_GPU = "this machine has no NVIDIA GPU, or not its driver"
find_spec = importlib.util.find_spec


def machine(monkeypatch: pytest.MonkeyPatch, *installed: str, capability: int | None) -> None:
    """This computer, with another GPU and other TensorRTs."""
    monkeypatch.setattr(edge.engines, "compute_capability", lambda: capability)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: (name in installed or None) if name.startswith("tensorrt") else find_spec(name),
    )


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A Jetson with TensorRT 10.3 and an empty cache, and what puts engines into it."""
    machine(monkeypatch, "tensorrt", capability=87)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(edge.engines, "load_flavour", lambda _: SimpleNamespace(__version__="10.3.0"))

    def run_onnx(_: Any, plan: bytes) -> OnnxRuntimeEngine:
        path = tmp_path / "plan.onnx"
        path.write_bytes(plan)
        engine = OnnxRuntimeEngine(path)
        engine.name = "tensorrt"
        return engine

    monkeypatch.setattr(edge.engines, "TensorRtEngine", run_onnx)

    def build_engine(part: str, file: str = "float32", plan: bytes | None = None, **changes: Any) -> Path:
        onnx = (DEFAULT_BUNDLE / MANIFEST.parts[part].files[file]).read_bytes()
        key = EngineKey(hashlib.sha256(onnx).hexdigest(), "tensorrt", "10.3.0", 87, PRECISION_OF_FILE[file], 8)
        return store_engine(EngineKey(**{**vars(key), **changes}), engine_folder(), plan or onnx, {})

    return build_engine


def opened(kind: str = "auto", precision: str | None = "float32", folder: Path = DEFAULT_BUNDLE) -> Engines:
    engines = Engines(folder, read_manifest(folder), kind, precision)
    for part in MANIFEST.parts:
        engines.open(part)
    engines.report()
    return engines


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("edge-run: ") for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("installed", "capability", "reasons"),
    [
        ((), None, ["it is not installed; docs/engines.md tells how"] * 2),
        (("tensorrt", "tensorrt_rtx"), None, [NO_GPU] * 2),
    ],
)
def test_without_a_gpu_each_kind_is_explained_in_one_line(
    installed: tuple[str, ...],
    capability: int | None,
    reasons: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine(monkeypatch, *installed, capability=capability)
    assert opened().name == "onnxruntime-cpu"
    rtx, plain = reasons
    told = [f"tensorrt is not used: {plain}", f"tensorrt-rtx is not used: {rtx}", "runs on onnxruntime-cpu"]
    assert said(capsys) == told


def test_engines_in_the_cache_are_used(build: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for part in MANIFEST.parts:
        build(part)
    assert opened().name == "tensorrt"
    assert said(capsys) == ["runs on tensorrt"]


def test_missing_engines_are_named_with_the_command_that_builds_them(
    build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    build("visual", version="10.2.0")
    build("visual", compute_capability=72)
    build("visual", flavour="tensorrt_rtx")
    build("visual", onnx_sha256="0" * 64)
    assert opened().name == "onnxruntime-cpu"
    command = f"edge-export engine --bundle {DEFAULT_BUNDLE} --precision float32 --flavour tensorrt"
    assert said(capsys)[0] == (
        f"tensorrt is not used: no engine of this bundle for tensorrt 10.3.0 on SM 8.7: {command}"
    )


def test_a_part_without_an_engine_stays_on_the_cpu(
    build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    build("visual", max_batch=1)
    assert opened().name == "visual tensorrt, audio onnxruntime-cpu, head onnxruntime-cpu"
    told = said(capsys)
    assert told[0].startswith("tensorrt is not used for audio and head: no engine of this bundle")
    assert told[-1] == "runs on visual tensorrt, audio onnxruntime-cpu, head onnxruntime-cpu"


def test_a_corrupt_engine_is_named(build: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = build("head")
    path.write_bytes(b"cut")
    opened()
    without, corrupt, *_ = said(capsys)
    assert without.startswith("tensorrt is not used for visual and audio: no engine of this bundle")
    assert f"({path} is corrupt: SHA-256" in corrupt


def test_an_engine_that_computes_something_else_is_not_trusted(
    build: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in MANIFEST.parts:
        build(part)
    other = with_weights(DEFAULT_BUNDLE / "audio.onnx", tmp_path / "other.onnx", lambda weights: weights * 1.01)
    build("audio", plan=other.read_bytes())
    assert opened().name == "visual tensorrt, audio onnxruntime-cpu, head tensorrt"
    assert said(capsys)[0].startswith("tensorrt is not used for audio: embedding is off by up to ")


def test_an_engine_that_cannot_be_opened_is_explained(
    build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    build("head", plan=b"no engine at all")
    opened()
    assert any("plan.onnx cannot be run" in line for line in said(capsys))


def test_a_slow_engine_is_replaced_but_the_last_one_is_used_all_the_same(
    build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build("visual")
    monkeypatch.setattr(edge.engines, "TensorRtEngine", lambda trt, plan: Slow(DEFAULT_BUNDLE / "visual.onnx"))
    engines = Engines(DEFAULT_BUNDLE, MANIFEST, "auto", "float32")
    engines.open("visual")
    engines.report()
    assert said(capsys)[0].startswith("tensorrt is not used: it is too slow: 2 x ")
    monkeypatch.setattr(edge.engines, "OnnxRuntimeEngine", Slow)
    engines = Engines(DEFAULT_BUNDLE, MANIFEST, "onnxruntime", "float32")
    engines.open("visual")
    engines.report()
    told = said(capsys)
    assert told[0].startswith("visual on onnxruntime-cpu: it is too slow: 2 x ")
    assert told[1] == "runs on onnxruntime-cpu"


@pytest.mark.parametrize(
    ("precision", "built", "name"),
    [
        (None, ("float16", "int8-tensorrt"), "tensorrt int8"),  # its gate held
        (None, ("float32", "float16"), "tensorrt float16"),
        (None, ("float32",), "tensorrt"),
        ("float32", ("float32", "float16", "int8-tensorrt"), "tensorrt"),
        ("int8", ("float32", "float16", "int8-tensorrt"), "tensorrt int8"),
        ("int8", ("float32", "float16"), "onnxruntime-cpu int8"),
        ("float32", ("float16", "int8-tensorrt"), "onnxruntime-cpu"),
    ],
)
def test_the_lowest_precision_that_may_run_is_chosen(
    build: Callable[..., Path], precision: str | None, built: tuple[str, ...], name: str
) -> None:
    for file in built:
        build("visual", file)
    engines = Engines(DEFAULT_BUNDLE, MANIFEST, "auto", precision)
    assert engines.open("visual").name == engines.name == name


def test_an_engine_that_was_built_for_another_precision_is_left(build: Callable[..., Path]) -> None:
    """In float16, as `--onnx` builds a float32 file unless told otherwise: it may compute in TF32."""
    build("visual", "float32", precision="float16")
    assert Engines(DEFAULT_BUNDLE, MANIFEST, "auto", "float32").open("visual").name == "onnxruntime-cpu"


def test_int8_engines_wait_for_the_gate(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = judged_bundle(tmp_path / "bundle", held=True)  # ONNX Runtime's files passed, TensorRT's have no verdict
    build("visual", "int8-tensorrt")
    build("visual", "float16")
    engines = Engines(folder, read_manifest(folder), "auto", None)
    assert engines.open("visual").name == "tensorrt float16"
    waived = Engines(folder, read_manifest(folder), "auto", "int8", allow_ungated=True)
    assert waived.open("visual").name == "tensorrt int8"


def test_onnx_runtime_takes_over_from_a_gpu_that_fails_and_the_name_tells(
    build: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for part in MANIFEST.parts:
        build(part)
    engines = Engines(DEFAULT_BUNDLE, MANIFEST, "auto", "float32")
    running = {part: engines.open(part) for part in MANIFEST.parts}
    head = MANIFEST.parts["head"]
    (inputs, *_) = golden_inputs(head)
    before = running["head"].run(inputs)

    def lost(_: Tensors) -> Tensors:
        raise RuntimeError("cuStreamSynchronize failed: unspecified launch failure")

    running["head"].engine.run = lost  # type: ignore[method-assign]
    after = running["head"].run(inputs)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert engines.name == "visual tensorrt, audio tensorrt, head onnxruntime-cpu"
    assert not engines.failing
    assert said(capsys) == ["head on tensorrt failed: cuStreamSynchronize failed: unspecified launch failure"]


def test_int8_on_the_cpu_stands_in_for_the_cpu_alone(build: Callable[..., Path]) -> None:
    build("visual")
    engines = opened()
    assert engines.open_int8("visual") is None
    assert engines.open_int8("head") is None
    int8 = engines.open_int8("audio")
    assert int8 is not None
    assert int8.name == "onnxruntime-cpu int8"


def test_int8_that_is_not_finite_does_not_stand_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = judged_bundle(tmp_path / "bundle", held=True)
    manifest = read_manifest(bundle)
    file = bundle / manifest.parts["visual"].files["int8-onnxruntime"]
    with_weights(DEFAULT_BUNDLE / "visual.onnx", file, lambda weights: weights * np.nan)
    engines = Engines(bundle, manifest, "onnxruntime", "float32")
    engines.open("visual")
    assert engines.open_int8("visual") is None
    assert said(capsys) == ["visual cannot go to INT8 under load: embedding is not finite"]


def test_openvino_has_the_head_in_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = judged_bundle(tmp_path / "bundle", held=True)
    manifest = read_manifest(bundle)
    head = manifest.parts["head"]
    files = {**head.files, "int8-onnxruntime": "head.int8.onnx"}
    write_quantized_head(DEFAULT_BUNDLE / "head.onnx", bundle / "head.int8.onnx")
    write_manifest(bundle, replace(manifest, parts={**manifest.parts, "head": replace(head, files=files)}))
    monkeypatch.setattr(edge.engines, "OpenVinoEngine", OnnxRuntimeEngine)
    names = {}
    for kind in ("openvino", "onnxruntime"):
        engines = Engines(bundle, read_manifest(bundle), kind, "int8")
        names[kind] = {part: engines.open(part).name for part in MANIFEST.parts}
    assert names["onnxruntime"] == dict.fromkeys(MANIFEST.parts, "onnxruntime-cpu int8")
    assert names["openvino"] == names["onnxruntime"] | {"head": "onnxruntime-cpu"}


def test_what_is_asked_for_and_cannot_be_had_is_an_error(build: Callable[..., Path]) -> None:
    with pytest.raises(ArtefactError, match=r"visual cannot be run on tensorrt: no engine .* Leave --engine out"):
        opened("tensorrt")
    with pytest.raises(ArtefactError, match="visual cannot be run on tensorrt-rtx: it is not installed"):
        opened("tensorrt-rtx")


def test_the_command_line_says_so_in_one_line() -> None:
    result = edge_run("--clip", DEMO, "--engine", "tensorrt-rtx", "--duration", "1")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("edge-run: visual cannot be run on tensorrt-rtx: ")
