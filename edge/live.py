"""What a live run needs besides perception: the devices, and a pace that the machine can keep."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bundle.features import NS_PER_S
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME, Manifest, why_ungated
from edge.clock import now_ns
from edge.load import LoadLadder
from edge.message import Dropped, Health, Load
from edge.options import Options
from edge.sources.camera import Camera, Capture
from edge.sources.microphone import Microphone, OpenInput
from perception.chunks import AudioChunk, VideoChunk
from perception.engine import Engine
from perception.resilient import ResilientEngine

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

    @property
    def hears(self) -> bool:
        """Whether there is a microphone that gives sound."""
        return self._microphone is not None and self._microphone.health in ("ok", "wrong rate")

    def health(self, load: Load) -> Health:
        return Health(
            self._camera.health if self._camera else "off", self._microphone.health if self._microphone else "off", load
        )

    def dropped(self, updates: int) -> Dropped:
        return Dropped(
            self._camera.dropped if self._camera else 0, self._microphone.dropped if self._microphone else 0, updates
        )


def open_devices(
    options: Options,
    wake: threading.Event,
    stack: ExitStack,
    open_capture: Callable[[int | str], Capture] | None = None,
    open_input: OpenInput | None = None,
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
        self.left_out += (number - self._number) // self._stride
        self._number = number + self._stride
        return number

    def wants_image(self, hears: bool) -> bool:
        """Images are left out under load: every second period of the grid, then all while there is sound to go by."""
        moment_ns = now_ns()
        if (self._ladder.gives_up("one modality") and hears) or moment_ns < self._next_image_ns:
            return False
        self._next_image_ns = moment_ns + (self._stride - 1) * self._step_ns * 3 // 4
        return True

    def worked(self, since_ns: int) -> None:
        """Count the time since then as work."""
        self._work_ns += now_ns() - since_ns

    def updated(self) -> None:
        """An update is made; its work says what is given up from now on."""
        busy, self._work_ns = self._work_ns / (self._stride * self._step_ns), 0
        self._ladder.update(busy, now_ns())


class Int8Rung:
    """INT8 engines that stand in for the networks' own while float is given up.

    They are opened with the others: a machine that is too slow already has no time for it.
    """

    def __init__(self) -> None:
        self._engines: list[tuple[ResilientEngine, Engine]] = []  # (what runs, in INT8)
        self._in_float: list[Engine] = []  # what ran before they changed over

    def add(self, engine: ResilientEngine, int8: Engine) -> None:
        self._engines.append((engine, int8))

    @property
    def can_help(self) -> bool:
        """Whether there is any: not where a GPU runs what has INT8 files."""
        return bool(self._engines)

    def keep(self, given_up: bool) -> None:
        """Change over where what is given up has changed."""
        if given_up and not self._in_float:
            self._in_float = [engine.engine for engine, _ in self._engines]
            for engine, int8 in self._engines:
                engine.use(int8)
        elif not given_up and self._in_float:
            for (engine, _), float32 in zip(self._engines, self._in_float, strict=True):
                engine.use(float32)
            self._in_float = []


def rungs(manifest: Manifest, precision: str, *, both: bool) -> Sequence[Load]:
    """What can be given up, in this order: float only where it is run, and INT8 has passed the bundle's own gate.

    both : camera and microphone are in use.
    """
    int8: list[Load] = ["int8"] if precision == FLOAT32 and why_ungated(manifest, INT8_ONNXRUNTIME) is None else []
    one: list[Load] = ["one modality"] if both else []  # images go: they cost ten times as much as sound
    return ["normal", "reduced rate", *int8, *one]
