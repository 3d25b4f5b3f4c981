"""What costs: rows that compare with the first setting, encoders and head apart."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cost import COSTS, _compare_updates, bench_cost
from bundle.errors import ArgumentError


def test_a_system_is_measured_part_by_part() -> None:
    rows = list(bench_cost(["fercnn"], (), (1,), rounds=1))
    assert [(row.work, row.peer, row.threads) for row in rows] == [("fercnn head", "PyTorch eager", 1)]


def test_encoders_and_head_are_compared_with_the_first_setting_apart() -> None:
    calls: list[str] = []

    def updates(name: str) -> Any:
        return SimpleNamespace(push=lambda: calls.append(f"push {name}"), estimate=lambda: calls.append(f"head {name}"))

    rows = _compare_updates("slim", "window", {"2 s": updates("2"), "4 s": updates("4"), "8 s": updates("8")}, rounds=1)
    assert [(row.work, row.peer) for row in rows] == [
        (f"slim {part}: window 2 s", peer) for part in ("encoders", "head") for peer in ("4 s", "8 s")
    ]
    heads = ["head 2", "head 4", "head 8"]
    assert calls[:10] == [*heads, "push 2", "push 2", *heads, "push 4", "push 4"], "what is kept is always taken"
    assert calls[-6:] == [name for name in heads for _ in range(2)]


def test_an_unknown_cost_is_refused_with_those_that_are() -> None:
    with pytest.raises(ArgumentError, match=r"'wheels'.*'updates', 'mrpn slim'"):
        list(bench_cost([*COSTS[-1:], "wheels"], (), (1,), rounds=1))
