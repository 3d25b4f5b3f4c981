"""The fleet profile: of a driver at work, nothing leaves the process but states that were approved for safety."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundle.features import NS_PER_S

if TYPE_CHECKING:  # edge-doctor parses options where NumPy is missing
    from edge.message import Message

SAFETY_STATES = ("agitated", "startled")
"""What may be approved at all: states in which a driver may need help within seconds.

All states of this runtime are emotions; none is fatigue or distraction. `calm` and `joyful` are no hazard, and `low`
lasts, helps nobody within seconds, and comes close to a statement about health. docs/privacy-and-law.md says more.
"""

OTHER = "other"
"""Every other state, those without enough data among them: one word, so that nothing can be told from it."""

PASSED_ON = (
    "seq", "captured_ns", "emitted_ns", "age_ms", "source", "face", "voice", "dropped", "health", "bundle", "engine",
)  # fmt: skip
"""Fields that say how the runtime does. A field that is new stays within, until it is listed here."""

WITHHELD = ("emotion", "confidence", "probabilities", "valence", "arousal")
"""Fields that are null."""


def approved_states(text: str) -> tuple[str, ...]:
    """States from `STATE,...`; ArgumentTypeError unless there is one or more, and each can be a safety state."""
    states = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if set(states) <= set(SAFETY_STATES):
        return states
    raise argparse.ArgumentTypeError(
        f"{text}: expected one or more of {', '.join(SAFETY_STATES)}, separated by commas; "
        "no other state can be one of safety"
    )


class FleetProfile:
    """Messages with the approved states alone, in order of time: `since_s` is counted anew."""

    def __init__(self, approved: Sequence[str]) -> None:
        self.states = (*approved, OTHER)
        self._state: str | None = None
        self._since_ns = 0

    def reduce(self, message: "Message") -> "Message":
        """What of the message may leave the process."""
        state = message["state"] if message["state"] in self.states else OTHER
        if state != self._state:
            self._state, self._since_ns = state, message["captured_ns"]
        return {
            **{field: message[field] for field in PASSED_ON},
            **dict.fromkeys(WITHHELD),
            "profile": "fleet",
            "state": state,
            "since_s": round((message["captured_ns"] - self._since_ns) / NS_PER_S, 3),
            "reason": "none of the approved states" if state == OTHER else "an approved state",
        }
