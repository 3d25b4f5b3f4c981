"""edge-train lists what there is, trains each of it, and says what it cannot do."""

import json
import re
from dataclasses import replace

import pytest
import torch

import training.systems
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import CREMA_D_LABELS
from bundle.manifest import read_manifest
from export.main import main as edge_export
from networks.attention_fusion import AttentionFusionConfig
from networks.fercnn import FercnnConfig
from networks.mrpn import MrpnConfig
from networks.systems import SYSTEMS, variant_config
from networks.transfer import TransferConfig
from training import transfer_stages
from training.clip_sources import CLIP_SOURCES
from training.evaluate_main import main as edge_evaluate
from training.main import main
from training.mrpn_stages import MrpnRecipe
from training.predictions import read_predictions
from training.systems import NETWORK_OPTIONS, RECIPES

PARAMETERS = {"mrpn": 1_608_952, "attention-fusion": 107_964_168, "transfer": 84_956_857, "fercnn": 152_614}

SMALL = {
    "mrpn": MrpnConfig(
        visual_width=2, audio_width=2, aggregate_size=8, hidden_size=8, small_input=False, standardize_faces=False,
        embedding_norm=False,
    ),
    "attention-fusion": AttentionFusionConfig(
        depth=18, visual_width=8, audio_width=8, channels=64, grid=4, images=4, size_px=32
    ),
    "transfer": TransferConfig(lstm_size=4, stn_width=2, audio_width=2),
    "fercnn": FercnnConfig(labels=6),
}  # fmt: skip


def test_every_system_is_listed_with_its_parts_shapes_and_parameters(capsys):
    assert main(["--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [system["system"] for system in listed] == list(SYSTEMS)
    for system in listed:
        assert list(system["variants"]) == list(SYSTEMS[system["system"]].variants)
        first = next(iter(system["variants"].values()))
        assert first["parameters"] == PARAMETERS[system["system"]]
        for variant in system["variants"].values():
            parts = variant["parts"]
            assert sum(part["parameters"] for part in parts.values()) == variant["parameters"]
            assert list(parts)[-1] == "head"
            assert all(part["inputs"] and part["outputs"] for part in parts.values())
            assert all(size > 0 for part in parts.values() for shape in part["inputs"].values() for size in shape)
            assert {part["runs"] for part in parts.values()} <= {"image", "snippet", "segment", "window"}


def test_the_list_for_people_names_what_the_json_names(capsys):
    assert main(["--list"]) == 0
    table = capsys.readouterr().out
    for name, kind in SYSTEMS.items():
        assert f"{name}  ({kind.paper})" in table
        assert f"{PARAMETERS[name]:,} parameters" in table
        assert all(variant in table for variant in kind.variants)


@pytest.mark.parametrize("system", SMALL)
def test_each_system_is_trained_by_one_command(system, data, tmp_path, monkeypatch, capsys):
    kind = replace(SYSTEMS[system], variants={"small": SMALL[system]})
    monkeypatch.setitem(SYSTEMS, system, kind)
    command = ["--system", system, "--data", str(data), "--output", str(tmp_path), "--epochs", "1", "--threads", "1"]
    assert main(command) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["subjects"] == "test"
    assert 0 <= results["probs_fused"]["accuracy"] <= 1
    saved = torch.load(tmp_path / f"{system}.pt", weights_only=True)
    assert (saved["system"], saved["variant"]) == (system, "small")
    assert saved["training"]["fit"]["epochs"] == 1
    assert set(saved["split"]["held_out"]) == {2, 5, 14, 15, 16}
    kind.network(replace(SMALL[system], **saved["network"])).load_state_dict(saved["model"])


@pytest.mark.parametrize("system", SMALL)
def test_each_system_has_an_output_for_each_label_of_the_corpus(system):
    make, _ = RECIPES[system]
    head = make(SMALL[system], CREMA_D_LABELS, {}).build().parts()["head"]
    assert {shape[-1] for shape in head.outputs.values()} == {len(CREMA_D_LABELS)}


SOUND_ALONE = {
    "mrpn": (replace(SMALL["mrpn"], modalities=("audio",), fusion="n0"), []),
    "attention-fusion": (replace(SMALL["attention-fusion"], attentions=("AT",)), []),
    "transfer": (SMALL["transfer"], ["--set", "audio_only=true"]),
    "fercnn": (FercnnConfig(video_features=0), []),
}


@pytest.mark.parametrize("system", SOUND_ALONE)
def test_each_system_hears_a_corpus_without_faces(system, data, tmp_path, monkeypatch, capsys):
    config, options = SOUND_ALONE[system]
    monkeypatch.setitem(SYSTEMS, system, replace(SYSTEMS[system], variants={"small": config}))
    command = ["--system", system, "--corpus", "ravdess-speech", "--data", str(data / "ravdess-speech-16k")]
    command += ["--epochs", "1", "--threads", "1", "--keep", "last"]
    assert main([*command, "--output", str(tmp_path), *options]) == 0
    output = "probs_audio" if system == "transfer" else "probs_fused"
    assert list(json.loads(capsys.readouterr().out)) == ["subjects", output]
    kept = read_predictions(tmp_path / "predictions.npz")
    assert set(kept.subjects.tolist()) == {2, 5, 14, 15, 16}
    assert kept.settings["corpus"] == "ravdess-speech"
    assert kept.settings["training"]["fit"] | {"keep": "last", "patience": None} == kept.settings["training"]["fit"]


@pytest.mark.parametrize(
    ("system", "sizes"),
    [
        ("mrpn", "visual_width=2 audio_width=2 aggregate_size=8 hidden_size=8 small_input=true"),
        ("attention-fusion", "depth=18 visual_width=8 audio_width=8 channels=64 grid=4 size_px=32"),
        ("transfer", "stn_width=2 audio_width=2"),
    ],
)
def test_a_paper_network_is_trained_in_other_sizes(system, sizes, data, tmp_path, capsys):
    variant = ["--variant", "n1"] if system == "mrpn" else []
    command = ["--system", system, *variant, "--data", str(data), "--epochs", "1", "--threads", "1"]
    command += [part for size in sizes.split() for part in ("--set", size)]
    assert main([*command, "--output", str(tmp_path)]) == 0
    assert "probs_fused" in json.loads(capsys.readouterr().out)
    saved = torch.load(tmp_path / f"{system}.pt", weights_only=True)
    asked = {name: json.loads(value) for name, value in (size.split("=") for size in sizes.split())}
    assert saved["network"] | asked == saved["network"]
    assert set(asked) <= set(NETWORK_OPTIONS[system])


def test_the_slim_recipe_takes_fold_protocol_and_sizes(data, tmp_path, monkeypatch, capsys):
    recipes = []

    class Noted:
        def __init__(self, recipe, *_):
            recipes.append(recipe)

        def run(self):
            return {}

    monkeypatch.setattr(training.systems, "MrpnTraining", Noted)
    command = ["--data", str(data), "--output", str(tmp_path), "--protocol", "luna-jimenez-ravdess", "--fold", "2"]
    options = ["modalities=audio", "audio_width=24", "clips_epochs=3", "average=true", "disturbances=false"]
    assert main([*command, *(part for option in options for part in ("--set", option)), "--seed", "7"]) == 0
    (recipe,) = recipes
    assert (recipe.split.validation, recipe.split.test, recipe.seed) == ((10, 11, 12, 19, 20), (), 7)
    assert (recipe.network.modalities, recipe.network.audio_width) == (("audio",), 24)
    assert recipe.clips == replace(MrpnRecipe.clips, epochs=3, average=True)
    assert recipe.audio == replace(MrpnRecipe.audio, average=True)
    assert not recipe.disturbances


def test_the_slim_network_is_trained_on_films_and_becomes_a_bundle(data, tmp_path, monkeypatch, capsys):
    composite = CLIP_SOURCES["composite"]
    monkeypatch.setitem(CLIP_SOURCES, "ravdess", replace(CLIP_SOURCES["ravdess"], open=composite.open))  # few and short
    slim = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=8, hidden_size=8)
    monkeypatch.setitem(SYSTEMS, "mrpn", replace(SYSTEMS["mrpn"], variants={"slim": slim}))
    command = ["--corpus", "ravdess", "--data", str(data), "--output", str(tmp_path), "--epochs", "1", "--threads", "1"]
    assert main(command) == 0
    results = json.loads(capsys.readouterr().out)
    assert edge_export(["bundle", "--checkpoint", str(tmp_path / "mrpn.pt"), "--output", str(tmp_path / "mine")]) == 0
    manifest = read_manifest(tmp_path / "mine")
    assert (manifest.audio, manifest.video, manifest.window) == (AudioSpec(), VideoSpec(), WindowSpec())
    assert manifest.results == results
    assert manifest.training["split"]["held_out"] == [2, 5, 14, 15, 16]
    assert edge_evaluate(["--bundle", str(tmp_path / "mine"), "--data", str(data)]) == 1
    err = capsys.readouterr().err
    assert "of the composite: not on films" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--system", "mrpn", "--variant", "n2"], "mrpn n2 needs faces, .* expected --variant audio, or"),
        (["--system", "attention-fusion"], "expected --variant AT, or a corpus with faces"),
        (["--system", "transfer"], "expected --set audio_only=true, or"),
        (["--system", "fercnn", "--variant", "video"], "expected --variant audio, or"),
        (["--system", "transfer", "--set", "audio_only=true", "--set", "in_stages=true"], "no use for in_stages"),
    ],
)
def test_a_system_that_needs_faces_is_refused_a_corpus_without(options, expected, data, tmp_path, capsys):
    command = ["--corpus", "ravdess-speech", "--data", str(data), "--output", str(tmp_path), *options]
    assert main(command) == 2
    assert re.search(expected, capsys.readouterr().err)


def test_options_of_the_recipe_are_set_and_kept(data_of_every_emotion, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SYSTEMS, "transfer", replace(SYSTEMS["transfer"], variants={"small": SMALL["transfer"]}))
    short = {name: replace(stage, epochs=1) for name, stage in transfer_stages.STAGES.items()}
    monkeypatch.setattr(transfer_stages.train_in_stages, "__defaults__", (0, short))
    cnn14, output = tmp_path / "cnn14.pt", tmp_path / "run"
    torch.save({"model": SYSTEMS["transfer"].network(SMALL["transfer"]).audio.state_dict()}, cnn14)
    command = ["--system", "transfer", "--data", str(data_of_every_emotion), "--output", str(output)]
    command += ["--weights", f"audio={cnn14}"]
    assert main([*command, "--set", "in_stages=true", "--set", "frozen_blocks=2"]) == 0
    assert "probs_fused" in json.loads(capsys.readouterr().out)
    saved = torch.load(output / "transfer.pt", weights_only=True)["training"]
    assert saved["in_stages"] is True
    assert saved["frozen_blocks"] == 2
    assert not list(output.glob("transfer-epochs.*"))
    assert main(command) == 1  # other options, the same folder
    assert "recipe.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--system", "resnet"], "expected one of mrpn, attention-fusion, transfer, fercnn"),
        (["--variant", "n3"], "mrpn has no variant 'n3'; expected one of slim, full"),
        (["--variant", "n1", "--protocol", "mine"], "expected one of deployment-ravdess"),
        (["--fold", "5"], r"expected 0..4 of deployment-ravdess"),
        (["--epochs", "3"], "the slim MRPN has a recipe of its own"),
        (["--set", "visual_width=wide"], "and --set of modalities, fusion, visual_width, audio_width, clips_epochs"),
        (["--set", "visual_epochs=0"], "epochs are 0; expected 1 or more"),
        (["--jobs", "2"], "--jobs and --scheduler are for --folds"),
        (["--fold", "3", "--folds", "0,1"], "--fold 3 and --folds do not go together"),
        (["--variant", "audio", "--set", "visual_width=8"], "visual_width: this network of audio alone has no use"),
        (["--system", "attention-fusion", "--variant", "AT", "--set", "depth=7"], "depth: this network of audio alone"),
        (
            ["--system", "transfer", "--set", "audio_only=true", "--set", "stn_labels=3"],
            "audio_only leaves no use for stn_labels",
        ),
        (["--set", "modalities=audio", "--set", "fused_epochs=3"], "fused_epochs: this network has no such stage"),
        (["--set", "fusion=n0", "--set", "audio_epochs=3"], "expected epochs of clips, visual, fused."),
        (["--set", "fusion=n0-late"], "expected n0, n1, n2, or --variant n0-late"),
        (["--set", "fusion=n1", "--set", "modalities=audio"], "no use for --weights and fusion"),
        (["--weights", "audio=a.pt"], "--weights visual=visual.pt of another fold"),
        (["--weights", "visual=a.pt", "--set", "modalities=audio"], "modalities leaves no use for --weights"),
        (["--set", "modalities=sound"], "modalities are ('sound',); expected ('visual', 'audio')"),
        (["--system", "fercnn", "--weights", "audio=a.pt"], "--weights names audio; expected parts of this fercnn"),
        (["--system", "attention-fusion", "--variant", "AT", "--weights", "visual=a.pt"], "loaded into: audio."),
        (["--variant", "n2", "--weights", "sound=a.pt"], "loaded into: visual, audio."),
        (["--device", "gpu0"], "--device gpu0 cannot be used: "),
        (
            ["--system", "transfer", "--set", "in_stage=true"],
            "expected fine_tune=bool, stn_labels=int, frozen_blocks=int",
        ),
        (["--system", "transfer", "--set", "frozen_blocks=true"], "no option frozen_blocks of that kind"),
        (["--system", "transfer", "--set", "frozen_blocks=2"], "expected --weights audio=FILE."),
        (["--system", "transfer", "--set", "fine_tune=false"], "expected --weights visual=FILE."),
        (["--variant", "n1", "--set", "standardize=segment"], "expected 'wave' or 'running'"),
        (["--variant", "n1", "--set", "hidden_size=0"], "hidden_size is 0; expected 1 or more"),
        (["--variant", "n1", "--set", "labels=3"], "no option labels of that kind; expected standardize=str"),
        (["--system", "attention-fusion", "--set", "grid=0"], "grid is 0; expected 1 or more"),
        (["--system", "transfer", "--set", "audio_width=0"], "audio_width is 0; expected 1 or more"),
        (["--system", "transfer", "--set", "in_stages=true", "--keep", "last"], "expected no --keep."),
        (["--system", "transfer", "--set", "in_stages=true", "--epochs", "3"], "expected no --epochs."),
        (["--variant", "n0-late"], "Train the variants of one modality first"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_exit_code_two(options, message, tmp_path, capsys):
    command = ["--data", str(tmp_path), "--output", str(tmp_path / "run"), *options]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("options", [[], ["--deterministic"]])
def test_a_training_is_deterministic_on_request(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # to be restored
    monkeypatch.setattr(training.systems, "train", lambda _: torch.are_deterministic_algorithms_enabled())
    try:
        assert main(["--data", str(tmp_path), "--output", str(tmp_path), *options]) == 0
    finally:
        torch.use_deterministic_algorithms(False)
    assert json.loads(capsys.readouterr().out) is bool(options)


@pytest.mark.parametrize(("has_it", "status"), [(False, 2), (True, 0)])
def test_a_processor_without_bfloat16_is_refused_it(tmp_path, monkeypatch, capsys, has_it, status):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_it})
    monkeypatch.setattr(training.systems, "train", lambda request: {})
    assert main(["--data", str(tmp_path), "--output", str(tmp_path), "--precision", "bfloat16"]) == status
    assert ("expected float32, or a GPU" in capsys.readouterr().err) is not has_it


def test_training_without_a_folder_is_refused(tmp_path, capsys):
    assert main(["--output", str(tmp_path)]) == 2
    assert "--data is missing" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "no"), "--output", str(tmp_path)]) == 1
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [["--fold", "-1"], ["--seed", "x"], ["--threads", "0"], ["--epochs", "0"], ["--weights", "a"], ["--set", "a"]],
)
def test_numbers_and_weights_out_of_range_are_refused(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(option)
    assert "is not" in capsys.readouterr().err


@pytest.mark.parametrize("corpus", ["ravdess", "crema-d"])
def test_a_folder_without_films_is_refused(corpus, tmp_path, capsys):
    command = ["--system", "fercnn", "--corpus", corpus, "--data", str(tmp_path), "--output", str(tmp_path / "run")]
    assert main(command) == 1
    assert f"below {tmp_path}" in capsys.readouterr().err


def test_every_system_has_a_recipe():
    assert set(RECIPES) == set(NETWORK_OPTIONS) == set(SYSTEMS)
    assert variant_config("fercnn") == ("multimodal", FercnnConfig())
