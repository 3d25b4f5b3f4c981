"""The driver of any training: resumable, honest about whom its figures are of, and the checkpoint holds it all."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bundle.errors import ArtefactError, InputError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import RAVDESS_LABELS
from corpora.av_clip import AvClip, FaceFormat
from corpora.folds import DeploymentSplit, Split
from export.onnx_from_checkpoint import check_deployable, read_checkpoint
from networks.mrpn import Mrpn, MrpnConfig
from networks.system import NetworkPart, System
from training.clips import ClipTraining
from training.evaluate import figures_of_merit, fit_temperature, temper
from training.fit import FitConfig
from training.paper_mrpn import PaperMrpnRecipe
from training.predictions import clip_id, read_predictions
from training.recipe import Recipe

LABELS = ("low", "middle", "high")
SPLIT = Split((1, 2, 3, 4, 5, 6), (7, 8), (9, 10))
CONFIG = FitConfig(epochs=4, lr=0.05, weight_decay=0.0)


@dataclass(frozen=True)
class PitchConfig:
    labels: int = 3


class Pitch(System):
    """Tells one number per clip apart."""

    def __init__(self, config: PitchConfig) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, config.labels))

    def parts(self):
        return {"head": NetworkPart(self.head, {"pitch": (1,)}, {"probs_fused": (self.config.labels,)}, "window")}

    def forward(self, batch):
        return {"probs_fused": self.head(batch["pitch"]), "probs_audio": -self.head(batch["pitch"])}


class PitchRecipe(Recipe):
    """Counts what it is asked for."""

    faces = FaceFormat(8, 10.0)
    batch_size = 8

    def __init__(self, fit=CONFIG, interrupt_after=None):
        self.fit, self.interrupt_after, self.trained_on, self.prepared_on, self.steps = fit, interrupt_after, [], [], 0

    def build(self):
        return Pitch(PitchConfig())

    def prepare(self, system, clips):
        self.prepared_on += [clip.subject for clip in clips]

    def inputs(self, clip, rng):
        if rng is not None:
            self.trained_on.append(clip.subject)
        noise = 0 if rng is None else rng.normal(0, 0.02)
        return {"pitch": np.array([clip.wave[0] / 1_000 + noise], np.float32)}

    def loss(self, system, batch, labels):
        self.steps += system.training
        if self.interrupt_after is not None and self.steps > self.interrupt_after:
            raise KeyboardInterrupt
        return F.cross_entropy(system(batch)["probs_fused"], labels)


def clip(subject, number):
    label = number % 3
    wave = np.full(16_000, (label - 1) * 1_000 + 40 * (subject % 5), np.int16)
    return AvClip(wave, np.zeros((10, 8, 8), np.uint8), 10.0, label, subject)


class Corpus:
    """Clips by subject; notes who was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, subjects):
        self.asked.append(tuple(subjects))
        return [clip(subject, number) for subject in subjects for number in range(7)]


def training(folder, recipe=None, **changes):
    made = ClipTraining("pitch", "small", recipe or PitchRecipe(), SPLIT, Corpus(), folder, LABELS)
    return replace(made, **changes)


def test_a_training_learns_and_reports_each_output_on_its_test_subjects(tmp_path):
    run = training(tmp_path, PitchRecipe(replace(CONFIG, epochs=15)))
    results = run.run()
    assert results["subjects"] == "test"
    assert list(results) == ["subjects", "probs_fused", "probs_audio"]
    assert results["probs_fused"]["accuracy"] == 1.0
    assert results["probs_audio"]["accuracy"] < 0.5  # the contrary of it
    assert run.clips.asked == [SPLIT.train, SPLIT.validation, SPLIT.test]


def test_only_training_subjects_are_trained_on(tmp_path):
    recipe = PitchRecipe()
    training(tmp_path, recipe).run()
    assert set(recipe.trained_on) == set(recipe.prepared_on) == set(SPLIT.train)
    assert len(recipe.prepared_on) == 6 * 7
    assert len(recipe.trained_on) == CONFIG.epochs * (6 * 7 // 8) * 8


def test_figures_are_those_of_tempered_probabilities(tmp_path):
    run = training(tmp_path)
    results = run.run()
    saved = torch.load(tmp_path / "pitch.pt", weights_only=True)
    network = Pitch(PitchConfig(**saved["network"]))
    network.load_state_dict(saved["model"])
    probs, labels = run.predict(network, run.clips(SPLIT.validation))
    temperatures = [fit_temperature(output, labels) for output in probs.values()]
    assert saved["temperatures"] == temperatures
    probs, labels = run.predict(network, run.clips(SPLIT.test))
    for (name, output), temperature in zip(probs.items(), temperatures, strict=True):
        assert output.shape == (14, 3)
        assert results[name] == figures_of_merit(temper(output, temperature), labels)


def test_predictions_of_the_test_subjects_are_kept_beside_the_checkpoint(tmp_path):
    run = training(tmp_path, corpus="tones", protocol="mine")
    results = run.run()
    kept = read_predictions(tmp_path / "predictions.npz")
    saved = torch.load(tmp_path / "pitch.pt", weights_only=True)
    clips = run.clips(SPLIT.test)
    assert kept.side == "test"
    assert kept.subjects.tolist() == [clip.subject for clip in clips]
    assert kept.clips.tolist() == [clip_id(clip.wave) for clip in clips]
    assert [*kept.temperatures.values()] == saved["temperatures"]
    for name, probs in kept.probs.items():
        assert figures_of_merit(temper(probs, kept.temperatures[name]), kept.labels) == results[name]
    assert kept.label_names == LABELS
    assert (kept.settings["corpus"], kept.settings["protocol"]) == ("tones", "mine")
    assert kept.split["train"] == list(SPLIT.train)


def test_without_test_subjects_the_predictions_are_of_the_validation_subjects(tmp_path):
    run = training(tmp_path, split=Split((1, 2, 3), (4, 5)))
    run.run()
    kept = read_predictions(tmp_path / "predictions.npz")
    assert (kept.side, set(kept.subjects.tolist())) == ("validation", {4, 5})
    assert kept.temperatures == {}  # they were chosen on these very clips


def test_without_test_subjects_the_figures_are_said_to_be_of_the_validation_subjects(tmp_path):
    results = training(tmp_path, split=Split((1, 2, 3), (4, 5))).run()
    assert results["subjects"] == "validation"


def test_the_checkpoint_says_what_was_trained_and_on_whom(tmp_path):
    results = training(tmp_path, seed=3, specs=(FaceFormat(8, 10.0),)).run()
    saved = torch.load(tmp_path / "pitch.pt", weights_only=True)
    assert (saved["system"], saved["variant"], saved["labels"]) == ("pitch", "small", list(LABELS))
    assert saved["network"] == asdict(PitchConfig())
    assert saved["split"] == asdict(SPLIT)
    assert saved["specs"] == [{"size_px": 8, "fps": 10.0}]
    assert saved["results"] == results
    assert saved["training"] == {"seed": 3, "batch_size": 8, "fit": vars(CONFIG)}
    assert not [*tmp_path.glob("*.partial*")]


@pytest.mark.parametrize("interrupt_after", [0, 3, 5, 12, 19])
def test_an_interrupted_training_resumes_to_the_same_weights(tmp_path, interrupt_after):
    expected = training(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "broken", PitchRecipe(interrupt_after=interrupt_after)).run()
    assert not (tmp_path / "broken" / "pitch.pt").exists()
    resumed = PitchRecipe()
    assert training(tmp_path / "broken", resumed).run() == expected
    assert resumed.steps == (CONFIG.epochs - interrupt_after // 5) * 5
    states = [torch.load(tmp_path / name / "pitch.pt", weights_only=True)["model"] for name in ("whole", "broken")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_seed_decides(tmp_path):
    states = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        training(tmp_path / folder, seed=seed).run()
        states.append(torch.load(tmp_path / folder / "pitch.pt", weights_only=True)["model"]["head.0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    "change",
    [{"split": Split((7, 2, 3), (8,), (1,))}, {"variant": "large"}, {"seed": 1}, {"labels": ("a", "b", "c")}],
    ids=lambda change: next(iter(change)),
)
def test_a_folder_of_another_training_is_refused(tmp_path, change):
    training(tmp_path).run()
    with pytest.raises(ArtefactError, match=r"recipe\.json"):
        training(tmp_path, **change).run()


def test_a_training_with_other_options_of_its_recipe_is_refused(tmp_path):
    recipe = PitchRecipe()
    recipe.options = {"slices": True}
    training(tmp_path, recipe).run()
    assert torch.load(tmp_path / "pitch.pt", weights_only=True)["training"]["slices"] is True
    recipe.options = {"slices": False}
    with pytest.raises(ArtefactError, match=r"recipe\.json"):
        training(tmp_path, recipe).run()


def test_stages_of_another_split_are_refused(tmp_path):
    training(tmp_path / "same").run()
    training(tmp_path / "other", split=Split((7, 2, 3), (8,), (1,))).run()
    torch.save({"model": {}}, tmp_path / "unknown.pt")
    recipe = PitchRecipe()
    for path in (tmp_path / "other" / "pitch.pt", tmp_path / "unknown.pt"):
        recipe.stages = (tmp_path / "same" / "pitch.pt", path)
        with pytest.raises(ArtefactError, match=rf"{path.name} was trained on the split .*same protocol and fold"):
            training(tmp_path / "next", recipe).run()
    recipe.stages = (tmp_path / "same" / "pitch.pt",)
    assert training(tmp_path / "next", recipe).run()["subjects"] == "test"


def test_a_training_does_not_go_on_from_other_stages(tmp_path):
    recipe = PitchRecipe()
    recipe.stages = (tmp_path / "stage" / "pitch.pt",)
    training(tmp_path / "stage").run()
    training(tmp_path / "next", recipe).run()
    (tmp_path / "stage" / "pitch.pt").unlink()
    training(tmp_path / "another", seed=1).run()
    (tmp_path / "another" / "pitch.pt").rename(tmp_path / "stage" / "pitch.pt")
    with pytest.raises(ArtefactError, match=r"recipe\.json"):
        training(tmp_path / "next", recipe).run()


def test_stages_of_another_sound_are_refused(tmp_path):
    recipes = {standardize: PitchRecipe() for standardize in ("running", "wave")}
    for standardize, recipe in recipes.items():
        recipe.options = {"standardize": standardize}
    training(tmp_path / "stage", recipes["running"]).run()
    for recipe in recipes.values():
        recipe.stages = (tmp_path / "stage" / "pitch.pt",)
    with pytest.raises(ArtefactError, match="standardised otherwise; expected standardize=wave"):
        training(tmp_path / "next", recipes["wave"]).run()
    assert training(tmp_path / "next", recipes["running"]).run()["subjects"] == "test"


def test_a_folder_in_which_nothing_was_trained_may_be_given_other_settings(tmp_path):
    with pytest.raises(InputError, match="no clip"):
        training(tmp_path, clips=lambda _: []).run()
    assert training(tmp_path, seed=1).run()["subjects"] == "test"


def test_stages_whose_epoch_was_chosen_by_those_who_are_measured_are_refused_where_the_last_is_kept(tmp_path):
    split, recipe = Split((1, 2, 3), (4, 5)), PitchRecipe(replace(CONFIG, keep="last"))
    for name, keep in (("best", "best"), ("last", "last")):
        training(tmp_path / name, PitchRecipe(replace(CONFIG, keep=keep)), split=split).run()
    recipe.stages = (tmp_path / "best" / "pitch.pt",)
    with pytest.raises(ArtefactError, match="Train it with --keep last first"):
        training(tmp_path / "next", recipe, split=split).run()
    recipe.stages = (tmp_path / "last" / "pitch.pt",)
    assert training(tmp_path / "next", recipe, split=split).run()["subjects"] == "validation"


def test_a_plateau_goes_by_the_mean_loss_of_the_validation_clips(tmp_path):
    run = training(tmp_path, PitchRecipe(replace(CONFIG, schedule="plateau", epochs=1)))
    run.run()
    saved = torch.load(tmp_path / "pitch-epochs.pt", weights_only=True)
    network = Pitch(PitchConfig()).eval()
    network.load_state_dict(saved["model"])
    clips = run.clips(SPLIT.validation)  # 14 of them: a batch of 8 and one of 6
    pitches = torch.tensor([[each.wave[0] / 1_000] for each in clips], dtype=torch.float32)
    with torch.inference_mode():
        expected = F.cross_entropy(network.head(pitches), torch.tensor([each.label for each in clips]))
    assert saved["history"][0]["validation_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_fewer_clips_than_a_batch_are_one_batch(tmp_path):
    recipe = PitchRecipe()
    training(tmp_path, recipe, clips=lambda subjects: [clip(subjects[0], number) for number in range(3)]).run()
    assert recipe.steps == CONFIG.epochs


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_a_side_without_clips_is_refused(tmp_path, side):
    missing = getattr(SPLIT, side)
    with pytest.raises(InputError, match=f"no clip of the {side} subjects"):
        training(tmp_path, clips=lambda subjects: [] if subjects == missing else Corpus()(subjects)).run()


@pytest.mark.parametrize("fusion", ["n2", "n1"])
def test_an_mrpn_for_a_runtime_can_be_exported_and_one_for_reproduction_cannot(tmp_path, fusion):
    tiny = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=4, hidden_size=4, fusion=fusion)
    rng = np.random.default_rng(0)

    def noise(label, subject):
        wave, images = rng.normal(0, 900, 24_000), rng.integers(0, 255, (15, 48, 48), np.uint8)
        return AvClip(wave.astype(np.int16), images, 10.0, label, subject)

    def clips(subjects):
        return [noise(label, subject) for subject in subjects for label in (0, 4)]

    split = DeploymentSplit((1, 2), (3,), (4,), (5,))
    features = AudioSpec(), VideoSpec(), WindowSpec()
    for standardize in ("running", "wave"):
        recipe = PaperMrpnRecipe(
            tiny, features=features, standardize=standardize, batch_size=4, fit=replace(CONFIG, epochs=1)
        )
        folder = tmp_path / standardize
        ClipTraining("mrpn", "tiny", recipe, split, clips, folder, RAVDESS_LABELS, recipe.specs).run()
        checkpoint = read_checkpoint(folder / "mrpn.pt")
        assert isinstance(checkpoint.network, Mrpn)
        assert checkpoint.training["split"]["held_out"] == (5,)
        if standardize == "running":
            check_deployable(checkpoint)
            assert checkpoint.specs == features
        else:
            with pytest.raises(ArtefactError, match="features need the whole clip"):
                check_deployable(checkpoint)
