"""Figures for Prometheus at /metrics, and whether the run is alive at /healthz."""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from bundle.features import NS_PER_S
from bundle.labels import STATES
from edge.access import Access, Address
from edge.message import Message, held_ns

MOST_CONNECTIONS = 32
"""More are closed at once: whoever has no token must not use up the run's open files and threads."""

PATIENCE_S = 10.0
"""For a request and its answer; then the connection is closed, however little a client sends now and then."""

SILENCE_S = 2.0
"""Without a message for so long, the run is not healthy."""

AGE_BUCKETS_S = (0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
INTERVAL_BUCKETS_S = (0.15, 0.19, 0.21, 0.25, 0.3, 0.4, 0.6, 1.0, 2.0)
"""Around the 0.2 s that lie between two updates."""

STATUSES = {
    "source": ("audio+video", "video", "audio", "none"),
    "face": ("ok", "lost", "dark", "no image", "off"),
    "voice": ("speech", "silent", "lost", "off"),
    "camera": ("ok", "lost", "frozen", "slow", "black", "off"),
    "microphone": ("ok", "lost", "silent", "wrong rate", "off"),
    "load": ("normal", "reduced rate", "int8", "one modality"),
}
"""The values of the message's fields, those of its `health` among them."""


class Metrics:
    """Serves from the constructor to `close`, each request in a thread of its own.

    url : of the metrics. states : those that messages may have. clock : seconds, monotonic.

    Raises
    ------
    InputError : the address cannot be had.
    """

    def __init__(
        self,
        address: Address,
        access: Access,
        states: Iterable[str] = STATES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._emitted_s: float | None = None
        self._last: Message | None = None
        self._shown: dict[str, str] = {}
        self._registry = CollectorRegistry()
        self._define(states)
        try:
            self._server = _Server((address.host, address.port), _handler(self, access))
        except OSError as error:
            address.fail("--metrics", error)
        token = f"?token={access.token}" if access.token else ""
        self.url = f"{Address(address.host, self._server.server_port).origin}/metrics{token}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()

    def publish(self, message: Message) -> None:
        now_s = self._clock()
        if self._emitted_s is not None:
            self._intervals.observe(now_s - self._emitted_s)
        self._emitted_s = now_s
        if message["age_ms"] is not None:
            self._ages.observe(message["age_ms"] / 1e3)
        last = self._last or {**message, "dropped": dict.fromkeys(self._dropped, 0)}
        held = held_ns(message["captured_ns"] - last["captured_ns"])
        _add(self._state_s.labels(last["state"]), held / NS_PER_S)
        for what, counter in self._dropped.items():
            _add(counter, message["dropped"][what] - last["dropped"][what])
        self._show_statuses({**message, **message["health"]})
        if self._last is None or message["engine"] != self._last["engine"]:
            self._engine.info({"bundle": message["bundle"], "engine": message["engine"]})
        self._last = message

    def _show_statuses(self, fields: Message) -> None:
        for field, gauges in self._statuses.items():
            shown, status = self._shown.get(field), fields[field]
            if status != shown:
                self._shown[field] = status
                gauges[status].set(1)
                if shown is not None:
                    gauges[shown].set(0)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def silent_s(self) -> float | None:
        """Seconds since the newest message; None before the first."""
        return None if self._emitted_s is None else self._clock() - self._emitted_s

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _define(self, states: Iterable[str]) -> None:
        def named(kind: Callable[..., Any], name: str, text: str, **options: Any) -> Any:
            return kind(f"edge_emotion_{name}", text, registry=self._registry, **options)

        self._ages = named(
            Histogram, "age_seconds", "Emission minus capture of the newest sample used", buckets=AGE_BUCKETS_S
        )
        self._intervals = named(
            Histogram, "update_interval_seconds", "Time between two updates", buckets=INTERVAL_BUCKETS_S
        )
        self._state_s = named(Counter, "state_seconds", "Time spent in each state", labelnames=["state"])
        self._dropped = {
            "images": named(Counter, "dropped_images", "Images that were never looked at"),
            "audio": named(Counter, "dropped_audio_samples", "Samples at 16 kHz that were lost"),
            "updates": named(Counter, "dropped_updates", "Updates left out since they would have been late"),
        }
        self._engine = named(Info, "run", "Which networks run, on what")
        self._statuses: dict[str, dict[str, Gauge]] = {}
        for field, values in STATUSES.items():
            gauge = named(Gauge, field, f"1 for the newest message's {field}, 0 for others", labelnames=["status"])
            self._statuses[field] = {value: gauge.labels(value) for value in values}
        for state in states:
            self._state_s.labels(state)


def _add(counter: Counter, amount: float) -> None:
    counter.inc(max(0.0, amount))  # a publisher must not fail, and a counter refuses to run back


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.Semaphore(MOST_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's would ask the resolver for our name, which may take seconds without a network.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        deadline = threading.Timer(PATIENCE_S, _cut, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A client that left before it got its answer is no one's concern."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _handler(metrics: Metrics, access: Access) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            in_url = parse_qs(url.query).get("token", [None])[0]
            if not access.knows_host(self.headers.get("Host", "")):
                self._answer(403, "text/plain", b"This name is not known here; use the machine's address.\n")
            elif url.path == "/healthz":  # for whoever restarts us; it says nothing of the driver's state
                silent_s = metrics.silent_s()
                healthy = silent_s is not None and silent_s < SILENCE_S
                body = json.dumps({"healthy": healthy, "silent_s": silent_s}).encode() + b"\n"
                self._answer(200 if healthy else 503, "application/json", body)
            elif url.path != "/metrics":
                self._answer(404, "text/plain", b"Here are /metrics and /healthz.\n")
            elif not access.knows_token(in_url, _utf8_of(self.headers.get("Authorization"))):
                self._answer(401, "text/plain", b"Send the token: Authorization: Bearer ... (edge-run prints it).\n")
            else:
                self._answer(200, CONTENT_TYPE_LATEST, metrics.text())

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _utf8_of(header: str | None) -> str | None:
    """http.server takes headers for Latin-1."""
    return header and header.encode("latin-1").decode(errors="surrogateescape")
