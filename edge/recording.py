"""The file of a recorded run: frames of JSON and raw arrays, each with its checksum. docs/recording.md describes it."""

import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, get_args

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from perception.chunks import FaceStatus, Observation, Source, VoiceStatus

MAGIC = b"edge-emotion recording 1\n"

DTYPES = {name: np.dtype(name) for name in ("<f4", "<i2", "|u1")}

MAX_JSON_BYTES, MAX_ARRAY_BYTES = 1 << 20, 1 << 26
"""A reader believes no length beyond these."""

_LENGTHS = struct.Struct("<III")  # of JSON, of arrays; CRC-32 of both

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """One entry. kind : "start", "update", "sound", "image" or "end"; docs/recording.md lists the fields of each."""

    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)


def bytes_from_frame(frame: Frame) -> bytes:
    """The frame as it lies in the file.

    Raises
    ------
    KeyError : an array's dtype is not among `DTYPES`.
    """
    layout = {name: [_name_of_dtype(array.dtype), list(array.shape)] for name, array in frame.arrays.items()}
    document = {"kind": frame.kind, **frame.fields, "arrays": layout}
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    body = text + b"".join(np.ascontiguousarray(array).tobytes() for array in frame.arrays.values())
    return _LENGTHS.pack(len(text), len(body) - len(text), zlib.crc32(body)) + body


def read_frames(file: BinaryIO, name: str) -> Iterator[Frame]:
    """All frames before the "end", in bounded memory.

    Raises
    ------
    InputError : the file is no recording; at once. It is damaged, or ends without "end": after all whole frames
        before that place.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise InputError(f"{name} is no recording of this version; expected a file that edge-run --record wrote.")
    place = len(MAGIC)
    while True:
        try:
            frame, size = _read_frame(file)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{name} is cut off or damaged at byte {place} ({error}); what lies before it was replayed. "
                "A run that was killed, or a full disk, leaves such a file; copy it again if it was copied."
            ) from error
        if frame.kind == "end":
            return
        place += size
        yield frame


def _read_frame(file: BinaryIO) -> tuple[Frame, int]:
    """The next frame and its size in bytes; ValueError, KeyError or TypeError where there is none."""
    n_text, n_arrays, checksum = _LENGTHS.unpack(_read(file, _LENGTHS.size))
    if n_text > MAX_JSON_BYTES or n_arrays > MAX_ARRAY_BYTES:
        raise ValueError(f"a frame of {n_text} + {n_arrays} bytes")
    body = _read(file, n_text + n_arrays)
    if zlib.crc32(body) != checksum:
        raise ValueError("its checksum differs")
    fields = json.loads(body[:n_text])
    if not isinstance(fields, dict) or not isinstance(fields.get("arrays"), dict):
        raise ValueError("its JSON is no frame")
    kind, layout = fields.pop("kind"), fields.pop("arrays")
    return Frame(str(kind), fields, _arrays(layout, body[n_text:])), _LENGTHS.size + len(body)


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("end of file")
    return data


def _arrays(layout: Mapping[str, Any], data: bytes) -> dict[str, Array]:
    arrays, start = {}, 0
    for name, (dtype, shape) in layout.items():
        if any(type(length) is not int or not 0 <= length <= MAX_ARRAY_BYTES for length in shape) or len(shape) > 3:
            raise ValueError(f"array {name} of shape {shape}")
        stop = start + math.prod(shape) * DTYPES[dtype].itemsize
        if stop > len(data):
            raise ValueError(f"array {name} of shape {shape} in {len(data)} bytes")
        arrays[name] = np.frombuffer(data[start:stop], DTYPES[dtype]).reshape(shape)
        start = stop
    if start != len(data):
        raise ValueError(f"{len(data) - start} bytes without an array")
    return arrays


def _name_of_dtype(dtype: np.dtype[Any]) -> str:
    return next(name for name, known in DTYPES.items() if known == dtype)


class WindowDelta:
    """What a window adds to the one before, which overlaps it by most of its length.

    period_ns : of the window's slots.
    """

    def __init__(self, slots: int, width: int, period_ns: int) -> None:
        self._vectors, self._mask = np.zeros((slots, width), np.float32), np.zeros(slots, np.float32)
        self._period_ns, self._captured_ns = period_ns, 0

    def encode(self, captured_ns: int, vectors: Array, mask: Array) -> tuple[list[int], Array, Array]:
        """Slots that are not as in the window before, and their vectors and mask."""
        self._advance(captured_ns)
        differs = (vectors.view(np.uint32) != self._vectors.view(np.uint32)).any(axis=1) | (mask != self._mask)
        slots = np.flatnonzero(differs)
        self._vectors, self._mask = vectors.copy(), mask.copy()
        return slots.tolist(), vectors[slots], mask[slots]

    def decode(self, captured_ns: int, slots: list[int], vectors: Array, mask: Array) -> tuple[Array, Array]:
        """The whole window; ValueError or IndexError where the parts do not fit it."""
        self._advance(captured_ns)
        if any(type(slot) is not int or slot < 0 for slot in slots):
            raise ValueError(f"slots {slots}")
        if vectors.shape != (len(slots), self._vectors.shape[1]) or mask.shape != (len(slots),):
            raise ValueError(f"embeddings of shape {vectors.shape} for {len(slots)} slots")
        if not (np.isfinite(vectors).all() and np.isin(mask, (0, 1)).all()):
            raise ValueError("embeddings that are no numbers")
        if slots:
            self._vectors[slots], self._mask[slots] = vectors, mask
        return self._vectors.copy(), self._mask.copy()

    def _advance(self, captured_ns: int) -> None:
        moved = min(max(0, captured_ns - self._captured_ns) // self._period_ns, len(self._mask))
        self._captured_ns = captured_ns
        self._vectors = np.concatenate((self._vectors[moved:], np.zeros_like(self._vectors[:moved])))
        self._mask = np.concatenate((self._mask[moved:], np.zeros_like(self._mask[:moved])))


class ObservationCoder:
    """Observations to the fields and arrays of "update" frames, and back; one object for one direction."""

    def __init__(self, visual: WindowDelta, audio: WindowDelta) -> None:
        self._windows = {"visual": visual, "audio": audio}

    def encode(self, observation: Observation) -> tuple[dict[str, Any], dict[str, Array]]:
        fields: dict[str, Any] = {name: getattr(observation, name) for name in _PLAIN}
        arrays: dict[str, Array] = {}
        for name, window in self._windows.items():
            vectors, mask = getattr(observation, name), getattr(observation, f"{name}_mask")
            fields[f"{name}_slots"], arrays[name], arrays[f"{name}_mask"] = window.encode(
                observation.captured_ns, vectors, mask
            )
        return fields, arrays

    def decode(self, frame: Frame) -> Observation:
        """ValueError, KeyError, TypeError or IndexError where the frame holds no observation."""
        plain = {name: _checked(name, frame.fields[name]) for name in _PLAIN}
        windows: dict[str, Any] = {}
        for name, window in self._windows.items():
            windows[name], windows[f"{name}_mask"] = window.decode(
                plain["captured_ns"], frame.fields[f"{name}_slots"], frame.arrays[name], frame.arrays[f"{name}_mask"]
            )
        return Observation(**plain, **windows)


_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "captured_ns": (),
    "newest_ns": (),
    "reason": (),
    "source": get_args(Source),
    "face": get_args(FaceStatus),
    "voice": get_args(VoiceStatus),
}
"""Fields of an observation that are no arrays, and the words that may stand in them."""


def _checked(name: str, value: Any) -> Any:
    """The value, if it may stand in the field; else ValueError."""
    if name == "captured_ns" or (name == "newest_ns" and value is not None):
        return checked_time_ns(value)
    words = _PLAIN[name]
    if (value not in words) if words else not isinstance(value, str | None):
        raise ValueError(f"{name} is {value!r}")
    return value


def checked_time_ns(value: Any) -> int:
    """The value, if it is a time; else ValueError."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is no time")
    return value
