"""The runtime's clock: monotonic, and running on while the machine is suspended."""

import time


def now_ns() -> int:
    """Nanoseconds since the machine's start. A suspend is a gap like any other: what was captured before it is old.

    Python's `time.monotonic` stands still meanwhile (clock_gettime(2)), and would take it for fresh.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
