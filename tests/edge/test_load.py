"""The ladder of load, as stories told in seconds."""

from collections.abc import Callable

from edge.load import LoadLadder

RUNGS = ("normal", "reduced rate", "one modality")
STEP_NS = 200_000_000


class Story:
    def __init__(self) -> None:
        self.ladder, self.now_ns, self.told = LoadLadder(RUNGS), 0, ["normal"]

    def goes_on(self, seconds: float, busy: Callable[[str], float]) -> "Story":
        """For so long, each update is as busy as its rung makes it."""
        for _ in range(round(seconds / 0.2)):
            load = self.ladder.update(busy(self.ladder.load), self.now_ns)
            self.now_ns += STEP_NS
            if load != self.told[-1]:
                self.told.append(load)
        return self


def test_machine_that_keeps_up_gives_up_nothing() -> None:
    assert Story().goes_on(60, lambda _: 0.85).told == ["normal"]


def test_moment_of_load_changes_nothing() -> None:
    story = Story().goes_on(10, lambda _: 0.3)
    assert story.goes_on(1.0, lambda _: 1.2).goes_on(10, lambda _: 0.3).told == ["normal"]


def test_one_hiccup_changes_nothing() -> None:
    assert Story().goes_on(10, lambda _: 0.3).goes_on(0.2, lambda _: 25).goes_on(10, lambda _: 0.3).told == ["normal"]


def test_machine_that_stood_still_is_not_loaded() -> None:
    story = Story().goes_on(10, lambda _: 0.3)
    for seconds in (1.5, 3, 60):
        story.now_ns += round(seconds * 1e9)
        story.goes_on(0.2, lambda _: 25).goes_on(0.2, lambda _: 1.0).goes_on(10, lambda _: 0.6)
    assert story.told == ["normal"]


def test_machine_that_takes_seconds_for_an_update_gives_up_rate() -> None:
    ladder = LoadLadder(RUNGS)
    loads = [ladder.update(15, number * 3_000_000_000) for number in range(4)]
    assert loads == ["normal", "normal", "normal", "reduced rate"]


def test_old_swings_are_forgotten() -> None:
    story = Story().goes_on(300, lambda load: 1.2 if load == "normal" else 0.3)
    story.goes_on(600, lambda _: 0.3).goes_on(5, lambda _: 1.5)
    told = len(story.told)
    assert story.goes_on(23, lambda _: 0.1).told[told - 1 :] == ["one modality", "reduced rate", "normal"]


def test_overload_takes_a_rung_after_two_seconds_and_the_next_after_two_more() -> None:
    story = Story().goes_on(2, lambda _: 1.5)
    assert story.told == ["normal"]
    assert story.goes_on(0.2, lambda _: 1.5).told == ["normal", "reduced rate"]
    assert story.goes_on(2.4, lambda _: 1.5).told[2:] == ["one modality"]
    assert story.goes_on(60, lambda _: 1.5).told[3:] == []


def test_rung_that_helps_is_kept() -> None:
    story = Story().goes_on(60, lambda load: 1.2 if load == "normal" else 0.65)
    assert story.told == ["normal", "reduced rate"]


def test_what_was_given_up_comes_back_after_ten_relaxed_seconds() -> None:
    story = Story().goes_on(5, lambda _: 1.5)
    assert story.goes_on(9, lambda _: 0.1).told[-1] == "one modality"
    assert story.goes_on(13, lambda _: 0.1).told[-2:] == ["reduced rate", "normal"]


def test_machine_at_its_limit_swings_ever_more_slowly() -> None:
    story = Story().goes_on(300, lambda load: 1.2 if load == "normal" else 0.3)
    assert 8 <= len(story.told) <= 12
    assert set(story.told) == {"normal", "reduced rate"}


def test_memory_stays_bounded() -> None:
    story = Story().goes_on(1_000, lambda _: 0.5)
    assert len(story.ladder._busy) <= 51
