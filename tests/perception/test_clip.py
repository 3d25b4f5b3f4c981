"""Decoding: every image and sound lies at its true time, and every bad file ends in a clear InputError."""

import gc
import re
import struct
import wave
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from bundle.errors import ArgumentError, InputError
from perception.chunks import AudioChunk, VideoChunk
from perception.clip import decode_clip, probe_clip

WIDTH, HEIGHT, BLOCK = 320, 240, 32
FPS = 25
CODECS = {  # by suffix: video, audio, sample rate in Hz
    "mp4": ("libx264", "aac", 48_000),
    "mkv": ("libx264", "pcm_s16le", 48_000),
    "webm": ("libvpx", "libopus", 48_000),
    "ts": ("libx264", "aac", 44_100),
    "avi": ("mjpeg", "pcm_s16le", 22_050),
    "flv": ("flv", "libmp3lame", 44_100),
    "wav": (None, "pcm_s16le", 44_100),
    "flac": (None, "flac", 8_000),
    "mp3": (None, "libmp3lame", 44_100),
    "ogg": (None, "libopus", 48_000),
}


def chirp(rate_hz):
    """0.1 s from 300 to 3000 Hz: its matched filter finds it to the sample."""
    time_s = np.arange(rate_hz // 10) / rate_hz
    return 0.5 * np.sin(2 * np.pi * (300 * time_s + 13_500 * time_s**2))


def sound(rate_hz, *, chirp_at_s=0.5, duration_s=3.0):
    """A chirp in faint noise, float [shape=(n,)]."""
    samples = np.random.default_rng(0).normal(0, 0.01, round(duration_s * rate_hz))
    samples[round(chirp_at_s * rate_hz) :][: rate_hz // 10] += chirp(rate_hz)
    return samples


def picture(index):
    """Gray image with the bits of `index` as black and white blocks in its upper rows."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for bit in range(8):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (index >> bit & 1)
    return image


def index_of(image):
    return sum(int(image[BLOCK // 2, bit * BLOCK + BLOCK // 2].mean() > 128) << bit for bit in range(8))


class ClipWriter:
    """A media file made of frames with chosen times."""

    def __init__(self, path, **options):
        self.path = path
        self.container = av.open(str(path), "w", options=options)
        self.frames = []

    def add_video(self, codec, images, times_s, *, time_base=Fraction(1, FPS), preset="ultrafast"):
        stream = self.container.add_stream(codec, rate=FPS, width=WIDTH, height=HEIGHT)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate, stream.codec_context.time_base = 1_000_000, time_base
        if codec == "libx264":
            stream.options = {"preset": preset}
        for image, time_s in zip(images, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time_s / time_base), time_base
            self.frames.append((time_s, stream, frame))
        return self

    def add_audio(self, codec, rate_hz, samples, *, starts_s=None):
        """`samples` [shape=(n,) or (n, 2)], in pieces of 0.1 s at the given times, or one after another."""
        layout = "mono" if samples.ndim == 1 else "stereo"
        stream = self.container.add_stream(codec, rate=rate_hz, layout=layout)
        pieces = np.split(samples, range(rate_hz // 10, len(samples), rate_hz // 10))
        for index, piece in enumerate(pieces):
            start_s = index / 10 if starts_s is None else starts_s[index]
            data = np.rint(piece * 32_767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = round(start_s * rate_hz)
            self.frames.append((start_s, stream, frame))
        return self

    def write(self, *, interleave=True):
        frames = sorted(self.frames, key=lambda timed: timed[0]) if interleave else self.frames
        with self.container:
            for _, stream, frame in frames:
                self.container.mux(stream.encode(frame))
            for stream in self.container.streams:
                self.container.mux(stream.encode(None))
        return self.path


def write_clip(folder, suffix, *, duration_s=3.0, interleave=True, **options):
    """A clip with image i at i / 25 s and one chirp, in the codecs usual for `suffix`."""
    vcodec, acodec, rate_hz = CODECS[suffix]
    writer = ClipWriter(folder / f"clip.{suffix}", **options)
    if vcodec:
        indices = range(round(duration_s * FPS))
        writer.add_video(vcodec, map(picture, indices), [index / FPS for index in indices])
    writer.add_audio(acodec, rate_hz, sound(rate_hz, duration_s=duration_s))
    return writer.write(interleave=interleave)


def split(chunks):
    chunks = list(chunks)
    audio = [chunk for chunk in chunks if isinstance(chunk, AudioChunk)]
    return audio, [chunk for chunk in chunks if isinstance(chunk, VideoChunk)]


def decode_until_error(path):
    """(chunks, the InputError that follows them)."""
    chunks = []
    with pytest.raises(InputError) as caught:
        chunks.extend(decode_clip(path))
    return chunks, caught.value


def due_ns(chunk):
    return chunk.end_ns() if isinstance(chunk, AudioChunk) else chunk.captured_ns


def gaps_ns(audio):
    """(end, start) of the chunks before and after each discontinuity."""
    pairs = [(before.end_ns(), after.captured_ns) for before, after in pairwise(audio)]
    return [(end_ns, start_ns) for end_ns, start_ns in pairs if end_ns != start_ns]


def timeline(audio):
    """Samples where their timestamps put them; zeros where there are none."""
    samples = np.zeros(audio[-1].end_ns() // 62_500, np.int16)
    for chunk in audio:
        first = chunk.captured_ns // 62_500
        samples[first : first + len(chunk.samples)] = chunk.samples
    return samples


def chirp_time_s(audio):
    return np.argmax(np.correlate(timeline(audio).astype(float), chirp(16_000))) / 16_000


def assert_same(chunks, others):
    assert len(chunks) == len(others)
    for chunk, other in zip(chunks, others, strict=True):
        assert chunk.captured_ns == other.captured_ns
        name = "samples" if isinstance(chunk, AudioChunk) else "image"
        np.testing.assert_array_equal(getattr(chunk, name), getattr(other, name))


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    """A faststart MP4 of 3 s."""
    return write_clip(tmp_path_factory.mktemp("clip"), "mp4", movflags="+faststart")


# Time


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts", "flv", "avi"])
def test_images_and_sound_lie_at_their_times(tmp_path, suffix):
    audio, video = split(decode_clip(write_clip(tmp_path, suffix, duration_s=1.0)))
    assert [index_of(chunk.image) for chunk in video] == list(range(25))
    times_s = np.array([chunk.captured_ns for chunk in video]) / 1e9
    np.testing.assert_allclose(times_s - times_s[0], np.arange(25) / FPS, atol=0.001)
    assert chirp_time_s(audio) - times_s[0] == pytest.approx(0.5, abs=0.001)
    assert min(times_s[0], audio[0].captured_ns / 1e9) == 0


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_sound_alone_lies_at_its_time(tmp_path, suffix):
    path = write_clip(tmp_path, suffix)
    audio, video = split(decode_clip(path))
    assert video == []
    assert chirp_time_s(audio) == pytest.approx(0.5, abs=0.0001)
    assert (probe_clip(path).has_audio, probe_clip(path).has_video) == (True, False)
    assert probe_clip(path).duration_s == pytest.approx(3.0, abs=0.05)


def test_images_alone_lie_at_their_times(tmp_path):
    path = ClipWriter(tmp_path / "clip.mp4").add_video("libx264", map(picture, range(3)), [0, 0.04, 0.08]).write()
    assert [(index_of(chunk.image), chunk.captured_ns) for chunk in decode_clip(path)] == [
        (0, 0),
        (1, 40_000_000),
        (2, 80_000_000),
    ]
    assert (probe_clip(path).has_audio, probe_clip(path).has_video) == (False, True)


def test_variable_frame_rate_keeps_each_time(tmp_path):
    times_s = [0, 0.033, 0.067, 0.1, 0.5, 0.517, 1.0, 2.9]
    writer = ClipWriter(tmp_path / "clip.mp4")
    writer.add_video("libx264", map(picture, range(8)), times_s, time_base=Fraction(1, 1000))
    chunks = list(decode_clip(writer.write()))
    assert [index_of(chunk.image) for chunk in chunks] == list(range(8))
    assert [chunk.captured_ns for chunk in chunks] == [round(1000 * time_s) * 1_000_000 for time_s in times_s]


@pytest.mark.parametrize(("sound_at_s", "image_at_s"), [(0.3, 0.0), (0.0, 0.24), (1.3, 1.0)])
def test_offset_between_sound_and_images_is_kept_and_time_starts_with_the_first(tmp_path, sound_at_s, image_at_s):
    writer = ClipWriter(tmp_path / "clip.mp4")
    writer.add_video("libx264", map(picture, range(25)), image_at_s + np.arange(25) / FPS)
    writer.add_audio("aac", 48_000, sound(48_000, duration_s=1.0), starts_s=sound_at_s + np.arange(10) / 10)
    audio, video = split(decode_clip(writer.write()))
    start_s = min(sound_at_s, image_at_s)
    assert video[0].captured_ns / 1e9 == pytest.approx(image_at_s - start_s, abs=0.001)
    assert chirp_time_s(audio) == pytest.approx(sound_at_s + 0.5 - start_s, abs=0.001)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_clip_that_does_not_start_at_0_is_complete(tmp_path, suffix):
    """As one of several that a dashcam wrote without a break."""
    writer = ClipWriter(tmp_path / f"clip.{suffix}")
    writer.add_video("libx264", map(picture, range(50)), 60 + np.arange(50) / FPS)
    writer.add_audio("aac", 48_000, sound(48_000, duration_s=2.0), starts_s=60 + np.arange(20) / 10)
    audio, video = split(decode_clip(writer.write()))
    assert [index_of(chunk.image) for chunk in video] == list(range(50))
    assert chirp_time_s(audio) == pytest.approx(0.5, abs=0.03)  # AAC begins with 21 ms of silence
    _, error = decode_until_error(keep(writer.path, 0.5))
    assert "by its header" in str(error) or suffix == "mp4"  # whose index is at its end


def test_chunks_come_in_the_order_in_which_they_are_complete(mp4):
    chunks = list(decode_clip(mp4))
    assert [due_ns(chunk) for chunk in chunks] == sorted(due_ns(chunk) for chunk in chunks)
    audio, _ = split(chunks)
    assert {len(chunk.samples) for chunk in audio[:-1]} == {640}
    assert {chunk.samples.dtype for chunk in audio} == {np.dtype(np.int16)}


def test_badly_interleaved_file_comes_in_the_same_order(mp4, tmp_path):
    bad = write_clip(tmp_path, "mp4", interleave=False, max_interleave_delta="1")
    assert_same(list(decode_clip(bad)), list(decode_clip(mp4)))


def test_decoding_twice_gives_the_same(mp4):
    assert_same(list(decode_clip(mp4)), list(decode_clip(mp4)))


def test_images_that_were_taken_are_let_go_without_the_garbage_collector(mp4):
    def alive():
        return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    before = alive()  # of other tests
    try:
        images = sum(isinstance(chunk, VideoChunk) for chunk in decode_clip(mp4))
        kept = alive() - before
    finally:
        gc.enable()
    assert images == 3 * FPS
    assert kept <= 2  # the first, whose side data are read


def write_sound(folder, starts_s):
    """Sound in pieces of 0.1 s at the given times, with a chirp in the fourth."""
    samples = sound(48_000, chirp_at_s=0.3, duration_s=len(starts_s) / 10)
    return ClipWriter(folder / "sound.mkv").add_audio("pcm_s16le", 48_000, samples, starts_s=starts_s).write()


def test_gap_in_sound_is_a_jump_of_captured_ns(tmp_path):
    audio, _ = split(decode_clip(write_sound(tmp_path, [0.0, 0.1, 0.6, 0.7, 0.8])))
    assert gaps_ns(audio) == [(200_000_000, 600_000_000)]
    assert chirp_time_s(audio) == pytest.approx(0.7, abs=0.0001)
    assert audio[-1].end_ns() == 900_000_000


def test_wandering_timestamps_do_not_tear_the_sound(tmp_path):
    audio, _ = split(decode_clip(write_sound(tmp_path, [0.0, 0.115, 0.185, 0.315, 0.385, 0.5])))
    assert gaps_ns(audio) == []
    assert audio[-1].end_ns() == 600_000_000


def test_overlapping_sound_is_dropped(tmp_path):
    audio, _ = split(decode_clip(write_sound(tmp_path, [0.0, 0.1, 0.15, 0.25, 0.35])))
    assert gaps_ns(audio) == []
    assert audio[-1].end_ns() == 450_000_000
    assert chirp_time_s(audio) == pytest.approx(0.25, abs=0.0001)


# Content


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_sample_format_gives_the_same_sound(tmp_path, codec):
    samples = sound(16_000, duration_s=1.0)
    audio, _ = split(decode_clip(ClipWriter(tmp_path / "clip.wav").add_audio(codec, 16_000, samples).write()))
    tolerance = 1 / 127 if codec == "pcm_u8" else 1e-4
    np.testing.assert_allclose(timeline(audio) / 32_768, samples, atol=tolerance)


def test_16_khz_int16_sound_is_untouched(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 16_000)
    audio, _ = split(decode_clip(ClipWriter(tmp_path / "c.wav").add_audio("pcm_s16le", 16_000, samples).write()))
    np.testing.assert_array_equal(timeline(audio), np.rint(samples * 32_767).astype(np.int16))


def test_float_sound_with_nan_and_infinity_is_read(tmp_path):
    path = ClipWriter(tmp_path / "clip.wav").add_audio("pcm_f32le", 48_000, np.zeros(48_000)).write()
    data = path.read_bytes()
    path.write_bytes(data[:-8] + struct.pack("<2f", np.nan, np.inf))
    audio, _ = split(decode_clip(path))
    assert audio[-1].end_ns() == 1_000_000_000
    assert not timeline(audio)[:15_000].any()


@pytest.mark.parametrize(("mono_channel", "level"), [(0, 0.0), (1, 1.0), (None, 0.5)])
def test_mono_channel_takes_one_channel_and_none_takes_the_mean(tmp_path, mono_channel, level):
    right = sound(16_000, duration_s=1.0)
    samples = np.stack([np.zeros(16_000), right], axis=1)
    path = ClipWriter(tmp_path / "clip.flac").add_audio("flac", 16_000, samples).write()
    audio, _ = split(decode_clip(path, mono_channel=mono_channel))
    np.testing.assert_allclose(timeline(audio) / 32_768, level * right, atol=1e-4)


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.mark.parametrize(
    ("matrix", "corners"),
    [
        ((1, 0, 0, 1), (RED, GREEN, BLUE, WHITE)),
        ((0, 1, -1, 0), (BLUE, RED, WHITE, GREEN)),
        ((-1, 0, 0, -1), (WHITE, BLUE, GREEN, RED)),
        ((0, -1, 1, 0), (GREEN, WHITE, RED, BLUE)),
        ((-1, 0, 0, 1), (GREEN, RED, WHITE, BLUE)),
    ],
    ids=["upright", "clockwise", "upside down", "counterclockwise", "mirrored"],
)
def test_images_are_turned_as_the_container_tells(tmp_path, matrix, corners):
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    halves = (
        slice(None, HEIGHT // 2),
        slice(HEIGHT // 2, None),
        slice(None, WIDTH // 2),
        slice(WIDTH // 2, None),
    )
    top, bottom, left, right = halves
    image[top, left], image[top, right], image[bottom, left], image[bottom, right] = RED, GREEN, BLUE, WHITE
    path = ClipWriter(tmp_path / "clip.mp4").add_video("libx264", [image], [0]).write()
    set_display_matrix(path, *matrix)
    decoded = next(decode_clip(path)).image
    assert decoded.shape == ((HEIGHT, WIDTH, 3) if matrix[0] else (WIDTH, HEIGHT, 3))
    assert decoded.flags.c_contiguous
    decoded_corners = decoded[20, 20], decoded[20, -20], decoded[-20, 20], decoded[-20, -20]
    np.testing.assert_allclose(decoded_corners, corners, atol=30)


def set_display_matrix(path, a, b, c, d):
    """Write the matrix into the track header box of an MP4 with one track."""

    def box(a, b, c, d):
        return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)

    before, header, after = path.read_bytes().partition(b"tkhd")
    path.write_bytes(before + header + after.replace(box(1, 0, 0, 1), box(a, b, c, d), 1))


def test_cover_picture_is_no_video(tmp_path):
    writer = ClipWriter(tmp_path / "clip.mp4").add_audio("aac", 48_000, sound(48_000))
    writer.add_video("mjpeg", [picture(0)], [0])
    writer.container.streams.video[0].disposition = av.stream.Disposition.attached_pic
    path = writer.write()
    assert not probe_clip(path).has_video
    assert split(decode_clip(path))[1] == []


# Bad files


def write_bytes(path, data):
    path.write_bytes(data)
    return path


def keep(path, fraction):
    """Cut the file to its first part."""
    data = path.read_bytes()
    return write_bytes(path, data[: round(fraction * len(data))])


def write_wav(path, *, rate_hz, length):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(bytes(2 * length))
    return path


BAD_CONTENTS = {
    "empty.mp4": b"",
    "text.mp4": b"This is not a film.\n" * 50,
    "text that libavformat would draw.txt": b"Nor is this.\n" * 50,
    "random bytes.mp4": np.random.default_rng(0).bytes(50_000),
    "playlist.m3u8": b"#EXTM3U\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
    "subtitles.srt": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
}


@pytest.mark.parametrize("function", [probe_clip, decode_clip])
@pytest.mark.parametrize("name", BAD_CONTENTS)
def test_file_without_sound_and_images_is_refused_at_once(tmp_path, capfd, name, function):
    path = write_bytes(tmp_path / name, BAD_CONTENTS[name])
    with pytest.raises(InputError, match=r"cannot be opened .*; expected a complete mov, .* file. Copy or"):
        function(path)
    assert capfd.readouterr() == ("", "")


def test_missing_file_and_folder_are_refused_at_once(tmp_path):
    for path in (tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(InputError, match="is not a file; expected an audio or video file"):
            decode_clip(path)


def test_mp4_without_its_index_is_refused_at_once(tmp_path, capfd):
    with pytest.raises(InputError, match=r"cannot be opened .*; expected a complete"):
        decode_clip(keep(write_clip(tmp_path, "mp4"), 0.6))
    assert capfd.readouterr() == ("", "")


def test_clip_of_unknown_codecs_is_refused_at_once(tmp_path):
    path = ClipWriter(tmp_path / "clip.mp4").add_video("libx264", [picture(0)], [0]).write()
    write_bytes(path, path.read_bytes().replace(b"avc1", b"none"))
    with pytest.raises(InputError, match="no sound and no moving pictures that can be decoded"):
        decode_clip(path)


def test_clip_without_any_sample_is_refused(tmp_path):
    chunks, error = decode_until_error(write_wav(tmp_path / "clip.wav", rate_hz=16_000, length=0))
    assert chunks == []
    assert "0.00 s (end of file); expected more" in str(error)


def test_sample_rate_out_of_range_is_refused(tmp_path):
    chunks, error = decode_until_error(write_wav(tmp_path / "clip.wav", rate_hz=500, length=1000))
    assert chunks == []
    assert "sample rate is 500 Hz" in str(error)


@pytest.mark.parametrize("mono_channel", [-1, 1])
def test_channel_that_the_clip_lacks_is_refused_at_once(mp4, mono_channel):
    with pytest.raises(ArgumentError, match=r"1 audio channel\(s\); expected 0\.\.0"):
        decode_clip(mp4, mono_channel=mono_channel)


def assert_begins(chunks, whole):
    """Same but for the last two: a part of a packet, and the resampler's last milliseconds."""
    for kept, expected in zip(split(chunks), split(whole), strict=True):
        assert_same(kept[:-2], expected[: len(kept[:-2])])


@pytest.mark.parametrize("suffix", ["mp4", "flv", "mkv", "avi", "wav", "flac"])
def test_truncated_clip_gives_all_that_is_there_and_then_an_error(tmp_path, capfd, suffix):
    path = write_clip(tmp_path, suffix, **({"movflags": "+faststart"} if suffix == "mp4" else {}))
    whole = list(decode_clip(path))
    chunks, error = decode_until_error(keep(path, 0.7))
    assert_begins(chunks, whole)
    found = re.search(r"can be read up to (.*) s \(.*\); expected (.*) s by its header\. Copy or", str(error))
    assert 1.5 < float(found[1]) < 2.5
    assert float(found[2]) == pytest.approx(3.0, abs=0.05)
    assert max(due_ns(chunk) for chunk in chunks) / 1e9 == pytest.approx(float(found[1]), abs=0.3)
    assert capfd.readouterr() == ("", "")


def test_corrupt_clip_gives_all_before_the_fault_and_then_an_error(mp4, tmp_path, capfd):
    data = bytearray(mp4.read_bytes())
    data[6_000:6_200] = bytes(200)
    chunks, error = decode_until_error(write_bytes(tmp_path / "clip.mp4", data))
    assert_begins(chunks, list(decode_clip(mp4)))
    assert re.search(r"can be read up to \d\.\d\d s \(Invalid data.*; expected 3\.0\d s", str(error))
    assert capfd.readouterr() == ("", "")


def test_images_that_are_held_back_for_reordering_come_before_the_error(tmp_path):
    writer = ClipWriter(tmp_path / "clip.mp4")
    path = writer.add_video("libx264", map(picture, range(25)), np.arange(25) / FPS, preset="veryfast").write()
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    assert [packet.pts for packet in packets] != sorted(packet.pts for packet in packets)
    data = bytearray(path.read_bytes())
    data[packets[10].pos : packets[10].pos + 4] = b"\x7f" * 4  # the length of the picture that follows
    chunks, error = decode_until_error(write_bytes(path, data))
    assert len(chunks) == 10
    assert "(Invalid data" in str(error)


def test_images_that_are_complete_do_not_hide_sound_that_is_cut_off(tmp_path):
    writer = ClipWriter(tmp_path / "clip.mov", movflags="+faststart", max_interleave_delta="1")
    writer.add_video("libx264", map(picture, range(50)), np.arange(50) / FPS)
    writer.add_audio("pcm_s16le", 16_000, sound(16_000, duration_s=2.0))
    chunks, error = decode_until_error(keep(writer.write(interleave=False), 0.5))
    assert split(chunks)[1][-1].captured_ns > 1_800_000_000
    assert "audio can be read up to" in str(error)


def test_timestamps_that_run_backwards_end_the_clip(tmp_path):
    path = write_clip(tmp_path, "ts", duration_s=1.0)
    once = list(decode_clip(path))
    chunks, error = decode_until_error(write_bytes(tmp_path / "twice.ts", 2 * path.read_bytes()))
    assert_begins(chunks, once)
    assert "timestamps run backwards" in str(error)


def test_wav_from_a_pipe_tells_no_size_and_is_complete(tmp_path):
    path = write_wav(tmp_path / "clip.wav", rate_hz=16_000, length=16_000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    assert split(decode_clip(write_bytes(path, data)))[0][-1].end_ns() == 1_000_000_000
