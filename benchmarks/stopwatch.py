"""edge-run with a stopwatch at each of its stages: python -m benchmarks.stopwatch TIMES.json [options of edge-run].

Nothing in the runtime knows of it; TIMES.json is written when the run ends.
"""

import ctypes
import json
import sys
import time
from array import array
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import edge.clip_devices
import edge.run
import perception.encoders
from edge.clock import now_ns
from edge.publishers.jsonl import JsonLinesPublisher
from perception.mediapipe_face import MediaPipeFaceDetector
from perception.resilient import ResilientEngine
from perception.state import StateMachine
from perception.voice import VoiceActivity

STAGES: dict[str, tuple[Any, str]] = {
    "decode JPEG": (edge.clip_devices, "bgr_from_jpeg"),
    "find faces": (MediaPipeFaceDetector, "detect"),
    "crop face": (perception.encoders, "preprocess_faces"),
    "hear speech": (VoiceActivity, "push"),
    "run": (ResilientEngine, "run"),
    "state": (StateMachine, "update"),
    "publish": (JsonLinesPublisher, "publish"),
}
"""Functions by the names of their stages; "run" is told by the part of the network: "run visual"."""


class Stopwatch:
    """Times by stage: (when it began, how long it took), ns.

    origin_ns, lap_ns : when the clip's devices began, and after how long they begin anew; None before.
    """

    def __init__(self) -> None:
        self._times: dict[str, array[int]] = {}  # flat: as tuples they would be what grows in the process
        self.origin_ns: int | None = None
        self.lap_ns: int | None = None

    @property
    def times(self) -> dict[str, list[tuple[int, int]]]:
        return {stage: [*zip(flat[::2], flat[1::2], strict=True)] for stage, flat in self._times.items()}

    def attach(self) -> None:
        """Replace each stage by itself under the stopwatch."""
        for stage, (owner, name) in STAGES.items():
            setattr(owner, name, self.timed(stage, getattr(owner, name)))
        opened = edge.clip_devices.ClipDevices.__init__

        def begin(devices: Any, *arguments: Any) -> None:
            opened(devices, *arguments)
            self.origin_ns, self.lap_ns = devices.origin_ns, devices.length_ns
            ctypes.CDLL(None).malloc_trim(0)  # hundreds of MB that decoding left, and no camera would

        edge.clip_devices.ClipDevices.__init__ = begin  # type: ignore[assignment]

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            began_ns, start_ns = now_ns(), time.perf_counter_ns()
            try:
                return function(*arguments, **options)
            finally:
                taken_ns = time.perf_counter_ns() - start_ns
                name = f"run {arguments[0].part}" if stage == "run" else stage
                self._times.setdefault(name, array("q")).extend((began_ns, taken_ns))

        return run


def main() -> int:
    path, *arguments = sys.argv[1:]
    stopwatch = Stopwatch()
    stopwatch.attach()
    status = edge.run.main(arguments)
    kept = {name: getattr(stopwatch, name) for name in ("times", "origin_ns", "lap_ns")}
    Path(path).write_text(json.dumps(kept), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
