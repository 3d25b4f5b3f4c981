"""edge-vss with KUKSA's client and COVESA's tools, which cannot be installed beside MediaPipe."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "integrations/vss"


@pytest.mark.slow
def test_package_installs_alone_and_passes_its_tests(tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("kuksa-client 0.6 needs Python 3.11")
    copy = shutil.copytree(PACKAGE, tmp_path / "vss", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    if _pip(python, "download", "--no-deps", "--dest", str(tmp_path), "setuptools"):
        pytest.skip("pip reaches no package index")
    assert _pip(python, "install", f"{copy}[test]") == 0
    assert subprocess.run([python, "-m", "pytest", "-q"], cwd=copy, check=False).returncode == 0


def _pip(python: Path, *arguments: str) -> int:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=False).returncode
