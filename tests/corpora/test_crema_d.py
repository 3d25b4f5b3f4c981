"""CREMA-D: file names say who speaks how; its own tables say what there should be."""

import csv
from collections import Counter

import av
import numpy as np
import pytest

from bundle.errors import InputError
from bundle.labels import CREMA_D_LABELS
from corpora.crema_d import CremaDActor, list_crema_d, read_actors, read_crema_d
from tests.small_corpora import write_wav

CODES = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


def tone(seconds=1.0, rate_hz=16_000):
    return np.rint(8_000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.int16)


def write_encoded(path, codec, rate_hz=44_100):
    """A second of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(rate_hz=rate_hz)[None], format="s16p", layout="mono")
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def corpus(tmp_path):
    """Two clips of two actors as WAV; one of them as MP3 and FLV too; the list and the actors."""
    for name in ("1001_DFA_ANG_XX", "1001_IEO_HAP_LO", "1091_TIE_SAD_HI", "1091_WSI_NEU_XX"):
        write_wav(tmp_path / "AudioWAV" / f"{name}.wav", tone())
    write_encoded(tmp_path / "AudioMP3" / "1001_DFA_ANG_XX.mp3", "libmp3lame")
    write_encoded(tmp_path / "VideoFlash" / "1001_DFA_ANG_XX.flv", "libmp3lame")
    names = ["1001_DFA_ANG_XX", "1001_IEO_HAP_LO", "1001_TAI_FEA_XX", "1091_TIE_SAD_HI", "1091_WSI_NEU_XX"]
    lines = [f'{number},"{name}"' for number, name in enumerate(names, 1)]
    (tmp_path / "SentenceFilenames.csv").write_text("\n".join(['"Stimulus_Number","Filename"', *lines]))
    table = '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
    (tmp_path / "VideoDemographics.csv").write_text(table + '1091,29,"Female","Asian","Not Hispanic"\n')
    return tmp_path


@pytest.mark.parametrize(("code", "emotion"), CODES.items())
def test_emotion_code_is_the_label(tmp_path, code, emotion):
    write_wav(tmp_path / f"1050_ITH_{code}_MD.wav", tone(0.1))
    (clip,) = list_crema_d(tmp_path, "wav")
    assert (clip.actor, CREMA_D_LABELS[clip.label]) == (1050, emotion)


def test_clips_are_listed_by_path_for_one_kind_of_file(corpus):
    found = [(clip.actor, CREMA_D_LABELS[clip.label]) for clip in list_crema_d(corpus, "wav")]
    assert found == [(1001, "angry"), (1001, "happy"), (1091, "sad"), (1091, "neutral")]
    assert [clip.path.suffix for clip in list_crema_d(corpus, "flv")] == [".flv"]
    assert {clip.actor for clip in list_crema_d(corpus, "wav", [1091])} == {1091}


def test_copies_count_once(corpus):
    before = list_crema_d(corpus, "wav")
    write_wav(corpus / "Backup" / "1091_TIE_SAD_HI.wav", tone())
    found = list_crema_d(corpus, "wav")
    assert [clip.path.name for clip in found] == sorted(clip.path.name for clip in before)
    assert [clip.path.parent.name for clip in found].count("Backup") == 0


@pytest.mark.parametrize("kind", ["wav", "mp3", "flv"])
def test_every_kind_is_read_as_the_same_sound(corpus, kind):
    speech = read_crema_d(corpus, kind, [1001])[0]
    assert (speech.actor, CREMA_D_LABELS[speech.label]) == (1001, "angry")
    assert speech.wave.dtype == np.int16
    assert 15_900 <= len(speech.wave) <= 18_500
    middle = speech.wave[3_000:13_000].astype(float)
    assert middle.std() == pytest.approx(8_000 / 2**0.5, rel=0.05)
    assert np.abs(np.fft.rfft(middle)).argmax() * 16_000 / 10_000 == pytest.approx(440, abs=2)


def test_missing_clips_and_actors_are_refused_or_named_and_skipped(corpus):
    with pytest.raises(InputError, match=r"1 CREMA-D clips are missing.*: 1001_TAI_FEA_XX"):
        list_crema_d(corpus, "wav", complete=True)
    assert len(list_crema_d(corpus, "wav", [1091], complete=True)) == 2  # of this actor all are there
    with pytest.raises(InputError, match=r"2 CREMA-D actors have no clip.*: 1002; 1003"):
        list_crema_d(corpus, "wav", [1001, 1002, 1003])
    with pytest.warns(UserWarning, match="left out: 1002"):
        assert len(list_crema_d(corpus, "wav", [1001, 1002], on_error="skip")) == 2
    with pytest.warns(UserWarning, match="left out: 1001_TAI_FEA_XX"):
        assert len(list_crema_d(corpus, "wav", complete=True, on_error="skip")) == 4


@pytest.mark.parametrize(
    "name",
    ["speech", "1001_DFA_ANG", "1001_DFA_SUR_XX", "101_DFA_ANG_XX", "1001_DFA_ANG_XX_2", "2001_DFA_ANG_XX",
     "1000_DFA_ANG_XX", "1092_DFA_ANG_XX"],
)  # fmt: skip
def test_names_of_other_corpora_are_refused_or_named_and_skipped(corpus, name):
    write_wav(corpus / f"{name}.wav", tone(0.1))
    with pytest.raises(InputError, match=f"1 without a CREMA-D name.*{name}.wav"):
        list_crema_d(corpus, "wav")
    with pytest.warns(UserWarning, match=f"left out: .*{name}.wav"):
        assert len(list_crema_d(corpus, "wav", on_error="skip")) == 4


def test_corrupt_clips_are_refused_or_named_and_skipped(corpus):
    path = corpus / "AudioWAV" / "1091_TIE_SAD_HI.wav"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=path.name):
        read_crema_d(corpus, "wav", [1091])
    with pytest.warns(UserWarning, match=f"1 of 2 CREMA-D files cannot be read, left out: .*{path.name}"):
        assert len(read_crema_d(corpus, "wav", [1091], on_error="skip")) == 1


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no CREMA-D clip \(\.flv\)"):
        list_crema_d(tmp_path, "flv")


def test_actors_have_an_age_and_a_sex(corpus):
    assert read_actors(corpus) == {1001: CremaDActor(51, "Male"), 1091: CremaDActor(29, "Female")}


@pytest.mark.parametrize(
    "text",
    ["Stimulus_Number,File\n1,1001_DFA_ANG_XX\n", "Stimulus_Number,Filename\n1\n", "Stimulus_Number,Filename\n1,x\n"],
    ids=["column", "cut", "name"],
)
def test_a_list_that_names_no_clips_does_not_pass_for_complete(corpus, text):
    (corpus / "SentenceFilenames.csv").write_text(text)
    with pytest.raises(InputError, match=r"SentenceFilenames\.csv is not CREMA-D's list: 1 without a name .* line 2"):
        list_crema_d(corpus, "wav", complete=True)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'"' + b"x" * 200_000], ids=["bytes", "quote"])
def test_a_list_that_is_no_table_is_refused(corpus, content):
    (corpus / "SentenceFilenames.csv").write_bytes(b"Stimulus_Number,Filename\n1," + content)
    with pytest.raises(InputError, match=r"SentenceFilenames\.csv is not CREMA-D's table"):
        list_crema_d(corpus, "wav", complete=True)


@pytest.mark.parametrize(
    "text", ["", "ActorID,Age\n1001,51\n", "ActorID,Age,Sex\n1001,old,Male\n", "ActorID,Age,Sex\n1001\n"]
)
def test_another_table_is_refused(tmp_path, text):
    (tmp_path / "VideoDemographics.csv").write_text(text)
    with pytest.raises(InputError, match=r"VideoDemographics\.csv is not CREMA-D's table"):
        read_actors(tmp_path)
    with pytest.raises(InputError, match="is not a file"):
        read_actors(tmp_path / "nowhere")


@pytest.mark.data
def test_the_official_tables_name_91_actors_and_7442_clips_that_the_reader_knows(data_folder, tmp_path):
    actors = read_actors(data_folder / "crema-d")
    assert Counter(actor.sex for actor in actors.values()) == {"Male": 48, "Female": 43}
    assert {min(actor.age for actor in actors.values()), max(actor.age for actor in actors.values())} == {20, 74}
    with (data_folder / "crema-d" / "SentenceFilenames.csv").open(newline="") as file:
        names = [row["Filename"] for row in csv.DictReader(file)]
    for name in names:
        (tmp_path / f"{name}.wav").touch()
    clips = list_crema_d(tmp_path, "wav", actors)
    assert len(clips) == 7_442
    emotions = Counter(CREMA_D_LABELS[clip.label] for clip in clips)
    assert emotions == dict.fromkeys(CREMA_D_LABELS, 1_271) | {"neutral": 1_087}
