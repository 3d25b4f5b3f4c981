"""What looking on costs the loop: runs of the demo clip with and without, in turn.

python -m benchmarks.onlookers --pairs 10
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np

DEMO = Path(__file__).parents[1] / "demo" / "driver.mp4"
WARM_UP = 10
"""Updates of each run that do not count: the networks' first inferences are among them."""


def main() -> None:
    """Print the ages of messages without and with onlookers, and processor time of the whole process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    flags = {"alone": [], "dashboard + metrics": ["--dashboard", "0", "--metrics", "0"]}
    ages_ms: dict[str, list[float]] = {name: [] for name in flags}
    cpu_s: dict[str, list[float]] = {name: [] for name in flags}
    for number in range(pairs):
        for name in sorted(flags, reverse=bool(number % 2)):
            ages, seconds = _run(flags[name])
            ages_ms[name] += ages
            cpu_s[name].append(seconds)
    for name in flags:
        median, p90, p99 = np.percentile(ages_ms[name], (50, 90, 99))
        print(
            f"{name:20} {len(ages_ms[name])} updates, age p50 {median:.1f}, p90 {p90:.1f}, p99 {p99:.1f} ms; "
            f"processor {np.median(cpu_s[name]):.2f} s a run"
        )


def _run(flags: list[str]) -> tuple[list[float], float]:
    command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), "--realtime", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(len(flags) // 2):
        url = re.findall(r"http://\S+", process.stderr.readline())[0]
        for path in ("", "events", "camera.mjpg"):
            threading.Thread(target=_look_on, args=(url + path,), daemon=True).start()
    ages = [json.loads(line)["age_ms"] for line in process.stdout]
    process.stderr.read()
    _, _, usage = os.wait4(process.pid, 0)
    return [age for age in ages[WARM_UP:] if age is not None], usage.ru_utime + usage.ru_stime


def _look_on(url: str) -> None:
    """Read all that comes, as a browser does."""
    with suppress(OSError), urllib.request.urlopen(url) as stream:
        while stream.read1(1 << 16):
            pass


if __name__ == "__main__":
    main()
