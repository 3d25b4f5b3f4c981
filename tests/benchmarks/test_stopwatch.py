"""A stopwatch at each stage changes nothing but the record."""

from types import SimpleNamespace

import pytest

import benchmarks.stopwatch as stopwatch_module
from benchmarks import DEMO
from benchmarks.stopwatch import STAGES, Stopwatch
from edge.clip_devices import ClipDevices


def test_every_stage_is_there_to_be_timed() -> None:
    assert all(callable(getattr(owner, name)) for owner, name in STAGES.values())


def test_calls_are_recorded_and_returned() -> None:
    stopwatch = Stopwatch()
    double = stopwatch.timed("state", lambda value, *, by: value * by)
    assert [double(2, by=3), double(4, by=5)] == [6, 20]
    (first_ns, taken_ns), (second_ns, _) = stopwatch.times["state"]
    assert first_ns + taken_ns <= second_ns + 1_000_000  # clocks of their own
    assert taken_ns > 0


def test_a_call_that_fails_is_recorded_and_fails() -> None:
    stopwatch = Stopwatch()
    with pytest.raises(ZeroDivisionError):
        stopwatch.timed("state", lambda: 1 / 0)()
    assert len(stopwatch.times["state"]) == 1


def test_laps_are_those_of_the_clips_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch_module, "STAGES", {})
    monkeypatch.setattr(ClipDevices, "__init__", ClipDevices.__init__)  # to be restored
    stopwatch = Stopwatch()
    stopwatch.attach()
    devices = ClipDevices(DEMO, None)
    assert (stopwatch.origin_ns, stopwatch.lap_ns) == (devices.origin_ns, devices.length_ns)


def test_networks_are_told_apart() -> None:
    stopwatch = Stopwatch()
    run = stopwatch.timed("run", lambda engine: engine.part)
    assert run(SimpleNamespace(part="visual")) == "visual"
    run(SimpleNamespace(part="head"))
    assert set(stopwatch.times) == {"run visual", "run head"}
