"""Whether a replay gives what was recorded, bit by bit."""

from pathlib import Path

from bundle.errors import InputError
from edge.message import Message
from edge.sources.replay import RecordedUpdate
from perception.chunks import Estimate


class ReplayCheck:
    """Compares each update's probabilities and message with the recorded ones; `engine` may be another."""

    def __init__(self, path: Path) -> None:
        self._path, self._count, self._differences, self._first = path, 0, 0, 0
        self._recorded: Message = {}
        self._same_probs = True

    def estimated(self, estimate: Estimate, recorded: RecordedUpdate) -> None:
        """Before the message of the estimate."""
        probs, expected = estimate.probs, recorded.probs
        self._recorded = recorded.message
        self._same_probs = (probs is None) == (expected is None) and (
            probs is None or expected is None or probs.tobytes() == expected.tobytes()
        )

    def published(self, message: Message) -> None:
        """The message that was made of the estimate."""
        same = self._same_probs and {**message, "engine": ""} == {**self._recorded, "engine": ""}
        if not same and not self._differences:
            self._first = message["seq"]
        self._count += 1
        self._differences += not same

    def raise_differences(self) -> None:
        """InputError where any differed."""
        if self._differences:
            raise InputError(
                f"{self._differences} of {self._count} messages differ from those recorded in {self._path}, from seq "
                f"{self._first} on; expected the same bits. Another engine, version or processor computes otherwise."
            )
