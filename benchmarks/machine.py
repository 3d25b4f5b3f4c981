"""What a process takes of the machine: processor, memory, and where there is one, GPU and power. Linux."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path("/")

NVIDIA_SMI = {
    "GPU": ("%", "utilization.gpu"),
    "GPU memory": ("MiB", "memory.used"),
    "GPU power": ("W", "power.draw"),
}
"""Unit and field of nvidia-smi --help-query-gpu; of the whole first GPU, whoever uses it."""


class ProcessMeter:
    """Samples of one process by name: (unit, value).

    CPU is the share of one core since the sample before, memory what is resident. Of a GPU and of a Jetson's rails
    what the machine has, for all that runs on it.
    """

    def __init__(self, pid: int, clock_s: Callable[[], float], root: Path = ROOT) -> None:
        self._process, self._clock_s = root / "proc" / str(pid), clock_s
        self._rails, self._loads = _rails(root), sorted(root.glob("sys/class/devfreq/*/device/load"))
        self._smi = shutil.which("nvidia-smi")
        self._before = self._clock_s(), self.cpu_s()

    def cpu_s(self) -> float:
        """Seconds of processor time that the process took so far, in all its threads (proc_pid_stat(5))."""
        fields = (self._process / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def sample(self) -> dict[str, tuple[str, float]]:
        """OSError once the process is gone."""
        (before_s, before_cpu_s), now = self._before, (self._clock_s(), self.cpu_s())
        self._before = now
        share = 100 * (now[1] - before_cpu_s) / max(now[0] - before_s, 1e-9)
        return {"CPU": ("% of a core", share), "memory": ("MB", self.resident_mb()), **self._gpu(), **self._jetson()}

    def resident_mb(self) -> float:
        """Memory that the process holds now."""
        pages = int((self._process / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _gpu(self) -> dict[str, tuple[str, float]]:
        if not self._smi:
            return {}
        query = ",".join(field for _, field in NVIDIA_SMI.values())
        command = [self._smi, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return values_of_nvidia_smi(told)

    def _jetson(self) -> dict[str, tuple[str, float]]:
        values = {
            name: ("W", int(volts.read_text()) * int(amperes.read_text()) / 1e6)  # mV, mA
            for name, (volts, amperes) in self._rails.items()
        }
        if self._loads:
            values["GPU"] = ("%", int(self._loads[0].read_text()) / 10)  # in thousandths
        return values


def values_of_nvidia_smi(told: str) -> dict[str, tuple[str, float]]:
    """Of the first line; a field that this GPU does not tell ("[N/A]") is left out."""
    values = {}
    for (name, (unit, _)), text in zip(NVIDIA_SMI.items(), told.partition("\n")[0].split(","), strict=False):
        try:
            values[name] = (unit, float(text))
        except ValueError:
            continue
    return values


def _rails(root: Path) -> Mapping[str, tuple[Path, Path]]:
    """Voltage and current by rail of a Jetson's INA3221 (Jetson Linux Developer Guide, "Power Monitoring")."""
    rails = {}
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in*_label")):
        number = label.name.removeprefix("in").removesuffix("_label")
        volts, amperes = label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
        if volts.exists() and amperes.exists():
            rails[f"power {label.read_text().strip()}"] = (volts, amperes)
    return rails
