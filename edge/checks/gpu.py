"""An NVIDIA GPU or Jetson, TensorRT for it, and the engines that were built. None of them is needed on a CPU."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from bundle.folders import engine_folder
from edge.checks.finding import PIP, Finding

TEGRA_RELEASE, TEGRA_MODEL = Path("/etc/nv_tegra_release"), Path("/proc/device-tree/model")

WHEELS = "tensorrt-rtx-cu13 tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs"

FLAVOURS = {
    "tensorrt": "sudo apt install --reinstall nvidia-jetpack  (on a PC: see NVIDIA's installation guide)",
    "tensorrt_rtx": f"{PIP} uninstall -y {WHEELS} && {PIP} install 'edge-emotion[tensorrt]'",
}
"""What mends one that is there and cannot be imported."""

QUERY = "name,driver_version,memory.total,compute_cap"

ANSWER_S = 30
"""Importing TensorRT from a slow disk takes its time; a driver that is ill may never answer."""


def check_gpu() -> Iterator[Finding]:
    """Which GPU there is."""
    if TEGRA_RELEASE.is_file():
        release = TEGRA_RELEASE.read_text().split("\n")[0].lstrip("# ")
        model = TEGRA_MODEL.read_text().rstrip("\0") if TEGRA_MODEL.is_file() else "Jetson"
        yield Finding("gpu", "ok", f"{model}, Jetson Linux {release}")
    elif shutil.which("nvidia-smi"):
        status, answer = _answer("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader")
        if status:
            mend = "Restart the machine if its driver was updated; else install the driver: ubuntu-drivers install"
            yield Finding("gpu", "warning", f"nvidia-smi fails: {answer}", mend)
        else:
            yield Finding("gpu", "ok", f"{answer.replace(chr(10), '; ')} ({QUERY.replace(',', ', ')})")
    else:
        yield Finding("gpu", "ok", "not there; needed for TensorRT engines only: the networks run on the CPU")


def check_tensorrt() -> Iterator[Finding]:
    """Which TensorRT Python can import; tried in a process of its own, which it may take down."""
    present = [flavour for flavour in FLAVOURS if find_spec(flavour)]
    for flavour in present:
        status, answer = _answer(sys.executable, "-c", f"import {flavour}; print({flavour}.__version__)")
        if status:
            yield Finding(
                "tensorrt", "warning", f"{flavour} is there and cannot be imported: {answer}", FLAVOURS[flavour]
            )
        else:
            yield Finding("tensorrt", "ok", f"{flavour} {answer}")
    if not present and TEGRA_RELEASE.is_file():
        mend = "sudo apt install nvidia-jetpack, then python3 -m venv --system-site-packages .venv (docs/jetson.md)"
        yield Finding("tensorrt", "warning", "JetPack's TensorRT is not seen by this Python", mend)
    elif not present:
        text = f"not there; needed to build engines for an NVIDIA GPU: {PIP} install 'edge-emotion[tensorrt]'"
        yield Finding("tensorrt", "ok", text)


def check_engines() -> Iterator[Finding]:
    """Which engines were built on this machine."""
    folder = engine_folder()
    engines = sorted(folder.glob("*.engine"))
    if not engines:
        yield Finding("engine cache", "ok", f"no engine in {folder}; edge-export engine builds them, for an NVIDIA GPU")
        return
    megabytes = sum(engine.stat().st_size for engine in engines) / 1e6
    kinds = ", ".join(sorted({"-".join(engine.name.split("-")[:3]) for engine in engines}))
    unrecorded = [engine.name for engine in engines if not engine.with_suffix(".json").is_file()]
    if unrecorded:
        text = f"no record of what it is lies beside {', '.join(unrecorded)} in {folder}"
        yield Finding("engine cache", "warning", text, "edge-export engine --rebuild")
    else:
        yield Finding("engine cache", "ok", f"{megabytes:.1f} MB in {folder}: {kinds}")


def _answer(*command: str) -> tuple[int, str]:
    """Exit status and output of a program; its last line alone where it fails."""
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {ANSWER_S} s"
    if result.returncode:
        lines = (result.stderr + result.stdout).strip().splitlines() or [f"exit status {result.returncode}"]
        return result.returncode, lines[-1]
    return 0, result.stdout.strip()
