"""edge-run: the one place where sources, stages, threads and clocks are joined."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from bundle.errors import EdgeEmotionError, InputError
from bundle.features import NS_PER_S
from bundle.manifest import INT8_ONNXRUNTIME, Manifest, choose_precision, read_manifest
from edge.message import Dropped, message_from_state
from edge.options import Options, parse_options
from edge.publishers.jsonl import JsonLinesPublisher
from edge.sources.camera import Camera
from edge.sources.devices import list_devices
from edge.sources.microphone import Microphone
from edge.summary import RunSummary
from perception.chunks import AudioChunk, Estimate, FaceStatus, VoiceStatus
from perception.clip import decode_clip, probe_clip
from perception.mount import CameraMount
from perception.network import open_network
from perception.pipeline import Perception
from perception.state import StateMachine

LATENESS_NS = 80_000_000
"""A live update waits so long for its newest sound: a block of the sound card, and what the resampler holds back."""

CLIP_LATENESS_NS = 100_000_000
"""Likewise on a clip's time line, for a chunk of sound that lies across the time of the update."""


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
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signals())
        estimates = session.clip(options.clip, stop) if options.clip else session.live(stop, stack)
        first = [*islice(estimates, 1)]  # opens the source: an output is not emptied for nothing
        publisher = JsonLinesPublisher(stack.enter_context(_output(options)))
        state = StateMachine(session.manifest.labels)
        try:
            for seq, estimate in enumerate(chain(first, estimates)):
                message = message_from_state(
                    seq, state.update(estimate), session.clock_ns(estimate), session.dropped(),
                    session.manifest.name, session.engine,
                )  # fmt: skip
                publisher.publish(message)
                summary.add(message)
                if stop.is_set():
                    break
        finally:
            if summary.count:
                step_s = session.manifest.window.step_s
                print(summary.text(step_s, time.monotonic() - started_s), file=sys.stderr)


class Session:
    """One run: what it perceives and by which clock.

    clock_ns : when the message of an estimate is emitted. dropped : what was captured but never perceived.
    """

    def __init__(self, options: Options, manifest: Manifest) -> None:
        self.options, self.manifest = options, manifest
        self.clock_ns: Callable[[Estimate], int] = lambda _: time.monotonic_ns()
        self.dropped: Callable[[], Dropped] = Dropped
        self.engine = "loading"
        self._precision = choose_precision(
            manifest, options.precision, INT8_ONNXRUNTIME, allow_ungated=options.allow_ungated
        )
        self._camera = options.camera is not None
        self._microphone = options.microphone is not None

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
        yield self._warming_up(0)
        perception = self._open_perception(start_ns=0)
        origin_ns = time.monotonic_ns()
        if self.options.realtime:
            self.clock_ns = lambda _: time.monotonic_ns() - origin_ns

        def wait_until(elapsed_ns: int) -> None:
            if self.options.realtime:
                stop.wait((origin_ns + elapsed_ns - time.monotonic_ns()) / NS_PER_S)

        step_ns, number, newest_ns = self.manifest.window.step_ns, 1, 0
        truncated = None
        try:
            for chunk in chunks:
                due_ns = chunk.end_ns() if isinstance(chunk, AudioChunk) else chunk.captured_ns
                while number * step_ns + CLIP_LATENESS_NS < due_ns and not self._is_over(number * step_ns):
                    wait_until(number * step_ns + CLIP_LATENESS_NS)
                    yield perception.estimate(number)
                    number += 1
                if self._is_over(number * step_ns):
                    return
                wait_until(due_ns)
                perception.push(chunk)
                newest_ns = max(newest_ns, due_ns)
        except InputError as error:
            truncated = error
        while number * step_ns <= newest_ns and not self._is_over(number * step_ns):
            yield perception.estimate(number)
            number += 1
        if truncated:
            raise truncated

    def live(self, stop: threading.Event, stack: ExitStack) -> Iterator[Estimate]:
        """Estimates of the devices, from the first moment on; the networks load meanwhile."""
        wake = threading.Event()
        options, microphone, camera = self.options, None, None
        if options.microphone is not None:
            microphone = stack.enter_context(Microphone(options.microphone, channel=options.channel, wake=wake.set))
        if options.camera is not None:
            camera = stack.enter_context(Camera(options.camera, wake=wake.set))
        self.dropped = lambda: Dropped(camera.dropped if camera else 0, microphone.dropped if microphone else 0)
        start_ns = time.monotonic_ns()
        loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self._open_perception, start_ns)
        step_ns, number = self.manifest.window.step_ns, 0
        while not stop.is_set() and not self._is_over(number * step_ns):
            due_ns = start_ns + number * step_ns + LATENESS_NS
            wake.wait(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S))
            wake.clear()
            perception = loading.result() if loading.done() else None
            image = camera.take() if camera else None
            if perception:
                for chunk in microphone.take() if microphone else ():
                    perception.push(chunk)
                if image:
                    perception.push(image)
            now_ns = time.monotonic_ns()
            if now_ns >= due_ns:
                number = (now_ns - LATENESS_NS - start_ns) // step_ns  # late updates are left out, not queued
                yield perception.estimate(number) if perception else self._warming_up(start_ns + number * step_ns)
                number += 1

    def _is_over(self, elapsed_ns: int) -> bool:
        return self.options.duration_s is not None and elapsed_ns > self.options.duration_s * NS_PER_S

    def _warming_up(self, captured_ns: int) -> Estimate:
        """Before the networks are loaded."""
        face: FaceStatus = "no image" if self._camera else "off"
        voice: VoiceStatus = "lost" if self._microphone else "off"
        return Estimate(captured_ns, None, None, "none", "warming up", face, voice)

    def _open_perception(self, start_ns: int) -> Perception:
        options, detect = self.options, None
        if self._camera:
            from perception.mediapipe_face import MediaPipeFaceDetector

            detect = MediaPipeFaceDetector(options.roi).detect
        network = open_network(options.bundle, precision=self._precision)
        self.engine = network.engine_name + (" int8" if self._precision == INT8_ONNXRUNTIME else "")
        mount = CameraMount(options.rotate, options.mirror, options.mono)
        return Perception(network, detect=detect, mount=mount, microphone=self._microphone, start_ns=start_ns)


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


@contextmanager
def _output(options: Options) -> Iterator[TextIO]:
    path = options.output
    if path is None:
        if sys.stdout is None:
            raise InputError("standard output is closed; expected somewhere to write. Give --output FILE.")
        yield sys.stdout
        return
    if options.clip and path.exists() and path.samefile(options.clip):
        raise InputError(f"--output {path} is the clip itself. Choose another file.")
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
