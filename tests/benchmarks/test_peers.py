"""Peers compute what our updates do, from the same window; who does not is no peer."""

import numpy as np
import pytest

from benchmarks.peers import OPENVINO_INT8, _available, _peers, report_differences
from benchmarks.updates import Variant
from bundle.errors import EngineError
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME

PROBS = {"probs_fused": np.array([[0.25, 0.75]], np.float32)}
OURS = {FLOAT32: PROBS, INT8_ONNXRUNTIME: {"probs_fused": np.array([[0.5, 0.5]], np.float32)}}


def off_by(difference: float) -> dict[str, np.ndarray]:
    return {"probs_fused": PROBS["probs_fused"] + np.float32(difference)}


def test_whole_windows_give_what_updates_give(slim: Variant) -> None:
    window, expected = slim.remember(FLOAT32)
    ours = {FLOAT32: expected, INT8_ONNXRUNTIME: slim.remember(INT8_ONNXRUNTIME)[1]}
    makers = _peers(slim, window, 1)
    del makers["torch.compile"]  # takes a minute
    found = {name: run() for name, run in _available(makers).items()}
    assert {"PyTorch eager", "ONNX Runtime FP32", "ONNX Runtime INT8"} <= set(found)
    report_differences("slim", ours, found)


@pytest.mark.parametrize(("peer", "outputs"), [("PyTorch eager", off_by(2e-3)), ("ONNX Runtime INT8", off_by(0))])
def test_a_peer_that_computes_something_else_is_refused(peer: str, outputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(EngineError, match=peer):
        report_differences("slim", OURS, {peer: outputs})


def test_differences_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    report_differences("slim", OURS, {"PyTorch eager": off_by(5e-4), OPENVINO_INT8: off_by(0)})
    told = capsys.readouterr().err
    assert "our INT8 is within 2.5e-01 of our float32" in told
    assert "PyTorch eager is within 5.0e-04" in told
    assert f"{OPENVINO_INT8} is within 2.5e-01" in told


def test_a_peer_that_cannot_be_had_is_left_out_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> object:
        raise ModuleNotFoundError("No module named 'openvino'")

    present = _available({"OpenVINO FP32": missing, "ONNX Runtime FP32": lambda: lambda: PROBS})  # type: ignore[dict-item]
    assert list(present) == ["ONNX Runtime FP32"]
    assert "OpenVINO FP32 is left out: ModuleNotFoundError: No module named 'openvino'" in capsys.readouterr().err
