"""The file of a recorded run: what is written is read, and whatever else is read is refused in order."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from edge.recording import MAGIC, Frame, ObservationCoder, WindowDelta, bytes_from_frame, read_frames
from perception.chunks import Observation

SLOTS, WIDTH, PERIOD_NS = 8, 3, 100


def frames(data: bytes) -> list[Frame]:
    return [*read_frames(io.BytesIO(data), "the file")]


def recording(*contents: Frame) -> bytes:
    return MAGIC + b"".join(bytes_from_frame(frame) for frame in (*contents, Frame("end", {})))


def update(number: int) -> Frame:
    return Frame("update", {"number": number}, {"visual": np.full((2, 3), number, np.float32)})


def coder() -> ObservationCoder:
    return ObservationCoder(WindowDelta(SLOTS, WIDTH, PERIOD_NS), WindowDelta(SLOTS // 2, WIDTH, 2 * PERIOD_NS))


def observation(captured_ns: int, rng: np.random.Generator, before: Observation | None = None) -> Observation:
    """A window, mostly as the one before, moved on."""
    windows = {}
    for name, slots, period_ns in (("visual", SLOTS, PERIOD_NS), ("audio", SLOTS // 2, 2 * PERIOD_NS)):
        vectors, mask = rng.standard_normal((slots, WIDTH)).astype(np.float32), rng.integers(0, 2, slots)
        moved = (captured_ns - before.captured_ns) // period_ns if before else slots
        if before and moved < slots:
            vectors[: slots - moved] = getattr(before, name)[moved:]
            mask[: slots - moved] = getattr(before, f"{name}_mask")[moved:]
        vectors[mask == 0] = 0
        windows |= {name: vectors, f"{name}_mask": mask.astype(np.float32)}
    return Observation(captured_ns, captured_ns - 7, "video", "why", "ok", "silent", **windows)


def test_what_is_written_is_read():
    arrays = {
        "a": np.array([[1.5, -0.0]], np.float32),
        "b": np.arange(5, dtype=np.int16),
        "c": np.zeros((0, 4), np.uint8),
    }
    (got,) = frames(recording(Frame("update", {"reason": "größer", "newest_ns": None}, arrays)))
    assert (got.kind, got.fields) == ("update", {"reason": "größer", "newest_ns": None})
    for name, array in arrays.items():
        assert (got.arrays[name].dtype, got.arrays[name].shape) == (array.dtype, array.shape)
        assert got.arrays[name].tobytes() == array.tobytes()


def test_frame_that_was_cut_off_is_refused_after_all_that_are_whole():
    whole = recording(update(0), update(1))
    for size in range(len(MAGIC), len(whole)):
        got = []
        with pytest.raises(InputError, match="cut off or damaged at byte"):
            got.extend(frame.fields["number"] for frame in read_frames(io.BytesIO(whole[:size]), "the file"))
        assert got == [0, 1][: len(got)]
        assert len(got) == sum(size >= len(recording(*map(update, range(n)))) - END_BYTES for n in (1, 2))


END_BYTES = len(bytes_from_frame(Frame("end", {})))


def test_any_flipped_bit_is_noticed():
    whole = recording(update(0))
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(InputError):
            frames(bytes(damaged))


def test_file_of_another_kind_is_refused():
    for data in (b"", b"{}", b"RIFF", MAGIC[:-1]):
        with pytest.raises(InputError, match="no recording of this version"):
            frames(data)


def test_length_beyond_the_limit_is_not_believed():
    class Counting(io.BytesIO):
        most = 0

        def read(self, size=-1):
            self.most = max(self.most, size)
            return super().read(size)

    file = Counting(MAGIC + b"\xff" * 12)
    with pytest.raises(InputError, match="a frame of"):
        [*read_frames(file, "the file")]
    assert file.most < 100


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused_in_order(data):
    with pytest.raises(InputError):
        frames(MAGIC + data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**20) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_frames_with_a_true_checksum_and_any_content_are_read_or_refused(document, data):
    if isinstance(document, dict):
        document = {"kind": "update", "arrays": {"a": document.pop("arrays", ["<f4", [1]])}, **document}
    body = json.dumps(document).encode() + data
    framed = struct.pack("<III", len(body) - len(data), len(data), zlib.crc32(body)) + body
    try:
        got = frames(MAGIC + framed + bytes_from_frame(Frame("end", {})))
    except InputError:
        return
    assert all(frame.arrays for frame in got if frame.kind == "update")


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_observations_come_back_bit_by_bit(steps, seed):
    rng, writer, reader = np.random.default_rng(seed), coder(), coder()
    before = None
    for captured_ns in np.cumsum(steps).tolist():
        before = observation(captured_ns * 2 * PERIOD_NS, rng, before)
        fields, arrays = writer.encode(before)
        (frame,) = frames(recording(Frame("update", fields, arrays)))
        got = reader.decode(frame)
        for name in vars(before):
            expected = getattr(before, name)
            same = expected.tobytes() == getattr(got, name).tobytes() if "visual" in name or "audio" in name else None
            assert same or expected == getattr(got, name), name


def test_only_what_is_new_is_written():
    rng, writer = np.random.default_rng(0), coder()
    first = observation(1_000, rng)
    writer.encode(first)
    fields, arrays = writer.encode(observation(1_200, rng, first))
    assert set(fields["visual_slots"]) <= {6, 7}
    assert set(fields["audio_slots"]) <= {3}
    assert len(arrays["visual"]) == len(fields["visual_slots"])


FIELDS = "captured_ns", "newest_ns", "source", "reason", "face", "voice", "visual_slots", "audio_slots"


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
@settings(max_examples=300, deadline=None)
def test_update_of_any_content_is_decoded_or_refused(wrong):
    fields, arrays = coder().encode(observation(1_000, np.random.default_rng(0)))
    try:
        got = coder().decode(Frame("update", {**fields, **wrong}, arrays))
    except (ValueError, KeyError, TypeError, IndexError):
        return
    assert got.source in ("audio+video", "video", "audio", "none")
    assert got.visual.shape == (SLOTS, WIDTH)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_embeddings_that_are_no_numbers_are_refused(poison):
    fields, arrays = coder().encode(observation(1_000, np.random.default_rng(0)))
    arrays["visual"] = np.full_like(arrays["visual"], poison)
    with pytest.raises(ValueError, match="no numbers"):
        coder().decode(Frame("update", fields, arrays))
