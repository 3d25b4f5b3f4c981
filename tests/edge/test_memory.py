"""Page faults of a process that takes and frees images."""

import platform
import subprocess
import sys

import pytest

TAKE_AND_FREE = """
import resource, sys
import numpy as np
from edge.memory import keep_freed_memory

def take_and_free():
    images = [np.ones((720, 1280, 3), np.uint8) for _ in range(4)]

if sys.argv[1] == "kept":
    keep_freed_memory()
take_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(25):
    take_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_images_are_kept_for_the_next():
    faults = {
        case: int(subprocess.run([sys.executable, "-c", TAKE_AND_FREE, case], capture_output=True, check=True).stdout)
        for case in ("kept", "given back")
    }
    assert faults["kept"] < 100
    assert faults["given back"] > 10_000
