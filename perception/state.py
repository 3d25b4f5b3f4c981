"""Emotion probabilities to a driver state that does not flicker: smoothing, two thresholds, a dwell time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError
from bundle.features import NS_PER_S
from bundle.labels import VALENCE_AROUSAL, state_indices
from perception.chunks import EmotionState, Estimate, Source

AUDIO_ONLY_CAP = 0.6
"""Highest confidence of a state that only the microphone vouches for: it may be the radio or a passenger."""

GAP_S = 1.0
"""Estimates so far apart are not of one stretch: nothing is known of the time between."""


@dataclass(frozen=True)
class StateConfig:
    """How readily the state changes.

    smoothing_s : time constant of the exponential smoothing of probabilities.
    enter, leave : a state begins at a score of `enter` and ends under `leave`; a score is the smoothed probability
        of all the state's emotions.
    dwell_s : for which a change must last before it is believed.
    hold_s : for which a state outlives its data: a covered camera, a pause in speech.

    Raises
    ------
    ArgumentError : unless 0 < leave <= enter <= 1 and no time is negative.
    """

    smoothing_s: float = 0.6
    enter: float = 0.50
    leave: float = 0.35
    dwell_s: float = 0.6
    hold_s: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.leave <= self.enter <= 1 or min(self.smoothing_s, self.dwell_s, self.hold_s) < 0:
            raise ArgumentError(f"{self}: expected 0 < leave <= enter <= 1 and no negative time.")


class StateMachine:
    """Estimates to states, one at a time, by the estimates' own clock."""

    def __init__(self, labels: tuple[str, ...], config: StateConfig | None = None) -> None:
        self._labels, self._config = labels, config or StateConfig()
        self._indices = state_indices(labels)
        self._wheel = np.array([VALENCE_AROUSAL[label] for label in labels])
        self.reset()

    def reset(self) -> None:
        """Back to unknown, as at the start."""
        self._state = "unknown"
        self._since_ns: int | None = None
        self._probs: npt.NDArray[np.float64] | None = None
        self._probs_ns = 0
        self._source: Source = "none"  # of the newest estimate that had probabilities
        self._candidate = "unknown"
        self._candidate_ns = 0

    def update(self, estimate: Estimate) -> EmotionState:
        """The state after one more estimate."""
        now_ns = estimate.captured_ns
        if self._since_ns is None:
            self._since_ns = now_ns
        unseen_s = (now_ns - self._probs_ns) / NS_PER_S
        if estimate.probs is not None:
            if unseen_s >= max(self._config.hold_s, GAP_S):
                self._forget(now_ns)
            self._source = estimate.source
            self._smooth(estimate.probs, now_ns)
            return self._judge(estimate)
        self._candidate = self._state  # a change must last in what is seen, not in its absence
        if self._probs is not None and unseen_s < self._config.hold_s:
            return self._describe(estimate, f"held: {estimate.reason}")
        self._forget(now_ns)
        return self._describe(estimate, estimate.reason)

    def _forget(self, now_ns: int) -> None:
        self._probs = None
        self._become("unknown", now_ns)

    def _smooth(self, probs: npt.NDArray[np.float32], now_ns: int) -> None:
        if self._probs is None or self._config.smoothing_s == 0:
            self._probs = probs.astype(np.float64)
        else:
            elapsed_s = (now_ns - self._probs_ns) / NS_PER_S
            self._probs += (probs - self._probs) * -np.expm1(-elapsed_s / self._config.smoothing_s)
        self._probs_ns = now_ns

    def _judge(self, estimate: Estimate) -> EmotionState:
        scores = self._scores()
        best = max(scores, key=lambda state: scores[state])
        if scores[best] >= self._config.enter:
            wanted, why = best, f"{best} {scores[best]:.2f} >= {self._config.enter:.2f}"
        elif scores.get(self._state, 0.0) >= self._config.leave:
            wanted, why = self._state, f"{self._state} {scores[self._state]:.2f} >= {self._config.leave:.2f}"
        else:
            wanted, why = "unknown", f"undecided: {best} {scores[best]:.2f} < {self._config.enter:.2f}"
        now_ns = estimate.captured_ns
        if wanted != self._candidate:
            self._candidate, self._candidate_ns = wanted, now_ns
        if now_ns - self._candidate_ns >= self._config.dwell_s * NS_PER_S:
            self._become(wanted, now_ns)
        elif wanted != self._state:
            why = f"waiting: {why}"
        return self._describe(estimate, why)

    def _become(self, state: str, now_ns: int) -> None:
        if state != self._state:
            self._state, self._since_ns = state, now_ns
        self._candidate = state

    def _scores(self) -> dict[str, float]:
        assert self._probs is not None
        return {state: float(self._probs[indices].sum()) for state, indices in self._indices.items()}

    def _describe(self, estimate: Estimate, reason: str) -> EmotionState:
        assert self._since_ns is not None
        if self._probs is None:
            return EmotionState(self._state, self._since_ns, reason, None, None, None, None, None, estimate)
        confidence = self._scores().get(self._state)
        if confidence is not None and self._source == "audio":
            confidence = min(confidence, AUDIO_ONLY_CAP)
        raw = None if estimate.probs is None else dict(zip(self._labels, estimate.probs.tolist(), strict=True))
        valence, arousal = (float(value) for value in self._probs @ self._wheel)
        emotion = self._labels[int(self._probs.argmax())]
        return EmotionState(self._state, self._since_ns, reason, emotion, confidence, raw, valence, arousal, estimate)
