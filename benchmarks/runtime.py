"""The real edge-run on a clip in place of its devices, in real time: ages, delays, stages, drops, and what it takes."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.camera_clip import write_camera_clip
from benchmarks.interleave import hardware
from benchmarks.machine import ProcessMeter
from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.message import Message

WARM_UP_S = 10.0
"""After the first message, of which nothing counts: networks load, caches fill."""

STARTS_WITHIN_S = 60.0

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Measure:
    """Quantiles of `count` values; of a single value, the value itself."""

    measure: str
    unit: str
    count: int
    p50: float
    p90: float
    p99: float
    max: float
    hardware: str


@dataclass(frozen=True)
class RuntimeRun:
    """A run after its warm-up.

    messages : of edge-run. samples : by what was measured, (unit, (second from the start, value) of each). stages :
    microseconds of each call. appears_ns, leaves_ns : when the driver came into view and left, by the messages' clock.
    """

    messages: Sequence[Message]
    samples: Mapping[str, tuple[str, Sequence[tuple[float, float]]]]
    stages: Mapping[str, Sequence[float]]
    appears_ns: Sequence[int]
    leaves_ns: Sequence[int]

    def measures(self) -> list[Measure]:
        """All rows; delays only where there was an event, GPU and power only where the machine tells them."""
        messages = self.messages
        ages = [m["age_ms"] for m in messages if m["age_ms"] is not None]
        intervals = [(b["emitted_ns"] - a["emitted_ns"]) / 1e6 for a, b in pairwise(messages)]
        seconds = (messages[-1]["emitted_ns"] - messages[0]["emitted_ns"]) / NS_PER_S
        rows = {
            "throughput": ("updates/s", [(len(messages) - 1) / seconds]),
            "age": ("ms", ages),
            "between updates": ("ms", intervals),
            "driver appears, to state": ("ms", delays_ms(messages, self.appears_ns, known=True)),
            "driver leaves, to unknown": ("ms", delays_ms(messages, self.leaves_ns, known=False)),
            **{f"stage: {stage}": ("ms", [us / 1e3 for us in times]) for stage, times in self.stages.items()},
            **{
                f"dropped {what}": (what, [count - messages[0]["dropped"][what]])
                for what, count in messages[-1]["dropped"].items()
            },
            **{name: (unit, [value for _, value in values]) for name, (unit, values) in self.samples.items()},
        }
        return [_measure(name, unit, values) for name, (unit, values) in rows.items() if values]


def run_runtime(clip: Path, bundle: Path, duration_s: float) -> RuntimeRun:
    """Measure for `duration_s` after the warm-up.

    Raises
    ------
    InputError : the clip cannot be read, or edge-run does not start, or does not run so long.
    """
    with TemporaryDirectory() as folder:
        camera, times, errors = (Path(folder) / name for name in ("camera.mkv", "times.json", "errors.txt"))
        driver_s = write_camera_clip(clip, camera)
        lasts_s = WARM_UP_S + duration_s
        arguments = ["--clip", camera, "--chaos", "none", "--bundle", bundle.resolve()]
        command = [sys.executable, "-m", "benchmarks.stopwatch", times, *arguments]
        with _edge_run([str(part) for part in command], errors) as process:
            messages, samples = _watch(process, lasts_s, errors)
        if not messages or messages[-1]["emitted_ns"] - messages[0]["emitted_ns"] < WARM_UP_S * NS_PER_S:
            raise InputError(f"edge-run fell silent before {WARM_UP_S:g} s had passed; {_said(errors)}")
        timed = json.loads(times.read_text(encoding="utf-8"))
    return _after_warm_up(messages, samples, timed, driver_s)


def delays_ms(messages: Sequence[Message], events_ns: Sequence[int], *, known: bool) -> list[float]:
    """From each event to the emission of the first message that shows it: a state that is known, or "unknown".

    An event at which it is shown already, or that nothing follows before the next one, has no delay.
    """
    delays = []
    for event_ns, end_ns in pairwise([*events_ns, messages[-1]["emitted_ns"] + 1]):
        shown = [(m["state"] != UNKNOWN) == known for m in messages if m["emitted_ns"] < event_ns]
        following = (m for m in messages if event_ns <= m["emitted_ns"] < end_ns)
        shows = next((m for m in following if (m["state"] != UNKNOWN) == known), None)
        if shown and not shown[-1] and shows:
            delays.append((shows["emitted_ns"] - event_ns) / 1e6)
    return delays


@contextmanager
def _edge_run(command: Sequence[str], errors: Path) -> Iterator[subprocess.Popen[str]]:
    with (
        errors.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()  # it finishes the update in hand
            process.wait()


def _watch(process: subprocess.Popen[str], lasts_s: float, errors: Path) -> tuple[list[Message], dict[str, Any]]:
    """Read messages and sample the process each second, from the first message after its networks are loaded.

    A machine's first start compiles kernels meanwhile, longer than the warm-up. `errors` : what the process says.
    """
    assert process.stdout is not None
    messages: list[Message] = []
    first = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if message["engine"] != "loading":
                messages.append(message)
                first.set()
        first.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    if not first.wait(STARTS_WITHIN_S):
        raise InputError(f"edge-run has not loaded its networks within {STARTS_WITHIN_S:g} s; {_said(errors)}")
    samples: dict[str, Any] = {}
    meter, began_s = ProcessMeter(process.pid, time.monotonic), time.monotonic()
    for second in tqdm(range(1, round(lasts_s) + 1), "edge-run", unit="s", disable=None):
        time.sleep(max(0.0, began_s + second - time.monotonic()))
        if process.poll() is not None:
            raise InputError(f"edge-run ended too early, with exit status {process.returncode}; {_said(errors)}")
        for name, (unit, value) in meter.sample().items():
            samples.setdefault(name, (unit, []))[1].append((float(second), value))
    process.terminate()
    reader.join()
    return messages, samples


def _said(errors: Path) -> str:
    return f"it says: {errors.read_text(encoding='utf-8').strip() or 'nothing'}"


def _after_warm_up(
    messages: Sequence[Message], samples: Mapping[str, Any], timed: Mapping[str, Any], driver_s: float
) -> RuntimeRun:
    begin_ns, end_ns = messages[0]["emitted_ns"] + round(WARM_UP_S * NS_PER_S), messages[-1]["emitted_ns"]
    appears = range(timed["origin_ns"], end_ns, timed["lap_ns"])
    leaves = [event_ns + round(driver_s * NS_PER_S) for event_ns in appears]
    return RuntimeRun(
        [m for m in messages if m["emitted_ns"] >= begin_ns],
        {
            name: (unit, [(second - WARM_UP_S, value) for second, value in values if second > WARM_UP_S])
            for name, (unit, values) in samples.items()
        },
        {stage: [ns / 1e3 for at_ns, ns in calls if at_ns >= begin_ns] for stage, calls in timed["times"].items()},
        [event_ns for event_ns in appears if event_ns >= begin_ns],
        [event_ns for event_ns in leaves if event_ns >= begin_ns],
    )


def _measure(name: str, unit: str, values: Sequence[float]) -> Measure:
    p50, p90, p99 = (round(float(value), 3) for value in np.percentile(values, (50, 90, 99)))
    return Measure(name, unit, len(values), p50, p90, p99, round(float(max(values)), 3), hardware())
