"""Contestants take turns under equal conditions."""

import numpy as np

from benchmarks.interleave import Comparison, Conditions, compare, seen_from


def test_contestants_take_turns_and_each_turn_is_prepared():
    calls = []
    compare("work", lambda: calls.append("ours"), {"peer": lambda: calls.append("peer")}, rounds=1, runs=3,
            prepare=lambda: calls.append("prepare"))  # fmt: skip
    assert calls == (["prepare"] + 3 * ["ours"] + ["prepare"] + 3 * ["peer"]) * 3


def test_ratio_is_how_much_longer_the_peer_takes(monkeypatch):
    clock = {"ns": 0}

    def lasts(ms):
        clock["ns"] += ms * 1_000_000

    monkeypatch.setattr("benchmarks.interleave.time.perf_counter_ns", lambda: clock["ns"])
    (row,) = compare("work", lambda: lasts(2), {"peer": lambda: lasts(20)}, rounds=3)
    assert (row.work, row.peer) == ("work", "peer")
    assert (row.ours_us, row.peer_us, row.ratio) == (2_000, 20_000, 10)


def test_a_cold_turn_is_one_run_after_its_preparation():
    calls = []
    conditions = Conditions(threads=2, cache="cold")
    (row,) = compare("work", lambda: calls.append("ours"), {"peer": lambda: calls.append("peer")}, rounds=1, runs=3,
                     prepare=lambda: calls.append("prepare"), conditions=conditions)  # fmt: skip
    assert calls == ["prepare", "ours", "prepare", "peer"] * 3
    assert (row.threads, row.cache) == (2, "cold")


def test_what_was_cached_is_slower_to_read_cold():
    values = np.ones(1 << 18, np.float32)  # 1 MiB, which a core's own caches hold
    hot, cold = (
        compare("read", values.sum, {"again": values.sum}, rounds=15, conditions=conditions)[0].ours_us
        for conditions in (Conditions(), Conditions(cache="cold"))
    )
    assert cold > hot


def test_another_way_of_ours_takes_our_place():
    rows = [
        Comparison("update", "other way", 20.0, 10.0, 0.5, 2, "hot", "a machine"),
        Comparison("update", "peer", 20.0, 100.0, 5.0, 2, "hot", "a machine"),
    ]
    (row,) = seen_from("other way", rows)
    assert (row.work, row.peer, row.ours_us, row.peer_us, row.ratio) == ("update, other way", "peer", 10, 100, 10)
