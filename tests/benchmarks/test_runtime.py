"""What a run amounts to: rows from messages, samples and stages, and how long a state takes to follow its event."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import benchmarks.runtime
from benchmarks import DEMO
from benchmarks.runtime import RuntimeRun, _after_warm_up, delays_ms, run_runtime
from bundle.errors import InputError
from bundle.manifest import DEFAULT_BUNDLE

MS, S = 1_000_000, 1_000_000_000


def message(at_ns: int, state: str = "unknown", age_ms: float | None = 90.0, dropped: int = 0) -> dict[str, Any]:
    counts = {"images": dropped, "audio": 0, "updates": 0}
    return {"emitted_ns": at_ns, "state": state, "age_ms": age_ms, "dropped": counts}


def drive(*states: str) -> list[dict[str, Any]]:
    """A message each 200 ms."""
    return [message(number * 200 * MS, state) for number, state in enumerate(states)]


def test_delay_is_from_the_event_to_the_first_message_that_shows_it() -> None:
    messages = drive("unknown", "unknown", "unknown", "calm", "calm", "unknown")
    assert delays_ms(messages, [150 * MS], known=True) == [450]
    assert delays_ms(messages, [750 * MS], known=False) == [250]


def test_an_event_that_is_shown_already_or_never_has_no_delay() -> None:
    assert delays_ms(drive("calm", "calm", "calm"), [150 * MS], known=True) == []
    assert delays_ms(drive("unknown", "unknown"), [150 * MS], known=True) == []


def test_each_event_is_shown_before_the_next() -> None:
    messages = drive("unknown", "unknown", "calm", "unknown", "unknown", "calm")
    assert delays_ms(messages, [100 * MS, 700 * MS], known=True) == [300, 300]
    messages = drive("unknown", "unknown", "unknown", "unknown", "unknown", "calm")
    assert delays_ms(messages, [100 * MS, 700 * MS], known=True) == [300]


def test_rows_are_quantiles_and_what_was_dropped_meanwhile() -> None:
    messages = [message(n * 200 * MS, age_ms=float(n) if n else None, dropped=5 + n // 50) for n in range(101)]
    run = RuntimeRun(messages, {"CPU": ("% of a core", [(1.0, 20.0), (2.0, 40.0)])}, {"state": [1000.0]}, [], [])
    rows = {row.measure: row for row in run.measures()}
    assert (rows["age"].count, rows["age"].p50, rows["age"].p99, rows["age"].max) == (100, 50.5, 99.01, 100)
    assert rows["throughput"].p50 == pytest.approx(5)
    assert rows["between updates"].p99 == pytest.approx(200)
    assert rows["dropped images"].max == 2
    assert rows["CPU"].p50 == 30
    assert (rows["stage: state"].unit, rows["stage: state"].max) == ("ms", 1)
    assert "driver appears, to state" not in rows
    assert "GPU" not in rows


def test_nothing_before_the_end_of_the_warm_up_counts() -> None:
    messages = [message(100 * S + n * S) for n in range(60)]
    timed = {"origin_ns": 99 * S, "lap_ns": 15 * S, "times": {"state": [[105 * S, 7000], [115 * S, 9000]]}}
    run = _after_warm_up(messages, {"CPU": ("%", [(9.0, 1.0), (11.0, 2.0)])}, timed, driver_s=7.0)
    assert run.messages[0]["emitted_ns"] == 110 * S
    assert run.samples == {"CPU": ("%", [(1.0, 2.0)])}
    assert run.stages == {"state": [9.0]}
    assert run.appears_ns == [114 * S, 129 * S, 144 * S]
    assert run.leaves_ns == [121 * S, 136 * S, 151 * S]


@pytest.mark.parametrize(
    ("code", "starts_within_s", "tells"),
    [
        ('print(\'{"engine": "loading"}\', flush=True); time.sleep(30)', 0.5, "not loaded .* within 0.5 s"),
        ("print('{\"engine\": \"int8\"}'); sys.exit('no space left')", 30, "status 1; it says: no space left"),
        ("sys.exit(3)", 30, "ended too early, with exit status 3; it says: nothing"),
    ],
)
def test_a_process_that_does_not_run_is_not_measured(
    code: str, starts_within_s: float, tells: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks.runtime, "STARTS_WITHIN_S", starts_within_s)
    errors = tmp_path / "errors.txt"
    with (
        benchmarks.runtime._edge_run([sys.executable, "-c", f"import sys, time\n{code}"], errors) as process,
        pytest.raises(InputError, match=tells),
    ):
        benchmarks.runtime._watch(process, 30, errors)


@pytest.mark.parametrize("messages", [[], drive("unknown", "calm")])
def test_a_process_that_falls_silent_is_not_measured(messages: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.runtime, "write_camera_clip", lambda *_: 5.0)
    monkeypatch.setattr(benchmarks.runtime, "_edge_run", lambda command, errors: nullcontext(errors.write_text("full")))
    monkeypatch.setattr(benchmarks.runtime, "_watch", lambda *_: (messages, {}))
    with pytest.raises(InputError, match="fell silent before 10 s had passed; it says: full"):
        run_runtime(DEMO, DEFAULT_BUNDLE, duration_s=1)


@pytest.mark.slow
def test_the_real_runtime_is_measured() -> None:
    run = run_runtime(DEMO, DEFAULT_BUNDLE, duration_s=20)
    measured = {row.measure for row in run.measures()}
    assert {"throughput", "age", "CPU", "memory", "dropped images", "driver appears, to state"} <= measured
    assert {f"stage: run {part}" for part in ("visual", "audio", "head")} <= measured
    assert run.appears_ns


@pytest.mark.slow
def test_a_run_that_fails_says_why(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        run_runtime(DEMO, tmp_path, duration_s=1)
