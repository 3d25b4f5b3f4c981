"""A KUKSA databroker, which may come and go."""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own log says again, at length, what the errors say

from grpc import RpcError, StatusCode
from kuksa.val.v2.val_pb2 import GetServerInfoRequest
from kuksa_client.grpc import (
    DataEntry,
    Datapoint,
    DataType,
    EntryUpdate,
    Field,
    Metadata,
    VSSClient,
    VSSClientError,
)

from edge_vss.signals import Signals

TIMEOUT_S = 2.0
"""For one signal."""

PAUSE_S = (0.25, 2.0)
"""Between attempts to reach the databroker: the first, doubled up to the last."""

PASSING = {
    code.value[0]
    for code in (
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.ABORTED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.INTERNAL,
        StatusCode.UNKNOWN,
    )
}
"""Errors that time may mend; a signal that is not known, or not ours to write, stays so."""


class RefusedError(Exception):
    """The databroker can be reached, and does not take our signals."""


class Databroker:
    """Writes signals by the interface kuksa.val.v2, or v1 where the databroker has no other."""

    def __init__(self, host: str, port: int, ca_file: Path | None, token: str | None) -> None:
        self.address = f"{host}:{port}"
        self._options = {"host": host, "port": port, "token": token, "root_certificates": ca_file}
        self._client: VSSClient | None = None
        self._has_v2 = True
        self._pause_s, self._retry_at_s = PAUSE_S[0], 0.0
        self._told: set[str] = set()

    def write(self, signals: Signals) -> bool:
        """Whether the databroker has them all. It is not asked while a pause after a failure lasts.

        Why it cannot be reached is told on standard error, once for each reason.

        Raises
        ------
        RefusedError : it does not know a signal, or does not let us write it.
        """
        if time.monotonic() < self._retry_at_s:
            return False
        try:
            if self._client is None:
                self._client = VSSClient(ensure_startup_connection=False, **self._options)
                self._client.connect()
                self._has_v2 = _has_v2(self._client)
            updates = [_update(path, value) for path, value in signals.items()]
            self._client.set(updates, try_v2=self._has_v2, timeout=TIMEOUT_S)
        except VSSClientError as error:
            self._failed(error)
            return False
        self._pause_s = PAUSE_S[0]
        self._told.clear()
        return True

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def _failed(self, error: VSSClientError) -> None:
        self.close()  # a new connection is tried at once; gRPC's own pauses grow to two minutes
        what = f"{error.error.get('reason')}, {error.error.get('message')}" if error.error else str(error.errors)
        if error.error.get("code") not in PASSING:
            raise RefusedError(
                f"{self.address} refuses the signals: {what}. Expected a databroker that was given emotion.json, or a "
                "catalogue with emotion.vspec, and a token that may write there (--token-file)."
            ) from error
        if what not in self._told:
            self._told.add(what)
            print(f"edge-vss: {self.address} cannot be reached: {what}; trying again", file=sys.stderr)
        self._retry_at_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_S[1])


def _has_v2(client: VSSClient) -> bool:
    """Asked once: the client's own way to v1 writes all signals for each signal, without a timeout."""
    try:
        client.client_stub_v2.GetServerInfo(GetServerInfoRequest(), timeout=TIMEOUT_S)
    except RpcError as error:
        return error.code() != StatusCode.UNIMPLEMENTED
    return True


def _update(path: str, value: bool | float | str | None) -> EntryUpdate:
    """With its type, which the client would else ask the databroker for, every time."""
    kind = {bool: DataType.BOOLEAN, str: DataType.STRING}.get(type(value), DataType.FLOAT)
    return EntryUpdate(DataEntry(path, value=Datapoint(value), metadata=Metadata(data_type=kind)), (Field.VALUE,))
