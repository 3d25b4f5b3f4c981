"""A build's progress on standard error, and being stopped in it, where TensorRT offers a monitor (8.6 does not)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

QUIET_S = 2.0
"""Builds shorter than this show nothing."""


@contextmanager
def build_progress(trt: Any, config: Any, name: str) -> Iterator[None]:
    """Show the build that runs inside; Ctrl-C or SIGTERM end it at its next step and then raise KeyboardInterrupt."""
    if not hasattr(trt, "IProgressMonitor"):
        yield
        return
    stopped = threading.Event()
    with tqdm(desc=name, total=0, delay=QUIET_S, disable=None, leave=False, unit="step") as bar:
        monitor = _monitor(trt, bar, stopped)
        config.progress_monitor = monitor
        previous = {
            number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if stopped.is_set():
        raise KeyboardInterrupt


def _monitor(trt: Any, bar: Any, stopped: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Adds up the steps of all phases, which nest, and become known as they begin."""

        def __init__(self) -> None:
            super().__init__()  # of C++: without it, the object is none

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            bar.total += num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            bar.update()
            return not stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            bar.refresh()

    return Monitor()
