"""Faults on purpose: devices, engines and the machine, disturbed as in a car. docs/reliability.md is their table."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bundle.command import warn
from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.clip_devices import ClipDevices
from edge.clock import now_ns
from edge.scenarios import SCENARIOS
from edge.sources.camera import Capture, capture_from_source
from edge.sources.microphone import Input, OnBlock, OpenInput, PortAudioInput
from perception.engine import Engine, Tensors

OpenCapture = Callable[[int | str], Capture]

SLOW_INTERVAL_S = 0.4
CLAIMED_TO_REAL_RATE = 44_100 / 48_000
HOUR_S = 3_600.0
OVERLOAD_S = 0.12
"""What each image costs more: two come per update of 0.2 s."""


class Chaos:
    """Wraps devices and engines so that the scenario happens to them.

    name : of `SCENARIOS`. clip : in place of the machine's own devices; None for these. camera, microphone : whether
    they are in use.

    Raises
    ------
    InputError : it would happen to a device that is not in use.
    """

    def __init__(self, name: str, clip: ClipDevices | None, *, camera: bool, microphone: bool) -> None:
        self._scenario = SCENARIOS[name]
        if self._scenario.needs not in [None, *["camera"] * camera, *["microphone"] * microphone]:
            raise InputError(f"--chaos {name} needs a {self._scenario.needs}; none is in use. Choose another scenario.")
        self._open_capture: OpenCapture = clip.open_capture if clip else capture_from_source
        self._open_input: OpenInput = clip.open_input if clip else PortAudioInput
        self._begins_ns: int | None = None
        self._frozen: Any = None
        self._stood_still = False

    def begin(self) -> None:
        """All that is in use is perceived: the scenario's time begins to run, unless it does so already."""
        if self._begins_ns is not None:
            return
        scenario = self._scenario
        self._begins_ns = now_ns() + round(scenario.begins_s * NS_PER_S)
        warn(
            f"chaos: {scenario.name} in {scenario.begins_s:g} s, for {scenario.lasts_s:g} s ({scenario.what}); "
            f"recovers within {scenario.recovers_s:g} s"
        )

    def now(self, name: str) -> bool:
        """Whether this fault is there at the moment."""
        if self._begins_ns is None or self._scenario.name != name:
            return False
        return 0 <= now_ns() - self._begins_ns < self._scenario.lasts_s * NS_PER_S

    def open_capture(self, source: int | str) -> Capture:
        if self.now("unplug-camera"):
            raise InputError(f"camera {source!r} is unplugged by --chaos.")
        return _FaultyCapture(self._open_capture(source), self)

    def open_input(self, device: str | int, channel: int | None, on_block: OnBlock) -> Input:
        if self.now("unplug-microphone"):
            raise InputError(f"microphone {device!r} is unplugged by --chaos.")
        blocks = _FaultyBlocks(on_block, self)
        source = self._open_input(device, channel, blocks)
        blocks.channels = source.channels
        return source

    def frozen(self, image: Any) -> Any:
        """The first image of the freeze, whichever capture asks."""
        self._frozen = image if self._frozen is None else self._frozen
        return self._frozen

    def engine(self, engine: Engine) -> Engine:
        """The visual encoder's engine, disturbed."""
        return _FaultyEngine(engine, self)

    def tick(self) -> None:
        """Called by the loop: stops the whole process, as a suspend does, and has it continued."""
        if self.now("suspend") and not self._stood_still:
            self._stood_still = True
            command = ["sh", "-c", f"sleep {self._scenario.lasts_s}; kill -CONT {os.getpid()}"]
            with subprocess.Popen(command):
                os.kill(os.getpid(), signal.SIGSTOP)


class _FaultyCapture:
    def __init__(self, capture: Capture, chaos: Chaos) -> None:
        self._capture, self._chaos = capture, chaos

    def grab(self) -> bool:
        if self._chaos.now("slow-camera"):
            until_s = time.monotonic() + SLOW_INTERVAL_S
            while time.monotonic() < until_s:
                self._capture.grab()
        return not self._chaos.now("unplug-camera") and self._capture.grab()

    def retrieve(self) -> tuple[bool, Any]:
        decoded, image = self._capture.retrieve()
        if self._chaos.now("freeze-camera"):
            return decoded, self._chaos.frozen(image)
        return decoded, np.zeros_like(image) if self._chaos.now("black-camera") else image

    def release(self) -> None:
        self._capture.release()


class _FaultyBlocks:
    """Stands between an input and who listens to it."""

    def __init__(self, on_block: OnBlock, chaos: Chaos) -> None:
        self._on_block, self._chaos, self.channels = on_block, chaos, 1
        self._unplugged = False
        self._numbers = 0

    def __call__(self, data: bytes, age_s: float) -> None:
        self._unplugged |= self._chaos.now("unplug-microphone")
        if self._unplugged:
            return
        if self._chaos.now("mute-microphone"):
            data = bytes(len(data))
        elif self._chaos.now("wrong-rate"):
            data = _fewer_samples(data, self.channels)
        elif self._chaos.now("clock-jump"):
            self._numbers += 1
            age_s += {1: HOUR_S, 25: -HOUR_S}.get(self._numbers, 0.0)
        self._on_block(data, age_s)


def _fewer_samples(data: bytes, channels: int) -> bytes:
    """A block of interleaved samples, taken at a lower rate."""
    frames = np.frombuffer(data, np.int16).reshape(-1, channels)
    return frames[np.linspace(0, len(frames) - 1, round(len(frames) * CLAIMED_TO_REAL_RATE)).astype(int)].tobytes()


class _FaultyEngine:
    def __init__(self, engine: Engine, chaos: Chaos) -> None:
        self.name, self._engine, self._chaos = engine.name, engine, chaos

    def run(self, inputs: Tensors) -> Tensors:
        if self._chaos.now("engine-failure"):
            raise RuntimeError("failed by --chaos")
        if self._chaos.now("overload"):
            time.sleep(OVERLOAD_S)
        return self._engine.run(inputs)
