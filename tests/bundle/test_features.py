"""Feature definitions: consistent with the kernels that follow them, and refused where they cannot be followed."""

import inspect
import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

import bundle.features
from bundle.errors import ArgumentError
from bundle.features import PROBS, AudioSpec, VideoSpec, WindowSpec
from kernels import SpectrogramStream, preprocess_faces, similarity_from_eyes


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(
    "spec",
    [
        AudioSpec(),
        AudioSpec(output="logmag", hop_length=64),
        AudioSpec(output="power", n_fft=256),
        AudioSpec(segment_s=2.0, n_mels=40, statistics_s=0),
    ],
)
def test_audio_shape_is_that_of_the_stream_it_describes(spec):
    assert spec.shape == (1, *SpectrogramStream(**spec.stream_options()).shape)


def test_kernels_default_to_the_default_definitions():
    video = asdict(VideoSpec())
    assert defaults(SpectrogramStream.__init__).items() >= AudioSpec().stream_options().items()
    named = {name: value for name, value in defaults(preprocess_faces).items() if name in video}
    assert video.items() >= named.items()
    assert named.keys() == {"supersample", "mean", "std"}
    assert video.items() >= {k: v for k, v in defaults(similarity_from_eyes).items() if k != "mouth"}.items()


@pytest.mark.parametrize("spec", [AudioSpec(n_mels=40), VideoSpec(size_px=64), WindowSpec(window_s=3.0)])
def test_definitions_survive_json(spec):
    assert type(spec)(**json.loads(json.dumps(asdict(spec)))) == spec


def test_window_holds_whole_slots():
    window, audio = WindowSpec(), AudioSpec()
    assert window.image_slots * window.image_period_s == pytest.approx(window.window_s)
    first_start_s = window.window_s - audio.segment_s - (window.segment_slots(audio) - 1) * audio.step_s
    assert first_start_s == pytest.approx(0)


def test_window_as_long_as_a_segment_has_one_slot():
    assert WindowSpec(window_s=1.0).segment_slots(AudioSpec()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"hop_length": 6_400},  # longer than a step
        {"hop_length": 150},
        {"hop_length": 0},
        {"hop_length": -160},
        {"step_s": 0.0},
        {"step_s": 0.3},
        {"segment_s": 0.1},  # shorter than a step
        {"statistics_s": 10.1},
    ],
)
def test_audio_lengths_that_do_not_nest_are_rejected(change):
    with pytest.raises(ArgumentError, match="do not nest"):
        replace(AudioSpec(), **change)


@pytest.mark.parametrize("change", [{"size_px": 0}, {"supersample": 0}, {"std": 0.0}, {"eye_x": 0.5}, {"eye_x": 0.0}])
def test_impossible_face_crops_are_rejected(change):
    with pytest.raises(ArgumentError, match="expected"):
        replace(VideoSpec(), **change)


@pytest.mark.parametrize("change", [{"step_s": 0.25}, {"step_s": 0.0}, {"image_period_s": 0.3}, {"window_s": 0.1}])
def test_window_lengths_that_do_not_nest_are_rejected(change):
    with pytest.raises(ArgumentError, match="do not nest"):
        replace(WindowSpec(), **change)


def test_tensor_names_differ():
    names = [value for name, value in vars(bundle.features).items() if name.isupper() and isinstance(value, str)]
    assert len(names) == len(set(names)) >= 8
    assert set(PROBS) <= set(names)


@pytest.mark.parametrize("spec", [AudioSpec, VideoSpec, WindowSpec])
@pytest.mark.parametrize("value", ["4.0 " * 9, [1.0, 2.0], None, True, {}])
def test_a_field_of_another_type_is_refused_before_anything_is_computed_of_it(spec, value):
    for field in fields(spec):
        if isinstance(field.default, str) and isinstance(value, str):
            continue
        with pytest.raises(ArgumentError, match=f"{field.name} is of type {type(value).__name__}; expected"):
            spec(**{field.name: value})


def test_numbers_of_numpy_are_numbers():
    assert VideoSpec(size_px=np.int64(48), mean=np.float32(127)) == VideoSpec()
