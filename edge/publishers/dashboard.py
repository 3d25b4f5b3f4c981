"""The live page: server-sent events and an MJPEG preview, from a thread and an event loop of its own."""

import asyncio
import json
import logging
import math
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web

from bundle.labels import STATE_OF_EMOTION, VALENCE_AROUSAL
from edge.access import Access, Address
from edge.level import dbfs_from_samples
from edge.message import Message
from perception.face import FaceDetection

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
}

HISTORY = 300
"""Updates that a page gets when it is opened: a minute."""

PREVIEW_PX, JPEG_QUALITY = 640, 75
MAX_STREAMS = 8
"""Of events, and as many of pictures; a page uses one of each."""

MOST_CONNECTIONS = 64
"""More are closed at once: whoever has no token must not use up the run's open files."""

STALLED_S = 10.0
"""A browser that takes nothing for so long is cut off."""

SEND_BUFFER_BYTES = 1 << 17
"""The kernel's default would keep seconds of old pictures for a slow browser."""

Seen = tuple[npt.NDArray[np.uint8], FaceDetection | None]
Heard = list[tuple[npt.NDArray[np.int16], bool]]

PATIENCE_S = 10.0
"""With a connection that shows no token, or asks for nothing more."""

BEGIN_PART = b"\r\n--part\r\nContent-Type: image/jpeg\r\n\r\n"
"""Sent after each image, not before: Chromium shows an image only when the header of the next one is there."""


class Slot:
    """The newest value for one browser: one that was not fetched in time is replaced. None ends the stream."""

    def __init__(self) -> None:
        self._value: bytes | None = None
        self._filled = asyncio.Event()

    def put(self, value: bytes | None) -> None:
        self._value = value
        self._filled.set()

    async def get(self) -> bytes | None:
        await self._filled.wait()
        self._filled.clear()
        return self._value


class Dashboard:
    """Serves the page from the constructor to `close`. `publish`, `see` and `hear` only hand over, and never fail.

    url : to open in a browser, with the token if one is needed.

    Raises
    ------
    InputError : the address cannot be had.
    """

    def __init__(self, address: Address, access: Access) -> None:
        self._access = access
        self._strangers: set[asyncio.BaseProtocol] = set()  # connections that have not shown the token yet
        self._history: deque[bytes] = deque(maxlen=HISTORY)
        self._events: set[Slot] = set()
        self._previews: set[Slot] = set()
        self._updates: deque[tuple[Message, Seen | None, Heard]] = deque(maxlen=HISTORY)  # not spread yet
        self._seen: Seen | None = None
        self._heard: Heard = []
        self._image_waits = False
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(address, started), name="dashboard", daemon=True)
        self._thread.start()
        try:
            port = started.result()
        except OSError as error:
            address.fail("--dashboard", error)
        token = f"/?token={access.token}" if access.token else "/"
        self.url = Address(address.host, port).origin + token

    def publish(self, message: Message) -> None:
        heard, self._heard = self._heard, []
        self._updates.append((message, self._seen, heard))
        self._hand_over(self._spread)

    def see(self, image: npt.NDArray[np.uint8], face: FaceDetection | None) -> None:
        self._seen = image, face
        if self._previews and not self._image_waits:
            self._image_waits = True
            self._hand_over(self._spread_image)

    def hear(self, samples: npt.NDArray[np.int16], speaking: bool) -> None:
        self._heard.append((samples, speaking))

    def close(self) -> None:
        """Tell the browsers that the run has ended, and stop; returns within 2 s."""
        self._hand_over(self._stopping.set)
        self._thread.join(2.0)

    def __enter__(self) -> "Dashboard":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _hand_over(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop is closed: there is no one left to serve
            self._loop.call_soon_threadsafe(work)

    def _run(self, address: Address, started: "Future[int]") -> None:
        try:
            asyncio.run(self._serve(address, started))
        except Exception as error:  # of the start; the constructor waits for it
            started.set_exception(error)

    async def _serve(self, address: Address, started: "Future[int]") -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        for name in ("aiohttp.server", "asyncio"):  # what a stranger sends must not fill the journal
            logging.getLogger(name).setLevel(logging.CRITICAL)
        app = web.Application(middlewares=[self._guard])
        app.add_routes([web.get(path, _file_handler(*file)) for path, file in FILES.items()])
        app.add_routes([web.get("/events", self._send_events), web.get("/camera.mjpg", self._send_preview)])
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True, keepalive_timeout=PATIENCE_S
        )
        await runner.setup()
        try:
            assert runner.server
            protocol = partial(self._handler_or_refusal, runner.server)
            server = await self._loop.create_server(protocol, address.host, address.port)
            started.set_result(server.sockets[0].getsockname()[1])
            await self._stopping.wait()
            server.close()
            self._end(self._events | self._previews)
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not self._access.knows_host(request.host):
            raise web.HTTPForbidden(text="This name is not known here; use the machine's address.\n", headers=HEADERS)
        needs_token = request.path == "/" or request.path not in FILES  # style and script are no secret
        if needs_token and not self._access.knows_token(
            request.query.get("token"), request.headers.get("Authorization")
        ):
            raise web.HTTPUnauthorized(text="Add the token: /?token=... (edge-run prints it).\n", headers=HEADERS)
        if needs_token:
            self._strangers.discard(request.protocol)
        return await handler(request)

    def _handler_or_refusal(self, server: web.Server) -> asyncio.Protocol:
        """For a new connection; one that shows no token soon is closed, or strangers could hold all that there are."""
        if len(server.connections) >= MOST_CONNECTIONS:
            return _Refusal()
        handler = server()
        self._strangers.add(handler)

        def close_stranger() -> None:
            if handler in self._strangers and handler.transport:
                handler.transport.abort()
            self._strangers.discard(handler)

        self._loop.call_later(PATIENCE_S, close_stranger)
        return handler

    async def _send_events(self, request: web.Request) -> web.StreamResponse:
        wheel = {label: {"at": at, "state": STATE_OF_EMOTION[label]} for label, at in VALENCE_AROUSAL.items()}
        history = b",".join(self._history)
        hello = b'event: hello\ndata: {"wheel":%b,"history":[%b]}\n\n' % (json.dumps(wheel).encode(), history)
        first, last = b"retry: 1000\n" + hello, b"event: end\ndata:\n\n"
        return await _stream(request, self._events, "text/event-stream", first, last)

    async def _send_preview(self, request: web.Request) -> web.StreamResponse:
        first = BEGIN_PART + (jpeg_of_driver(*self._seen) + BEGIN_PART if self._seen else b"")
        return await _stream(request, self._previews, "multipart/x-mixed-replace; boundary=part", first)

    def _spread(self) -> None:
        while self._updates:
            message, seen, heard = self._updates.popleft()
            current = seen if message["face"] not in ("no image", "off") else None
            face = current and _face_quality(*current)
            update = {"message": message, "face": face, "heard": _levels(heard)}
            data = json.dumps(update, separators=(",", ":")).encode()
            self._history.append(data)
            for slot in self._events:
                slot.put(b"data: %b\n\n" % data)

    def _spread_image(self) -> None:
        self._image_waits = False
        assert self._seen
        part = jpeg_of_driver(*self._seen) + BEGIN_PART
        for slot in self._previews:
            slot.put(part)

    def _end(self, slots: set[Slot]) -> None:
        for slot in slots:
            slot.put(None)


async def _stream(
    request: web.Request, slots: set[Slot], content_type: str, first: bytes, last: bytes = b""
) -> web.StreamResponse:
    """Send `first`, then what is put into a new slot among `slots` until that is None, then `last`."""
    if len(slots) >= MAX_STREAMS:
        raise web.HTTPServiceUnavailable(text="Too many browsers look on already; close one.\n", headers=HEADERS)
    response = web.StreamResponse(headers=HEADERS | {"Content-Type": content_type})
    slot = Slot()
    slots.add(slot)
    try:
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        await response.prepare(request)
        data: bytes | None = first
        while data is not None:
            await asyncio.wait_for(response.write(data), STALLED_S)
            data = await slot.get()
        await asyncio.wait_for(response.write(last), STALLED_S)
    except (asyncio.TimeoutError, ConnectionError):
        if request.transport:
            request.transport.abort()
    finally:
        slots.discard(slot)
    return response


class _Refusal(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _file_handler(name: str, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    text = (PAGE / name).read_text(encoding="utf-8")

    async def send(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=content_type, headers=HEADERS)

    return send


def jpeg_of_driver(image: npt.NDArray[np.uint8], face: FaceDetection | None) -> bytes:
    """JPEG of an RGB image, no wider than 640, with the corners of the driver's face marked."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, PREVIEW_PX / width)
    size = round(width * scale), max(1, round(height * scale))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    if face:
        x0, y0, x1, y1 = (scale * side for side in face.bbox_xyxy)
        arm = (x1 - x0) / 5
        for x, y, dx, dy in ((x0, y0, arm, arm), (x1, y0, -arm, arm), (x0, y1, arm, -arm), (x1, y1, -arm, -arm)):
            corner = np.rint([(x + dx, y), (x, y), (x, y + dy)]).astype(np.int32)
            cv2.polylines(small, [corner], False, (240, 240, 240), 2, cv2.LINE_AA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _face_quality(image: npt.NDArray[np.uint8], face: FaceDetection | None) -> dict[str, Any]:
    """What helps to place the camera: how sure the detector is, and how large the face is."""
    height, width = image.shape[:2]
    found = face and {
        "score": round(face.score, 3),
        "height_px": round(face.bbox_xyxy[3] - face.bbox_xyxy[1]),
        "eyes_px": round(math.dist(face.left_eye, face.right_eye)),
    }
    return {"image_px": [width, height], "found": found}


def _levels(heard: Heard) -> list[tuple[float, int]]:
    return [(round(dbfs_from_samples(samples), 1), int(speaking)) for samples, speaking in heard]
