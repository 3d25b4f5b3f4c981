"""Compile the CUDA kernel without a device, and print what the assembler says of it, as JSON: compile_cuda.py 87 [24].

Arguments: compute capability, and registers that a thread may use. A process of its own for each, since Numba keeps
compiled device functions without asking for which capability they were made.
"""

import json
import re
import sys
import types
from pathlib import Path

from cuda.bindings import nvjitlink
from numba import complex64, cuda, float32, int32, uint8
from numba.cuda import dispatcher
from numba.cuda.types import NamedTuple, float16

sys.path.insert(0, str(Path(__file__).parents[2]))
from kernels.cuda_face import FaceArrays
from kernels.cuda_spectrogram import SpectrogramArrays
from kernels.cuda_tick import tick_kernel

REPORT = {
    "stack": r"(\d+) bytes stack frame",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
    "registers": r"used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "local": r"(\d+) bytes lmem",
}


def argument_types(crops):
    """Numba's types of the kernel's arguments."""
    floats, table = float32[::1], float32[:, ::1]
    numbers = [int32] * 5 + [float32] * 3
    inputs = [int32[::1], floats, floats]
    tables = [floats, complex64[::1], table, int32[:, ::1], table]
    spectrogram = [*numbers, *inputs, *tables, table, table, table]
    faces = [int32, int32[::1], table, float32[:, :, ::1], uint8[::1], crops[:, :, :, ::1]]
    return NamedTuple(spectrogram, SpectrogramArrays), NamedTuple(faces, FaceArrays)


def ptx_of_kernel(capability, crops):
    major, minor = divmod(capability, 10)
    # Numba asks a device what to compile device functions for, even when told.
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=(major, minor))
    signature = argument_types(crops)
    ptx, _ = cuda.compile(tick_kernel.py_func, signature, device=False, fastmath=True, cc=(major, minor), abi="numba")
    return ptx


def cubin_and_log(ptx, *options):
    """Machine code, and the assembler's log."""
    code, options = ptx.encode(), ["-verbose", *options]
    handle = nvjitlink.create(len(options), options)
    nvjitlink.add_data(handle, nvjitlink.InputType.PTX, code, len(code), "tick_kernel")
    nvjitlink.complete(handle)
    log = bytearray(nvjitlink.get_info_log_size(handle))
    nvjitlink.get_info_log(handle, log)
    cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
    nvjitlink.get_linked_cubin(handle, cubin)
    nvjitlink.destroy(handle)
    return bytes(cubin), log.decode(errors="replace")


def report(capability, crops, *options):
    ptx = ptx_of_kernel(capability, crops)
    cubin, log = cubin_and_log(ptx, f"-arch=sm_{capability}", *options)
    found = {name: re.findall(pattern, log) for name, pattern in REPORT.items()}
    if any(len(values) != 1 for values in found.values()):
        raise ValueError(f"The log tells {found}; expected each once. It reads:\n{log}")
    numbers = {name: int(value) for name, (value,) in found.items()}
    return {**numbers, "double": len(re.findall(r"\.f64\b", ptx)), "cubin": cubin[:4].hex()}


if __name__ == "__main__":
    capability, *limit = map(int, sys.argv[1:])
    options = [f"-maxrregcount={registers}" for registers in limit]
    print(json.dumps({kind.name: report(capability, kind, *options) for kind in (float32, float16)}))
