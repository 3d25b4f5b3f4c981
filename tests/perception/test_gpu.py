"""Compute capability, asked of a driver compiled for the test: this is C, as the real one."""

import shutil
import subprocess

import pytest

from perception.gpu import compute_capability

DRIVER = """
int cuInit(unsigned flags) {{ return {init}; }}
int cuDeviceGet(int *device, int ordinal) {{ *device = 7 + ordinal; return 0; }}
int cuDeviceGetAttribute(int *value, int attribute, int device) {{
    if (device != 7) return 101;
    *value = attribute == 75 ? {major} : attribute == 76 ? {minor} : -1;
    return 0;
}}
"""


@pytest.fixture
def driver(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")

    def compile_driver(**values):
        (tmp_path / "cuda.c").write_text(DRIVER.format(**values))
        library = tmp_path / "libcuda.so.1"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "cuda.c"], check=True)
        return str(library)

    return compile_driver


@pytest.mark.parametrize(("major", "minor", "expected"), [(8, 7, 87), (12, 0, 120), (11, 0, 110)])
def test_capability_is_the_first_gpus(driver, major, minor, expected):
    assert compute_capability(driver(init=0, major=major, minor=minor)) == expected


def test_a_driver_without_a_gpu_gives_none(driver):
    assert compute_capability(driver(init=100, major=8, minor=9)) is None  # CUDA_ERROR_NO_DEVICE


def test_no_driver_gives_none():
    assert compute_capability("libnone.so.1") is None
