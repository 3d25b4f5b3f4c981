"""A media file as timestamped chunks: 16 kHz sound and upright RGB images, merged in order of time."""

import heapq
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError, InputError
from bundle.features import NS_PER_S
from perception.chunks import AudioChunk, VideoChunk
from perception.resample import SAMPLE_RATE_HZ, Resampler

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.container import InputContainer

NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE_HZ
CHUNK_SAMPLES = 640  # 40 ms
JUMP_NS = 20_000_000  # FLV and Matroska round timestamps to 1 ms, and recorders let them wander by several
SHORTFALL_NS = 500_000_000  # headers are rounded, and the last packets of a stream may give no frame

FORMATS_WITH_DURATION = ("mov", "mp4", "matroska", "webm", "flv", "avi", "wav", "flac")
FORMATS_WITHOUT_DURATION = ("mp3", "ogg", "aac", "h264", "mpegts")  # libavformat estimates it
FORMATS = FORMATS_WITH_DURATION + FORMATS_WITHOUT_DURATION
RIFF_SIZE_UNKNOWN = 0x7FFF_0000  # this or more is written by programs that stream WAV into a pipe

Kind = Literal["audio", "video"]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ClipInfo:
    """What a clip holds, by its header.

    audio_channels : 0 without sound. duration_s : None where the file does not tell.
    """

    audio_channels: int
    has_video: bool
    duration_s: float | None

    @property
    def has_audio(self) -> bool:
        return self.audio_channels > 0


def probe_clip(path: str | Path) -> ClipInfo:
    """What a clip holds, without decoding it.

    Raises
    ------
    InputError : path is no file, is in none of `FORMATS`, or has no stream that can be decoded.
    """
    with _open_container(path) as container:
        audio, video = _find_stream(container, "audio"), _find_stream(container, "video")
        if audio is None and video is None:
            raise InputError(
                f"{path} has no sound and no moving pictures that can be decoded; expected at least one. "
                "Look at it with ffprobe, or record it again."
            )
        duration_us = (container.duration or 0) * _riff_growth(path)
        return ClipInfo(
            audio_channels=audio.codec_context.channels if audio else 0,
            has_video=video is not None,
            duration_s=float(duration_us / 1_000_000) or None,
        )


def decode_clip(path: str | Path, *, mono_channel: int | None = None) -> Iterator[AudioChunk | VideoChunk]:
    """Chunks of a clip's sound and pictures, in the order in which a live source would complete them.

    Sound comes in chunks of 40 ms (shorter before a gap and at the end), each due at its end; images are due
    at their presentation time and turned upright as the container tells. `captured_ns` counts from the start
    of the stream that starts first. A gap of more than 20 ms in the sound is a jump of `captured_ns`; sound
    that overlaps what went before it by more than 20 ms is dropped.

    Parameters
    ----------
    mono_channel : index of the audio channel to take; None takes the mean of all.

    Raises
    ------
    ArgumentError : mono_channel < 0 or mono_channel >= audio_channels; at once.
    InputError : as `probe_clip`, at once; for a truncated or corrupt clip, after all that can be decoded.
    """
    channels = probe_clip(path).audio_channels
    if channels and mono_channel is not None and not 0 <= mono_channel < channels:
        raise ArgumentError(
            f"mono_channel is {mono_channel}, but {path} has {channels} audio channel(s); expected "
            f"0..{channels - 1}. Give None for the mean of all channels."
        )
    return _decode_tracks(path, mono_channel)


def _decode_tracks(path: str | Path, mono_channel: int | None) -> Iterator[AudioChunk | VideoChunk]:
    import av

    audio, video = _Track(path, "audio"), _Track(path, "video")
    sources: list[Iterator[AudioChunk | VideoChunk]] = [
        _audio_chunks(audio, mono_channel),
        _video_chunks(video),
    ]
    try:
        yield from heapq.merge(*sources, key=_due_ns)
    except (av.FFmpegError, ValueError, IndexError) as error:  # in conversion; a channel may be gone midway
        raise InputError(
            f"{path} cannot be converted to 16 kHz sound and RGB images ({error}). "
            "Convert it first: ffmpeg -i INPUT OUTPUT.mp4."
        ) from error
    _check_completeness(path, audio, video)


def _due_ns(chunk: AudioChunk | VideoChunk) -> int:
    return chunk.end_ns() if isinstance(chunk, AudioChunk) else chunk.captured_ns


class _Track:
    """One stream of a clip, read through a container of its own: badly interleaved files then need no memory.

    ended_ns : end of the last frame decoded. error : why decoding stopped there; empty where the stream ends.
    """

    def __init__(self, path: str | Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self.ended_ns = 0
        self.error = ""

    def frames(self) -> Iterator[tuple[int, Any]]:
        """(time in ns, decoded frame), in order of time; nothing where the clip has no such stream."""
        with _open_container(self.path) as container:
            stream = _find_stream(container, self.kind)
            if stream is None:
                return
            start_ns, newest_ns = _start_ns(container), -math.inf
            for frame in self._decode_until_error(container, stream):
                time_ns = self.ended_ns if frame.pts is None else _ns(frame.pts, stream.time_base) - start_ns
                if time_ns < newest_ns:
                    self.error = "then its timestamps run backwards"
                    return
                newest_ns, self.ended_ns = time_ns, time_ns + _ns(frame.duration, stream.time_base)
                yield time_ns, frame

    def _decode_until_error(self, container: "InputContainer", stream: Any) -> Iterator[Any]:
        import av

        try:
            for packet in container.demux(stream):
                yield from packet.decode()
        except av.FFmpegError as error:
            self.error = str(error.strerror)
            with suppress(av.FFmpegError):
                yield from stream.codec_context.decode(None)  # what it held back to put frames in order


def _audio_chunks(track: _Track, mono_channel: int | None) -> Iterator[AudioChunk]:
    run: _Run | None = None
    for time_ns, frame in track.frames():
        samples, rate_hz = _mono_from_frame(frame, mono_channel), frame.sample_rate
        if run is None:
            run = _Run(time_ns, rate_hz)
        elif rate_hz != run.rate_hz or time_ns > run.end_ns + JUMP_NS:
            yield from run.push(samples[:0], last=True)
            run = _Run(max(time_ns, run.end_ns), rate_hz)
        overlap_ns = run.end_ns - time_ns
        yield from run.push(samples[overlap_ns * rate_hz // NS_PER_S :] if overlap_ns > JUMP_NS else samples)
    if run is not None:
        yield from run.push(np.empty(0, np.float32), last=True)


class _Run:
    """Sound of one sample rate without a gap, resampled and cut into chunks."""

    def __init__(self, start_ns: int, rate_hz: int) -> None:
        self.start_ns, self.rate_hz, self.samples_pushed = start_ns, rate_hz, 0
        self.resampler = Resampler(rate_hz)
        self.rest, self.rest_ns = np.empty(0, np.int16), start_ns

    @property
    def end_ns(self) -> int:
        """Time just after the last sample pushed."""
        return self.start_ns + self.samples_pushed * NS_PER_S // self.rate_hz

    def push(self, samples: npt.NDArray[np.float32], *, last: bool = False) -> list[AudioChunk]:
        """Chunks that are complete by now; with `last`, the rest too."""
        self.samples_pushed += len(samples)
        held, held_ns = np.concatenate((self.rest, self.resampler.push(samples, last=last))), self.rest_ns
        stop = len(held) if last else len(held) - len(held) % CHUNK_SAMPLES
        self.rest, self.rest_ns = held[stop:], held_ns + stop * NS_PER_SAMPLE
        return [
            AudioChunk(held[start : start + CHUNK_SAMPLES], held_ns + start * NS_PER_SAMPLE)
            for start in range(0, stop, CHUNK_SAMPLES)
        ]


def _video_chunks(track: _Track) -> Iterator[VideoChunk]:
    upright: Callable[[Image], Image] | None = None
    for time_ns, frame in track.frames():
        upright = upright or _turn_of(frame)
        yield VideoChunk(upright(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)), time_ns)


def _mono_from_frame(frame: "AudioFrame", channel: int | None) -> npt.NDArray[np.float32]:
    """One channel, or the mean of all, -1..1."""
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if frame.format.is_packed:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(samples).clip(-1, 1)  # a float file may hold anything
    else:
        samples = samples / 2 ** (8 * samples.itemsize - 1) - (samples.dtype.kind == "u")
    mono = samples.mean(axis=0) if channel is None else samples[channel]
    return mono.astype(np.float32)


def _turn_of(first: "VideoFrame") -> Callable[[Image], Image]:
    """What turns and mirrors images as the container's display matrix tells, to the nearest quarter turn.

    The matrix takes (x, y), y down, to (a x + c y, b x + d y): ISO/IEC 14496-12, 6.2.2. It is read of the first frame
    alone: PyAV keeps a frame whose side data were read until the garbage collector comes by.
    """
    matrix: Any = first.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return lambda image: image
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if sideways := abs(b) > abs(a):
        a, d = c, b
    down, across = -1 if d < 0 else 1, -1 if a < 0 else 1
    return lambda image: np.ascontiguousarray((image.transpose(1, 0, 2) if sideways else image)[::down, ::across])


def _open_container(path: str | Path) -> "InputContainer":
    import av

    if not Path(path).is_file():
        raise InputError(f"{path} is not a file; expected an audio or video file. Check the path.")
    # libavformat would also draw text files as pictures, and follow playlists to other files.
    options = {"format_whitelist": ",".join(FORMATS)}
    try:
        return av.open(f"file:{path}", options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror}); expected a complete {', '.join(FORMATS)} file. "
            "Copy or record it again, or convert it: ffmpeg -i INPUT OUTPUT.mp4."
        ) from error


def _find_stream(container: "InputContainer", kind: Kind) -> Any | None:
    """The stream that libavformat deems best; a cover picture is none."""
    from av.stream import Disposition

    stream = container.streams.best(kind)
    if stream is None or stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        return None
    return stream


def _start_ns(container: "InputContainer") -> int:
    """Start of the stream that starts first."""
    streams = [_find_stream(container, "audio"), _find_stream(container, "video")]
    return min(_ns(stream.start_time or 0, stream.time_base) for stream in streams if stream is not None)


def _ns(ticks: int, time_base: Fraction) -> int:
    return round(ticks * time_base * NS_PER_S)


def _riff_growth(path: str | Path) -> Fraction:
    """Size by a WAV or AVI header over the file's, at least 1: libavformat shortens duration by that."""
    with open(path, "rb") as file:
        tag, size = file.read(4), int.from_bytes(file.read(4), "little")
    if tag != b"RIFF" or size >= RIFF_SIZE_UNKNOWN:
        return Fraction(1)
    return max(Fraction(1), Fraction(8 + size, Path(path).stat().st_size))


def _check_completeness(path: str | Path, *tracks: _Track) -> None:
    """Raise InputError where decoding met an error, or ended before the time that the header promises."""
    clip_end_ns = max(track.ended_ns for track in tracks)
    with _open_container(path) as container:
        has_duration = any(name in FORMATS_WITH_DURATION for name in container.format.name.split(","))
        for track in tracks:
            stream = _find_stream(container, track.kind)
            if stream is None:
                continue
            ended_ns, promised_ns = clip_end_ns, 1_000 * (container.duration or 0)
            if "matroska" in container.format.name:  # counts from 0, wherever the clip starts
                promised_ns -= max(0, _start_ns(container))
            if stream.duration:  # else, in FLV and Matroska, the header tells the end of the whole clip only
                stream_end_ns = _ns((stream.start_time or 0) + stream.duration, stream.time_base)
                ended_ns, promised_ns = track.ended_ns, stream_end_ns - _start_ns(container)
            promised_ns = round(promised_ns * _riff_growth(path))
            cut = has_duration and ended_ns < promised_ns - SHORTFALL_NS
            if track.error or cut or not clip_end_ns:
                expected = f"{promised_ns / NS_PER_S:.2f} s by its header" if promised_ns else "more"
                raise InputError(
                    f"{path}: {track.kind} can be read up to {ended_ns / NS_PER_S:.2f} s "
                    f"({track.error or 'end of file'}); expected {expected}. "
                    "Copy or record it again, or convert what there is: ffmpeg -i INPUT OUTPUT.mp4."
                )
