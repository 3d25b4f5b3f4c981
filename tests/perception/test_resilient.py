"""An engine that fails, and the one that takes over."""

import numpy as np
import pytest

from bundle.errors import EngineError
from perception.resilient import ResilientEngine


class Fickle:
    """Fails while told to."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails = name, fails

    def run(self, inputs):
        if self.fails:
            raise RuntimeError("out of memory")
        return {"by": self.name, **inputs}


X = {"x": np.zeros(1, np.float32)}


def test_next_engine_takes_over_with_the_same_input_and_stays() -> None:
    first, second, told = Fickle("first"), Fickle("second"), []
    engine = ResilientEngine("head", [lambda: first, lambda: second], told.append)
    assert engine.run(X) == {"by": "first", **X}
    first.fails = True
    assert engine.run(X) == {"by": "second", **X}
    first.fails = False
    assert engine.run(X)["by"] == engine.name == "second"
    assert told == ["head on first failed: out of memory"]


def test_last_engine_is_asked_again_each_time_and_its_failure_told_once() -> None:
    only, told = Fickle("only", fails=True), []
    engine = ResilientEngine("head", [lambda: only], told.append)
    for _ in range(3):
        with pytest.raises(EngineError, match="head on only failed: out of memory"):
            engine.run(X)
        assert not engine.works
    only.fails = False
    assert engine.run(X)["by"] == "only"
    assert engine.works
    assert len(told) == 1


def test_engine_that_cannot_be_opened_is_left_out() -> None:
    def closed() -> Fickle:
        raise OSError("no such device")

    told: list[str] = []
    engine = ResilientEngine("head", [lambda: Fickle("a", fails=True), closed, lambda: Fickle("c")], told.append)
    assert engine.run(X)["by"] == "c"
    assert "no such device" in told[1]
