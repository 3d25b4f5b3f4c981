"""MQTT against a real broker: Debian's mosquitto."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bundle.errors import InputError
from edge.broker import Broker
from edge.message import Message
from tests.virtual_devices import wait_until

pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge.publishers.mqtt import WAITING, MqttPublisher

Drive = Callable[[int], list[Message]]


class Mosquitto:
    """A broker that may be stopped, started again at the same port, and frozen."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        # As root it would become the user mosquitto, who may not read the test's files.
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "user root", *lines]) + "\n")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", self._config], stderr=subprocess.DEVNULL)
        wait_until(self._listens)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class HalfCut:
    """A way to the broker on which the car's side can be cut while the broker's stays: a car in a tunnel."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._to, self._pairs = port, list[tuple[socket.socket, socket.socket]]()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        car, _ = self._pairs[-1]
        car.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "HalfCut":
        return self

    def __exit__(self, *error: object) -> None:
        for each in (self._server, *(end for pair in self._pairs for end in pair)):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                car, _ = self._server.accept()
                pair = car, socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append(pair)
                for source, target in (pair, pair[::-1]):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # cut
            while data := source.recv(65_536):
                target.sendall(data)


class Listener:
    """What a subscriber receives, by topic under car/driver."""

    def __init__(self, port: int) -> None:
        self.got: dict[str, list[MQTTMessage]] = {"update": [], "state": [], "status": []}
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("car/driver/#", qos=1)
        self._client.on_message = lambda _, __, message: self.got[message.topic.split("/")[-1]].append(message)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def payloads(self, topic: str) -> list[str]:
        return [message.payload.decode() for message in self.got[topic]]

    def states(self) -> list[str]:
        return [json.loads(payload)["state"] for payload in self.payloads("state")]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    if not shutil.which("mosquitto"):
        pytest.skip("mosquitto is not installed")
    started = []

    def start(*lines: str) -> Mosquitto:
        started.append(Mosquitto(tmp_path, *lines))
        return started[-1]

    yield start
    for broker in started:
        broker.thaw()
        broker.stop()


@pytest.fixture
def broker(start_broker: Callable[..., Mosquitto]) -> Mosquitto:
    return start_broker("allow_anonymous true")


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


@pytest.fixture
def publisher(broker: Mosquitto, listener: Listener) -> Iterator[MqttPublisher]:
    with MqttPublisher(Broker("127.0.0.1", broker.port, False, None, "car/driver")) as publisher:
        wait_until(lambda: listener.payloads("status") == ["online"])
        yield publisher


def test_updates_and_changes_of_state_arrive(publisher: MqttPublisher, listener: Listener, drive: Drive) -> None:
    for number, message in enumerate(drive(60)):
        wait_until(lambda number=number: len(listener.got["update"]) > number - 20)  # type: ignore[misc]
        publisher.publish(message)
    wait_until(lambda: len(listener.got["update"]) == 60)
    assert [json.loads(payload) for payload in listener.payloads("update")] == drive(60)
    wait_until(lambda: listener.states() == ["unknown", "joyful", "agitated"])
    assert {message.qos for message in listener.got["update"]} == {0}
    assert {message.qos for message in listener.got["state"]} == {1}
    assert publisher.dropped == 0


def test_late_subscriber_gets_state_and_status_but_no_old_update(
    publisher: MqttPublisher, listener: Listener, broker: Mosquitto, drive: Drive
) -> None:
    for message in drive(30):
        publisher.publish(message)
    wait_until(lambda: listener.states() == ["unknown", "joyful"] and len(listener.got["update"]) == 30)
    late = Listener(broker.port)
    wait_until(lambda: late.states() == ["joyful"] and late.payloads("status") == ["online"])
    assert all(message.retain for message in late.got["state"] + late.got["status"])
    assert late.got["update"] == []
    late.close()


def test_end_of_the_run_is_told_at_once(publisher: MqttPublisher, listener: Listener) -> None:
    publisher.close()
    wait_until(lambda: listener.payloads("status") == ["online", "offline"])


def test_last_will_is_told_when_the_connection_is_cut(publisher: MqttPublisher, listener: Listener) -> None:
    connection = publisher._client.socket()
    assert connection is not None
    connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: listener.payloads("status") == ["online", "offline", "online"])


def test_broker_that_restarts_gets_the_state_of_now(
    publisher: MqttPublisher, listener: Listener, broker: Mosquitto, drive: Drive, capfd: pytest.CaptureFixture[str]
) -> None:
    unknown, joyful = drive(60)[0], drive(60)[29]
    publisher.publish(unknown)
    wait_until(lambda: listener.states() == ["unknown"] and listener.got["update"])
    broker.stop()
    wait_until(lambda: not publisher._client.is_connected())
    for message in [joyful, unknown] * (WAITING // 2 + 5):  # more than paho's queue would hold
        publisher.publish(message)
    publisher.publish(joyful)
    assert publisher.dropped == 2 * (WAITING + 10) + 1  # each an update and a change of state, but the last of these
    broker.start()
    wait_until(publisher._client.is_connected, within_s=30)
    dropped = publisher.dropped
    publisher.publish(joyful)
    wait_until(lambda: listener.states()[-1] == "joyful" and listener.payloads("status")[-1] == "online")
    assert publisher.dropped == dropped
    assert "edge-run: mqtt: the connection was lost" in capfd.readouterr().err


def test_connection_that_only_the_broker_takes_for_alive_is_taken_over(
    broker: Mosquitto, listener: Listener, drive: Drive
) -> None:
    with HalfCut(broker.port) as way, MqttPublisher(Broker("127.0.0.1", way.port, False, None, "car/driver")):
        wait_until(lambda: listener.payloads("status") == ["online"])
        way.cut()
        wait_until(lambda: listener.payloads("status") == ["online", "offline", "online"])


def test_run_that_vanished_is_taken_over_by_the_next(broker: Mosquitto, listener: Listener) -> None:
    with HalfCut(broker.port) as way:
        vanished = MqttPublisher(Broker("127.0.0.1", way.port, False, None, "car/driver"))
        wait_until(lambda: listener.payloads("status") == ["online"])
        vanished._client.loop_stop()  # without a goodbye; for the broker the connection lives on
        with MqttPublisher(Broker("127.0.0.1", broker.port, False, None, "car/driver")):
            wait_until(lambda: listener.payloads("status") == ["online", "offline", "online"])
        vanished.close()


def test_broker_that_hangs_neither_holds_up_the_loop_nor_fills_memory(
    publisher: MqttPublisher, broker: Mosquitto, drive: Drive
) -> None:
    broker.freeze()
    bulky = [{**message, "reason": "x" * 50_000} for message in drive(60)]
    for message in bulky * 10:
        publisher.publish(message)
    assert len(publisher._unsent) <= WAITING
    assert publisher.dropped >= 300
    assert len(publisher._client._out_packet) <= 2 * WAITING + 1
    begun_s = time.monotonic()
    publisher.close()
    assert time.monotonic() - begun_s < 5
    broker.thaw()


def test_broker_that_is_not_there_is_told_once_and_awaited(
    start_broker: Callable[..., Mosquitto], drive: Drive, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = start_broker("allow_anonymous true")
    broker.stop()
    with MqttPublisher(Broker("127.0.0.1", broker.port, False, None, "car/driver")) as publisher:
        publisher.publish(drive(1)[0])
        time.sleep(2.5)  # two attempts
        assert capfd.readouterr().err.count("Connection refused") == 1
        broker.start()
        wait_until(publisher._client.is_connected, within_s=30)
        publisher.publish(drive(1)[0])
        listener = Listener(broker.port)
        wait_until(lambda: listener.states() == ["unknown"])
        assert publisher.dropped == 1  # the first update
        listener.close()


def test_password_from_the_file_is_taken_and_a_wrong_one_is_told(
    tmp_path: Path, start_broker: Callable[..., Mosquitto], capfd: pytest.CaptureFixture[str]
) -> None:
    users, right, wrong = tmp_path / "users", tmp_path / "right", tmp_path / "wrong"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "car", "s3cret"], check=True, capture_output=True)
    right.write_text("s3cret\n")
    wrong.write_text("guess\n")
    broker = start_broker("allow_anonymous false", f"password_file {users}")
    address = Broker("127.0.0.1", broker.port, False, "car", "car/driver")
    with MqttPublisher(address, wrong) as publisher:
        wait_until(lambda: publisher._told)
        assert not publisher._client.is_connected()
    assert "edge-run: mqtt: the broker refuses us: Not authorized; trying again\n" in capfd.readouterr().err
    with MqttPublisher(address, right) as publisher:
        wait_until(publisher._client.is_connected)
    assert capfd.readouterr().err == ""


# paho does not close a socket whose handshake failed; the garbage collector does, and warns.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_certificate_is_checked(
    tmp_path: Path, start_broker: Callable[..., Mosquitto], drive: Drive, capfd: pytest.CaptureFixture[str]
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    for name in ("broker", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    files = f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key"
    broker = start_broker("allow_anonymous true", *files)
    address = Broker("127.0.0.1", broker.port, True, None, "car/driver")
    with MqttPublisher(address, ca_file=tmp_path / "other.pem") as publisher:
        wait_until(lambda: publisher._told)
        assert not publisher._client.is_connected()
    assert "certificate verify failed" in capfd.readouterr().err
    with MqttPublisher(address, ca_file=tmp_path / "broker.pem") as publisher:
        wait_until(publisher._client.is_connected)
        publisher.publish(drive(1)[0])
        wait_until(lambda: not publisher._client._out_messages)  # the broker has acknowledged
        assert publisher.dropped == 0


@pytest.mark.parametrize("kind", ["password", "ca"])
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    broker, missing = Broker("127.0.0.1", 1, True, "car", "car"), tmp_path / "missing"
    with pytest.raises(InputError, match=f"--mqtt-{kind}.* cannot be read"):
        MqttPublisher(broker, missing if kind == "password" else None, missing if kind == "ca" else None)
