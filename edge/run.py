"""edge-run: the one place where sources, stages, threads and clocks are joined."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bundle.errors import EdgeEmotionError, EngineError, InputError
from bundle.features import NS_PER_S
from bundle.manifest import INT8_ONNXRUNTIME, Manifest, choose_precision, manifest_sha256, read_manifest
from edge.clock import now_ns
from edge.fan_out import open_publishers
from edge.live import Devices, Pace, open_devices, rungs
from edge.load import LoadLadder
from edge.message import Dropped, Health, Load, Message, message_from_state
from edge.options import Options, parse_options
from edge.publishers.jsonl import JsonLinesPublisher
from edge.publishers.recorder import Recorder
from edge.recording import Frame, ObservationCoder, WindowDelta
from edge.replay_check import ReplayCheck
from edge.service import Service
from edge.sources.devices import list_devices
from edge.sources.replay import RecordedUpdate, Replay
from edge.summary import RunSummary
from perception.chunks import AudioChunk, Estimate, FaceStatus, Observation, VideoChunk, VoiceStatus
from perception.clip import decode_clip, probe_clip
from perception.engine import Engine
from perception.mount import CameraMount
from perception.network import embedding_sizes, open_network
from perception.onnxrt import OnnxRuntimeEngine
from perception.pipeline import Perception, empty_window
from perception.resilient import ResilientEngine
from perception.state import StateMachine
from perception.tap import Tap

if TYPE_CHECKING:
    from edge.chaos import Chaos

CLIP_LATENESS_NS = 100_000_000
"""An update on a clip's time line waits so long for a chunk of sound that lies across its time."""


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 0 for success, 1 for a failure that a message explains, 2 for wrong usage."""
    options = parse_options(arguments)
    try:
        if options.list_devices:
            _print_devices()
        else:
            _run(options)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before or after the run; within it, a signal ends it in order
        return 130
    return 0


def _run(options: Options) -> None:
    """Estimates to states to messages, until the source ends, the duration is over, or a signal comes."""
    session = Session(options, read_manifest(options.bundle))
    summary, started_s = RunSummary(), time.monotonic()
    _refuse_overwriting(options)
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signals())
        publishers = open_publishers(options, stack)
        session.tap = publishers.tap
        stack.enter_context(session)
        estimates = session.estimates(stop, stack)
        first = [*islice(estimates, 1)]  # opens the source: an output is not emptied for nothing
        if publishers.want_lines:
            publishers.add(JsonLinesPublisher(stack.enter_context(_output(options))))
        state = StateMachine(session.manifest.labels)
        try:
            for seq, estimate in enumerate(chain(first, estimates)):
                message = message_from_state(
                    seq, state.update(estimate), session.clock_ns(estimate), session.dropped(),
                    session.manifest.name, session.engine, session.health(),
                )  # fmt: skip
                publishers.publish(message)
                session.published(message)
                summary.add(message)
                if stop.is_set():
                    break
        finally:
            publishers.close()  # a text screen would be drawn over the summary
            if summary.count:
                step_s = session.manifest.window.step_s
                print(summary.text(step_s, time.monotonic() - started_s), file=sys.stderr)
    session.raise_failed_check()


class Session:
    """One run: what it perceives and by which clock.

    clock_ns : when the message of an estimate is emitted. dropped : what was captured but never perceived.
    health : how the devices do. tap : who looks on; set before the run.
    """

    def __init__(self, options: Options, manifest: Manifest) -> None:
        self.options, self.manifest = options, manifest
        self.clock_ns: Callable[[Estimate], int] = lambda _: now_ns()
        self.dropped: Callable[[], Dropped] = Dropped
        self.health: Callable[[], Health] = self._well
        self.tap: Tap | None = None
        self._precision = choose_precision(
            manifest, options.precision, INT8_ONNXRUNTIME, allow_ungated=options.allow_ungated
        )
        self._engine_name = "loading"
        self._engines: list[ResilientEngine] = []
        self._other_precision: dict[str, Engine] = {}
        self._low_precision = False
        self._chaos: Chaos | None = None
        self._service = Service()
        self._camera = options.camera is not None
        self._microphone = options.microphone is not None
        self._recorder: Recorder | None = None
        self._check: ReplayCheck | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        self._service.stopping()
        if self._recorder:
            self._recorder.close()

    def estimates(self, stop: threading.Event, stack: ExitStack) -> Iterator[Estimate]:
        """Estimates of what the options name: a clip, a recorded run, or the devices."""
        if self.options.replay:
            return self.replay(self.options.replay, stop)
        if self.options.clip and not self.options.chaos:
            return self.clip(self.options.clip, stop)
        return self.live(stop, stack)

    @property
    def engine(self) -> str:
        """On what the networks run, and which of them fail."""
        failed = "".join(f", {engine.part} fails" for engine in self._engines if not engine.works)
        return self._engine_name + failed

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
        info = probe_clip(path)
        self._camera &= info.has_video
        self._microphone &= info.has_audio
        if not self._camera and not self._microphone:
            raise InputError(f"{path} has nothing left to perceive; drop --no-camera or --no-microphone.")
        chunks = decode_clip(path, mono_channel=self.options.channel)
        if not self.options.realtime:
            self.clock_ns = lambda estimate: estimate.captured_ns
        self._open_recorder(back_pressure=not self.options.realtime)
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
        self._open_recorder(back_pressure=True)
        perception: Perception | None = None
        origin_ns, start_ns = now_ns(), 0
        for entry in replay.entries(self._coder()):
            if not isinstance(entry, RecordedUpdate):
                if perception and anew:
                    self._push(perception, entry)
                continue
            if perception is None:
                start_ns = entry.observation.captured_ns
                perception = self._open_perception(start_ns)
                opened_engine = self._engine_name
            elapsed_ns = entry.observation.captured_ns - start_ns
            if self._is_over(elapsed_ns):
                return
            if self.options.realtime:
                stop.wait((origin_ns + elapsed_ns - now_ns()) / NS_PER_S)
            self._engine_name = "loading" if entry.message["engine"] == "loading" else opened_engine
            self.clock_ns = lambda _, entry=entry: entry.emitted_ns  # type: ignore[misc]
            self.dropped, self.health = lambda entry=entry: entry.dropped, lambda entry=entry: entry.health  # type: ignore[misc]
            observation = perception.observe(elapsed_ns // self.manifest.window.step_ns) if anew else entry.observation
            estimate = self._estimate(observation, perception.judge)
            if self._check:
                self._check.estimated(estimate, entry)
            yield estimate

    def live(self, stop: threading.Event, stack: ExitStack) -> Iterator[Estimate]:
        """Estimates of the devices, from the first moment on; the networks load meanwhile."""
        wake = threading.Event()
        devices = self._open_devices(wake, stack)
        self._open_recorder(back_pressure=False)
        start_ns = now_ns()
        pace = Pace(start_ns, self.manifest.window.step_ns, LoadLadder(self._rungs()))
        self.health, self.dropped = lambda: devices.health(pace.load), lambda: devices.dropped(pace.left_out)
        loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self._open_perception, start_ns)
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
                self._keep_precision(pace.updated())
                self._disturb(estimate)
                yield estimate
            else:
                yield self._warming_up(start_ns + number * self.manifest.window.step_ns)

    def _perceive(self, perception: Perception, devices: Devices, pace: Pace) -> None:
        begun_ns = now_ns()
        for chunk in devices.sound():
            self._push(perception, chunk)
        image = devices.image() if pace.wants_image() else None
        if image:
            self._push(perception, image)
        pace.worked(begun_ns)

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
            clip = ClipDevices(options.clip, options.channel)
            self._camera &= clip.has_video
            self._microphone &= clip.has_audio
            options = replace(
                options,
                camera=options.camera if self._camera else None,
                microphone=options.microphone if self._microphone else None,
                channel=None,
            )
        self._chaos = Chaos(self.options.chaos, clip)
        return open_devices(options, wake, stack, self._chaos.open_capture, self._chaos.open_input)

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

    def _keep_precision(self, load: Load) -> None:
        """Run the encoders on INT8 where that is given up, and on float32 again where it is not."""
        low = load in ("int8", "one modality") and "int8" in self._rungs()
        if low == self._low_precision:
            return
        self._low_precision = low
        for engine in self._engines:
            file = self.manifest.parts[engine.part].files.get(INT8_ONNXRUNTIME)
            if file:
                other = self._other_precision.get(engine.part) or OnnxRuntimeEngine(self.options.bundle / file)
                self._other_precision[engine.part] = engine.engine
                engine.use(other)

    def _rungs(self) -> list[Load]:
        return [*rungs(self.manifest, self.options, self._precision)]

    def _well(self) -> Health:
        return Health("ok" if self._camera else "off", "ok" if self._microphone else "off")

    def _coder(self) -> ObservationCoder:
        window, sizes = self.manifest.window, embedding_sizes(self.manifest)
        return ObservationCoder(
            WindowDelta(window.image_slots, sizes["visual"], window.image_period_ns),
            WindowDelta(window.segment_slots(self.manifest.audio), sizes["audio"], window.step_ns),
        )

    def _open_recorder(self, *, back_pressure: bool) -> None:
        """Before the first estimate. The file itself is opened with the first message."""
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
            options.record, start, self._coder(), self.manifest.window,
            media=options.record_media, back_pressure=back_pressure,
        )  # fmt: skip

    def _open_perception(self, start_ns: int) -> Perception:
        options, detect = self.options, None
        if self._camera:
            from perception.mediapipe_face import MediaPipeFaceDetector

            detect = MediaPipeFaceDetector(options.roi).detect
        network = open_network(options.bundle, self._open_engine, self._precision)
        self._engine_name = network.engine_name + (" int8" if self._precision == INT8_ONNXRUNTIME else "")
        mount = CameraMount(options.rotate, options.mirror, options.mono)
        return Perception(
            network, detect=detect, mount=mount, microphone=self._microphone, start_ns=start_ns, tap=self.tap
        )

    def _open_engine(self, path: Path) -> Engine:
        """ONNX Runtime, and after a failure a new session of it."""

        part = next(name for name, part in self.manifest.parts.items() if path.name in part.files.values())

        def open_one() -> Engine:
            engine = OnnxRuntimeEngine(path)
            return self._chaos.engine(engine) if self._chaos and part == "visual" else engine

        engine = ResilientEngine(part, [open_one, open_one], lambda text: print(f"edge-run: {text}", file=sys.stderr))
        self._engines.append(engine)
        return engine


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the update in hand is finished."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _refuse_overwriting(options: Options) -> None:
    """InputError where a file to write is one to read, or both files to write are the same."""
    written = {"--output": options.output, "--record": options.record}
    read = {"the clip itself": options.clip, "the replayed file itself": options.replay, "--record too": options.record}
    for flag, target in written.items():
        for what, source in read.items():
            if target and source and target is not source and target.resolve() == source.resolve():
                raise InputError(f"{flag} {target} is {what}. Choose another file.")


@contextmanager
def _output(options: Options) -> Iterator[TextIO]:
    path = options.output
    if path is None:
        if sys.stdout is None:
            raise InputError("standard output is closed; expected somewhere to write. Give --output FILE.")
        yield sys.stdout
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output {path} cannot be written: {error.strerror}. Choose another file.") from error
    with file:
        yield file


def _print_devices() -> None:
    for kind, devices in list_devices().items():
        print(f"{kind}:")
        for device in devices:
            details = ", ".join(f"{key} {value}" for key, value in device.items() if key != "name")
            print(f"  {device['name']}  ({details})")
        if not devices:
            print("  none found")


if __name__ == "__main__":
    sys.exit(main())
