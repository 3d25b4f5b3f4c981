"""The whole way in small: corpora to checkpoint to bundle to figures, with an interruption on the way."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import training.main
import training.mrpn
import training.mrpn_stages
from bundle.errors import ArtefactError, InputError
from bundle.features import PROBS
from bundle.manifest import read_manifest, write_manifest
from corpora.folds import RAVDESS_ACTORS, Split, deployment_split
from export.main import main as edge_export
from networks.mrpn import MrpnConfig
from networks.resnet import ResNet18
from training.evaluate import figures_of_merit, temper
from training.evaluate_main import main as edge_evaluate
from training.fit import FitConfig
from training.mrpn import MrpnTraining
from training.mrpn_stages import MrpnRecipe, MrpnStages
from training.pools import pool_runs
from training.predictions import FILE, read_predictions

ONE_EPOCH = FitConfig(epochs=1, lr=1e-2, weight_decay=1e-2, keep="last")
RECIPE = MrpnRecipe(
    network=MrpnConfig(visual_width=2, audio_width=2, aggregate_size=8, hidden_size=8),
    visual=ONE_EPOCH, clips=ONE_EPOCH, audio=ONE_EPOCH, fused=ONE_EPOCH,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Batches and shares that small corpora can fill."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.mrpn_stages, "FACES_PER_BATCH", 32)
        patch.setattr(training.mrpn_stages, "CLIPS_PER_BATCH", 8)
        patch.setattr(training.mrpn_stages, "FER_POOL_FRACTION", 0.85)
        yield


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder that a training leaves, and the figures that it returns."""
    folder = tmp_path_factory.mktemp("run")
    return folder, MrpnTraining(RECIPE, data, folder).run()


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "small"
    assert edge_export(["bundle", "--checkpoint", str(trained[0] / "mrpn.pt"), "--output", str(folder)]) == 0
    return folder


def load(path):
    return torch.load(path, weights_only=True)


def share_faces(folder, other):
    """Aligned faces to another folder: to align them takes most of the time, and is not what is tested."""
    for cache in folder.glob("fer2013-*.npz"):
        (other / cache.name).hardlink_to(cache)


def assert_same(state, other):
    assert state.keys() == other.keys()
    for name in state:
        assert torch.equal(state[name], other[name]), name


def test_training_reports_each_output_and_leaves_a_checkpoint(trained):
    folder, results = trained
    assert list(results) == ["probs_clip", "fer2013_private_test", *PROBS]
    for figures in results.values():
        assert set(figures) == {"accuracy", "uar", "ece"}
        assert all(0 <= value <= 1 for value in figures.values())
    saved = load(folder / "mrpn.pt")
    assert saved["results"] == results
    assert len(saved["temperatures"]) == len(PROBS)


def test_fused_stage_leaves_the_visual_encoder_as_fer2013_left_it(trained):
    folder, _ = trained
    visual = load(folder / "visual.pt")["best"]["model"]
    visual = {name.removeprefix("0."): value for name, value in visual.items() if name.startswith("0.")}
    fused = load(folder / "mrpn.pt")["model"]
    fused = {name.removeprefix("visual."): value for name, value in fused.items() if name.startswith("visual.")}
    assert_same(visual, fused)


def test_fused_stage_trains_all_but_the_visual_encoder(trained):
    folder, _ = trained
    audio, fused = load(folder / "audio.pt")["model"], load(folder / "mrpn.pt")["model"]
    assert not [name for name in fused if name.endswith("weight") and torch.equal(audio[name], fused[name])]
    untrained = [name for name, value in audio.items() if name.startswith("head.fusion") and "running_mean" in name]
    assert all(not audio[name].any() and fused[name].any() for name in untrained)


def test_faces_of_the_fused_stage_are_not_those_of_the_visual_stage(data, trained):
    stages = MrpnTraining(RECIPE, data, trained[0]).stages
    faces, pool, rng = stages.faces("Training"), stages.pool("Training"), np.random.default_rng(0)
    visual = {image.tobytes() for image in faces.images[~stages._in_pool]}
    dealt = {pool.draw(label, actor, rng).tobytes() for label in range(8) for actor in RAVDESS_ACTORS for _ in range(9)}
    assert len(visual) > 32
    assert len(dealt) > 200
    assert not dealt & visual


@pytest.mark.parametrize(
    ("stage", "survivors"),
    [("train_visual", ["audio.pt", "clips.pt"]), ("predict", ["audio.pt", "clips.pt", "visual.pt"])],
)
def test_an_interrupted_training_resumes_to_the_same_weights(data, trained, tmp_path, monkeypatch, stage, survivors):
    folder, results = trained
    share_faces(folder, tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    owner = MrpnStages if hasattr(MrpnStages, stage) else training.mrpn_stages
    with monkeypatch.context() as patch:
        patch.setattr(owner, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            MrpnTraining(RECIPE, data, tmp_path).run()
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == survivors
    assert MrpnTraining(RECIPE, data, tmp_path).run() == results
    assert_same(load(tmp_path / "mrpn.pt")["model"], load(folder / "mrpn.pt")["model"])


def test_a_finished_training_only_repeats_its_figures(data, trained):
    folder, results = trained
    before = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    assert len(before) == 4
    assert MrpnTraining(RECIPE, data, folder).run() == results
    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == before


def test_folds_share_a_visual_stage(data, trained, tmp_path):
    folder, results = trained
    share_faces(folder, tmp_path)
    MrpnTraining(replace(RECIPE, split=deployment_split(1)), data, tmp_path, visual=folder / "visual.pt").run()
    visual, own = load(folder / "visual.pt"), load(tmp_path / "visual.pt")
    assert_same(own["model"], visual["model"])
    assert own["history"] == visual["history"]
    assert load(tmp_path / "mrpn.pt")["results"]["fer2013_private_test"] == results["fer2013_private_test"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": replace(RECIPE.network, visual_width=4)}, "does not fit"),
        ({"seed": 1}, "'seed': 1"),
        ({"visual": replace(ONE_EPOCH, epochs=2)}, "'epochs': 2"),
        ({"disturbances": False}, "'disturbances': False"),
    ],
)
def test_a_visual_stage_of_another_recipe_is_refused_before_anything_is_trained(data, trained, tmp_path, change, told):
    training = MrpnTraining(replace(RECIPE, **change), data, tmp_path, visual=trained[0] / "visual.pt")
    with pytest.raises(ArtefactError, match=told):
        training.run()
    assert not [*tmp_path.glob("*.pt")]


def test_a_visual_stage_that_saw_the_faces_of_the_fused_stage_is_refused(data, trained, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    share_faces(trained[0], alone)
    MrpnTraining(replace(RECIPE, network=replace(RECIPE.network, modalities=("visual",))), data, alone).run()
    with pytest.raises(ArtefactError, match="'steps': 2,"):
        MrpnTraining(RECIPE, data, tmp_path, cache=alone, visual=alone / "visual.pt").run()


@pytest.mark.parametrize("change", [{"split": deployment_split(1)}, {"seed": 1}, {"network": MrpnConfig()}])
def test_another_recipe_does_not_resume_in_the_same_folder(data, trained, change):
    folder, _ = trained
    with pytest.raises(ArtefactError, match=r"recipe\.json"):
        MrpnTraining(replace(RECIPE, **change), data, folder).run()


def test_the_bundle_says_on_whom_it_was_trained(trained, bundle):
    manifest = read_manifest(bundle)
    assert manifest.name == "small"
    assert manifest.results == trained[1]
    split = manifest.training["split"]
    assert sorted(actor for side in split.values() for actor in side) == list(RAVDESS_ACTORS)
    assert tuple(split["held_out"]) == RECIPE.split.held_out
    assert (manifest.audio, manifest.video, manifest.window) == RECIPE.specs


def test_the_bundle_has_the_figures_that_training_stated(data, trained, bundle, capsys):
    assert edge_evaluate(["--bundle", str(bundle), "--data", str(data)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(PROBS)
    for name, figures in found.items():
        assert figures == pytest.approx(trained[1][name], abs=1e-4)


def test_a_bundle_that_hides_its_actors_is_not_evaluated(data, bundle, tmp_path, capsys):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    write_manifest(copy, replace(read_manifest(bundle), training={}))
    assert edge_evaluate(["--bundle", str(copy), "--data", str(data)]) == 1
    assert "does not say on whom" in capsys.readouterr().err


def test_missing_corpora_are_one_line_and_exit_code_one(bundle, tmp_path, capsys):
    commands = {
        "edge-evaluate": lambda: edge_evaluate(["--bundle", str(bundle), "--data", str(tmp_path)]),
        "edge-train": lambda: training.main.main(["--data", str(tmp_path / "no"), "--output", str(tmp_path / "run")]),
    }
    for name, command in commands.items():
        assert command() == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"{name}: ")
        assert "expected" in err
        assert len(err.splitlines()) == 1


def test_predictions_are_those_of_the_figures(trained):
    folder, results = trained
    found = read_predictions(folder / FILE)
    assert (found.side, set(found.subjects.tolist())) == ("test", set(RECIPE.split.held_out))
    for name, probs in found.probs.items():
        assert figures_of_merit(temper(probs, found.temperatures[name]), found.labels) == pytest.approx(results[name])


@pytest.mark.parametrize(
    ("modality", "outputs"), [("visual", ["fer2013_private_test"]), ("audio", ["probs_clip", "probs_audio"])]
)
def test_one_modality_is_trained_alone(data, trained, tmp_path, modality, outputs):
    share_faces(trained[0], tmp_path)
    network = replace(RECIPE.network, modalities=(modality,))
    results = MrpnTraining(replace(RECIPE, network=network), data, tmp_path).run()
    assert list(results) == outputs
    found = read_predictions(tmp_path / FILE)
    stated = {"probs_visual" if name == "fer2013_private_test" else name: value for name, value in results.items()}
    for name, figures in stated.items():
        assert figures_of_merit(found.probs[name], found.labels) == pytest.approx(figures)
    assert [(scores.output, scores.measured_on) for scores in pool_runs([tmp_path])] == [
        (name, "test") for name in found.probs
    ]


@pytest.mark.parametrize(("fusion", "outputs"), [("n0", PROBS[:1]), ("n1", PROBS)])
def test_other_fusions_are_trained_on_the_same_faces(data, trained, tmp_path, fusion, outputs):
    folder = trained[0]
    share_faces(folder, tmp_path)
    recipe = replace(RECIPE, network=replace(RECIPE.network, fusion=fusion))
    results = MrpnTraining(recipe, data, tmp_path, visual=folder / "visual.pt").run()
    assert list(results) == ["probs_clip", "fer2013_private_test", *outputs]
    assert read_predictions(tmp_path / FILE).probs.keys() == set(outputs)
    assert (tmp_path / "audio.pt").exists() is (fusion != "n0")
    assert load(tmp_path / "mrpn.pt")["network"]["fusion"] == fusion


def test_faces_alone_are_told_also_from_their_mirror_images_and_calibrated(data, trained, tmp_path, monkeypatch):
    share_faces(trained[0], tmp_path)
    training = MrpnTraining(replace(RECIPE, network=replace(RECIPE.network, modalities=("visual",))), data, tmp_path)
    training.run()
    seen, mirrored = training.stages.predict_faces("PrivateTest")[0].values()
    found = read_predictions(tmp_path / FILE)
    assert np.array_equal(found.probs["probs_visual_mirrored"], mirrored)
    faces = training.stages.faces("PrivateTest")
    monkeypatch.setattr(training.stages, "faces", lambda _: replace(faces, images=faces.images[:, :, ::-1].copy()))
    flipped = training.stages.predict_faces("PrivateTest")[0]
    assert np.allclose((seen + flipped["probs_visual"]) / 2, mirrored, atol=1e-6)
    assert np.allclose(flipped["probs_visual_mirrored"], mirrored, atol=1e-6)
    assert not np.allclose(seen, mirrored, atol=1e-5)
    assert found.temperatures.keys() == found.probs.keys()
    assert all(temperature > 0 for temperature in found.temperatures.values())


@pytest.mark.parametrize("disturbances", [True, False])
@pytest.mark.parametrize("modalities", [("visual",), ("audio",), ("visual", "audio")])
def test_disturbances_are_left_out_on_request(data, trained, tmp_path, monkeypatch, modalities, disturbances):
    share_faces(trained[0], tmp_path)
    drawn = set()

    def note(modality, disturb):
        return lambda values, rng: (drawn.add(modality), disturb(values, rng))[1]

    for modality, name in (("visual", "disturb_faces"), ("audio", "disturb_speech")):
        monkeypatch.setattr(training.mrpn_stages, name, note(modality, getattr(training.mrpn_stages, name)))
    network = replace(RECIPE.network, modalities=modalities)
    MrpnTraining(replace(RECIPE, network=network, disturbances=disturbances), data, tmp_path).run()
    assert drawn == ({*modalities} if disturbances else set())
    assert read_predictions(tmp_path / FILE).settings["training"]["disturbances"] is disturbances


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"neon": True, "bf16": True}, torch.bfloat16),
    ],
)
def test_encoders_train_in_bfloat16_where_the_processor_has_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    encoder, computed = ResNet18(1, 2, small_input=True), []
    encoder.conv1.register_forward_hook(lambda module, inputs, output: computed.append(output.dtype))
    classifier = torch.nn.Sequential(encoder, torch.nn.Linear(encoder.embedding_size, 7))
    target = torch.full((2, 7), 1 / 7)
    assert training.mrpn_stages._classifier_loss(classifier, torch.zeros(2, 1, 16, 16), target).dtype == torch.float32
    assert computed == [dtype]


def test_corpus_smaller_than_a_batch_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training.mrpn_stages, "CLIPS_PER_BATCH", 32)
    network = replace(RECIPE.network, modalities=("audio",))
    with pytest.raises(InputError, match="30 examples to train on; expected a batch of 32"):
        MrpnTraining(replace(RECIPE, network=network), data, tmp_path).run()


def test_without_actors_to_test_on_those_to_validate_on_are_measured(data, tmp_path):
    rest, measured = RAVDESS_ACTORS[5:], RAVDESS_ACTORS[:5]
    recipe = replace(RECIPE, split=Split(rest, measured), network=replace(RECIPE.network, modalities=("audio",)))
    MrpnTraining(recipe, data, tmp_path).run()
    found = read_predictions(tmp_path / FILE)
    assert (found.side, set(found.subjects.tolist()), found.temperatures) == ("validation", set(measured), {})
    assert {scores.measured_on for scores in pool_runs([tmp_path])} == {"validation, last epoch"}
