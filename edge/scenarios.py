"""What faults --chaos can cause, and how soon each is over. docs/reliability.md is their table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scenario:
    """A fault.

    begins_s : after all that is in use was first perceived. lasts_s : from then. recovers_s : after its end, within
    which all is as before it. needs : the device without which it does nothing.
    """

    name: str
    what: str
    lasts_s: float
    recovers_s: float
    begins_s: float = 3.0
    needs: Literal["camera", "microphone"] | None = None


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("none", "nothing: a run to compare others with", 0, 1),
        Scenario("unplug-camera", "the camera is gone and cannot be opened", 4, 3, needs="camera"),
        Scenario("freeze-camera", "the camera gives the same image again and again", 4, 1.5, needs="camera"),
        Scenario("slow-camera", "the camera gives 2.5 images per second", 4, 2.5, needs="camera"),
        Scenario("black-camera", "the lens is covered", 4, 1.5, needs="camera"),
        Scenario("unplug-microphone", "the microphone is gone and cannot be opened", 4, 5, needs="microphone"),
        Scenario("mute-microphone", "the microphone gives zeros", 4, 3, needs="microphone"),
        Scenario("wrong-rate", "the microphone gives 44.1 kHz and claims 48 kHz", 10, 9, needs="microphone"),
        Scenario("clock-jump", "the wall clock is set by an hour, forth and back", 1, 0.5, needs="microphone"),
        Scenario("suspend", "the machine stands still", 3, 3),
        Scenario("engine-failure", "the visual encoder's engine raises", 4, 2, needs="camera"),
        Scenario("overload", "each image costs 120 ms more: a hot or busy processor", 10, 45, needs="camera"),
    )
}
