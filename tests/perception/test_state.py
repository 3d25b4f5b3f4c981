"""Stories told in seconds: what a driver does, and what the state machine makes of it."""

from collections.abc import Mapping

import numpy as np
import pytest

from bundle.errors import ArgumentError
from bundle.labels import RAVDESS_LABELS
from perception.chunks import EmotionState, Estimate, Source
from perception.state import AUDIO_ONLY_CAP, StateConfig, StateMachine

STEP_S = 0.2


class Driver:
    """Feeds a state machine with what a driver shows, five times a second."""

    def __init__(self, config: StateConfig | None = None) -> None:
        self.machine = StateMachine(RAVDESS_LABELS, config)
        self.now_ns = 0

    def shows(
        self, emotions: Mapping[str, float] | None, seconds: float, source: Source = "audio+video"
    ) -> list[EmotionState]:
        """States while the network sees these probabilities, the rest shared by the other emotions; None: nothing."""
        return [self._update(emotions, source) for _ in range(round(seconds / STEP_S))]

    def _update(self, emotions: Mapping[str, float] | None, source: Source) -> EmotionState:
        probs = None
        if emotions is not None:
            rest = (1 - sum(emotions.values())) / (len(RAVDESS_LABELS) - len(emotions))
            probs = np.array([emotions.get(label, rest) for label in RAVDESS_LABELS], np.float32)
        seen = source if probs is not None else "none"
        self.now_ns += round(STEP_S * 1e9)
        newest_ns = self.now_ns if probs is not None else None
        reason = "" if probs is not None else "no face in the image, nobody speaks"
        return self.machine.update(Estimate(self.now_ns, newest_ns, probs, seen, reason, "ok", "speech"))


def names(states: list[EmotionState]) -> list[str]:
    return [state.state for state in states]


def test_unknown_until_something_is_seen_for_the_dwell_time() -> None:
    states = Driver().shows({"neutral": 0.9}, seconds=2)
    assert names(states[:3]) == ["unknown"] * 3
    assert states[0].reason.startswith("waiting: calm")
    assert names(states[3:]) == ["calm"] * 7


def test_driver_who_flickers_between_happy_and_surprised_stays_in_one_state() -> None:
    driver = Driver()
    assert driver.shows({"happy": 0.8}, seconds=3)[-1].state == "joyful"
    states = [driver.shows({emotion: 0.8}, seconds=0.2)[0] for emotion in ("surprised", "happy") * 15]
    assert set(names(states)) == {"joyful"}


def test_driver_who_covers_the_camera_keeps_the_state_for_a_moment_then_is_unknown() -> None:
    driver = Driver()
    driver.shows({"happy": 0.9}, seconds=3)
    states = driver.shows(None, seconds=3)
    held = [state for state in states if state.state == "joyful"]
    assert len(held) * STEP_S == pytest.approx(1.5, abs=STEP_S)
    assert all(state.reason.startswith("held: no face") for state in held)
    assert states[-1].state == "unknown"
    assert states[-1].reason == "no face in the image, nobody speaks"
    assert states[-1].emotion is None
    assert states[-1].confidence is None


def test_driver_who_gets_angry_for_three_seconds_is_agitated_within_two_and_calm_again_after() -> None:
    driver = Driver()
    driver.shows({"calm": 0.9}, seconds=4)
    angry = driver.shows({"angry": 0.9}, seconds=3)
    onset = names(angry).index("agitated") * STEP_S
    assert 0.6 <= onset <= 2.0
    assert set(names(angry)) == {"calm", "agitated"}
    calm = driver.shows({"calm": 0.9}, seconds=4)
    assert calm[-1].state == "calm"
    assert names(calm) == sorted(names(calm))  # "agitated" before "calm", and no way back


def test_since_counts_from_the_change_of_state() -> None:
    driver = Driver()
    states = driver.shows({"sad": 0.9}, seconds=4)
    first = names(states).index("low")
    assert all(state.since_ns == states[first].estimate.captured_ns for state in states[first:])


def test_driver_who_shows_a_bit_of_everything_is_undecided() -> None:
    states = Driver().shows({"happy": 0.3, "sad": 0.3, "surprised": 0.2}, seconds=3)
    assert set(names(states)) == {"unknown"}
    assert states[-1].reason.startswith("undecided")
    assert states[-1].confidence is None


def test_state_outlives_doubt_above_the_leaving_threshold() -> None:
    driver = Driver()
    driver.shows({"happy": 0.9}, seconds=3)
    assert driver.shows({"happy": 0.42, "sad": 0.42}, seconds=3)[-1].state == "joyful"
    assert driver.shows({"happy": 0.25, "sad": 0.42}, seconds=3)[-1].state == "unknown"


def test_voice_alone_never_makes_a_confident_state() -> None:
    states = Driver().shows({"angry": 0.99}, seconds=5, source="audio")
    assert states[-1].state == "agitated"
    assert all(state.confidence is None or state.confidence <= AUDIO_ONLY_CAP for state in states)


def test_cap_of_a_state_from_the_voice_alone_holds_when_the_voice_falls_silent() -> None:
    driver = Driver()
    driver.shows({"angry": 0.99}, seconds=5, source="audio")
    held = driver.shows(None, seconds=1)
    assert {state.state for state in held} == {"agitated"}
    assert all(state.confidence is not None and state.confidence <= AUDIO_ONLY_CAP for state in held)


def test_change_must_last_in_what_is_seen_not_in_its_absence() -> None:
    driver = Driver(StateConfig(smoothing_s=0))
    driver.shows({"calm": 0.9}, seconds=2)
    driver.shows({"angry": 0.9}, seconds=0.2)
    driver.shows(None, seconds=1.2)
    assert driver.shows({"angry": 0.9}, seconds=0.2)[0].state == "calm"


def test_probabilities_are_the_networks_own_and_not_smoothed() -> None:
    driver = Driver()
    driver.shows({"happy": 0.9}, seconds=2)
    state = driver.shows({"sad": 0.8}, seconds=0.2)[0]
    assert state.probabilities is not None
    assert state.probabilities["sad"] == pytest.approx(0.8)
    assert state.emotion == "happy"


@pytest.mark.parametrize(
    ("emotion", "valence", "arousal"),
    [("happy", 1, 1), ("angry", -1, 1), ("sad", -1, -1), ("calm", 1, -1), ("surprised", 1, 1), ("fearful", -1, 1)],
)
def test_valence_and_arousal_have_the_signs_of_the_emotion_wheel(emotion: str, valence: int, arousal: int) -> None:
    state = Driver().shows({emotion: 1.0}, seconds=2)[-1]
    assert state.valence is not None
    assert state.arousal is not None
    assert state.valence * valence > 0
    assert state.arousal * arousal > 0
    assert state.valence**2 + state.arousal**2 == pytest.approx(1)


def test_reset_forgets_everything() -> None:
    driver = Driver()
    before = driver.shows({"happy": 0.9}, seconds=2)
    driver.machine.reset()
    driver.now_ns = 0
    after = driver.shows({"happy": 0.9}, seconds=2)
    assert [(s.state, s.since_ns, s.reason, s.valence) for s in after] == [
        (s.state, s.since_ns, s.reason, s.valence) for s in before
    ]


@pytest.mark.parametrize("wrong", [{"enter": 0.3, "leave": 0.4}, {"enter": 1.2}, {"leave": 0.0}, {"dwell_s": -1.0}])
def test_thresholds_out_of_order_are_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="expected 0 < leave <= enter <= 1"):
        StateConfig(**wrong)


def test_a_state_that_is_not_held_changes_all_the_same() -> None:
    driver = Driver(StateConfig(hold_s=0.0))
    assert names(driver.shows({"happy": 0.9}, seconds=2))[-1] == "joyful"
    assert names(driver.shows(None, seconds=0.2)) == ["unknown"]


@pytest.mark.parametrize("before", ["joyful", "unknown"])
def test_after_a_gap_longer_than_the_hold_the_state_begins_anew(before: str) -> None:
    driver = Driver()
    if before == "joyful":
        assert driver.shows({"happy": 0.9}, seconds=2)[-1].state == before
    else:
        driver.shows({"angry": 0.9}, seconds=0.2)  # it waits to be believed
    driver.now_ns += 600 * 10**9
    states = driver.shows({"angry": 0.9}, seconds=1)
    assert names(states) == ["unknown"] * 3 + ["agitated"] * 2
