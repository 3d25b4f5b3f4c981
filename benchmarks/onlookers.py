"""What looking on costs the loop: passes over the demo clip in real time, with and without, in turn.

    python -m benchmarks.onlookers --passes 10 [--mqtt mqtt://localhost/bench]

A work time is that of one update: its images and sound perceived, its message made and published. Browsers and
Prometheus are played by another process.
"""

import argparse
import itertools
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import DEMO
from bundle.manifest import DEFAULT_BUNDLE
from edge.fan_out import FanOut, open_publishers
from edge.message import Dropped, message_from_state
from edge.options import parse_options
from edge.publishers.jsonl import lines_in_file
from perception.chunks import AudioChunk, VideoChunk
from perception.clip import decode_clip
from perception.mediapipe_face import MediaPipeFaceDetector
from perception.network import Network, open_network
from perception.pipeline import Perception
from perception.state import StateMachine

ONLOOKERS = """
import sys, threading, time, urllib.request
def read(url):
    with urllib.request.urlopen(url) as stream:
        while stream.read1(1 << 16): pass
for path in ("events", "camera.mjpg"):
    threading.Thread(target=read, args=(sys.argv[1] + path,)).start()
while True:
    urllib.request.urlopen(sys.argv[2]).read()
    time.sleep(1)
"""


def main() -> None:
    """Print the work times without and with onlookers: of the wall clock, and of the loop's thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=10, help="of each kind")
    parser.add_argument("--mqtt", metavar="URL", help="publish to this broker too")
    given = parser.parse_args()
    if given.passes < 1:
        parser.error(f"--passes is {given.passes}; expected 1 or more.")
    flags = ["--dashboard", "0", "--metrics", "0", *(["--mqtt", given.mqtt] if given.mqtt else [])]
    network, chunks = open_network(DEFAULT_BUNDLE), [*decode_clip(DEMO)]
    detect = MediaPipeFaceDetector()
    with ExitStack() as stack:
        looked_on = open_publishers(parse_options(flags), stack)
        browsers = subprocess.Popen([sys.executable, "-c", ONLOOKERS, *looked_on.urls], stderr=subprocess.DEVNULL)
        stack.callback(browsers.terminate)
        nowhere = lines_in_file(Path(os.devnull), threading.Event(), back_pressure=False)
        lines = stack.enter_context(nowhere)
        contestants = {"alone": FanOut(), "looked on": looked_on}
        for fan_out in contestants.values():
            fan_out.add(lines)
        work_ms: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for number in range(given.passes + 1):
            for name in sorted(contestants, reverse=bool(number % 2)):
                times = _pass(network, detect, chunks, contestants[name])
                work_ms[name] += times if number else []  # the first of each does not count
    for name, times in work_ms.items():
        wall, thread = (np.percentile(column, (50, 90, 99)) for column in zip(*times, strict=True))
        told = "; ".join(
            f"{kind} p50 {p50:.2f}, p90 {p90:.2f}, p99 {p99:.2f} ms"
            for kind, (p50, p90, p99) in (("wall", wall), ("the loop's thread", thread))
        )
        print(f"{name:10} {len(times)} updates: {told}")


def _pass(
    network: Network, detector: MediaPipeFaceDetector, chunks: list[AudioChunk | VideoChunk], fan_out: FanOut
) -> list[tuple[float, float]]:
    """Milliseconds of wall clock and of this thread's processor time that each update took."""
    perception = Perception(network, detect=detector.detect, microphone=True, start_ns=0, tap=fan_out.tap)
    state, step_ns, times = StateMachine(network.labels), network.window.step_ns, []
    begun_s = time.monotonic()
    for seq, (number, group) in enumerate(itertools.groupby(chunks, lambda chunk: chunk.captured_ns // step_ns + 1)):
        time.sleep(max(0.0, begun_s + number * step_ns / 1e9 - time.monotonic()))
        wall_s, thread_s = time.perf_counter(), time.thread_time()
        for chunk in group:
            perception.push(chunk)
        judged = state.update(perception.estimate(number))
        fan_out.publish(message_from_state(seq, judged, number * step_ns, Dropped(), "default", network.engine_name))
        times.append((1e3 * (time.perf_counter() - wall_s), 1e3 * (time.thread_time() - thread_s)))
    return times[5:]  # before that, nothing but the face is there to be encoded


if __name__ == "__main__":
    main()
