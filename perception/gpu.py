"""The GPU of this machine, as its driver tells, without any package."""

import ctypes

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, cuda.h


def compute_capability(driver: str = "libcuda.so.1") -> int | None:
    """Of the first GPU, 10 * major + minor: 87 for a Jetson Orin; None without a GPU or its driver."""
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return None
    device, values = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    for value, attribute in zip(values, (_MAJOR, _MINOR), strict=True):
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None
    return 10 * values[0].value + values[1].value
