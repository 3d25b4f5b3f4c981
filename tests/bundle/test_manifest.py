"""A bundle comes back as it was written, or not at all."""

import hashlib
import json
import os
from dataclasses import fields, replace

import numpy as np
import pytest

from bundle.errors import ArtefactError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import RAVDESS_LABELS
from bundle.manifest import (
    FLOAT32,
    FORMAT,
    INT8_ONNXRUNTIME,
    INT8_TENSORRT,
    MANIFEST,
    MANIFEST_HASH,
    Manifest,
    Part,
    choose_precision,
    preprocessing_sha256,
    read_manifest,
    why_ungated,
    write_manifest,
)

FIELDS = ["format", *(field.name for field in fields(Manifest)), "sha256"]
FREE_IN_FORM = ["training", "results", "calibration"]

MANIFEST_OF_TEST = Manifest(
    name="Fahrer-Bündel",
    system="mrpn",
    labels=RAVDESS_LABELS,
    audio=AudioSpec(n_mels=40),
    video=VideoSpec(size_px=32),
    window=WindowSpec(window_s=3.0),
    parts={
        "visual": Part({"float32": "visual.onnx", "int8": "visual.int8.onnx"}, {"face": (1, 32, 32)}, {"e": (16,)}),
        "head": Part({"float32": "head.onnx"}, {"e": (40, 16), "mask": (40,)}, {"probs": (8,)}),
    },
    training={"split": {"held_out": [2, 5]}, "seed": 0},
    results={"probs_fused": {"uar": 0.5}},
    licence="CC BY-NC-SA 4.0",
    calibration={"subjects": [3, 6]},
)


def write_bundle(folder, manifest=MANIFEST_OF_TEST):
    rng = np.random.default_rng(0)
    for part in manifest.parts.values():
        for name in part.files.values():
            (folder / name).write_bytes(rng.bytes(100))
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rewrite(folder, text):
    """Replaces the manifest and makes its hash match: what is left to find is the text itself."""
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / MANIFEST_HASH).write_text(f"{sha256(folder / MANIFEST)}  {MANIFEST}\n", encoding="ascii")


def edit(folder, change):
    document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(document)
    rewrite(folder, json.dumps(document))


def test_manifest_survives_the_round_trip(folder):
    assert read_manifest(folder) == MANIFEST_OF_TEST
    assert read_manifest(str(folder)) == MANIFEST_OF_TEST


def test_rewritten_by_hand_with_a_matching_hash_it_is_read(folder):
    edit(folder, lambda document: document.update(name="another"))
    assert read_manifest(folder) == replace(MANIFEST_OF_TEST, name="another")


def test_hashes_are_those_of_sha256sum(folder):
    assert (folder / MANIFEST_HASH).read_text() == f"{sha256(folder / MANIFEST)}  {MANIFEST}\n"
    document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert document["sha256"] == {path.name: sha256(path) for path in folder.glob("*.onnx")}


@pytest.mark.parametrize(
    ("name", "stride"),
    [(MANIFEST, 29), (MANIFEST_HASH, 1), ("visual.onnx", 7), ("visual.int8.onnx", 7), ("head.onnx", 7)],
)
def test_a_flipped_byte_is_caught(folder, name, stride):
    path = folder / name
    whole = path.read_bytes()
    for position in {*range(0, len(whole), stride), len(whole) - 1}:
        for bits in (0x01, 0x07, 0x20, 0x80):  # 7 turns a line feed into a carriage return
            path.write_bytes(whole[:position] + bytes([whole[position] ^ bits]) + whole[position + 1 :])
            with pytest.raises(ArtefactError):
                read_manifest(folder)
    path.write_bytes(whole)
    read_manifest(folder)


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_HASH, "visual.onnx", "visual.int8.onnx", "head.onnx"])
@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\n", lambda b: b""], ids=["cut", "longer", "empty"]
)
def test_a_file_of_another_length_is_caught(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtefactError, match=name.split(".")[0]):
        read_manifest(folder)


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_HASH, "visual.onnx", "visual.int8.onnx", "head.onnx"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=name.split(".")[0]):
        read_manifest(folder)


def test_a_folder_that_does_not_exist_is_no_bundle(tmp_path):
    with pytest.raises(ArtefactError, match=f"holds no {MANIFEST}"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("version", [FORMAT + 1, FORMAT - 1, str(FORMAT), None])
def test_another_format_is_refused_with_both_versions(folder, version):
    edit(folder, lambda document: document.update(format=version))
    with pytest.raises(ArtefactError, match=rf"format {version}; this version reads format {FORMAT}"):
        read_manifest(folder)


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(folder, field):
    edit(folder, lambda document: document.pop(field))
    with pytest.raises(ArtefactError, match=field):
        read_manifest(folder)


def test_the_file_holds_every_field(folder):
    assert list(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))) == FIELDS


@pytest.mark.parametrize("spec", ["audio", "video", "window"])
def test_a_definition_with_a_missing_or_unknown_number_is_refused(folder, spec):
    edit(folder, lambda document: document[spec].update(from_the_future=1))
    with pytest.raises(ArtefactError, match="from_the_future"):
        read_manifest(folder)
    edit(folder, lambda document: document[spec].pop("from_the_future"))
    read_manifest(folder)
    edit(folder, lambda document: document[spec].popitem())
    with pytest.raises(ArtefactError, match="Spec has fields"):
        read_manifest(folder)


@pytest.mark.parametrize("value", [None, 3, "text", [], [1], {}])
@pytest.mark.parametrize("field", ["labels", "audio", "video", "window", "parts", "sha256", *FREE_IN_FORM])
def test_a_field_of_another_type_is_refused_or_harmless(folder, field, value):
    edit(folder, lambda document: document.update({field: value}))
    if field in FREE_IN_FORM and value in ([], {}):
        assert getattr(read_manifest(folder), field) == {}
    elif field == "parts" and value == {}:
        assert read_manifest(folder).parts == {}
    else:
        with pytest.raises(ArtefactError):
            read_manifest(folder)


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        ("audio", {"step_s": 0}),
        ("audio", {"hop_length": 0}),
        ("audio", {"hop_length": "160"}),
        ("audio", {"segment_s": float("inf")}),
        ("audio", {"segment_s": float("nan")}),
        ("video", {"size_px": 0}),
        ("video", {"eye_x": None}),
        ("window", {"image_period_s": 0}),
        ("window", {"window_s": float("inf")}),
    ],
)
def test_a_definition_that_nobody_can_follow_is_refused(folder, spec, change):
    edit(folder, lambda document: document[spec].update(change))
    with pytest.raises(ArtefactError, match="lacks or misstates a field"):
        read_manifest(folder)


@pytest.mark.parametrize("labels", [[], ["happy", "hangry"], "happy", [None]])
def test_labels_that_have_no_state_are_refused(folder, labels):
    edit(folder, lambda document: document.update(labels=labels))
    with pytest.raises(ArtefactError, match="labels"):
        read_manifest(folder)


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "null", "3", "[]", "[1]", '"format"', "true"])
def test_what_is_no_json_object_is_refused(folder, text):
    rewrite(folder, text)
    with pytest.raises(ArtefactError, match="is not a bundle manifest"):
        read_manifest(folder)


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00")
    (folder / MANIFEST_HASH).write_text(f"{sha256(folder / MANIFEST)}  {MANIFEST}\n")
    with pytest.raises(ArtefactError, match="is not a bundle manifest"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["../outside.onnx", "{parent}/outside.onnx", "sub/inside.onnx", "./visual.onnx", "a/"])
def test_file_names_that_leave_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "bundle"
    (folder / "sub").mkdir(parents=True)
    write_bundle(folder)
    name = name.format(parent=tmp_path)
    for path in (tmp_path / "outside.onnx", folder / "sub" / "inside.onnx"):
        path.write_bytes((folder / "visual.onnx").read_bytes())

    def change(document):
        document["parts"]["visual"]["files"]["float32"] = name
        document["sha256"][name] = sha256(folder / "visual.onnx")

    edit(folder, change)
    with pytest.raises(ArtefactError, match="plain names"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["", ".", "..", "\0"])
def test_file_names_that_are_no_file_are_refused(folder, name):
    def change(document):
        document["parts"]["visual"]["files"]["float32"] = name
        document["sha256"][name] = sha256(folder / "visual.onnx")

    edit(folder, change)
    with pytest.raises(ArtefactError):
        read_manifest(folder)


def test_a_part_without_a_float32_file_is_refused(folder):
    edit(folder, lambda document: document["parts"]["head"].update(files={"int8": "head.onnx"}))
    with pytest.raises(ArtefactError, match="need a float32 entry"):
        read_manifest(folder)


def test_a_part_without_a_file_of_some_precision_is_run_in_float32():
    visual = MANIFEST_OF_TEST.parts["visual"]
    assert [visual.file(precision) for precision in ("int8", FLOAT32, "float16")] == [
        "visual.int8.onnx", "visual.onnx", "visual.onnx",
    ]  # fmt: skip


def test_a_file_without_a_recorded_hash_is_refused(folder):
    edit(folder, lambda document: document["sha256"].pop("visual.int8.onnx"))
    with pytest.raises(ArtefactError, match=r"no SHA-256 is recorded for .*visual.int8.onnx"):
        read_manifest(folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_writing_needs_every_file_it_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\.onnx"):
        write_manifest(tmp_path, MANIFEST_OF_TEST)
    assert not (tmp_path / MANIFEST).exists()


def test_a_manifest_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    before = contents(folder)
    made = folder / "made"
    made.mkdir()
    (made / "visual.int8.onnx").write_bytes(b"another")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_manifest(folder, replace(read_manifest(folder), name="another"), made)
    assert contents(folder) == before


def test_new_files_are_moved_in_with_their_manifest(folder):
    before = contents(folder)
    made = folder / "made"
    made.mkdir()
    for name in ("visual.int8.onnx", "visual.int4.onnx"):  # the latter is not in the manifest
        (made / name).write_bytes(b"another")
    write_manifest(folder, read_manifest(folder), made)
    read_manifest(folder)
    assert contents(folder).keys() == before.keys()
    assert contents(folder)["visual.int8.onnx"] == b"another"
    assert [path.name for path in made.iterdir()] == ["visual.int4.onnx"]


def gated(**changes):
    """A manifest whose INT8 files for ONNX Runtime passed the gate, but for what is changed in its passport."""
    files = {FLOAT32: "visual.onnx", INT8_ONNXRUNTIME: "visual.int8-onnxruntime.onnx"}
    parts = {**MANIFEST_OF_TEST.parts, "visual": replace(MANIFEST_OF_TEST.parts["visual"], files=files)}
    passport = {
        "preprocessing_sha256": preprocessing_sha256(MANIFEST_OF_TEST),
        "gate": {INT8_ONNXRUNTIME: {"held": True}},
    }
    return replace(MANIFEST_OF_TEST, parts=parts, calibration={**passport, **changes})


FAILED = gated(gate={INT8_ONNXRUNTIME: {"held": False}})


def test_int8_that_passed_the_gate_is_the_default():
    assert choose_precision(gated(), None, INT8_ONNXRUNTIME) == INT8_ONNXRUNTIME
    assert choose_precision(gated(), "int8", INT8_ONNXRUNTIME) == INT8_ONNXRUNTIME
    assert choose_precision(gated(), FLOAT32, INT8_ONNXRUNTIME) == FLOAT32


def test_int8_that_failed_the_gate_is_run_only_where_that_is_allowed():
    assert choose_precision(FAILED, None, INT8_ONNXRUNTIME) == FLOAT32
    assert choose_precision(FAILED, "int8", INT8_ONNXRUNTIME, allow_ungated=True) == INT8_ONNXRUNTIME
    with pytest.raises(ArtefactError, match=r"failed the accuracy gate.*--allow-ungated"):
        choose_precision(FAILED, "int8", INT8_ONNXRUNTIME)


def test_int8_that_is_not_there_cannot_be_allowed():
    assert choose_precision(gated(), None, INT8_TENSORRT) == FLOAT32
    with pytest.raises(ArtefactError, match="no int8-tensorrt files"):
        choose_precision(gated(), "int8", INT8_TENSORRT, allow_ungated=True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gate": "not run: the INT8 files are not used by edge-run"}, "went through no accuracy gate"),
        ({"gate": {}}, "went through no accuracy gate"),
        ({"gate": {INT8_ONNXRUNTIME: "held"}}, "went through no accuracy gate"),
        ({"gate": {INT8_ONNXRUNTIME: {"held": "yes"}}}, "failed the accuracy gate"),
        ({"preprocessing_sha256": "0" * 64}, "calibrated for other features"),
    ],
)
def test_passport_that_does_not_show_a_passed_gate_is_told(changes, reason):
    assert reason in why_ungated(gated(**changes), INT8_ONNXRUNTIME)


def test_features_decide_the_hash_of_preprocessing_and_nothing_else_does():
    manifest = MANIFEST_OF_TEST
    assert preprocessing_sha256(replace(manifest, name="another", labels=RAVDESS_LABELS[:2])) == preprocessing_sha256(
        manifest
    )
    for changes in (
        {"audio": replace(manifest.audio, power_floor=1e-2)},
        {"video": replace(manifest.video, mean=128.0)},
        {"window": replace(manifest.window, window_s=4.0)},
    ):
        assert preprocessing_sha256(replace(manifest, **changes)) != preprocessing_sha256(manifest)


def test_hash_of_preprocessing_survives_the_round_trip(folder):
    assert preprocessing_sha256(read_manifest(folder)) == preprocessing_sha256(MANIFEST_OF_TEST)
