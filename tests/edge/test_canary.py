"""The canary: engines that compute something else, nothing, or too late, are refused; all of them are real."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.errors import EngineError
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from edge.canary import GOLDEN, check_time, check_values, decibels, golden_inputs, golden_outputs
from perception.engine import Engine, Tensors
from perception.onnxrt import OnnxRuntimeEngine
from perception.openvino import OpenVinoEngine
from perception.parity import ENGINE_DB

MANIFEST = read_manifest(DEFAULT_BUNDLE)
VISUAL = MANIFEST.parts["visual"]
FLOAT32 = DEFAULT_BUNDLE / VISUAL.files["float32"]


def with_weights(source: Path, target: Path, change: Callable[[np.ndarray], np.ndarray], layer: int = 4) -> Path:
    """A copy of an ONNX file with other weights in one of its 20 convolutions."""
    model = onnx.load(source)
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4][layer]
    changed = change(onnx.numpy_helper.to_array(weights).copy()).astype(np.float32)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    onnx.save(model, target)
    return target


def judge(engine: Engine, name: str, precision: str, *, reference: str = "float32") -> None:
    """Hold an engine against ONNX Runtime on a file of the default bundle."""
    part = MANIFEST.parts[name]
    expected, _ = golden_outputs(OnnxRuntimeEngine(DEFAULT_BUNDLE / part.files[reference], optimize=False), part)
    found, _ = golden_outputs(engine, part)
    print(engine.name, name, precision, *(f"{decibels(found, expected, output):.0f} dB" for output in expected))
    check_values(found, expected, ENGINE_DB[precision])


def test_golden_inputs_are_single_and_the_same_every_time_and_differ_from_each_other() -> None:
    for part in MANIFEST.parts.values():
        first, again = golden_inputs(part), golden_inputs(part)
        assert len(first) == GOLDEN
        for inputs, same in zip(first, again, strict=True):
            for name, shape in part.inputs.items():
                assert inputs[name].shape == (1, *shape)
                assert inputs[name].dtype == np.float32
                assert (inputs[name] == same[name]).all()
                assert set(np.unique(inputs[name])) == {0, 1} if name.endswith("_mask") else inputs[name].std() > 0.99
        name = next(iter(part.inputs))
        assert (first[0][name] != first[1][name]).any()


@pytest.mark.parametrize("name", MANIFEST.parts)
def test_each_file_of_the_bundle_passes_in_its_precision(name: str) -> None:
    files = MANIFEST.parts[name].files
    for file, reference in ("float32", "float32"), ("float16", "float32"), ("int8-tensorrt", "int8-tensorrt"):
        if file in files:
            engine = OnnxRuntimeEngine(DEFAULT_BUNDLE / files[file])
            judge(engine, name, file.removesuffix("-tensorrt"), reference=reference)


@pytest.mark.parametrize("name", MANIFEST.parts)
def test_openvino_passes(name: str) -> None:
    pytest.importorskip("openvino", reason="no OpenVINO for this platform")
    for file in "float32", "int8-onnxruntime":
        if file in MANIFEST.parts[name].files:
            engine = OpenVinoEngine(DEFAULT_BUNDLE / MANIFEST.parts[name].files[file])
            judge(engine, name, file.removesuffix("-onnxruntime"), reference=file)


@pytest.mark.parametrize("layer", [0, 6, 12, 19])
@pytest.mark.parametrize("name", ["visual", "audio"])
def test_weights_off_by_one_percent_are_refused(tmp_path: Path, name: str, layer: int) -> None:
    path = with_weights(DEFAULT_BUNDLE / f"{name}.onnx", tmp_path / "off.onnx", lambda weights: weights * 1.01, layer)
    with pytest.raises(EngineError, match=r"embedding is off by up to .*: \d+ dB against ONNX Runtime; expected 60 dB"):
        judge(OnnxRuntimeEngine(path), name, "float32")


@pytest.mark.parametrize("layer", [0, 6, 12, 19])
@pytest.mark.parametrize("name", ["visual", "audio"])
def test_a_layer_of_zeros_is_refused_even_in_int8(tmp_path: Path, name: str, layer: int) -> None:
    path = with_weights(DEFAULT_BUNDLE / f"{name}.onnx", tmp_path / "zero.onnx", np.zeros_like, layer)
    with pytest.raises(EngineError, match="embedding is off by"):
        judge(OnnxRuntimeEngine(path), name, "int8")


def test_output_that_does_not_depend_on_the_input_is_refused() -> None:
    part = MANIFEST.parts["audio"]
    engine = OnnxRuntimeEngine(DEFAULT_BUNDLE / "audio.onnx")
    with pytest.raises(EngineError, match="embedding is off by"):
        judge(_Fixed(engine.run(golden_inputs(part)[0])), "audio", "int8")


def test_output_that_is_not_finite_is_refused_without_a_reference(tmp_path: Path) -> None:
    path = with_weights(FLOAT32, tmp_path / "nan.onnx", lambda weights: weights * np.nan)
    with pytest.raises(EngineError, match="embedding is not finite"):
        golden_outputs(OnnxRuntimeEngine(path), VISUAL)


def test_output_of_another_shape_is_refused() -> None:
    with pytest.raises(EngineError, match=r"embedding is \(2, 128\); expected \(1, 128\)"):
        golden_outputs(_Fixed({"embedding": np.zeros((2, 128), np.float32)}), VISUAL)


def test_missing_output_is_refused() -> None:
    with pytest.raises(EngineError, match=r"probs_fused is absent; expected \(1, 8\)"):
        golden_outputs(_Fixed({}), MANIFEST.parts["head"])


class _Fixed:
    name = "fixed"

    def __init__(self, outputs: Tensors) -> None:
        self._outputs = outputs

    def run(self, inputs: Tensors) -> Tensors:
        return self._outputs


class Slow(OnnxRuntimeEngine):
    """As on the processor of an old car PC."""

    def run(self, inputs: Tensors) -> Tensors:
        time.sleep(0.06)
        return super().run(inputs)


def test_a_slow_engine_is_timed_and_refused() -> None:
    _, took_ns = golden_outputs(Slow(FLOAT32), VISUAL)
    assert took_ns >= 60_000_000
    with pytest.raises(EngineError, match=r"it is too slow: 2 x \d+ ms are \d+% of the 200 ms between updates"):
        check_time(took_ns, "visual", MANIFEST.window)


def test_half_of_the_time_between_updates_is_allowed() -> None:
    for part, most_ns in ("visual", 50_000_000), ("audio", 100_000_000), ("head", 100_000_000):
        check_time(most_ns, part, MANIFEST.window)
        with pytest.raises(EngineError, match="it is too slow"):
            check_time(most_ns + 1_000_000, part, MANIFEST.window)


def test_the_first_run_may_be_slow() -> None:
    class LoadsKernels(OnnxRuntimeEngine):
        loaded = False

        def run(self, inputs: Tensors) -> Tensors:
            if not self.loaded:
                time.sleep(0.3)
            self.loaded = True
            return super().run(inputs)

    assert golden_outputs(LoadsKernels(FLOAT32), VISUAL)[1] < 200_000_000
