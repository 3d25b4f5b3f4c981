"""Messages to an MQTT broker, which may come and go."""

import hashlib
import json
import socket
import ssl
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bundle.command import warn
from bundle.errors import InputError
from edge.broker import Broker
from edge.message import Message

WAITING = 50
"""Messages of each kind that may wait for a slow network: 10 s of updates, and so many changes of state."""

KEEPALIVE_S = 10
"""A broker that hears nothing for one and a half times as long publishes our last will."""

RETRY_S = (1, 30)
CLOSE_S = 1.0


class MqttPublisher:
    """Publishes below the broker's topic, from a thread of its own; `publish` only hands over.

    update : every message, at most once. state : the message of each change of state and the first of each connection,
    at least once, retained. status : `online`, or `offline` as the last will too; retained.

    dropped : messages that were not sent, since the network was away or too slow. What the broker or the network
    refuses is told on standard error, once for each reason, and tried again.

    Raises
    ------
    InputError : a file cannot be read, or holds no certificate.
    """

    def __init__(self, broker: Broker, password_file: Path | None = None, ca_file: Path | None = None) -> None:
        self.dropped = 0
        self._topic = broker.topic
        self._connections = 0
        self._state: str | None = None
        self._sent_on = 0  # the connection that was handed the change to this state, from 1; 0: none yet
        self._unsent: deque[MQTTMessageInfo] = deque()  # updates that the network has not taken yet
        self._told: set[str] = set()
        # The same name after each outage and each start: else the broker, when it misses the connection before, tells
        # that we are offline.
        name = hashlib.sha256(f"{socket.gethostname()} {broker.topic}".encode()).hexdigest()[:16]
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"edge-{name}")
        self._client.max_queued_messages_set(WAITING)
        self._client.reconnect_delay_set(*RETRY_S)
        self._client.will_set(f"{broker.topic}/status", "offline", qos=1, retain=True)
        if broker.user is not None:
            self._client.username_pw_set(broker.user, _password(password_file) if password_file else None)
        if broker.tls:
            self._client.tls_set_context(_tls(ca_file))
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(broker.host, broker.port, KEEPALIVE_S)
        self._client.loop_start()

    def publish(self, message: Message) -> None:
        data = json.dumps(message, allow_nan=False, separators=(",", ":"))
        self._publish_state(message["state"], data)
        unsent = self._unsent
        while unsent and unsent[0].is_published():
            unsent.popleft()
        sent = self._client.publish(f"{self._topic}/update", data) if len(unsent) < WAITING else None
        if sent and sent.rc == MQTT_ERR_SUCCESS:
            unsent.append(sent)
        else:
            self.dropped += 1

    def _publish_state(self, state: str, data: str) -> None:
        """Hand the message over where its state, or the connection, is another than that of the last one."""
        if state != self._state:
            self.dropped += self._state is not None and not self._sent_on
            self._state, self._sent_on = state, 0
        connection = self._connections
        if self._sent_on == connection or not self._client.is_connected():
            return  # without a connection, the newest state follows when there is one
        if self._client.publish(f"{self._topic}/state", data, qos=1, retain=True).rc == MQTT_ERR_SUCCESS:
            self._sent_on = connection

    def close(self) -> None:
        """Say goodbye if the broker is there; returns within 2 s."""
        if self._client.is_connected():
            with suppress(RuntimeError):  # the connection just went: the will tells
                self._client.publish(f"{self._topic}/status", "offline", retain=True).wait_for_publish(CLOSE_S)
        self._client.disconnect()
        # paho waits for a broker that hangs: then its thread is left behind.
        stopper = threading.Thread(target=self._client.loop_stop, name="mqtt closing", daemon=True)
        stopper.start()
        stopper.join(CLOSE_S)
        if self.dropped:
            warn(f"edge-run: mqtt: {self.dropped} messages were not sent")

    def __enter__(self) -> "MqttPublisher":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _on_connect(self, client: Client, _: Any, __: ConnectFlags, reason: ReasonCode, ___: Properties | None) -> None:
        if reason.is_failure:
            self._tell(f"the broker refuses us: {reason}")
        else:
            self._told.clear()
            self._connections += 1
            client.publish(f"{self._topic}/status", "online", retain=True)  # at once, whatever waits

    def _on_connect_fail(self, *_: Any) -> None:
        self._tell(f"no connection: {sys.exc_info()[1]}")  # paho calls this while it handles the exception

    def _on_disconnect(
        self, _: Client, __: Any, ___: DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        unsent, self._unsent = self._unsent, deque()
        self.dropped += sum(not sent.is_published() for sent in [*unsent])  # which `publish` may hold
        if reason.is_failure:
            self._tell(f"the connection was lost: {reason}")

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warn(f"edge-run: mqtt: {what}; trying again")


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--mqtt-password-file {file} cannot be read: {error}; expected a text file whose first line is it."
        ) from error


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InputError(
            f"--mqtt-ca {ca_file} cannot be read: {error}; expected certificates of authorities in PEM format."
        ) from error
