"""One run of edge-run: from a clip, a recording or the devices to estimates, by the clock that each of them has."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.command import warn
from bundle.errors import ArtefactError, EngineError, InputError
from bundle.features import NS_PER_S
from bundle.manifest import Manifest, manifest_sha256
from edge.clock import now_ns
from edge.engines import Engines
from edge.live import Devices, Int8Rung, Pace, open_devices, rungs
from edge.load import LoadLadder
from edge.message import Dropped, Health, Message
from edge.options import Options
from edge.publishers.recorder import Recorder
from edge.recording import Frame, ObservationCoder, WindowDelta
from edge.replay_check import ReplayCheck
from edge.service import Service
from edge.sources.replay import RecordedUpdate, Replay
from perception.chunks import AudioChunk, Estimate, FaceStatus, Observation, VideoChunk, VoiceStatus
from perception.clip import decode_clip, probe_clip
from perception.encoders import STALE_NS
from perception.engine import Engine
from perception.mount import CameraMount
from perception.network import check_runnable, embedding_sizes, network_from_engines
from perception.pipeline import Perception, empty_window
from perception.tap import Tap

if TYPE_CHECKING:
    from edge.chaos import Chaos

CLIP_LATENESS_NS = 100_000_000
"""An update on a clip's time line waits so long for a chunk of sound that lies across its time."""

COMPILING = "compiles its kernels, which are kept for the next start; that takes up to a minute"


class Session:
    """One run: what it perceives and by which clock.

    clock_ns : when the message of an estimate is emitted. dropped : what was captured but never perceived.
    health : how the devices do. tap : who looks on; set before the run.
    """

    def __init__(self, options: Options, manifest: Manifest) -> None:
        check_runnable(manifest)
        self.options, self.manifest = options, manifest
        self.clock_ns: Callable[[Estimate], int] = lambda _: now_ns()
        self.dropped: Callable[[], Dropped] = Dropped
        self.health: Callable[[], Health] = self._well
        self.tap: Tap | None = None
        self._engines = Engines(
            options.bundle, manifest, options.engine, options.precision, allow_ungated=options.allow_ungated
        )
        self._loading = True
        self._int8: Int8Rung | None = None
        self._chaos: Chaos | None = None
        self._service = Service()
        self._camera = options.camera is not None
        self._microphone = options.microphone is not None
        self._recorder: Recorder | None = None
        self._stop = threading.Event()
        self._check: ReplayCheck | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._service.stopping()
        if self._recorder:
            self._recorder.close(failed=kind is not None)

    def estimates(self, stop: threading.Event, stack: ExitStack) -> Iterator[Estimate]:
        """Estimates of what the options name: a clip, a recorded run, or the devices."""
        self._stop = stop
        if self.options.replay:
            return self.replay(self.options.replay, stop)
        if self.options.clip and not self.options.chaos:
            return self.clip(self.options.clip, stop)
        return self.live(stop, stack)

    @property
    def engine(self) -> str:
        """On what the networks run, and which of them fail."""
        if self._loading:
            return "loading"
        return self._engines.name + "".join(f", {part} fails" for part in self._engines.failing)

    def published(self, message: Message) -> None:
        """Tell the service manager, record the message, and compare it to the recorded one in a replay."""
        self._service.published(message["state"], message["source"])
        if self._recorder:
            self._recorder.publish(message)
        if self._check:
            self._check.published(message)

    def raise_failed_check(self) -> None:
        """InputError where the recording failed, or the replay differs from what was recorded."""
        if self._recorder and self._recorder.error:
            raise InputError(f"{self._recorder.error}. What was recorded before can be replayed.")
        if self._check:
            self._check.raise_differences()

    def clip(self, path: Path, stop: threading.Event) -> Iterator[Estimate]:
        """Estimates of a clip on its own time line, as fast as possible or paced by the clock.

        A clip that turns out to be truncated is perceived as far as it goes before the error is raised.
        """
        self._perceive_what_is_there(path)
        chunks = decode_clip(path, mono_channel=self.options.channel)
        self.clock_ns = lambda estimate: estimate.captured_ns
        self._open_recorder(start_ns=0)
        yield self._warming_up(0)
        perception = self._open_perception(start_ns=0)
        origin_ns = now_ns()
        if self.options.realtime:
            self.clock_ns = lambda _: now_ns() - origin_ns

        def wait_until(elapsed_ns: int) -> None:
            if self.options.realtime:
                stop.wait((origin_ns + elapsed_ns - now_ns()) / NS_PER_S)

        step_ns, number, newest_ns = self.manifest.window.step_ns, 1, 0
        truncated = None
        try:
            for chunk in chunks:
                due_ns = chunk.end_ns() if isinstance(chunk, AudioChunk) else chunk.captured_ns
                while number * step_ns + CLIP_LATENESS_NS < due_ns and not self._is_over(number * step_ns):
                    wait_until(number * step_ns + CLIP_LATENESS_NS)
                    yield self._estimate(perception.observe(number), perception.judge)
                    number += 1
                if self._is_over(number * step_ns):
                    return
                wait_until(due_ns)
                self._push(perception, chunk)
                newest_ns = max(newest_ns, due_ns)
        except InputError as error:
            truncated = error
        while number * step_ns <= newest_ns and not self._is_over(number * step_ns):
            yield self._estimate(perception.observe(number), perception.judge)
            number += 1
        if truncated:
            raise truncated

    def replay(self, path: Path, stop: threading.Event) -> Iterator[Estimate]:
        """Estimates of a recorded run: its embeddings judged anew, or its sound and images perceived by another bundle.

        A recording that turns out to be damaged is replayed as far as it goes before the error is raised.
        """
        replay = Replay(path)
        self._camera, self._microphone = replay.camera, replay.microphone
        anew = replay.media and replay.bundle_sha256 != manifest_sha256(self.options.bundle)
        if not anew:
            replay.check_bundle(self.manifest.name, manifest_sha256(self.options.bundle))
            self._check = ReplayCheck(path)
        perception: Perception | None = None
        origin_ns = start_ns = 0
        for entry in replay.entries(None if anew else self._coder()):
            if not isinstance(entry, RecordedUpdate):
                if perception and anew:
                    self._push(perception, entry)
                continue
            if perception is None:
                start_ns = entry.captured_ns
                self._open_recorder(start_ns)
                perception = self._open_perception(start_ns)
                origin_ns = now_ns()
            elapsed_ns = entry.captured_ns - start_ns
            if self._is_over(elapsed_ns):
                return
            if self.options.realtime:
                stop.wait((origin_ns + elapsed_ns - now_ns()) / NS_PER_S)
            self._loading = entry.engine == "loading"
            self.clock_ns = lambda _, entry=entry: entry.emitted_ns  # type: ignore[misc]
            self.dropped, self.health = lambda entry=entry: entry.dropped, lambda entry=entry: entry.health  # type: ignore[misc]
            observation = entry.observation or perception.observe(elapsed_ns // self.manifest.window.step_ns)
            estimate = self._estimate(observation, perception.judge)
            if self._check:
                self._check.estimated(estimate, entry)
            yield estimate

    def live(self, stop: threading.Event, stack: ExitStack) -> Iterator[Estimate]:
        """Estimates of the devices, from the first moment on; the networks load meanwhile."""
        wake = threading.Event()
        devices = self._open_devices(wake, stack)
        start_ns = now_ns()
        self._open_recorder(start_ns)
        ladder = LoadLadder(rungs(self.manifest, self._engines.precision, both=self._camera and self._microphone))
        pace = Pace(start_ns, self.manifest.window.step_ns, ladder)
        self._int8 = Int8Rung() if ladder.has("int8") else None
        self.health, self.dropped = lambda: devices.health(pace.load), lambda: devices.dropped(pace.left_out)

        def load() -> Perception:
            perception = self._open_perception(start_ns)
            if self._int8 and not self._int8.can_help:
                ladder.leave_out("int8")
            gc.collect()
            gc.freeze()  # what is loaded stays: to look for garbage in it would hold up an update by 70 ms
            return perception

        stack.callback(gc.unfreeze)
        loading = stack.enter_context(ThreadPoolExecutor(1)).submit(load)
        while not stop.is_set() and not self._is_over(pace.elapsed_ns):
            wake.wait(pace.wait_s())
            wake.clear()
            perception = loading.result() if loading.done() else None
            if perception:
                self._perceive(perception, devices, pace)
            else:
                devices.image()  # those that come while the networks load are not looked at
            number = pace.due()
            if number is None:
                continue
            if perception:
                begun_ns = now_ns()
                estimate = self._estimate(perception.observe(number), perception.judge)
                pace.worked(begun_ns)
                pace.updated()
                if self._int8:
                    self._int8.keep(ladder.gives_up("int8"))
                self._disturb(estimate)
                yield estimate
            else:
                yield self._warming_up(start_ns + number * self.manifest.window.step_ns)

    def _perceive(self, perception: Perception, devices: Devices, pace: Pace) -> None:
        for _ in range(2):
            begun_ns = now_ns()
            for chunk in devices.sound():
                self._push(perception, chunk)
            image = devices.image() if pace.wants_image(devices.hears) else None
            if image:
                self._push(perception, image)
            pace.worked(begun_ns)
            if now_ns() - begun_ns < STALE_NS:
                break  # else what came meanwhile goes before the update, which would take the devices for lost

    def _disturb(self, estimate: Estimate) -> None:
        """Have the scenario of --chaos begin when all that is in use is perceived, and go on."""
        if self._chaos:
            if estimate.source == "+".join(["audio"] * self._microphone + ["video"] * self._camera):
                self._chaos.begin()
            self._chaos.tick()

    def _open_devices(self, wake: threading.Event, stack: ExitStack) -> Devices:
        """The devices, or with --chaos a faulty version of them or of a clip in their place."""
        if not self.options.chaos:
            return open_devices(self.options, wake, stack)
        from edge.chaos import Chaos
        from edge.clip_devices import ClipDevices

        options, clip = self.options, None
        if options.clip:
            self._perceive_what_is_there(options.clip)
            clip = ClipDevices(options.clip, options.channel)
            options = replace(
                options,
                camera=options.camera if self._camera else None,
                microphone=options.microphone if self._microphone else None,
                channel=None,
            )
        self._chaos = Chaos(self.options.chaos, clip, camera=self._camera, microphone=self._microphone)
        return open_devices(options, wake, stack, self._chaos.open_capture, self._chaos.open_input)

    def _perceive_what_is_there(self, clip: Path) -> None:
        info, channel = probe_clip(clip), self.options.channel
        self._camera &= info.has_video
        self._microphone &= info.has_audio
        if not self._camera and not self._microphone:
            raise InputError(f"{clip} has nothing left to perceive; drop --no-camera or --no-microphone.")
        if self._microphone and channel is not None and channel >= info.audio_channels:
            raise InputError(
                f"--channel is {channel}, but {clip} has {info.audio_channels} audio channel(s), numbered from 0. "
                "Choose one of them, or leave --channel out for the mean of all."
            )

    def _is_over(self, elapsed_ns: int) -> bool:
        return self.options.duration_s is not None and elapsed_ns > self.options.duration_s * NS_PER_S

    def _warming_up(self, captured_ns: int) -> Estimate:
        """Before the networks are loaded."""
        face: FaceStatus = "no image" if self._camera else "off"
        voice: VoiceStatus = "lost" if self._microphone else "off"
        window, sizes = self.manifest.window, embedding_sizes(self.manifest)
        observation = Observation(
            captured_ns, None, "none", "warming up", face, voice,
            *empty_window(window.image_slots, sizes["visual"]),
            *empty_window(window.segment_slots(self.manifest.audio), sizes["audio"]),
        )  # fmt: skip
        nothing = Estimate(captured_ns, None, None, "none", "warming up", face, voice)
        return self._estimate(observation, lambda _: nothing)

    def _estimate(self, observation: Observation, judge: Callable[[Observation], Estimate]) -> Estimate:
        try:
            estimate = judge(observation)
        except EngineError:
            observation = replace(observation, source="none", newest_ns=None, reason="the network's head fails")
            estimate = judge(observation)
        if self._recorder:
            self._recorder.observe(observation, estimate)
        return estimate

    def _push(self, perception: Perception, chunk: AudioChunk | VideoChunk) -> None:
        with suppress(EngineError):  # as `engine` says; the other modality goes on
            perception.push(chunk)
        if self._recorder:
            self._recorder.push(chunk)

    def _well(self) -> Health:
        return Health("ok" if self._camera else "off", "ok" if self._microphone else "off")

    def _coder(self) -> ObservationCoder:
        window, sizes = self.manifest.window, embedding_sizes(self.manifest)
        return ObservationCoder(
            WindowDelta(window.image_slots, sizes["visual"], window.image_period_ns),
            WindowDelta(window.segment_slots(self.manifest.audio), sizes["audio"], window.step_ns),
        )

    def _open_recorder(self, start_ns: int) -> None:
        """Before the first estimate; `start_ns` as of the perception. The file is opened later."""
        options = self.options
        if options.record is None:
            return
        start = Frame(
            "start",
            {
                "bundle": self.manifest.name,
                "bundle_sha256": manifest_sha256(options.bundle),
                "camera": self._camera,
                "microphone": self._microphone,
                "media": options.record_media,
            },
        )
        self._recorder = Recorder(
            options.record, start, self._coder(), self.manifest.window, start_ns, self._stop,
            media=options.record_media, back_pressure=not options.by_the_clock,
        )  # fmt: skip

    def _open_perception(self, start_ns: int) -> Perception:
        options, detect = self.options, None
        if self._camera:
            from perception.mediapipe_face import MediaPipeFaceDetector

            detect = MediaPipeFaceDetector(options.roi).detect
        network = network_from_engines(self.manifest, {part: self._open_engine(part) for part in self.manifest.parts})
        self._engines.report()
        mount = CameraMount(options.rotate, options.mirror, options.mono)
        from kernels.jit import compilation_told  # and with it Numba

        try:
            with compilation_told(lambda: warn(f"edge-run: {COMPILING}")):
                perception = Perception(
                    network, detect=detect, mount=mount, microphone=self._microphone, start_ns=start_ns, tap=self.tap
                )
        except ValueError as error:
            raise ArtefactError(
                f"bundle {self.manifest.name} defines features that cannot be computed: {error} Export it again with "
                "edge-export."
            ) from error
        self._loading = False
        return perception

    def _open_engine(self, part: str) -> Engine:
        """With its INT8 stand-in, if that can be a rung."""
        disturb = self._chaos.engine if self._chaos and part == "visual" else None
        engine = self._engines.open(part, disturb)
        int8 = self._engines.open_int8(part) if self._int8 else None
        if self._int8 and int8:
            self._int8.add(engine, int8)
        return engine
