"""A databroker of KUKSA's own servicer stubs: a real gRPC server that checks what is written as KUKSA's does."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc import StatusCode
from kuksa.val.v1 import types_pb2 as types_v1
from kuksa.val.v1 import val_pb2 as val_v1
from kuksa.val.v1 import val_pb2_grpc as grpc_v1
from kuksa.val.v2 import val_pb2 as val_v2
from kuksa.val.v2 import val_pb2_grpc as grpc_v2

EMOTION_JSON = Path(__file__).parent.parent / "emotion.json"
FIELDS = {"boolean": "bool", "float": "float", "string": "string"}


def leaves(catalogue: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and attributes of each signal of an exported catalogue."""
    for name, node in catalogue.items():
        if node["type"] == "branch":
            yield from leaves(node["children"], f"{path}{name}.")
        else:
            yield f"{path}{name}", node


class FakeDatabroker:
    """May be stopped, started again at the same port, and frozen.

    values : of each signal by path as it stands; None where it is not available. history : all that was written.
    asked : set once somebody wants to write.
    """

    def __init__(
        self,
        catalogue: Path = EMOTION_JSON,
        token: str | None = None,
        identity: tuple[bytes, bytes] | None = None,
        has_v2: bool = True,
    ) -> None:
        self.signals = dict(leaves(json.loads(catalogue.read_text())))
        self.token, self.has_v2, self.port = token, has_v2, 0
        self._identity = identity  # private key and certificate
        self.asked = threading.Event()
        self._thawed = threading.Event()
        self._thawed.set()
        self.start()

    def start(self) -> None:
        self.values: dict[str, Any] = {}
        self.history: list[tuple[str, Any]] = []
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        grpc_v1.add_VALServicer_to_server(_V1(self), self._server)
        if self.has_v2:
            grpc_v2.add_VALServicer_to_server(_V2(self), self._server)
        address = f"127.0.0.1:{self.port}"
        if self._identity:
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([self._identity]))
        else:
            self.port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait(10)

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def states(self) -> list[str]:
        return [value for path, value in self.history if path == "Vehicle.Driver.Emotion.State"]

    def store(self, context: grpc.ServicerContext, path: str, field: str | None, value: Any) -> None:
        """As broker.rs of kuksa-databroker does it: a signal with allowed values cannot become "not available"."""
        self.asked.set()
        self._thawed.wait()
        if self.token and ("authorization", f"Bearer {self.token}") not in context.invocation_metadata():
            context.abort(StatusCode.UNAUTHENTICATED, "Invalid token")
        if path not in self.signals:
            context.abort(StatusCode.NOT_FOUND, "Path not found")
        signal = self.signals[path]
        if field is None and "allowed" in signal:
            context.abort(StatusCode.INVALID_ARGUMENT, f"Unsupported type: {path}")
        if field is not None:
            if field != FIELDS[signal["datatype"]]:
                context.abort(StatusCode.INVALID_ARGUMENT, f"Wrong type: {path}")
            if value not in signal.get("allowed", [value]):
                context.abort(StatusCode.INVALID_ARGUMENT, f"Not allowed: {path} {value}")
            if not signal.get("min", value) <= value <= signal.get("max", value):
                context.abort(StatusCode.INVALID_ARGUMENT, f"Out of bounds: {path} {value}")
        self.values[path] = value
        self.history.append((path, value))


class _V2(grpc_v2.VALServicer):
    def __init__(self, databroker: FakeDatabroker) -> None:
        self._databroker = databroker

    def PublishValue(  # noqa: N802
        self, request: val_v2.PublishValueRequest, context: grpc.ServicerContext
    ) -> val_v2.PublishValueResponse:
        value = request.data_point.value
        field = value.WhichOneof("typed_value")
        self._databroker.store(context, request.signal_id.path, field, field and getattr(value, field))
        return val_v2.PublishValueResponse()

    def GetServerInfo(  # noqa: N802
        self, request: val_v2.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> val_v2.GetServerInfoResponse:
        return val_v2.GetServerInfoResponse(name="fake")


class _V1(grpc_v1.VALServicer):
    def __init__(self, databroker: FakeDatabroker) -> None:
        self._databroker = databroker

    def Get(self, request: val_v1.GetRequest, context: grpc.ServicerContext) -> val_v1.GetResponse:  # noqa: N802
        response = val_v1.GetResponse()
        for asked in request.entries:
            entry = response.entries.add(path=asked.path)
            entry.metadata.data_type = types_v1.DataType.Value(
                f"DATA_TYPE_{self._databroker.signals[asked.path]['datatype'].upper()}"
            )
        return response

    def Set(self, request: val_v1.SetRequest, context: grpc.ServicerContext) -> val_v1.SetResponse:  # noqa: N802
        for update in request.updates:
            value = update.entry.value
            field = value.WhichOneof("value")
            self._databroker.store(context, update.entry.path, field, field and getattr(value, field))
        return val_v1.SetResponse()
