"""Labelled clips: the voice as it is, and its face at the rate and size asked for; composite or filmed."""

from fractions import Fraction

import av
import numpy as np
import pytest

import corpora.av_clip
from bundle.errors import InputError
from bundle.features import VideoSpec
from corpora.av_clip import AvClip, CompositeClips, FaceFormat, prepare_av_clips, read_av_clip
from corpora.composite import FacePool
from corpora.crema_d import list_crema_d
from corpora.fer2013 import MARGIN_PX, Fer2013
from corpora.ravdess import Speech, list_ravdess
from corpora.reading import ClipFile
from perception.face import FaceDetection

SIZE = 48 + 2 * MARGIN_PX
FPS = 30


@pytest.fixture(scope="module")
def pool() -> FacePool:
    """Each face is dark on its left half, bright on its right."""
    face = np.full((SIZE, SIZE), 40, np.uint8)
    face[:, SIZE // 2 :] = 180
    labels = np.repeat(np.arange(7), 24)
    return FacePool(Fer2013(np.stack([face] * len(labels)), labels), seed=0)


@pytest.mark.parametrize("faces", [FaceFormat(48, 10.0), FaceFormat(112, 25.0), FaceFormat(224, 24.0)])
def test_faces_have_the_size_and_rate_asked_for_and_show_the_same(pool: FacePool, faces: FaceFormat) -> None:
    wave = np.arange(24_000, dtype=np.int16)
    (clip,) = CompositeClips([Speech(wave, 2, 7)], pool, faces, seed=0)
    assert isinstance(clip, AvClip)
    assert clip.images.dtype == np.uint8
    assert clip.images.shape == (int(1.5 * faces.fps), faces.size_px, faces.size_px)
    assert (clip.label, clip.subject) == (2, 7)
    np.testing.assert_array_equal(clip.wave, wave)
    edge = faces.size_px // 8
    left, right = clip.images[:, :, edge], clip.images[:, :, -edge]
    assert left.max() < 60
    assert right.min() > 130


def test_the_same_seed_gives_the_same_clips(pool: FacePool) -> None:
    speech = [Speech(np.zeros(16_000, np.int16), label, 1) for label in range(8)]
    first, again, other = (list(CompositeClips(speech, pool, FaceFormat(48, 10), seed)) for seed in (0, 0, 1))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.images, two.images)
        assert (one.images != three.images).any()


def test_clips_move_each_in_its_own_way_and_from_whichever_end_they_are_counted(pool: FacePool) -> None:
    clips = CompositeClips([Speech(np.zeros(16_000, np.int16), 2, 1)] * 3, pool, FaceFormat(48, 10), seed=0)
    assert len({clip.images.tobytes() for clip in clips}) == 3
    np.testing.assert_array_equal(clips[-1].images, clips[2].images)
    assert [clip.images.tobytes() for clip in clips[1:]] == [clips[1].images.tobytes(), clips[2].images.tobytes()]


@pytest.mark.data
def test_sixteen_real_clips_show_every_emotion_twice(composite_clips) -> None:
    clips = composite_clips(FaceFormat(48, 10))
    assert sorted(clip.label for clip in clips) == sorted([*range(8)] * 2)
    assert len({clip.subject for clip in clips}) == 16
    assert all(clip.images.std() > 10 and clip.wave.std() > 10 for clip in clips)


def write_film(path, images, wave, *, fps=FPS, sound_at_s=0.0):
    """Film of RGB images and speech, in the codecs of RAVDESS (mp4) or CREMA-D (flv)."""
    video_codec, audio_codec = ("libx264", "aac") if path.suffix == ".mp4" else ("flv", "libmp3lame")
    rate_hz = 16_000 if path.suffix == ".mp4" else 44_100
    sound = np.interp(np.arange(len(wave) * rate_hz // 16_000) * 16_000 / rate_hz, np.arange(len(wave)), wave)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        height, width = images[0].shape[:2]
        video = container.add_stream(video_codec, rate=fps, width=width, height=height, pix_fmt="yuv420p")
        video.bit_rate = 4_000_000
        audio = container.add_stream(audio_codec, rate=rate_hz, layout="mono")
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        layout = "fltp" if path.suffix == ".mp4" else "s16p"
        samples = sound.astype(np.float32) / 32_768 if layout == "fltp" else np.rint(sound).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format=layout, layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), round(sound_at_s * rate_hz)
        container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path


def gray_film(path, grays, wave=None, **options):
    """Film of even grays, and as much of a tone."""
    images = [np.full((64, 64, 3), gray, np.uint8) for gray in grays]
    if wave is None:
        wave = np.rint(6_000 * np.sin(np.arange(len(grays) * 16_000 // FPS) / 6))
    return write_film(path, images, wave, **options)


def one_face(image):
    """A face in the middle of any image."""
    return [FaceDetection((10, 10, 50, 50), (22, 28), (42, 28), (32, 44), 0.9)]


def film(path, actor=9, label=4):
    return ClipFile(path, actor, label)


@pytest.fixture(scope="module")
def detector():
    from perception.mediapipe_face import MediaPipeFaceDetector

    return MediaPipeFaceDetector().detect


@pytest.mark.parametrize("faces", [FaceFormat(48, 10.0), FaceFormat(112, 30.0)])
@pytest.mark.parametrize("name", ["01-01-05-01-02-01-09.mp4", "1009_DFA_ANG_XX.flv"])
def test_a_filmed_speaker_is_heard_and_seen_upright_with_the_eyes_in_place(
    tmp_path, portrait, espeak, detector, name, faces
):
    speech = espeak[:32_000]
    write_film(tmp_path / name, [portrait] * 60, speech)
    (file,) = list_ravdess(tmp_path, video=True) if name.endswith(".mp4") else list_crema_d(tmp_path, "flv")
    clip = read_av_clip(file, faces, detector)
    assert (clip.subject % 1_000, clip.fps) == (9, faces.fps)
    assert clip.label == (4 if name.endswith(".mp4") else 0)
    assert abs(len(clip.wave) - len(speech)) < 2_500  # codecs work in blocks, and begin with a delay
    assert clip.images.shape == (int(len(clip.wave) / 16_000 * faces.fps), faces.size_px, faces.size_px)
    assert clip.images.dtype == np.uint8
    loud = np.correlate(clip.wave.astype(float), speech[8_000:24_000].astype(float), "valid")
    assert loud.max() > 0.9 * (speech[8_000:24_000].astype(float) ** 2).sum()
    assert abs(loud.argmax() - 8_000) < 1_700  # in time with the pictures, but for that delay
    spec = VideoSpec(size_px=faces.size_px)
    (found,) = detector(np.repeat(np.pad(clip.images[-1], faces.size_px, mode="edge")[..., None], 3, 2))
    eyes = np.array([found.left_eye, found.right_eye]) - faces.size_px
    expected = np.array([[spec.eye_x, spec.eye_y], [1 - spec.eye_x, spec.eye_y]]) * faces.size_px
    np.testing.assert_allclose(eyes, expected, atol=0.06 * faces.size_px)
    assert clip.images[:, : faces.size_px // 2].std() > 10


@pytest.mark.parametrize("fps", [30.0, 15.0, 10.0, 25.0, 60.0])
def test_each_period_shows_its_first_picture_or_the_one_before(tmp_path, fps):
    grays = np.arange(30) * 7 + 20
    clip = read_av_clip(film(gray_film(tmp_path / "film.mp4", grays)), FaceFormat(16, fps), one_face)
    assert len(clip.images) == int(len(clip.wave) / 16_000 * fps)
    for period, image in enumerate(clip.images[: int(fps)]):
        inside = [number for number in range(30) if period / fps <= number / FPS + 1e-6 < (period + 1) / fps]
        number = inside[0] if inside else int(period / fps * FPS + 1e-6)
        assert image.mean() == pytest.approx(grays[number], abs=2.5)


def test_without_a_face_the_one_before_is_held_and_before_the_first_the_first(tmp_path):
    grays = [40] * 10 + [120] * 10 + [200] * 10

    def only_the_middle(image):
        return one_face(image) if 100 < image.mean() < 150 else []

    clip = read_av_clip(film(gray_film(tmp_path / "film.mp4", grays)), FaceFormat(16, 10.0), only_the_middle)
    assert abs(clip.images.astype(int) - 120).max() < 4


def test_sound_that_starts_later_begins_with_silence(tmp_path):
    path = gray_film(tmp_path / "film.flv", [99] * 30, np.full(12_000, 5_000.0), sound_at_s=0.5)
    clip = read_av_clip(film(path), FaceFormat(16, 10.0), one_face)
    assert not clip.wave[:6_000].any()
    assert clip.wave[10_000:18_000].mean() == pytest.approx(5_000, rel=0.05)


def test_a_film_without_a_face_or_sound_is_named(tmp_path):
    path = gray_film(tmp_path / "blank.mp4", [99] * 15)
    with pytest.raises(InputError, match=r"blank\.mp4 has no face"):
        read_av_clip(film(path), FaceFormat(16, 10.0), lambda image: [])
    wav = tmp_path / "mute.mp4"
    with av.open(str(wav), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"mute\.mp4 has no sound"):
        read_av_clip(film(wav), FaceFormat(16, 10.0), one_face)


class Counted:
    calls = 0

    def __call__(self, image):
        self.calls += 1
        return one_face(image)


def test_prepared_films_are_read_once_and_come_as_they_were(tmp_path):
    files = [film(gray_film(tmp_path / f"{n}.mp4", [60 + n] * 15), actor=n, label=n) for n in range(3)]
    faces, detect = FaceFormat(16, 10.0), Counted()
    clips = prepare_av_clips(files, faces, detect, tmp_path / "cache")
    assert detect.calls == 3 * 5
    again = prepare_av_clips(files, faces, detect, tmp_path / "cache")
    assert detect.calls == 3 * 5
    assert len(again) == len(clips) == 3
    for n, clip in enumerate(again):
        expected = read_av_clip(files[n], faces, one_face)
        np.testing.assert_array_equal(clip.wave, expected.wave)
        np.testing.assert_array_equal(clip.images, expected.images)
        assert (clip.fps, clip.label, clip.subject) == (10.0, n, n)
    assert [clip.subject for clip in again[1:]] == [1, 2]
    prepare_av_clips(files, FaceFormat(16, 5.0), detect, tmp_path / "cache")
    assert detect.calls > 3 * 5  # another format is prepared anew


def test_corrupt_films_are_refused_or_named_and_skipped(tmp_path):
    good, cut = (gray_film(tmp_path / f"{name}.mp4", [99] * 30) for name in ("good", "cut"))
    cut.write_bytes(cut.read_bytes()[:-900])
    files = [film(cut), film(good), film(tmp_path / "gone.mp4")]
    with pytest.raises(InputError, match=r"cut\.mp4"):
        prepare_av_clips(files, FaceFormat(16, 10.0), one_face, tmp_path / "cache")
    with pytest.warns(UserWarning, match=r"2 of 3 film files cannot be read, left out: .*cut\.mp4.*gone\.mp4"):
        clips = prepare_av_clips(files, FaceFormat(16, 10.0), one_face, tmp_path / "cache", on_error="skip")
    assert len(clips) == 1


def test_preparing_that_is_interrupted_leaves_nothing_half_written(tmp_path, monkeypatch):
    def interrupted(path, **arrays):
        path.write_bytes(b"PK half an archive")
        raise KeyboardInterrupt

    files, faces = [film(gray_film(tmp_path / "film.mp4", [99] * 15))], FaceFormat(16, 10.0)
    with monkeypatch.context() as patch:
        patch.setattr(corpora.av_clip.np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_av_clips(files, faces, one_face, tmp_path / "cache")
    assert prepare_av_clips(files, faces, one_face, tmp_path / "cache")[0].images.shape[1:] == (16, 16)
