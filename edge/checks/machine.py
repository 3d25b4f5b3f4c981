"""What the machine offers besides devices: room on the disk, clocks, a place for compiled kernels."""

import ctypes
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise

from bundle.folders import engine_folder
from edge.checks.finding import Finding
from edge.clock import now_ns

LOW_DISK_GB = 1.0
"""Engines of one bundle take tens of MB, a build's work some hundreds."""

TIME_ERROR = 5
"""What adjtimex(2) answers where nothing keeps the clock right."""

RATE_SPAN_S, RATE_TOLERANCE = 0.1, 0.01
"""NTP slews a clock by 0.0005 at most."""


def check_disk() -> Iterator[Finding]:
    """Room where engines are kept."""
    folder = next(place for place in (engine_folder(), *engine_folder().parents) if place.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    text = f"{free_gb:.1f} GB free where engines are kept"
    if free_gb < LOW_DISK_GB:
        mend = f"du -xh {folder} | sort -h | tail  (shows what is large)"
        yield Finding("disk", "warning", f"{text}; expected {LOW_DISK_GB:.0f} GB or more", mend)
    else:
        yield Finding("disk", "ok", text)


def check_clock() -> Iterator[Finding]:
    """Whether the clock that stamps all data runs evenly; whether the wall clock is right."""
    rate = _rate_of_clock()
    if rate is not None and abs(rate - 1) < RATE_TOLERANCE:
        yield Finding("clock", "ok", "it never runs back, and runs as fast as the hardware's")
    else:
        told = "runs back" if rate is None else f"runs {rate:.3f} times as fast as the hardware's"
        mend = "Choose another source of time: cat /sys/devices/system/clocksource/*/available_clocksource"
        yield Finding("clock", "failure", f"CLOCK_BOOTTIME {told}", mend)
    answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # struct timex, all 0: only ask
    if answer == TIME_ERROR:
        text = "the wall clock is not synchronised; states do not need it, certificates of mqtts:// and logs do"
        yield Finding("time of day", "warning", text, "sudo timedatectl set-ntp true")
    elif answer < 0:
        yield Finding("time of day", "ok", "this system does not tell whether it is synchronised")
    else:
        yield Finding("time of day", "ok", "synchronised")


def _rate_of_clock() -> float | None:
    """Of the runtime's clock against the hardware's own; None where it runs back."""
    began_ns, began_hardware_ns = _both_clocks_ns()
    readings_ns = [began_ns]
    deadline_s = time.monotonic() + RATE_SPAN_S
    while time.monotonic() < deadline_s:
        readings_ns.append(now_ns())
    ended_ns, ended_hardware_ns = _both_clocks_ns()
    if any(later < earlier for earlier, later in pairwise([*readings_ns, ended_ns])):
        return None
    return (ended_ns - began_ns) / (ended_hardware_ns - began_hardware_ns)


def _both_clocks_ns() -> tuple[int, int]:
    """The runtime's clock and the hardware's at one moment: the closest of some pairs, as others run in between."""
    pairs = []
    for _ in range(5):
        before_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        ours_ns = now_ns()
        pairs.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - before_ns, ours_ns, before_ns))
    return min(pairs)[1:]


def check_kernel_cache() -> Iterator[Finding]:
    """Where compiled kernels are kept; without such a place they cannot even be loaded."""
    try:
        from kernels.high_pass_cpu import filter_in_place
    except RuntimeError as error:  # Numba's
        mend = "export NUMBA_CACHE_DIR=/var/tmp/edge-emotion  (as a service: packaging/edge-run.service)"
        yield Finding("kernel cache", "failure", f"compiled kernels cannot be kept: {error}", mend)
        return
    yield Finding("kernel cache", "ok", f"compiled kernels are kept in {filter_in_place.stats.cache_path}")
