"""OpenVINO computes what ONNX Runtime does, and calls nobody."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import perception.openvino
from bundle.errors import ArtefactError
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from perception.onnxrt import OnnxRuntimeEngine
from perception.openvino import OpenVinoEngine
from perception.parity import differences, random_inputs

ROOT = Path(__file__).parents[2]
PARTS = read_manifest(DEFAULT_BUNDLE).parts


@pytest.mark.parametrize("name", PARTS)
def test_outputs_equal_those_of_onnx_runtime(name: str) -> None:
    pytest.importorskip("openvino", reason="no OpenVINO for this platform")
    path = DEFAULT_BUNDLE / PARTS[name].files["float32"]
    engine, reference = OpenVinoEngine(path), OnnxRuntimeEngine(path)
    for batch in 1, 3:
        inputs = random_inputs(PARTS[name].inputs, batch)
        found = engine.run(inputs)
        assert all(difference.is_rounding for difference in differences(reference.run(inputs), found))
        assert {output: value.dtype for output, value in found.items()} == dict.fromkeys(found, np.float32)


def test_outputs_are_the_callers() -> None:
    pytest.importorskip("openvino", reason="no OpenVINO for this platform")
    part = PARTS["head"]
    engine = OpenVinoEngine(DEFAULT_BUNDLE / part.files["float32"])
    first = engine.run(random_inputs(part.inputs, 1))
    kept = {name: value.copy() for name, value in first.items()}
    engine.run({name: 2 * value for name, value in random_inputs(part.inputs, 1).items()})
    assert all((first[name] == kept[name]).all() for name in kept)


def test_file_that_is_no_model_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="no OpenVINO for this platform")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"broken")
    with pytest.raises(ArtefactError, match=r"(?s)broken.onnx cannot be run by OpenVINO: .*export it again"):
        OpenVinoEngine(path)


def test_openvino_that_is_not_installed_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(perception.openvino, "_core", perception.openvino._core.__wrapped__)
    with pytest.raises(ArtefactError, match=r"OpenVINO cannot be loaded .* pip install -e '\.\[openvino\]'"):
        OpenVinoEngine("any.onnx")


def test_signals_find_a_stack_when_engines_have_gone() -> None:
    """Each instance of OpenVINO gives the main thread another stack for signals, and may leave it without one."""
    pytest.importorskip("openvino", reason="no OpenVINO for this platform")
    code = """
import faulthandler, os, signal
from bundle.manifest import DEFAULT_BUNDLE
from perception.openvino import OpenVinoEngine

faulthandler.enable()
engines = [OpenVinoEngine(DEFAULT_BUNDLE / "head.onnx") for _ in range(3)]
while engines:
    engines.pop(0)
signal.signal(signal.SIGTERM, lambda *_: print("in order"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "in order\n"), result.stderr


def test_its_telemetry_is_not_loaded(tmp_path: Path) -> None:
    """OpenVINO's own dependency opens a socket when `openvino` is imported; this one would end the process."""
    pytest.importorskip("openvino", reason="no OpenVINO for this platform")
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('called home')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from perception.openvino import OpenVinoEngine\n"
        f"OpenVinoEngine({str(DEFAULT_BUNDLE / 'head.onnx')!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
