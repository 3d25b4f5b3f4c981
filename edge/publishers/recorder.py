"""A run written to a file as it happens, by a thread of its own: a slow or full disk never holds up a state."""

import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bundle.command import warn
from bundle.errors import InputError
from bundle.features import WindowSpec
from edge.jpeg import jpeg_from_rgb
from edge.message import Message
from edge.recording import MAGIC, Frame, ObservationCoder, bytes_from_frame
from edge.written_file import WrittenFile
from perception.chunks import AudioChunk, Estimate, Observation, VideoChunk

QUEUED_UPDATES = 600
"""Two minutes that a disk may stand still, some 15 MB; then the recording ends."""

QUEUED_IMAGES = 50
"""Five seconds, some 140 MB at 720p; beyond, they are left out and counted."""

QUEUED_CHUNKS = 350
"""Entries beyond which sound is, too: that of four seconds waits for the networks to load, and comes at once."""

PATIENCE_S = 4.0
"""With a disk that stands still, at the end: once or twice."""

STANDSTILL_S = 60.0
"""Of a disk that a clip waits for."""

SYNC_NS = 2_000_000_000
"""What a power cut may cost: a car's power is cut every day."""

_Entry = tuple[Observation, Estimate, Message] | AudioChunk | VideoChunk


class Recorder:
    """Writes one frame per update, and with `media` one per chunk of sound and per image of the grid.

    The file is opened when the networks are loaded; what comes before is kept, and written then, or at the end of a run
    that ends before. If writing fails, the run goes on: the file is cut to whole frames, one line goes to standard
    error, and `error` says why.

    Parameters
    ----------
    start : the first frame. start_ns : where the grid of images begins, as of the perception. back_pressure : wait for
        the disk, as a clip can; devices cannot. stop : set where the run is to end.

    Raises
    ------
    InputError : the file cannot be written; from `publish` and `close`, once that is known.
    """

    def __init__(
        self, path: Path, start: Frame, coder: ObservationCoder, window: WindowSpec, start_ns: int,
        stop: threading.Event, *, media: bool, back_pressure: bool,
    ) -> None:  # fmt: skip
        self.error = ""
        self._written, self._stop = WrittenFile("--record", path), stop
        self._path, self._start, self._coder, self._window, self._start_ns = path, start, coder, window, start_ns
        self._media, self._back_pressure = media, back_pressure
        self._queue: queue.Queue[_Entry | None] = queue.Queue(QUEUED_UPDATES)
        self._observed: tuple[Observation, Estimate] | None = None
        self._image_point = -1
        self._images_put = self._images_written = 0  # by the run, and by the writer
        self._media_left_out = 0
        self._synced_ns = 0
        self._whole_bytes = 0
        self._unwritable: InputError | None = None
        self._writer: threading.Thread | None = None

    def push(self, chunk: AudioChunk | VideoChunk) -> None:
        """Keep the chunk if media are recorded: of images, the first of those nearest to each point of the grid."""
        if not self._media:
            return
        if self._writer is None:
            self._begin()
        if isinstance(chunk, VideoChunk):
            period_ns = self._window.image_period_ns
            point = (chunk.captured_ns - self._start_ns + period_ns // 2) // period_ns
            if point <= self._image_point:
                return
            self._image_point = point
            has_room = self._images_put - self._images_written < QUEUED_IMAGES
        else:
            has_room = self._queue.qsize() < QUEUED_CHUNKS
        if self._back_pressure or has_room:
            self._images_put += isinstance(chunk, VideoChunk)
            self._put(chunk)
        else:
            self._media_left_out += 1

    def observe(self, observation: Observation, estimate: Estimate) -> None:
        """What the next message rests on."""
        self._observed = observation, estimate

    def publish(self, message: Message) -> None:
        """Write the message and what it rests on."""
        if self._unwritable:
            raise self._unwritable
        if self._writer is None and message["engine"] != "loading":
            self._begin()
        assert self._observed is not None
        self._put((*self._observed, message))

    def close(self, *, failed: bool = False) -> None:
        """Returns when all is written and on the disk, or nothing more was for some seconds.

        failed : the run did; a file that was not opened yet stays as it was.
        """
        if self._writer is None and not failed and not self._queue.empty():
            self._begin()
        if self._writer is None:
            return
        asked, before = False, -1
        while self._writer.is_alive() and self._whole_bytes != before:
            before = self._whole_bytes
            if not asked:
                with suppress(queue.Full):
                    self._queue.put(None, timeout=PATIENCE_S)
                    asked = True
            self._writer.join(PATIENCE_S)
        if self._writer.is_alive():
            self.error = self.error or f"--record {self._path} ended early: the disk stands still"
        if self._unwritable and not failed:
            raise self._unwritable

    def _put(self, entry: _Entry) -> None:
        if self.error:
            return
        if self._writer is None and self._queue.full():
            self._begin()
        try:
            self._queue.put(entry, self._back_pressure, STANDSTILL_S)
        except queue.Full:
            self._fail("the disk is too slow")

    def _begin(self) -> None:
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._writer.start()

    def _write(self) -> None:
        """The thread."""
        try:
            descriptor = self._written.open(self._stop)
        except InputError as error:
            self._unwritable = error
            return
        if descriptor is None:  # the run is to stop, and nobody reads the pipe
            return
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            self._append(file, lambda: MAGIC + bytes_from_frame(self._start))
            while entry := self._queue.get():
                self._append(file, lambda entry=entry: bytes_from_frame(self._frame(entry)))  # type: ignore[misc]
            end = Frame("end", {"media_left_out": self._media_left_out})
            self._append(file, lambda: bytes_from_frame(end), sync_ns=0)

    def _append(self, file: BinaryIO, encode: Callable[[], bytes], sync_ns: int = SYNC_NS) -> None:
        """Write all of it or nothing; nothing after a failure. What is older than `sync_ns` is on the disk then."""
        if self.error:
            return
        try:
            frame = memoryview(encode())
            view = frame
            while view:
                view = view[file.write(view) :]
            self._whole_bytes += len(frame)
            if file.seekable() and time.monotonic_ns() - self._synced_ns > sync_ns:  # a pipe is on no disk
                os.fdatasync(file.fileno())
                self._synced_ns = time.monotonic_ns()
        except Exception as error:  # whatever it is, the run goes on
            with suppress(OSError):  # a pipe cannot be cut
                file.truncate(self._whole_bytes)
            self._fail(str(error))

    def _frame(self, entry: _Entry) -> Frame:
        if isinstance(entry, AudioChunk):
            return Frame("sound", {"captured_ns": entry.captured_ns}, {"samples": entry.samples})
        if isinstance(entry, VideoChunk):
            self._images_written += 1
            return Frame("image", {"captured_ns": entry.captured_ns}, {"jpeg": jpeg_from_rgb(entry.image)})
        observation, estimate, message = entry
        fields, arrays = self._coder.encode(observation)
        if estimate.probs is not None:
            arrays["probs"] = estimate.probs
        return Frame("update", {**fields, "message": message}, arrays)

    def _fail(self, why: str) -> None:
        if not self.error:
            self.error = f"--record {self._path} ended early: {why}"
            warn(f"edge-run: {self.error}; the run goes on")
