"""The Prometheus endpoint and the health check."""

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import edge.publishers.metrics
from bundle.errors import InputError
from edge.access import Access, Address
from edge.message import Message
from tests.virtual_devices import wait_until

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
from prometheus_client.parser import text_string_to_metric_families

from edge.publishers.metrics import STATUSES, Metrics

ROOT = Path(__file__).parents[3]
Drive = Callable[[int], list[Message]]


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Iterator[Metrics]:
    with Metrics(Address("127.0.0.1", 0), Access("127.0.0.1", None), clock=clock) as metrics:
        yield metrics


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def is_served(url: str) -> bool:
    """False also where the connection is closed unheard."""
    with suppress(OSError):
        return get(url)[0] == 200
    return False


def scrape(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Values by name and label values, as Prometheus reads them."""
    status, body = get(metrics.url)
    assert status == 200
    families = text_string_to_metric_families(body.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def health(metrics: Metrics) -> tuple[int, dict[str, Any]]:
    status, body = get(metrics.url.replace("/metrics", "/healthz"))
    return status, json.loads(body)


def test_drive_adds_up(metrics: Metrics, clock: Clock, drive: Drive) -> None:
    for i, message in enumerate(drive(61)):
        metrics.publish({**message, "dropped": {**message["dropped"], "updates": i // 20}})
        clock.now_s += 0.2
    got = scrape(metrics)
    by_state = {state: got["edge_emotion_state_seconds_total", state] for state in ("unknown", "joyful", "agitated")}
    assert sum(by_state.values()) == pytest.approx(12.0)
    for state, spent_s in by_state.items():
        assert spent_s == pytest.approx(0.2 * sum(m["state"] == state for m in drive(60)))
    assert got["edge_emotion_age_seconds_count",] == 56  # the first five had no data
    assert got["edge_emotion_age_seconds_sum",] == pytest.approx(56 * 0.09)
    assert got["edge_emotion_age_seconds_bucket", "0.075"] == 0
    assert got["edge_emotion_age_seconds_bucket", "0.1"] == 56
    assert got["edge_emotion_update_interval_seconds_count",] == 60
    assert got["edge_emotion_update_interval_seconds_bucket", "0.21"] == 60
    assert got["edge_emotion_update_interval_seconds_bucket", "0.19"] == 0
    assert got["edge_emotion_dropped_images_total",] == 6
    assert got["edge_emotion_dropped_audio_samples_total",] == 960
    assert got["edge_emotion_dropped_updates_total",] == 3
    assert got["edge_emotion_run_info", "default", "onnxruntime-cpu"] == 1


def test_time_that_runs_back_is_not_counted_and_no_failure(metrics: Metrics, drive: Drive) -> None:
    first, *_, last = drive(10)
    for message in (last, first, last):
        metrics.publish(message)
    got = scrape(metrics)
    assert sum(value for key, value in got.items() if key[0] == "edge_emotion_state_seconds_total") == pytest.approx(
        1.8
    )


def test_newest_status_alone_is_one(metrics: Metrics, drive: Drive) -> None:
    for message in drive(60):
        metrics.publish({**message, "health": {"camera": "slow", "microphone": "ok", "load": "int8"}})
    got = scrape(metrics)
    newest_of = {"face": "dark", "voice": "speech", "source": "audio", "camera": "slow", "load": "int8"}
    for name, newest in newest_of.items():
        values = {key[1]: value for key, value in got.items() if key[0] == f"edge_emotion_{name}"}
        assert values == {status: float(status == newest) for status in values}
        assert len(values) >= 4


def test_every_value_of_the_messages_statuses_is_shown() -> None:
    fields = json.loads((ROOT / "docs" / "message.schema.json").read_text())["properties"]
    health = fields["health"]["properties"]
    told = {field: tuple((fields | health)[field]["enum"]) for field in ("source", "face", "voice", *health)}
    assert told == STATUSES


def test_run_is_healthy_from_its_first_message_until_two_silent_seconds(
    metrics: Metrics, clock: Clock, drive: Drive
) -> None:
    assert health(metrics) == (503, {"healthy": False, "silent_s": None})
    first, second = drive(2)
    metrics.publish(first)
    clock.now_s += 1.9
    status, details = health(metrics)
    assert status == 200
    assert details["silent_s"] == pytest.approx(1.9)
    clock.now_s += 0.1
    assert health(metrics)[0] == 503
    metrics.publish(second)
    assert health(metrics)[0] == 200


def test_other_paths_and_foreign_host_names_are_refused(metrics: Metrics) -> None:
    assert get(metrics.url.replace("/metrics", "/"))[0] == 404
    assert get(metrics.url, Host="evil.example")[0] == 403
    assert get(metrics.url.replace("/metrics", "/healthz"), Host="evil.example")[0] == 403


def test_token_is_needed_for_figures_but_not_for_health(drive: Drive) -> None:
    with Metrics(Address("0.0.0.0", 0), Access("0.0.0.0", "0123456789abcdef")) as metrics:
        metrics.publish(drive(1)[0])
        url = metrics.url.replace("0.0.0.0", "127.0.0.1")
        plain = url.partition("?")[0]
        assert get(plain)[0] == 401
        assert get(url)[0] == 200
        assert get(plain, Authorization="Bearer 0123456789abcdef")[0] == 200
        assert get(plain.replace("/metrics", "/healthz"))[0] == 200


def test_strangers_do_not_use_up_the_threads(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.publishers.metrics, "MOST_CONNECTIONS", 3)
    with Metrics(Address("127.0.0.1", 0), Access("127.0.0.1", None)) as metrics:
        metrics.publish(drive(1)[0])
        port = int(metrics.url.removesuffix("/metrics").rpartition(":")[2])
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", port)) as refused:
            assert refused.recv(1) == b""
        for connection in idle:
            connection.close()
        wait_until(lambda: is_served(metrics.url))


def test_client_that_says_little_for_long_is_closed(
    metrics: Metrics, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.publishers.metrics, "PATIENCE_S", 0.5)
    metrics.publish(drive(1)[0])
    port = int(metrics.url.removesuffix("/metrics").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as slow:
        begun_s, closed = time.monotonic(), False
        while not closed and time.monotonic() - begun_s < 5:
            with suppress(TimeoutError, ConnectionError):
                slow.sendall(b"G")
                closed = slow.recv(1) == b""
        assert closed
    assert is_served(metrics.url)


def test_a_head_is_answered_without_a_body(metrics: Metrics, drive: Drive) -> None:
    metrics.publish(drive(1)[0])
    request = urllib.request.Request(metrics.url.replace("/metrics", "/healthz"), method="HEAD")
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (200, b"")


def test_time_in_which_the_run_stood_still_is_no_state(metrics: Metrics, drive: Drive) -> None:
    first, second, third = drive(3)
    for message, captured_s in ((first, 0), (second, 0.2), (third, 28_800)):
        metrics.publish({**message, "captured_ns": round(captured_s * 1e9)})
    got = scrape(metrics)
    assert got["edge_emotion_state_seconds_total", "unknown"] == pytest.approx(0.4)


def test_client_that_says_nothing_or_leaves_is_no_trouble(
    metrics: Metrics, drive: Drive, capfd: pytest.CaptureFixture[str]
) -> None:
    port = int(metrics.url.removesuffix("/metrics").rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    leaving = socket.create_connection(("127.0.0.1", port))
    leaving.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    leaving.close()  # with a reset
    metrics.publish(drive(1)[0])
    assert scrape(metrics)["edge_emotion_source", "none"] == 1
    for connection in silent:
        connection.close()
    assert capfd.readouterr().err == ""


def test_address_that_is_taken_is_refused_in_one_line(metrics: Metrics) -> None:
    port = int(metrics.url.removesuffix("/metrics").rpartition(":")[2])
    with pytest.raises(InputError, match=f"--metrics cannot listen on 127.0.0.1, port {port}: .*in use"):
        Metrics(Address("127.0.0.1", port), Access("127.0.0.1", None))


def test_ipv6_is_served() -> None:
    with Metrics(Address("::1", 0), Access("::1", None)) as metrics:
        assert metrics.url.startswith("http://[::1]:")
        assert get(metrics.url)[0] == 200


def test_every_metric_of_the_grafana_dashboard_exists(metrics: Metrics, drive: Drive) -> None:
    metrics.publish(drive(1)[0])
    told = {name for name, *_ in scrape(metrics)}
    board = json.loads((ROOT / "integrations" / "grafana" / "edge-emotion.json").read_text())
    asked = set(re.findall(r"edge_emotion_\w+", json.dumps(board)))
    assert len(asked) >= 8
    assert asked <= told
