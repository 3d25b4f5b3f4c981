"""What a live run needs besides perception: the devices, and a pace that the machine can keep."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from bundle.features import NS_PER_S
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME, Manifest, why_ungated
from edge.clock import now_ns
from edge.load import LoadLadder
from edge.message import Dropped, Health, Load
from edge.options import Options
from edge.sources.camera import Camera
from edge.sources.microphone import Microphone
from perception.chunks import AudioChunk, VideoChunk

LATENESS_NS = 80_000_000
"""A live update waits so long for its newest sound: a block of the sound card, and what the resampler holds back."""


class Devices:
    """Camera and microphone, one of which may be None."""

    def __init__(self, camera: Camera | None, microphone: Microphone | None) -> None:
        self._camera, self._microphone = camera, microphone

    def sound(self) -> list[AudioChunk]:
        """What was heard since the last call."""
        return self._microphone.take() if self._microphone else []

    def image(self) -> VideoChunk | None:
        """The newest image since the last call."""
        return self._camera.take() if self._camera else None

    def health(self, load: Load) -> Health:
        return Health(
            self._camera.health if self._camera else "off", self._microphone.health if self._microphone else "off", load
        )

    def dropped(self, updates: int) -> Dropped:
        return Dropped(
            self._camera.dropped if self._camera else 0, self._microphone.dropped if self._microphone else 0, updates
        )


def open_devices(
    options: Options, wake: threading.Event, stack: ExitStack, open_capture: Any = None, open_input: Any = None
) -> Devices:
    """The devices that the options name, open until the stack unwinds; InputError where one cannot be opened."""
    camera, microphone = None, None
    if options.microphone is not None:
        microphone = stack.enter_context(
            Microphone(options.microphone, channel=options.channel, wake=wake.set, open_input=open_input)
        )
    if options.camera is not None:
        camera = stack.enter_context(Camera(options.camera, wake=wake.set, open_capture=open_capture))
    return Devices(camera, microphone)


class Pace:
    """When updates are due, and what is given up so that they come in time.

    left_out : updates that would have been late; they are left out, not queued.
    """

    def __init__(self, start_ns: int, step_ns: int, ladder: LoadLadder) -> None:
        self.left_out = 0
        self._start_ns, self._step_ns, self._ladder = start_ns, step_ns, ladder
        self._number = self._work_ns = self._next_image_ns = 0

    @property
    def load(self) -> Load:
        return self._ladder.load

    @property
    def elapsed_ns(self) -> int:
        """Of the next update, since the start."""
        return self._number * self._step_ns

    @property
    def _stride(self) -> int:
        return 2 if self._ladder.gives_up("reduced rate") else 1

    @property
    def _due_ns(self) -> int:
        return self._start_ns + self.elapsed_ns + LATENESS_NS

    def wait_s(self) -> float:
        """Until the next update."""
        return max(0.0, (self._due_ns - now_ns()) / NS_PER_S)

    def due(self) -> int | None:
        """The number of the update that is due; None while none is."""
        moment_ns = now_ns()
        if moment_ns < self._due_ns:
            return None
        number = (moment_ns - LATENESS_NS - self._start_ns) // self._step_ns
        self.left_out += number - self._number
        self._number = number + self._stride
        return number

    def wants_image(self) -> bool:
        """Images are left out under load: every second period of the grid, then all."""
        moment_ns = now_ns()
        if self._ladder.gives_up("one modality") or moment_ns < self._next_image_ns:
            return False
        self._next_image_ns = moment_ns + (self._stride - 1) * self._step_ns * 3 // 4
        return True

    def worked(self, since_ns: int) -> None:
        """Count the time since then as work."""
        self._work_ns += now_ns() - since_ns

    def updated(self) -> Load:
        """An update is made: what is given up from now on."""
        busy, self._work_ns = self._work_ns / (self._stride * self._step_ns), 0
        return self._ladder.update(busy, now_ns())


def rungs(manifest: Manifest, options: Options, precision: str) -> Iterator[Load]:
    """What can be given up, in this order: float only where it is run, and INT8 has passed the bundle's own gate."""
    yield "normal"
    yield "reduced rate"
    if precision == FLOAT32 and why_ungated(manifest, INT8_ONNXRUNTIME) is None:
        yield "int8"
    if options.camera is not None and options.microphone is not None:
        yield "one modality"  # images: they cost ten times as much as sound
