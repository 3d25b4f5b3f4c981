"""Calibration samples: whose they are, and all the reasons to refuse them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import ArtefactError
from bundle.features import AudioSpec
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from calibration.samples import (
    FACES_PER_WINDOW,
    INPUTS,
    SAMPLES_PER_BATCH,
    SEGMENTS_PER_WINDOW,
    Samples,
    check_bundle,
    check_samples,
    fold_name,
    make_samples,
    read_samples,
    subjects_of,
    write_samples,
)
from corpora.folds import deployment_split
from tests.calibration.conftest import SPLIT, manifest_with_split
from tests.small_corpora import write_wav

MANIFEST = manifest_with_split(SPLIT)


def altered(samples: Samples, part: str, array: np.ndarray) -> Samples:
    return replace(samples, inputs={**samples.inputs, part: array})


def test_samples_of_the_corpora_are_accepted(samples: Samples) -> None:
    check_samples(samples, MANIFEST)
    assert samples.subjects == (3, 6)
    assert samples.inputs["visual"].shape == (4 * FACES_PER_WINDOW, *MANIFEST.video.shape)
    assert samples.inputs["audio"].shape == (4 * SEGMENTS_PER_WINDOW, *MANIFEST.audio.shape)


def test_samples_are_the_same_each_time(samples: Samples, data: Path) -> None:
    again = make_samples(MANIFEST, data)
    for part in INPUTS:
        np.testing.assert_array_equal(again.inputs[part], samples.inputs[part])


def test_clip_shorter_than_a_segment_gives_its_faces_alone(samples: Samples, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    clip = next((tmp_path / "ravdess-speech-16k").rglob("03-*-03.wav"))
    write_wav(clip, np.random.default_rng(0).integers(-9_000, 9_000, 14_400, np.int16))
    shorter = make_samples(MANIFEST, tmp_path)
    assert len(shorter.inputs["audio"]) == len(samples.inputs["audio"]) - SEGMENTS_PER_WINDOW
    assert len(shorter.inputs["visual"]) == len(samples.inputs["visual"])
    check_samples(shorter, MANIFEST)


def test_batches_are_all_samples_a_few_at_a_time(samples: Samples) -> None:
    for part, name in INPUTS.items():
        batches = [batch[name] for batch in samples.batches(part)]
        assert max(map(len, batches)) == SAMPLES_PER_BATCH
        np.testing.assert_array_equal(np.concatenate(batches), samples.inputs[part])


@pytest.mark.parametrize("subjects", [(3, 6, 2), (1,), ()])
def test_leaking_samples_are_refused(samples: Samples, subjects: tuple[int, ...]) -> None:
    with pytest.raises(ArtefactError, match="leaking"):
        check_samples(replace(samples, subjects=subjects), MANIFEST)


def test_stale_samples_are_refused(samples: Samples) -> None:
    with pytest.raises(ArtefactError, match="stale"):
        check_samples(samples, replace(MANIFEST, audio=replace(AudioSpec(), power_floor=1e-2)))


@pytest.mark.parametrize("part", INPUTS)
def test_samples_of_another_shape_are_refused(samples: Samples, part: str) -> None:
    with pytest.raises(ArtefactError, match="stale"):
        check_samples(altered(samples, part, samples.inputs[part][..., :-1]), MANIFEST)


@pytest.mark.parametrize("kind", [np.str_, np.float64])
def test_samples_of_another_type_are_refused(samples: Samples, kind: type) -> None:
    with pytest.raises(ArtefactError, match="stale"):
        check_samples(altered(samples, "visual", samples.inputs["visual"].astype(kind)), MANIFEST)


@pytest.mark.parametrize("part", INPUTS)
def test_empty_samples_are_refused(samples: Samples, part: str) -> None:
    for nothing in (samples.inputs[part][:0], np.zeros_like(samples.inputs[part])):
        with pytest.raises(ArtefactError, match="empty"):
            check_samples(altered(samples, part, nothing), MANIFEST)


@pytest.mark.parametrize("part", INPUTS)
def test_random_samples_are_refused(samples: Samples, part: str) -> None:
    shape, rng = samples.inputs[part].shape, np.random.default_rng(0)
    for noise in (rng.standard_normal(shape, np.float32), rng.uniform(0, 1, shape).astype(np.float32)):
        with pytest.raises(ArtefactError, match="random"):
            check_samples(altered(samples, part, noise), MANIFEST)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_samples_that_are_not_finite_are_refused(samples: Samples, value: float) -> None:
    faces = samples.inputs["visual"].copy()
    faces[0, 0, 0, 0] = value
    with pytest.raises(ArtefactError, match="finite"):
        check_samples(altered(samples, "visual", faces), MANIFEST)


@pytest.mark.parametrize(
    "split", [{**SPLIT, "train": [1, 3]}, {**SPLIT, "held_out": [6]}, {**SPLIT, "calibration": []}, {}]
)
def test_subjects_that_serve_another_purpose_are_refused_before_any_file_is_read(
    split: dict[str, list[int]], tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="calibration subjects"):
        make_samples(manifest_with_split(split), tmp_path)


def test_bundle_that_lacks_a_part_or_its_training_is_refused() -> None:
    training = {key: value for key, value in MANIFEST.training.items() if key != "seed"}
    lacking = replace(MANIFEST, parts={"visual": MANIFEST.parts["visual"]}, training=training)
    with pytest.raises(ArtefactError, match=r"lacks part audio, training\.seed"):
        check_bundle(lacking)


def test_bundle_that_was_trained_on_films_is_refused() -> None:
    training = {key: MANIFEST.training[key] for key in ("split", "seed")}
    with pytest.raises(ArtefactError, match=r"lacks training\.draws; .* on the composite: not on films"):
        check_bundle(replace(MANIFEST, training=training))


def test_gate_on_subjects_that_were_trained_on_is_refused() -> None:
    with pytest.raises(ArtefactError, match="held_out subjects"):
        subjects_of(manifest_with_split({**SPLIT, "train": [2]}), "held_out")


@pytest.mark.parametrize("number", range(5))
def test_fold_is_known_by_its_subjects(number: int) -> None:
    split = {side: list(subjects) for side, subjects in vars(deployment_split(number)).items()}
    assert fold_name(manifest_with_split(split)) == f"deployment-ravdess/{number}"


def test_fold_that_is_none_has_no_name() -> None:
    assert fold_name(MANIFEST) is None
    assert fold_name(read_manifest(DEFAULT_BUNDLE)) == "deployment-ravdess/0"


def test_kept_samples_come_back(samples: Samples, tmp_path: Path) -> None:
    write_samples(tmp_path / "kept.npz", samples)
    kept = read_samples(tmp_path / "kept.npz")
    check_samples(kept, MANIFEST)
    assert kept.subjects == samples.subjects
    for part in INPUTS:
        np.testing.assert_array_equal(kept.inputs[part], samples.inputs[part])


@pytest.mark.parametrize("content", [b"", b"no samples", b"PK\x03\x04 no zip"])
def test_file_that_holds_no_samples_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="holds no calibration samples"):
        read_samples(path)


def test_file_of_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "kept.npz", visual=np.zeros(3))
    with pytest.raises(ArtefactError, match="holds no calibration samples"):
        read_samples(tmp_path / "kept.npz")
