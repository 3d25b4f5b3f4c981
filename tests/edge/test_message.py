"""A state as a message."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from bundle.labels import RAVDESS_LABELS
from edge.message import Dropped, Message, message_from_state
from edge.summary import RunSummary
from perception.chunks import Estimate
from perception.state import StateMachine

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "message.schema.json").read_text())


def message(seq: int, probs: np.ndarray | None, captured_ns: int) -> Message:
    source = "none" if probs is None else "video"
    newest_ns = None if probs is None else captured_ns - 30_000_000
    estimate = Estimate(captured_ns, newest_ns, probs, source, "no face in the image", "ok", "off")
    state = StateMachine(RAVDESS_LABELS).update(estimate)
    return message_from_state(seq, state, captured_ns + 50_000_000, Dropped(2, 3), "default", "onnxruntime-cpu")


SEEN = message(0, np.array([0.02, 0.02, 0.86, 0.02, 0.02, 0.02, 0.02, 0.02], np.float32), 10**9)
UNSEEN = message(1, None, 2 * 10**9)


@pytest.mark.parametrize("got", [SEEN, UNSEEN])
def test_messages_with_and_without_findings_are_valid(got: Message) -> None:
    jsonschema.validate(got, SCHEMA)


def test_age_is_the_emission_minus_the_newest_sample() -> None:
    assert SEEN["age_ms"] == 80.0
    assert UNSEEN["age_ms"] is None


def test_an_image_that_a_clip_has_ready_after_its_time_has_no_age() -> None:
    estimate = Estimate(10**9, 10**9 + 17_000_000, np.full(8, 0.125, np.float32), "video", "", "ok", "off")
    state = StateMachine(RAVDESS_LABELS).update(estimate)
    assert message_from_state(0, state, 10**9, Dropped(0, 0), "default", "onnxruntime-cpu")["age_ms"] == 0


def test_every_field_of_the_schema_is_explained() -> None:
    explained = (Path(__file__).parents[2] / "docs" / "message.md").read_text()
    assert all(f"`{field}" in explained for field in SCHEMA["required"])
    assert all(f"dropped.{field}" in explained for field in SCHEMA["properties"]["dropped"]["required"])


def test_summary_adds_up() -> None:
    summary = RunSummary()
    for i, got in enumerate((SEEN, SEEN, UNSEEN, UNSEEN)):
        summary.add({**got, "captured_ns": i * 200_000_000})
    text = summary.text(step_s=0.2, elapsed_s=1.5)
    assert "4 updates (0.8 s) in 1.5 s" in text
    assert "unknown 0.8 s" in text
    assert "video 50%, none 50%" in text
    assert "median 80 ms" in text
    assert text.splitlines()[-2] == "dropped  2 images, 3 audio samples"


def test_summary_leaves_out_the_time_in_which_the_run_stood_still() -> None:
    summary = RunSummary()
    for captured_s, state in ((0, "calm"), (0.2, "calm"), (28_800, "low")):
        summary.add({**SEEN, "captured_ns": round(captured_s * 10**9), "state": state})
    assert "calm 0.4 s, low 0.2 s" in summary.text(step_s=0.2, elapsed_s=28_801)


def test_summary_counts_the_time_of_updates_that_were_left_out() -> None:
    summary = RunSummary()
    for captured_s, state in ((0, "calm"), (4, "calm"), (8, "low")):
        dropped = {"images": 0, "audio": 0, "updates": 38}
        summary.add({**SEEN, "captured_ns": captured_s * 10**9, "state": state, "dropped": dropped})
    text = summary.text(step_s=0.2, elapsed_s=9)
    assert "3 updates (8.2 s)" in text
    assert "calm 8.0 s, low 0.2 s" in text
    assert "0 audio samples, 38 updates" in text
