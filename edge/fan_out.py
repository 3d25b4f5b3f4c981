"""Everybody who gets the messages; each is opened, and its packages imported, only where it was asked for."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bundle.command import warn
from bundle.errors import InputError
from bundle.labels import STATES
from edge.access import access_for
from edge.fleet import OTHER
from edge.message import Message
from edge.options import Options
from perception.face import FaceDetection
from perception.tap import Tap


class Publisher(Protocol):
    def publish(self, message: Message) -> None: ...


class Onlooker(Publisher, Tap, Protocol):
    """A publisher that shows more than the messages say."""


class FanOut:
    """Passes messages on to all publishers, and what is seen and heard to all onlookers.

    want_lines : whether JSON Lines are to be written too. urls : what is served, the dashboard first.
    """

    def __init__(self) -> None:
        self.want_lines = True
        self.urls: list[str] = []
        self._publishers: list[Publisher] = []
        self._onlookers: list[Onlooker] = []
        self._stack = ExitStack()

    @property
    def tap(self) -> Tap | None:
        """What perception is to show its work to; None where nobody looks on."""
        return self if self._onlookers else None

    def add(self, publisher: Publisher) -> None:
        """It gets each message before those that were added earlier."""
        self._publishers.insert(0, publisher)

    def publish(self, message: Message) -> None:
        for publisher in self._publishers:
            publisher.publish(message)

    def see(self, image: npt.NDArray[np.uint8], face: FaceDetection | None) -> None:
        for onlooker in self._onlookers:
            onlooker.see(image, face)

    def hear(self, samples: npt.NDArray[np.int16], speaking: bool) -> None:
        for onlooker in self._onlookers:
            onlooker.hear(samples, speaking)

    def open(self, options: Options) -> None:
        if options.dashboard:
            with _packages_of("--dashboard", "dashboard"):
                from edge.publishers.dashboard import Dashboard
            dashboard = Dashboard(options.dashboard, access_for(options.dashboard, options.token_file))
            self._look_on(self._stack.enter_context(dashboard))
            self._tell("dashboard", dashboard.url, options)
        if options.metrics:
            with _packages_of("--metrics", "metrics"):
                from edge.publishers.metrics import Metrics
            states = (*options.approved_states, OTHER) if options.profile else STATES
            metrics = Metrics(options.metrics, access_for(options.metrics, options.token_file), states)
            self.add(self._stack.enter_context(metrics))
            self._tell("metrics", metrics.url, options)
        if options.mqtt:
            with _packages_of("--mqtt", "mqtt"):
                from edge.publishers.mqtt import MqttPublisher
            mqtt = MqttPublisher(options.mqtt, options.mqtt_password_file, options.mqtt_ca)
            self.add(self._stack.enter_context(mqtt))
        if options.view == "terminal":
            with _packages_of("--view terminal", "view"):
                from edge.publishers.terminal import TerminalView
            self._look_on(self._stack.enter_context(TerminalView(sys.stderr)))
            self.want_lines = options.output is not None or (sys.stdout is not None and not sys.stdout.isatty())

    def close(self) -> None:
        """Close all that was opened; a second time does nothing."""
        self._stack.close()

    def _tell(self, what: str, url: str, options: Options) -> None:
        """Where it is, with a token of this run; one from a file is known, and not for a journal to keep."""
        self.urls.append(url)
        for anywhere in ("//0.0.0.0:", "//[::]:"):  # no address that another machine could open
            url = url.replace(anywhere, f"//{socket.gethostname()}:")
        shown = f"{url.partition('?')[0]}, with ?token= of {options.token_file}" if options.token_file else url
        warn(f"edge-run: {what} at {shown}")

    def _look_on(self, onlooker: Onlooker) -> None:
        self._onlookers.append(onlooker)
        self.add(onlooker)


def open_publishers(options: Options, stack: ExitStack) -> FanOut:
    """What the options ask for, but for JSON Lines; closed with the stack at the latest.

    Raises
    ------
    InputError : a package is missing, an address is taken, a file cannot be read, or standard error is no terminal.
    """
    fan_out = FanOut()
    stack.callback(fan_out.close)
    fan_out.open(options)
    return fan_out


@contextmanager
def _packages_of(flag: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise InputError(
            f"{flag} needs the package {package}, which is not installed. pip install 'edge-emotion[{extra}]'"
        ) from error
