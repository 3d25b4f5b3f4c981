"""Every fault of --chaos: states never stop, recovery comes in time, and nothing is lost but what the fault removed."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import jsonschema
import pytest

from edge.scenarios import SCENARIOS, Scenario
from tests.edge.test_run import DEMO, ROOT, SCHEMA, assert_clear_error, edge_run
from tests.stalls import Stalls

S = 1_000_000_000
LATE_S = 0.45

Message = dict[str, Any]


@dataclass
class ChaosRun:
    """One run of the demo clip as live devices, long enough for the scenario and twice its recovery."""

    scenario: Scenario

    @cached_property
    def messages(self) -> list[Message]:
        with Stalls() as self.stalls:
            return self._run()

    def _run(self) -> list[Message]:
        lasts_s = 30 + self.scenario.begins_s + self.scenario.lasts_s + 2 * self.scenario.recovers_s
        command = [sys.executable, "-m", "edge.run", "--clip", DEMO, "--chaos", self.scenario.name]
        with subprocess.Popen(
            [*map(str, command), "--duration", str(lasts_s)], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            got = []
            for line in process.stdout:
                got.append(json.loads(line))
                if len(got) > 1 and self._ends_ns(got) + 2 * self.scenario.recovers_s * S < got[-1]["captured_ns"]:
                    break
            process.terminate()
            _, self.errors = process.communicate(timeout=20)
        assert process.returncode == 0, self.errors
        return got

    def _begins_ns(self, messages: list[Message]) -> int:
        """About when the fault began: the scenario counts from when face and voice were first perceived together."""
        both = next((m["captured_ns"] for m in messages if m["source"] == "audio+video"), messages[-1]["captured_ns"])
        return both + round(self.scenario.begins_s * S)

    def _ends_ns(self, messages: list[Message]) -> int:
        return self._begins_ns(messages) + round(self.scenario.lasts_s * S)

    @property
    def during(self) -> list[Message]:
        begins_ns, ends_ns = self._begins_ns(self.messages), self._ends_ns(self.messages)
        return [m for m in self.messages if begins_ns <= m["captured_ns"] <= ends_ns]

    @property
    def before(self) -> list[Message]:
        """The last second before the fault."""
        begins_ns = self._begins_ns(self.messages) - S // 2
        return [m for m in self.messages if begins_ns - S <= m["captured_ns"] < begins_ns]

    @property
    def recovered(self) -> list[Message]:
        """From the stated recovery time on; half a second is for the clocks of loop, devices and windows."""
        from_ns = self._ends_ns(self.messages) + round((self.scenario.recovers_s + 0.5) * S)
        return [m for m in self.messages if m["captured_ns"] >= from_ns]

    def told(self, *names: str) -> set[Any]:
        """Values of a field during the fault and up to recovery."""
        end_ns = self.recovered[0]["captured_ns"]
        values = set()
        for message in self.messages:
            if self.during[0]["captured_ns"] <= message["captured_ns"] < end_ns:
                value: Any = message
                for name in names:
                    value = value[name]
                values.add(value)
        return values


RUNS = {name: ChaosRun(scenario) for name, scenario in SCENARIOS.items()}

WITHOUT_SIGHT = {"unplug-camera", "freeze-camera", "black-camera", "engine-failure"}
STANDS_STILL = {"suspend"}
WITHOUT_SOUND = {"unplug-microphone", "suspend", "wrong-rate"}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", SCENARIOS)
def test_states_never_stop(name: str) -> None:
    run = RUNS[name]
    for message in run.messages:
        jsonschema.validate(message, SCHEMA)
    assert [m["seq"] for m in run.messages] == list(range(len(run.messages)))
    gaps_s = [(b["emitted_ns"] - a["emitted_ns"]) / S for a, b in pairwise(run.messages)]
    longest_s = run.scenario.lasts_s + 1 if name in STANDS_STILL else 1.0
    assert max(gaps_s) < longest_s + run.stalls.longest_s


@pytest.mark.parametrize("name", SCENARIOS)
def test_recovery_comes_within_its_stated_time(name: str) -> None:
    run = RUNS[name]
    assert {m["source"] for m in run.before} == {"audio+video"}, "the clip was perceived before the fault"
    assert run.recovered
    assert {m["source"] for m in run.recovered} == {"audio+video"}
    assert {m["health"]["camera"] for m in run.recovered} == {"ok"}
    assert {m["health"]["microphone"] for m in run.recovered} == {"ok"}
    if name == "overload":
        assert {m["health"]["load"] for m in run.recovered} == {"normal"}
    assert {m["engine"] for m in run.recovered} == {m["engine"] for m in run.before}


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_but_what_the_fault_removed(name: str) -> None:
    run = RUNS[name]
    lost = run.messages[-1]["dropped"]["audio"] - run.before[0]["dropped"]["audio"]
    if name in WITHOUT_SOUND:
        assert lost <= (run.scenario.lasts_s + 1) * 16_000
    else:  # the clip that stands for devices loses what is older than half a second
        assert lost <= sum(stall_s for _, stall_s in run.stalls.times if stall_s > LATE_S) * 16_000
    if name in WITHOUT_SIGHT:
        assert "audio" in run.told("source")
        assert {m["voice"] for m in run.during} == {"speech"}
    elif name in ("unplug-microphone", "mute-microphone"):
        assert "video" in run.told("source")
        assert {m["face"] for m in run.during if not run.stalls.near(m["captured_ns"], within_s=1)} == {"ok"}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("unplug-camera", ("health", "camera"), "lost"),
        ("unplug-camera", ("face",), "no image"),
        ("freeze-camera", ("health", "camera"), "frozen"),
        ("slow-camera", ("health", "camera"), "slow"),
        ("black-camera", ("health", "camera"), "black"),
        ("black-camera", ("face",), "dark"),
        ("unplug-microphone", ("health", "microphone"), "lost"),
        ("unplug-microphone", ("voice",), "lost"),
        ("mute-microphone", ("health", "microphone"), "silent"),
        ("mute-microphone", ("voice",), "silent"),
        ("wrong-rate", ("health", "microphone"), "wrong rate"),
        ("overload", ("health", "load"), "reduced rate"),
    ],
)
def test_fault_is_told(name: str, field: tuple[str, ...], value: str) -> None:
    assert value in RUNS[name].told(*field)


def test_a_failing_engine_is_named() -> None:
    run = RUNS["engine-failure"]
    (engine,) = {m["engine"] for m in run.before}
    assert run.told("engine") == {engine, f"{engine}, visual fails"}


def test_clock_that_jumps_changes_nothing() -> None:
    run = RUNS["clock-jump"]
    assert {m["source"] for m in run.during} == {"audio+video"}
    assert {m["voice"] for m in run.during} == {"speech"}


@pytest.mark.parametrize(("name", "without"), [("overload", "camera"), ("wrong-rate", "microphone")])
def test_scenario_of_a_device_that_is_not_in_use_is_refused(name: str, without: str) -> None:
    result = edge_run("--clip", DEMO, "--chaos", name, f"--no-{without}", "--duration", 2)
    assert_clear_error(result, status=1, tells=f"needs a {without}")


def test_scenario_that_is_none_is_refused_with_those_that_are() -> None:
    assert_clear_error(edge_run("--clip", DEMO, "--chaos", "flood"), status=2, tells="freeze-camera")
