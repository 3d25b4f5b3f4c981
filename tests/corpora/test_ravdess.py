"""RAVDESS: file names say who speaks how, and the sound is that of the file."""

from collections import Counter

import av
import numpy as np
import pytest

from bundle.errors import InputError
from bundle.labels import RAVDESS_LABELS
from corpora.folds import RAVDESS_ACTORS
from corpora.ravdess import list_ravdess, read_ravdess
from corpora.reading import ClipFile
from tests.small_corpora import ravdess_name, write_wav


def write_mp4(path, *, sound, picture):
    """A second of a tone, of gray images, or of both."""
    tone = np.rint(8_000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    gray = np.full((64, 64, 3), 99, np.uint8)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        video = container.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p") if picture else None
        if audio:
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(audio.encode(frame) + audio.encode(None))
        if video:
            for _ in range(10):
                container.mux(video.encode(av.VideoFrame.from_ndarray(gray)))
            container.mux(video.encode(None))
    return path


def noise(samples, seed=0):
    return np.random.default_rng(seed).integers(-9_000, 9_000, samples).astype(np.int16)


@pytest.fixture
def corpus(tmp_path):
    """Actors 3 and 12 with two emotions each, in their folders."""
    for actor in (3, 12):
        for emotion in (3, 8):
            path = tmp_path / f"Actor_{actor:02}" / f"{ravdess_name(emotion, actor)}.wav"
            write_wav(path, noise(16_000, seed=10 * actor + emotion))
    return tmp_path


@pytest.mark.parametrize(("code", "label"), list(enumerate(RAVDESS_LABELS, 1)))
def test_emotion_code_is_the_label(tmp_path, code, label):
    write_wav(tmp_path / f"{ravdess_name(code, 7)}.wav", noise(100))
    (clip,) = list_ravdess(tmp_path)
    assert RAVDESS_LABELS[clip.label] == label


def test_utterance_that_is_there_as_film_and_as_sound_counts_once(corpus):
    for actor in (3, 12):
        for emotion in (3, 8):
            film = corpus / "films" / f"01{ravdess_name(emotion, actor)[2:]}.mp4"
            film.parent.mkdir(exist_ok=True)
            write_mp4(film, sound=True, picture=True)
    assert [clip.path.suffix for clip in list_ravdess(corpus)] == [".wav"] * 4
    assert [clip.path.suffix for clip in list_ravdess(corpus, video=True)] == [".mp4"] * 4


def test_clips_are_listed_by_path_with_actor_and_emotion(corpus):
    found = [(clip.actor, RAVDESS_LABELS[clip.label]) for clip in list_ravdess(corpus)]
    assert found == [(3, "happy"), (3, "surprised"), (12, "happy"), (12, "surprised")]


def test_only_the_actors_asked_for_are_listed(corpus):
    assert {clip.actor for clip in list_ravdess(corpus, [12])} == {12}
    assert list_ravdess(corpus, iter([3, 12])) == list_ravdess(corpus)


def test_an_actor_without_clips_is_named(corpus):
    with pytest.raises(InputError, match=r"actors \[5, 24\]"):
        list_ravdess(corpus, [3, 24, 5])


@pytest.mark.parametrize("actors", [None, [1]])
def test_a_folder_without_speech_is_refused(tmp_path, actors):
    (tmp_path / "readme.txt").write_text("nothing here")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no RAVDESS speech"):
            list_ravdess(folder, actors)


@pytest.mark.parametrize(
    "name",
    [
        "speech",
        "03-01-06-01-02-01",
        "03-01-06-01-02-01-12-01",
        "03-01-00-01-02-01-12",
        "03-01-09-01-02-01-12",
        "03-01-06-01-02-01-00",
        "03-01-06-01-02-01-25",
        "03-01-xx-01-02-01-12",
        "03-01-\u0660\u0663-01-02-01-12",
    ],
)
def test_names_of_other_corpora_are_refused(corpus, name):
    write_wav(corpus / f"{name}.wav", noise(100))
    with pytest.raises(InputError, match="without a RAVDESS name"):
        list_ravdess(corpus)


@pytest.mark.parametrize("name", ["03-02-06-01-02-01-12.wav", "02-01-06-01-02-01-12.mp4", "notes.txt"])
def test_songs_silent_films_and_other_files_are_passed_over(corpus, name):
    before = list_ravdess(corpus)
    (corpus / name).touch()
    assert list_ravdess(corpus) == before


def test_speech_at_16_khz_is_read_sample_by_sample(corpus):
    clips = read_ravdess(corpus, [3, 12])
    assert [(clip.actor, clip.label) for clip in clips] == [(3, 2), (3, 7), (12, 2), (12, 7)]
    for clip in clips:
        np.testing.assert_array_equal(clip.wave, noise(16_000, seed=10 * clip.actor + clip.label + 1))


def test_speech_at_48_khz_is_resampled(tmp_path):
    tone = np.rint(8_000 * np.sin(2 * np.pi * 500 * np.arange(48_000) / 48_000)).astype(np.int16)
    path = write_wav(tmp_path / f"{ravdess_name(1, 1)}.wav", tone, 48_000)
    found = ClipFile(path, 1, 0).read_speech()
    expected = 8_000 * np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)
    assert found.dtype == np.int16
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[1_000:-1_000], expected[1_000:-1_000], atol=80)


def test_the_official_films_are_read_for_their_sound(tmp_path):
    write_mp4(tmp_path / "01-01-05-01-02-01-09.mp4", sound=True, picture=True)
    (clip,) = read_ravdess(tmp_path, [9])
    assert RAVDESS_LABELS[clip.label] == "angry"
    assert 15_000 <= len(clip.wave) <= 18_000
    assert 4_000 < clip.wave[2_000:-3_000].std() < 7_000


def test_a_film_that_lost_its_sound_is_named(tmp_path):
    path = write_mp4(tmp_path / "01-01-05-01-02-01-09.mp4", sound=False, picture=True)
    with pytest.raises(InputError, match=f"{path.name} has no sound"):
        read_ravdess(tmp_path, [9])


def test_films_are_listed_apart_from_what_has_no_picture(corpus):
    for name in ("01-01-05-01-02-01-09.mp4", "02-01-05-01-02-01-09.mp4"):
        (corpus / name).touch()
    assert [clip.path.name for clip in list_ravdess(corpus, video=True)] == ["01-01-05-01-02-01-09.mp4"]


def test_a_folder_of_sound_alone_has_no_films(tmp_path):
    (tmp_path / "03-01-06-01-02-01-12.flac").touch()
    with pytest.raises(InputError, match=r"no RAVDESS films of actors \[12\] with sound \(01-01-\*\.mp4\) below"):
        list_ravdess(tmp_path, [12], video=True)


def test_what_is_strange_or_missing_is_named_and_skipped_where_asked(corpus):
    write_wav(corpus / "speech.wav", noise(100))
    with (
        pytest.warns(UserWarning, match=r"1 without a RAVDESS name.*left out: .*speech\.wav$"),
        pytest.warns(UserWarning, match=r"1 RAVDESS actors have no speech.*left out: 24$"),
    ):
        clips = list_ravdess(corpus, [3, 24], on_error="skip")
    assert {clip.actor for clip in clips} == {3}


def test_a_clip_that_is_missing_from_an_actors_sixty_is_named(tmp_path):
    for emotion in range(1, 9):
        for take in range(1, 9 if emotion > 1 else 5):
            codes = (take - 1) // 4 + 1, (take - 1) // 2 % 2 + 1, (take - 1) % 2 + 1
            name = f"03-01-{emotion:02}-{codes[0]:02}-{codes[1]:02}-{codes[2]:02}-07"
            write_wav(tmp_path / f"{name}.wav", noise(10))
    assert len(list_ravdess(tmp_path, [7], complete=True)) == 60
    (tmp_path / "03-01-04-02-01-02-07.wav").unlink()
    (tmp_path / "03-01-01-01-02-01-07.wav").unlink()
    with pytest.raises(InputError, match=r"2 RAVDESS clips are missing.*: 01-01-01-02-01-07; 01-04-02-01-02-07"):
        list_ravdess(tmp_path, [7], complete=True)
    with pytest.warns(UserWarning, match="2 RAVDESS clips are missing"):
        assert len(list_ravdess(tmp_path, [7], complete=True, on_error="skip")) == 58


def test_corrupt_clips_are_refused_or_named_and_skipped(corpus):
    path = corpus / "Actor_03" / f"{ravdess_name(3, 3)}.wav"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=path.name):
        read_ravdess(corpus, [3, 12])
    with pytest.warns(UserWarning, match=f"1 of 4 RAVDESS files cannot be read, left out: .*{path.name}"):
        clips = read_ravdess(corpus, [3, 12], on_error="skip")
    assert [(clip.actor, clip.label) for clip in clips] == [(3, 7), (12, 2), (12, 7)]


def test_a_corpus_of_which_nothing_can_be_read_is_refused_even_then(tmp_path):
    (tmp_path / f"{ravdess_name(3, 3)}.wav").write_bytes(b"RIFF")
    with (
        pytest.warns(UserWarning, match="1 of 1"),
        pytest.raises(InputError, match="none of 1 RAVDESS files can be read"),
    ):
        read_ravdess(tmp_path, [3], on_error="skip")


@pytest.mark.data
def test_the_official_corpus_is_complete(data_folder):
    clips = list_ravdess(data_folder / "ravdess-speech-16k", RAVDESS_ACTORS, complete=True)
    assert Counter(clip.actor for clip in clips) == dict.fromkeys(RAVDESS_ACTORS, 60)
    emotions = Counter(RAVDESS_LABELS[clip.label] for clip in clips)
    assert emotions == dict.fromkeys(RAVDESS_LABELS, 192) | {"neutral": 96}  # neutral has no strong intensity


@pytest.mark.data
def test_the_official_clips_last_three_to_six_seconds(data_folder):
    for clip in list_ravdess(data_folder / "ravdess-speech-16k", [1, 24])[::12]:
        speech = clip.read_speech()
        assert 2.8 <= len(speech) / 16_000 <= 6.0
        assert abs(speech.astype(int)).max() > 300
