"""A recorded run, read back: updates with what they rested on, and sound and images where they were recorded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bundle.errors import ArtefactError, InputError
from edge.jpeg import rgb_from_jpeg
from edge.message import Dropped, Health, part_from_message
from edge.recording import Frame, ObservationCoder, checked_time_ns, read_frames
from perception.chunks import AudioChunk, Observation, VideoChunk


@dataclass(frozen=True)
class RecordedUpdate:
    """observation : None where it was not asked for. message : as it was published. engine : what it names.

    probs : float32 ndarray [shape=(labels,)], None with source "none".
    """

    captured_ns: int
    observation: Observation | None
    probs: npt.NDArray[np.float32] | None
    message: Mapping[str, Any]
    engine: str
    emitted_ns: int
    dropped: Dropped
    health: Health


class Replay:
    """A recorded run.

    bundle : the recorded bundle's name. bundle_sha256 : of its manifest. camera, microphone : whether they were in use.
    media : whether sound and images were recorded.

    Raises
    ------
    InputError : the file cannot be read, or is no recording.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            start = next(read_frames(file, str(path)), None)
        try:
            if start is None or start.kind != "start":
                raise ValueError("its first frame is another")
            self.bundle, self.bundle_sha256 = str(start.fields["bundle"]), str(start.fields["bundle_sha256"])
            self.camera, self.microphone, self.media = (
                bool(start.fields[name]) for name in ("camera", "microphone", "media")
            )
        except (ValueError, KeyError) as error:
            raise InputError(f"{path} does not begin as a recording ({error}). Record it again.") from error

    def entries(self, coder: ObservationCoder | None) -> Iterator[RecordedUpdate | AudioChunk | VideoChunk]:
        """Updates and media in the order of the run; without a coder, what the updates rested on is left out.

        Raises
        ------
        InputError : the file is damaged or cut off; after all whole entries before that place.
        """
        with self._open() as file:
            for frame in read_frames(file, str(self._path)):
                if frame.kind == "start":
                    continue
                try:
                    entry = _entry_from_frame(frame, coder)
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    raise InputError(
                        f"{self._path} holds a frame {frame.kind!r} that cannot be understood "
                        f"({type(error).__name__}: {error}). Record it again with this version."
                    ) from error
                yield entry

    def check_bundle(self, name: str, sha256: str) -> None:
        """ArtefactError unless the embeddings are those of the bundle's own encoders."""
        if sha256 != self.bundle_sha256:
            raise ArtefactError(
                f"{self._path} was recorded with bundle {self.bundle} ({self.bundle_sha256[:16]}...), not {name} "
                f"({sha256[:16]}...); expected the same, or a recording with sound and images. Name it by --bundle, or "
                "record with --record-media."
            )

    def _open(self) -> BinaryIO:
        if self._path.is_fifo():
            raise InputError(f"--replay {self._path} is a pipe, which cannot be read twice; expected a file.")
        try:
            return self._path.open("rb")
        except OSError as error:
            raise InputError(f"--replay {self._path} cannot be read: {error.strerror}. Check the path.") from error


def _entry_from_frame(frame: Frame, coder: ObservationCoder | None) -> RecordedUpdate | AudioChunk | VideoChunk:
    captured_ns = checked_time_ns(frame.fields["captured_ns"])
    if frame.kind == "update":
        observation = coder.decode(frame) if coder else None
        message, probs = frame.fields["message"], frame.arrays.get("probs")
        return RecordedUpdate(
            captured_ns, observation, probs, message, message["engine"], checked_time_ns(message["emitted_ns"]),
            part_from_message(Dropped, message), part_from_message(Health, message),
        )  # fmt: skip
    if frame.kind == "sound":
        samples = frame.arrays["samples"]
        if samples.ndim != 1 or samples.dtype != np.int16:
            raise ValueError(f"samples of dtype {samples.dtype} and shape {samples.shape}")
        return AudioChunk(samples, captured_ns)
    if frame.kind == "image":
        return VideoChunk(rgb_from_jpeg(frame.arrays["jpeg"]), captured_ns)
    raise ValueError("unknown")
