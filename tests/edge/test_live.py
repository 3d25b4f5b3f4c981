"""What a live run gives up under load, and takes back."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edge.engines
import edge.live
import edge.run
import edge.session
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME, read_manifest
from edge.clock import now_ns
from edge.live import Int8Rung, Pace, rungs
from edge.load import LoadLadder
from edge.message import Load
from edge.session import Session
from perception.engine import Tensors
from perception.onnxrt import OnnxRuntimeEngine
from perception.resilient import ResilientEngine
from tests.edge.test_run import DEMO, judged_bundle

INPUT: Tensors = {"x": np.zeros(1, np.float32)}


class Named:
    """Its output bears its name; `broken` ones fail."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.name, self._broken = name, broken

    def run(self, inputs: Tensors) -> Tensors:
        if self._broken:
            raise RuntimeError("broken")
        return {self.name: inputs["x"]}


@pytest.mark.parametrize(
    ("held", "precision", "both", "expected"),
    [
        (True, FLOAT32, True, ["normal", "reduced rate", "int8", "one modality"]),
        (True, FLOAT32, False, ["normal", "reduced rate", "int8"]),
        (False, FLOAT32, True, ["normal", "reduced rate", "one modality"]),
        (True, INT8_ONNXRUNTIME, True, ["normal", "reduced rate", "one modality"]),
        (False, INT8_ONNXRUNTIME, False, ["normal", "reduced rate"]),
    ],
)
def test_only_what_is_run_and_can_be_spared_is_a_rung(
    tmp_path: Path, held: bool, precision: str, both: bool, expected: list[Load]
) -> None:
    manifest = read_manifest(judged_bundle(tmp_path / "bundle", held))
    assert rungs(manifest, precision, both=both) == expected


@pytest.mark.parametrize("hears", [True, False])
def test_images_are_given_up_only_while_there_is_sound(hears: bool) -> None:
    class Overloaded(LoadLadder):
        def gives_up(self, load: Load) -> bool:
            return load == "one modality"

    pace = Pace(now_ns(), 200_000_000, Overloaded(["normal", "one modality"]))
    assert pace.wants_image(hears) is not hears


def test_updates_that_a_reduced_rate_does_not_make_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reduced(LoadLadder):
        def gives_up(self, load: Load) -> bool:
            return load == "reduced rate"

    step_ns, clock_ns = 200_000_000, 0
    monkeypatch.setattr(edge.live, "now_ns", lambda: clock_ns)
    pace, made = Pace(0, step_ns, Reduced(["normal", "reduced rate"])), []
    for clock_ns in (*range(0, 2_000_000_000, 10_000_000), *range(6_400_000_000, 8_000_000_000, 10_000_000)):  # noqa: B007 (read by now_ns)
        number = pace.due()
        if number is not None:
            made.append(number)
    assert made[:4] == [0, 2, 4, 6]
    assert pace.left_out == (made[-1] - made[0]) // 2 + 1 - len(made)


def test_what_comes_during_a_long_step_goes_before_the_update() -> None:
    class Devices:
        hears = False

        def __init__(self) -> None:
            self.images = ["first", "meanwhile"]

        def sound(self) -> list[Any]:
            return []

        def image(self) -> Any:
            return self.images.pop(0) if self.images else None

    seen: list[str] = []

    def push(_: Any, image: str) -> None:
        if image == "first":
            time.sleep(0.6)
        seen.append(image)

    pace = Pace(now_ns(), 200_000_000, LoadLadder(["normal"]))
    Session._perceive(SimpleNamespace(_push=push), None, Devices(), pace)  # type: ignore[arg-type]
    assert seen == ["first", "meanwhile"]


def test_float_comes_back_after_int8_even_if_int8_failed() -> None:
    engine = ResilientEngine("visual", [lambda: Named("float"), lambda: Named("spare float")])
    rung = Int8Rung()
    rung.add(engine, Named("int8", broken=True))
    rung.keep(True)
    assert [*engine.run(INPUT)] == ["spare float"]
    rung.keep(False)
    assert [*engine.run(INPUT)] == ["float"]


def test_float_comes_back_on_the_engine_that_had_taken_over() -> None:
    engine = ResilientEngine("visual", [lambda: Named("float", broken=True), lambda: Named("spare float")])
    rung = Int8Rung()
    rung.add(engine, Named("int8"))
    assert [*engine.run(INPUT)] == ["spare float"]
    rung.keep(True)
    assert [*engine.run(INPUT)] == ["int8"]
    rung.keep(False)
    assert [*engine.run(INPUT)] == ["spare float"]


def test_overloaded_run_goes_to_int8_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loads are those of a script, the rest is real; the files that ran between two messages are compared."""
    script: Iterator[Load] = iter(["normal"] * 5 + ["int8"] * 5 + ["one modality"] * 5 + ["normal"] * 100)  # type: ignore[list-item]
    ran: list[str] = []

    class Scripted(LoadLadder):
        def update(self, busy: float, now_ns: int) -> Load:
            self._rung = self._rungs.index(next(script))
            ran.append(f"-> {self.load}")
            return self.load

    class Logged(OnnxRuntimeEngine):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self._file = path.name

        def run(self, inputs: Tensors) -> Tensors:
            ran.append(self._file)
            return super().run(inputs)

    monkeypatch.setattr(edge.session, "LoadLadder", Scripted)
    monkeypatch.setattr(edge.engines, "OnnxRuntimeEngine", Logged)
    bundle, output = judged_bundle(tmp_path / "bundle", held=True), tmp_path / "messages.jsonl"
    arguments = ["--clip", DEMO, "--chaos", "clock-jump", "--bundle", bundle, "--precision", "float32"]
    assert edge.run.main([*map(str, arguments), "--duration", "9", "--output", str(output)]) == 0

    told = [json.loads(line)["health"]["load"] for line in output.read_text().splitlines()]
    assert {"normal", "int8", "one modality"} == set(told)
    by_load: dict[str, set[str]] = {"normal": set(), "int8": set(), "one modality": set()}
    load = ""
    for entry in ran[ran.index("-> normal") :]:  # before it, the canary ran all
        if entry.startswith("-> "):
            load = entry.removeprefix("-> ")
        else:
            by_load[load].add(entry)
    assert by_load["normal"] == {"visual.onnx", "audio.onnx", "head.onnx"}
    assert by_load["int8"] == {"visual.int8-onnxruntime.onnx", "audio.int8-onnxruntime.onnx", "head.onnx"}
    assert by_load["one modality"] == {"audio.int8-onnxruntime.onnx", "head.onnx"}
