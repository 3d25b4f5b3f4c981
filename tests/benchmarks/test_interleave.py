"""Contestants take turns under equal conditions."""

import time

from benchmarks.interleave import compare


def test_contestants_take_turns_and_each_turn_is_prepared():
    calls = []
    compare("work", lambda: calls.append("ours"), {"peer": lambda: calls.append("peer")}, rounds=1, runs=3,
            prepare=lambda: calls.append("prepare"))  # fmt: skip
    assert calls == (["prepare"] + 3 * ["ours"] + ["prepare"] + 3 * ["peer"]) * 3


def test_ratio_is_how_much_longer_the_peer_takes():
    (row,) = compare("work", lambda: time.sleep(0.002), {"peer": lambda: time.sleep(0.02)}, rounds=3)
    assert (row.work, row.peer) == ("work", "peer")
    assert 1_900 < row.ours_us < row.peer_us
    assert 2 < row.ratio < 11
