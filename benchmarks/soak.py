"""Hours of driving as fast as this machine perceives them: does edge-run's memory grow?

    python -m benchmarks.soak --hours 8

The demo clip is copied one after the other into a file of that length, without being encoded anew (250 MB per hour, in
a temporary folder), and `edge-run --clip` perceives it. Memory is what the process holds (resident), from the first
half hour on the largest of each hour's quarter: the allocator breathes within one.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from benchmarks import DEMO
from benchmarks.machine import ProcessMeter
from bundle.features import NS_PER_S

WARM_UP_H = 0.5
QUARTER_H = 0.25
MOST_GROWTH = 0.01


def main() -> int:
    """Print the growth; the exit status is 1 where it is 1 % or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help="of driving, 1 or more (default: %(default)s)")
    hours = parser.parse_args().hours
    if not 1 <= hours < math.inf:
        parser.error(f"--hours is {hours:g}; expected 1 or more: the first half hour is warm-up.")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "drive.mkv"
        _repeat(DEMO, clip, hours)
        times_h, resident_mb, updates = _watch(clip, hours)
    late = times_h >= WARM_UP_H
    peaks = _quarterly_peaks(times_h[late], resident_mb[late])
    growth = peaks[-1] / peaks[0] - 1
    print(
        f"{updates} updates of {hours:g} h; memory {peaks[0]:.1f} MB after warm-up, {peaks[-1]:.1f} MB at the end: ",
        end="",
    )
    print(
        f"{growth:+.2%} (limit {MOST_GROWTH:.0%}); per quarter of an hour: {', '.join(f'{peak:.1f}' for peak in peaks)}"
    )
    return int(growth >= MOST_GROWTH)


def _repeat(source: Path, target: Path, hours: float) -> None:
    """Copy the packets of `source` to `target` over and over, each time later."""
    with av.open(str(source)) as clip, av.open(str(target), "w", format="matroska") as drive:
        spans_s = [(p.dts * p.time_base, (p.dts + p.duration) * p.time_base) for p in clip.demux() if p.dts is not None]
        length_s = max(end_s for _, end_s in spans_s) - min(begin_s for begin_s, _ in spans_s)
        streams = {stream.index: drive.add_stream_from_template(stream) for stream in clip.streams}
        for lap in tqdm(range(math.ceil(hours * 3600 / length_s)), "make the drive", leave=False):
            clip.seek(0)
            for packet in clip.demux():
                if packet.dts is not None:
                    shift = round(lap * length_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    drive.mux(packet)


def _watch(clip: Path, hours: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Hours into the drive, the memory then in MB, and how many updates came."""
    command = [sys.executable, "-m", "edge.run", "--clip", str(clip), "--duration", str(hours * 3600)]
    samples, updates = [], 0
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=DEMO.parents[1]) as run,
        tqdm(total=round(hours * 3600), desc="perceive it", unit="s") as progress,
    ):
        assert run.stdout
        meter = ProcessMeter(run.pid, time.monotonic)
        for line in run.stdout:
            updates += 1
            if updates % 50 == 0:
                elapsed_s = json.loads(line)["captured_ns"] / NS_PER_S
                samples.append((elapsed_s / 3600, meter.resident_mb()))
                progress.update(round(elapsed_s) - progress.n)
    if run.returncode:
        raise SystemExit(run.returncode)
    times_h, resident_mb = np.array(samples).T
    return times_h, resident_mb, updates


def _quarterly_peaks(times_h: np.ndarray, resident_mb: np.ndarray) -> list[float]:
    quarters = ((times_h - times_h[0]) // QUARTER_H).astype(int)
    return [float(resident_mb[quarters == quarter].max()) for quarter in range(quarters.max() + 1)]


if __name__ == "__main__":
    sys.exit(main())
