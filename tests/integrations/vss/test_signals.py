"""The mapping from message to signals, held against the message's schema and the exported overlay."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.labels import STATE_OF_EMOTION
from edge.message import Dropped, message_from_state
from edge_vss.signals import EMOTIONS, UNAVAILABLE, WORDS, MalformedError, Signals, signals_from_message
from perception.chunks import EmotionState, Estimate

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/message.schema.json").read_text(encoding="utf-8"))
TYPES = {"boolean": bool, "float": float, "string": str}


def _leaves(nodes: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in nodes.items():
        if node["type"] == "branch":
            yield from _leaves(node["children"], f"{path}{name}.")
        else:
            yield f"{path}{name}", node


OVERLAY = dict(_leaves(json.loads((ROOT / "integrations/vss/emotion.json").read_text(encoding="utf-8"))))

ESTIMATE = Estimate(1_000_000_000, 920_000_000, None, "audio+video", "", "ok", "speech")
STATE = EmotionState("joyful", 0, "", "happy", 0.75, {"happy": 0.75, "sad": 0.25}, 0.5, -0.25, ESTIMATE)
MESSAGE = message_from_state(0, STATE, 1_010_000_000, Dropped(), "default", "onnxruntime-cpu")

MESSAGES = st.fixed_dictionaries(
    {name: st.sampled_from(SCHEMA["properties"][name]["enum"]) for name in ("state", "source", "face", "voice")}
    | {name: st.none() | st.floats(-1, 1) for name in ("valence", "arousal")}
    | {
        "confidence": st.none() | st.floats(0, 1),
        "age_ms": st.none() | st.floats(0, 1e9) | st.integers(0, 1000),
        "probabilities": st.none() | st.dictionaries(st.sampled_from(EMOTIONS), st.floats(0, 1), min_size=2),
    }
)


def assert_databroker_would_take(signals: Signals) -> None:
    assert signals.keys() == OVERLAY.keys()
    for path, value in signals.items():
        signal = OVERLAY[path]
        if value is None:
            assert "allowed" not in signal  # KUKSA's databroker does not let such a signal become "not available"
            continue
        assert type(value) is TYPES[signal["datatype"]]
        assert value in signal.get("allowed", [value])
        assert signal.get("min", value) <= value <= signal.get("max", value)


@given(MESSAGES)
def test_every_message_fits_the_overlay(message: dict[str, Any]) -> None:
    assert_databroker_would_take(signals_from_message(message))


def test_unavailable_signals_fit_the_overlay_and_say_nothing_of_the_driver() -> None:
    assert_databroker_would_take(UNAVAILABLE)
    assert {value for value in UNAVAILABLE.values() if value is not None} == {False, "UNKNOWN", "NONE"}


@pytest.mark.parametrize("name", WORDS)
def test_words_are_the_schemas_and_the_overlay_allows_no_others(name: str) -> None:
    assert WORDS[name] == set(SCHEMA["properties"][name]["enum"])
    path = f"Vehicle.Driver.Emotion.{name.capitalize()}"
    reached = {signals_from_message({**MESSAGE, name: word})[path] for word in WORDS[name]}
    assert reached | {UNAVAILABLE[path]} == set(OVERLAY[path]["allowed"])


def test_each_emotion_that_a_bundle_may_know_has_a_signal() -> None:
    assert set(EMOTIONS) == STATE_OF_EMOTION.keys()


def test_ratios_become_percent_and_emotions_without_probability_are_unavailable() -> None:
    signals = signals_from_message(MESSAGE)
    assert signals["Vehicle.Driver.Emotion.Confidence"] == 75
    assert signals["Vehicle.Driver.Emotion.Probability.Happy"] == 75
    assert signals["Vehicle.Driver.Emotion.Probability.Calm"] is None
    assert signals["Vehicle.Driver.Emotion.Latency"] == 90
    assert signals["Vehicle.Driver.Emotion.State"] == "JOYFUL"


def test_availability_and_state_are_written_after_the_details() -> None:
    assert [path.rpartition(".")[2] for path in UNAVAILABLE][-3:] == ["Confidence", "State", "IsAvailable"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"state": "merry"}, "state is none of"),
        ({"face": None}, "face is none of"),
        ({"valence": 1.5}, "valence is neither null nor a number from -1 to 1"),
        ({"confidence": True}, "confidence is neither"),
        ({"age_ms": "90"}, "age_ms is neither"),
        ({"age_ms": float("nan")}, "age_ms is neither"),
        ({"probabilities": [0.5, 0.5]}, "probabilities are not"),
        ({"probabilities": {"bored": 1.0}}, "probabilities are not"),
        ({"probabilities": {"happy": -0.5}}, "happy is neither"),
    ],
)
def test_value_that_no_message_has_is_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(MalformedError, match=what):
        signals_from_message({**MESSAGE, **change})


@pytest.mark.parametrize("name", [*WORDS, "confidence", "valence", "arousal", "probabilities", "age_ms"])
def test_missing_field_is_refused(name: str) -> None:
    message = {field: value for field, value in MESSAGE.items() if field != name}
    with pytest.raises(MalformedError, match=f"no {name} in it"):
        signals_from_message(message)
