"""The builder against the API of TensorRT 8.6, 10.3 and 11.4, read from their real Python bindings.

That these versions build and run engines from such calls, no test here shows: that takes their GPU.
"""

import json
import shutil
import sys

import pytest

from bundle.errors import ArtefactError
from export.engine_from_onnx import BuildOptions, build_engine, builds_ahead
from export.engines import target_capability
from tests.export.bindings_double import FOLDER, INPUTS, VERSIONS, tensorrt_double
from tests.export.read_bindings import read_bindings

PACKAGES = {
    "8.6.1": "tensorrt-bindings",
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6.1 and 6.2
    "11.4.0.106": "tensorrt-cu13-bindings",
}
SHAPES = {name: shape[1:] for name, shape in INPUTS.items()}


def build(version, precision, tmp_path):
    """All calls of a build, by name, the last of each."""
    trt, calls = tensorrt_double(version)
    built = build_engine(trt, tmp_path / "network.onnx", BuildOptions(87, precision, 4, 256), SHAPES, b"kept")
    assert (built.plan, built.timing_cache, built.convolutions) == (b"plan", b"times", None)
    return trt, calls


def arguments(calls, name):
    return [given for called, given in calls if called == name]


def test_the_three_generations_are_there():
    assert sorted(PACKAGES) == VERSIONS


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_uses_only_what_the_version_has(version, precision, tmp_path):
    trt, calls = build(version, precision, tmp_path)
    assert arguments(calls, "OnnxParser.parse_from_file") == [(str(tmp_path / "network.onnx"),)]
    assert arguments(calls, "IBuilderConfig.set_memory_pool_limit") == [(trt.MemoryPoolType.WORKSPACE, 256 << 20)]
    assert arguments(calls, "IBuilderConfig.create_timing_cache") == [(b"kept",)]
    profile = [("face", *[(batch, 1, 48, 48) for batch in (1, 1, 4)]), ("mask", *[(batch, 40) for batch in (1, 1, 4)])]
    assert arguments(calls, "IOptimizationProfile.set_shape") == profile
    cleared = [(trt.BuilderFlag.TF32,)] if precision == "float32" else []
    assert arguments(calls, "IBuilderConfig.clear_flag") == cleared


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_types_come_from_the_file_where_networks_can_be_strongly_typed(version, tmp_path):
    trt, calls = build(version, "int8", tmp_path)
    ((flags,),) = arguments(calls, "Builder.create_network")
    assert flags & 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert not arguments(calls, "IBuilderConfig.set_flag")
    assert arguments(calls, "IBuilderConfig.progress_monitor")


@pytest.mark.parametrize(("precision", "flags"), [("float32", []), ("float16", ["FP16"]), ("int8", ["FP16", "INT8"])])
def test_tensorrt_8_is_allowed_the_types_of_the_file(precision, flags, tmp_path):
    trt, calls = build("8.6.1", precision, tmp_path)
    assert arguments(calls, "Builder.create_network") == [(1 << trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH,)]
    assert arguments(calls, "IBuilderConfig.set_flag") == [(getattr(trt.BuilderFlag, flag),) for flag in flags]


@pytest.mark.parametrize("version", VERSIONS)
def test_tensorrt_builds_for_the_gpu_at_hand_alone(version):
    trt, _ = tensorrt_double(version)
    assert not builds_ahead(trt)
    assert target_capability(trt, None, 87) == target_capability(trt, 87, 87) == 87
    with pytest.raises(ArtefactError, match="builds on the GPU that runs the engine"):
        target_capability(trt, 87, None)
    with pytest.raises(ArtefactError, match="builds for the GPU at hand, 87; 89 was asked"):
        target_capability(trt, 89, 87)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] not in ((3, 10), (3, 11)), reason="8.6 has no bindings for this Python")
@pytest.mark.skipif(not shutil.which("readelf"), reason="binutils are not installed")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_recorded_api_is_that_of_the_real_bindings(version):
    assert read_bindings(f"{PACKAGES[version]}=={version}") == json.loads((FOLDER / f"{version}.json").read_text())
