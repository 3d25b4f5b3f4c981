"""What a process takes: read from made-up files as Linux and a Jetson lay them out, and from this very process."""

import os
import time
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import ProcessMeter, values_of_nvidia_smi

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(autouse=True)
def without_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)


def write(root: Path, **files: object) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def process(root: Path, user_s: float, system_s: float) -> None:
    fields = ["S", *["0"] * 10, str(round(user_s * TICKS)), str(round(system_s * TICKS)), "0"]
    write(root, proc__7__stat=f"7 (a) b) {' '.join(fields)}", proc__7__statm="900 100 50 1 0 1 0")


def test_cpu_is_the_share_since_the_sample_before(tmp_path: Path) -> None:
    process(tmp_path, user_s=3, system_s=1)
    seconds = iter([10.0, 12.0])
    meter = ProcessMeter(7, lambda: next(seconds), tmp_path)
    process(tmp_path, user_s=4, system_s=1.5)
    sample = meter.sample()
    assert sample["CPU"] == ("% of a core", pytest.approx(75))
    assert sample["memory"] == ("MB", 100 * os.sysconf("SC_PAGE_SIZE") / 1e6)
    assert set(sample) == {"CPU", "memory"}, "what the machine does not have is not shown"


def test_rails_and_load_of_a_jetson_are_read(tmp_path: Path) -> None:
    process(tmp_path, 0, 0)
    rails = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    rails.mkdir(parents=True)
    values = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1500, "in7_label": "sum", "in7_input": 3}
    for name, value in values.items():
        (rails / name).write_text(f"{value}\n")
    load = tmp_path / "sys/class/devfreq/17000000.gpu/device/load"
    load.parent.mkdir(parents=True)
    load.write_text("423\n")
    sample = ProcessMeter(7, time.monotonic, tmp_path).sample()
    assert sample["power VDD_IN"] == ("W", 7.5)
    assert sample["GPU"] == ("%", 42.3)
    assert "power sum" not in sample, "it has no current of its own"


def test_fields_that_a_gpu_does_not_tell_are_left_out() -> None:
    assert values_of_nvidia_smi("37, 1024, 61.25\n5, 1, 1\n") == {
        "GPU": ("%", 37.0), "GPU memory": ("MiB", 1024.0), "GPU power": ("W", 61.25),
    }  # fmt: skip
    assert values_of_nvidia_smi("37, 1024, [N/A]\n") == {"GPU": ("%", 37.0), "GPU memory": ("MiB", 1024.0)}
    assert values_of_nvidia_smi("") == {}


def test_this_process_uses_memory_and_processor_time() -> None:
    meter = ProcessMeter(os.getpid(), time.monotonic)
    end_s = time.process_time() + 0.1
    while time.process_time() < end_s:
        pass
    sample = meter.sample()
    assert sample["CPU"][1] > 1
    assert sample["memory"][1] > 10
