"""An engine that fails, and the one that takes over."""

import numpy as np
import pytest

from bundle.errors import EngineError
from perception.resilient import ResilientEngine


class Fickle:
    """Fails while told to, or gives what is no number; its output tells the first letter of its name."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails, self.spoiled_by = name, fails, 0.0

    def run(self, inputs):
        if self.fails:
            raise RuntimeError("out of memory")
        return {"by": np.float32([[ord(self.name[0]), self.spoiled_by]]), **inputs}


X = {"x": np.zeros(1, np.float32)}


def run(engine: ResilientEngine) -> str:
    """First letter of the engine that ran."""
    outputs = engine.run(X)
    assert outputs["x"] is X["x"]
    return chr(int(outputs["by"][0, 0]))


def test_next_engine_takes_over_with_the_same_input_and_stays() -> None:
    first, second, told = Fickle("first"), Fickle("second"), []
    engine = ResilientEngine("head", [lambda: first, lambda: second], told.append)
    assert run(engine) == "f"
    first.fails = True
    assert run(engine) == "s"
    first.fails = False
    assert (run(engine), engine.name) == ("s", "second")
    assert told == ["head on first failed: out of memory"]


def test_last_engine_is_asked_again_each_time_and_its_failure_told_once() -> None:
    only, told = Fickle("only", fails=True), []
    engine = ResilientEngine("head", [lambda: only], told.append)
    for _ in range(3):
        with pytest.raises(EngineError, match="head on only failed: out of memory"):
            engine.run(X)
        assert not engine.works
    only.fails = False
    assert run(engine) == "o"
    assert engine.works
    assert len(told) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_output_that_is_no_number_is_a_failure(value: float) -> None:
    first, told = Fickle("first"), []
    engine = ResilientEngine("head", [lambda: first, lambda: Fickle("second")], told.append)
    first.spoiled_by = value
    assert run(engine) == "s"
    assert told == ["head on first failed: by is not finite"]


def test_engine_that_cannot_be_opened_is_left_out() -> None:
    def closed() -> Fickle:
        raise OSError("no such device")

    told: list[str] = []
    engine = ResilientEngine("head", [lambda: Fickle("a", fails=True), closed, lambda: Fickle("c")], told.append)
    assert run(engine) == "c"
    assert "no such device" in told[1]
