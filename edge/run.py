"""edge-run: the one place where sources, stages, threads and clocks are joined."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

from bundle.command import drop_unwritten, warn
from bundle.errors import EdgeEmotionError, InputError
from bundle.features import NS_PER_S
from bundle.manifest import Manifest, manifest_sha256, read_manifest
from edge.audit import Audit
from edge.clock import now_ns
from edge.fan_out import open_publishers
from edge.fleet import FleetProfile
from edge.memory import keep_freed_memory
from edge.message import Message, message_from_state
from edge.options import Options, own_version, parse_options
from edge.publishers.jsonl import JsonLinesPublisher, lines_in_file, lines_on_stdout
from edge.session import Session
from edge.sources.devices import list_devices
from edge.summary import RunSummary
from perception.state import StateMachine

ONE_REQUEST_S = 1.0
"""Signals within so long are one request to stop."""

NO_KERNEL_CACHE = "cannot cache function"
"""Numba's, where neither the package's folder nor a folder of the user's can be written."""


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 0 for success, 1 for a failure that a message explains, 2 for wrong usage."""
    if sys.stderr is None:  # closed, as by 2>&-: what is said there must not go between the lines
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        options = parse_options(arguments)
        if options.list_devices:
            _print_devices()
        else:
            _run(options)
    except BrokenPipeError:  # whoever read our output has seen enough
        return 0
    except (EdgeEmotionError, OSError) as error:
        warn(f"edge-run: {error}")
        return 1
    except (ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and NO_KERNEL_CACHE not in str(error):
            raise
        warn(f"edge-run: {error}; edge-doctor names the command that mends it.")
        return 1
    except KeyboardInterrupt:  # before or after the run; within it, a signal ends it in order
        return 130
    finally:
        drop_unwritten()
    return 0


def _run(options: Options) -> None:
    """Estimates to states to messages, until the source ends, the duration is over, or a signal comes."""
    keep_freed_memory()
    output, record = (_of_this_run(*each) for each in ((options.output, ".jsonl"), (options.record, ".rec")))
    options = replace(options, output=output, record=record)
    session = Session(options, read_manifest(options.bundle))
    summary, started_ns = RunSummary(), now_ns()
    _refuse_overwriting(options)
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signals())
        reduce = _open_profile(options, session.manifest, stack)
        publishers = open_publishers(options, stack)
        session.tap = publishers.tap
        if publishers.want_lines:
            publishers.add(stack.enter_context(_lines(options, stop)))
        stack.enter_context(session)  # and left before the lines are, which may wait for their reader
        state = StateMachine(session.manifest.labels)
        try:
            for seq, estimate in enumerate(session.estimates(stop, stack)):
                message = reduce(message_from_state(
                    seq, state.update(estimate), session.clock_ns(estimate), session.dropped(),
                    session.manifest.name, session.engine, session.health(),
                ))  # fmt: skip
                publishers.publish(message)
                session.published(message)
                summary.add(message)
                if stop.is_set():
                    break
        finally:
            publishers.close()  # a text screen would be drawn over the summary
            if summary.count and session.engine != "loading":  # else nothing was perceived
                step_s = session.manifest.window.step_s
                warn(summary.text(step_s, (now_ns() - started_ns) / NS_PER_S))
    session.raise_failed_check()


def _open_profile(options: Options, manifest: Manifest, stack: ExitStack) -> Callable[[Message], Message]:
    """What becomes of a message before anybody gets it; with the fleet profile its audit begins."""
    if options.profile is None:
        return lambda message: message
    assert options.audit is not None
    outputs = {"output": options.output or "stdout", "mqtt": options.mqtt, "metrics": options.metrics}
    entry = {
        "version": own_version(),
        "bundle": manifest.name,
        "bundle_sha256": manifest_sha256(options.bundle),
        "profile": options.profile,
        "approved_states": options.approved_states,
        "outputs": {kind: str(where) for kind, where in outputs.items() if where},
    }
    audit = stack.enter_context(Audit(options.audit, entry))
    profile = FleetProfile(options.approved_states)

    def reduce(message: Message) -> Message:
        reduced = profile.reduce(message)
        audit.count(reduced)
        return reduced

    return reduce


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and a terminal that is closed set, so that the update in hand is finished.

    Asked again later, the run ends at once. Not within a second: `timeout` sends each signal twice.
    """
    stop = threading.Event()
    asked_s: list[float] = []

    def ask(*_: object) -> None:
        if asked_s and time.monotonic() - asked_s[0] > ONE_REQUEST_S:
            raise KeyboardInterrupt
        asked_s.append(time.monotonic())
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _of_this_run(path: Path | None, suffix: str) -> Path | None:
    """In a folder a new file, named by the time in UTC: a service that restarts overwrites none."""
    if path is None or not path.is_dir():
        return path
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = chain([moment], (f"{moment}-{number}" for number in count(2)))  # a car's clock may begin anew at each start
    return next(file for name in names if not (file := path / f"{name}{suffix}").exists())


def _refuse_overwriting(options: Options) -> None:
    """InputError where a file to write is one to read, or both files to write are the same."""
    written = {"--output": options.output, "--record": options.record, "--audit": options.audit}
    read = {
        "the clip itself": options.clip, "the replayed file itself": options.replay,
        "--record too": options.record, "--audit too": options.audit, "the token's file": options.token_file,
        "the password's file": options.mqtt_password_file, "the broker's certificate": options.mqtt_ca,
        "the file of these options": options.config,
    }  # fmt: skip
    for flag, target in written.items():
        if target is None:
            continue
        for what, source in read.items():
            if source and target is not source and os.path.realpath(target) == os.path.realpath(source):
                raise InputError(f"{flag} {target} is {what}. Choose another file.")
        if Path(os.path.realpath(options.bundle)) in Path(os.path.realpath(target)).parents:
            raise InputError(f"{flag} {target} lies in the bundle. Choose another folder.")


def _lines(options: Options, stop: threading.Event) -> JsonLinesPublisher:
    wait = not options.by_the_clock
    if options.output:
        return lines_in_file(options.output, stop, back_pressure=wait)
    return lines_on_stdout(stop, back_pressure=wait)


def _print_devices() -> None:
    for kind, devices in list_devices().items():
        print(f"{kind}:")
        for device in devices:
            details = ", ".join(f"{key} {value}" for key, value in device.items() if key != "name")
            print(f"  {device['name']}  ({details})", flush=True)
        if not devices:
            print("  none found", flush=True)


if __name__ == "__main__":
    sys.exit(main())
