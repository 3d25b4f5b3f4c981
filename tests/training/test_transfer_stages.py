"""The paper's stages: their hyper-parameters, when they stop and what they keep, and all of them on a small corpus."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bundle.errors import ArgumentError
from bundle.labels import FER2013_LABELS, RAVDESS_LABELS
from corpora.av_clip import AvClip
from corpora.fer2013 import Fer2013
from networks.alexnet import AlexNet, SpectrogramImage
from networks.panns import Cnn14
from networks.transfer import SpatialTransformer, TransferConfig
from training.late_fusion import fusion_models
from training.saliency import spectral_residual
from training.transfer import TransferRecipe
from training.transfer_stages import (
    FER2013_OF_RAVDESS,
    STAGES,
    VALENCE_OF_FER2013,
    VALENCES,
    Stage,
    clip_batch,
    embedding_svm,
    fuse,
    fused_posteriors,
    image_embeddings,
    in_batches,
    pretrain_stn,
    train_in_stages,
    train_stage,
    valid_images,
    vote_of_seven,
)

NETWORK = TransferConfig(
    lstm_size=8, lstm_layers=1, attention_layers=1, stn_width=2, audio_width=2, image_slots=4, audio_columns=64
)
RECIPE = TransferRecipe(network=NETWORK)


def clips(count=16, seed=0):
    """Each label has a place in the image and a pitch."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        label = number % 8
        images = rng.integers(0, 60, (4, 48, 48)).astype(np.uint8)
        images[:, 6 * label : 6 * label + 6, 8:40] = 220
        tone = np.sin(2 * np.pi * 200 * 1.5**label * np.arange(10_240) / 16_000)
        wave = (6_000 * tone + rng.normal(0, 200, 10_240)).astype(np.int16)
        made.append(AvClip(wave, images, RECIPE.faces.fps, label, 1))
    return made


class Scripted(nn.Module):
    """A network whose accuracy on four clips, after each epoch of one batch, is written beforehand."""

    def __init__(self, accuracies):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("epochs", torch.tensor(0))
        self.accuracies = accuracies

    def forward(self, labels):
        if self.training:
            self.epochs += 1
        right = round(4 * self.accuracies[max(0, int(self.epochs) - 1)])
        answers = torch.where(torch.arange(len(labels)) < right, labels, 1 - labels)
        return nn.functional.one_hot(answers, 2) * 1.0 + self.weight


def scripted(accuracies, stage):
    """The best score, the epoch kept, and the epochs trained."""
    model = Scripted(accuracies)
    seen = []
    model.register_forward_hook(lambda module, *_: seen.append(int(module.epochs)))
    labels = torch.tensor([0, 1, 0, 1])
    best = train_stage(model, (labels, labels), (labels, labels), stage)
    return best, int(model.epochs), max(seen)


def test_training_stops_after_its_patience_and_keeps_the_best_epoch():
    accuracies = [0.25, 0.75, 0.5, 0.75, 0.5, 1.0, 1.0]
    assert scripted(accuracies, Stage(4, patience=3)) == (0.75, 2, 5)
    assert scripted(accuracies, Stage(4, patience=4, epochs=7)) == (1.0, 6, 7)


def test_epochs_and_iterations_limit_training():
    assert scripted([0.5] * 9, Stage(4, epochs=3)) == (0.5, 1, 3)
    assert scripted([0.5] * 9, Stage(4, iterations=5)) == (0.5, 1, 5)
    assert scripted([0.5] * 9, Stage(2, iterations=5))[2] == 5  # in the middle of the third epoch


def test_the_f1_score_counts_each_class_alike():
    labels, answers = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 0])

    class Answers(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1))

        def forward(self, inputs):
            return nn.functional.one_hot(inputs, 2) * 9.0 + self.shift

    best = train_stage(Answers(), (answers, labels), (answers, labels), Stage(4, epochs=1, score="f1"))
    assert best == pytest.approx((2 * 3 / (2 * 3 + 1) + 0) / 2)


@pytest.mark.parametrize("weighted", [True, False])
def test_weights_make_up_for_rare_classes(weighted):
    class Bias(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(3))

        def forward(self, inputs):
            return self.logits.expand(len(inputs), 3)

    labels = torch.tensor([0, 0, 0, 1])  # and a third class without any
    model = Bias()
    train_stage(model, (labels, labels), (labels, labels), Stage(4, epochs=1, weighted=weighted))
    first, second, third = model.logits.tolist()
    assert third < 0
    assert (first == pytest.approx(second, abs=1e-4)) == weighted


def test_hyper_parameters_are_those_published():
    model = nn.Linear(2, 2)
    settings = {name: stage.optimizer(model.parameters()) for name, stage in STAGES.items()}
    for name in ("stn", "sequence", "cnn14"):
        assert isinstance(settings[name], torch.optim.Adam)
        assert {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}.items() <= settings[
            name
        ].defaults.items()
    assert isinstance(settings["alexnet"], torch.optim.SGD)
    assert {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}.items() <= settings["alexnet"].defaults.items()
    assert {name: stage.batch_size for name, stage in STAGES.items() if name != "alexnet"} == {
        "stn": 128,
        "sequence": 64,
        "cnn14": 24,
    }
    assert STAGES["cnn14"].iterations == 30_000
    assert (STAGES["stn"].epochs, STAGES["stn"].patience, STAGES["stn"].score) == (500, 30, "accuracy")
    assert (STAGES["sequence"].patience, STAGES["sequence"].score) == (30, "f1")
    assert STAGES["alexnet"].epochs == 500
    assert [name for name, stage in STAGES.items() if stage.weighted] == ["stn", "sequence"]


def test_embeddings_are_classified_by_an_rbf_svm():
    assert {"kernel": "rbf", "C": 0.001}.items() <= embedding_svm().get_params().items()


def test_valences_and_shared_posteriors_of_the_classes():
    named = {label: VALENCES[valence] for label, valence in zip(FER2013_LABELS, VALENCE_OF_FER2013, strict=True)}
    assert named == {
        "angry": "negative",
        "disgust": "negative",
        "fearful": "negative",
        "happy": "positive",
        "neutral": "neutral",
        "sad": "negative",
        "surprised": "positive",
    }
    shared = dict(zip(RAVDESS_LABELS, (FER2013_LABELS[n] for n in FER2013_OF_RAVDESS), strict=True))
    assert shared.pop("calm") == "neutral"
    assert all(label == other for label, other in shared.items())


@pytest.mark.parametrize("labels", [7, pytest.param(3, marks=pytest.mark.slow)])
def test_the_transformer_is_pretrained_on_fer2013(tmp_path, labels):
    rng = np.random.default_rng(0)
    label = np.arange(28) % 7
    images = rng.integers(0, 50, (28, 48, 48)).astype(np.uint8)
    for image, of in zip(images, label, strict=True):
        image[6 * of : 6 * of + 8] = 230
    torch.manual_seed(0)
    stn = SpatialTransformer(labels, 4)
    stn.dropout.p = 0.0
    faces = Fer2013(images, label)
    accuracy = pretrain_stn(stn, faces, faces, spectral_residual, tmp_path / "stn.pt", Stage(28, epochs=150))
    assert accuracy > 0.9
    saved = torch.load(tmp_path / "stn.pt", weights_only=True)
    for name, tensor in stn.state_dict().items():
        torch.testing.assert_close(saved[name], tensor, rtol=0, atol=0)
    recipe = replace(RECIPE, network=replace(NETWORK, stn_width=4), stn=tmp_path / "stn.pt")
    torch.testing.assert_close(recipe.build().visual.stn.fc1.weight, stn.fc1.weight, rtol=0, atol=0)


def test_seven_classes_vote_for_eight_labels():
    class Reader(nn.Module):
        """Posteriors are what the first row of an image says."""

        def layers(self, faces, saliency):
            return {"posteriors": faces[:, 0, 0, :7]}

    votes = [("happy", "happy", "sad"), ("neutral", "neutral", "angry"), ("angry", "disgust", "disgust")]
    faces = torch.zeros(3, 4, 1, 48, 48)
    mask = torch.tensor([[1.0, 1, 1, 0]]).repeat(3, 1)
    for clip, of in enumerate(votes):
        for slot, label in enumerate(of):
            faces[clip, slot, 0, 0, FER2013_LABELS.index(label)] = 1
    reader = Reader()
    found = vote_of_seven(reader, {"faces": faces, "saliency": faces, "visual_mask": mask})
    assert not reader.training  # no dropout when votes count
    assert [RAVDESS_LABELS[label] for label in found] == ["happy", "neutral", "disgust"]


def test_images_inherit_the_label_of_their_clip():
    faces = torch.arange(6.0).reshape(2, 3, 1, 1, 1)
    batch = {"faces": faces, "saliency": -faces, "visual_mask": torch.tensor([[0.0, 1, 1], [0, 0, 1]])}
    found = valid_images(batch, torch.tensor([5, 7]))
    assert [each.flatten().tolist() for each in found] == [[1, 2, 5], [-1, -2, -5], [5, 5, 7]]


def test_computing_in_batches_changes_nothing():
    first, second = torch.randn(10, 3), torch.randn(10, 3)
    found = in_batches(lambda a, b: a * 2 + b, first, second, size=4)
    torch.testing.assert_close(found, first * 2 + second)


def test_stages_train_the_whole_system():
    train, validation = clips(16, seed=0), clips(8, seed=1)
    torch.manual_seed(0)
    system = RECIPE.build()
    for module in system.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    system.audio.spec_augment = nn.Identity()
    stages = {
        "stn": Stage(16, epochs=15, weighted=True),
        "sequence": Stage(16, epochs=60, score="f1", weighted=True),
        "cnn14": Stage(16, epochs=60),
    }
    figures = train_in_stages(RECIPE, system, train, validation, stages=stages)
    assert list(figures) == ["stn", "sequence", "cnn14", "fused"]
    assert figures["stn"] > 0.7
    assert min(figures["sequence"], figures["cnn14"], figures["fused"]) > 0.8
    with torch.inference_mode():
        logits = system(clip_batch(RECIPE, validation))
    labels = torch.tensor([clip.label for clip in validation])
    for output, stage in (("probs_audio", "cnn14"), ("probs_fused", "fused")):  # what was trained is what is there
        assert (logits[output].argmax(1) == labels).float().mean().item() == pytest.approx(figures[stage])


def test_images_that_vote_and_networks_that_stay_need_no_stage_of_their_own():
    recipe = TransferRecipe(network=replace(NETWORK, embedding="posteriors", lstm_size=0), fine_tune=False)
    system = recipe.build()
    before = {name: tensor.clone() for name, tensor in system.visual.state_dict().items()}
    figures = train_in_stages(recipe, system, clips(16), clips(8), stages={"cnn14": Stage(16, epochs=1)})
    assert list(figures) == ["cnn14", "fused"]
    for name, tensor in system.visual.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_heads_fusion_is_scikit_learns():
    system, batch = RECIPE.build(), clip_batch(RECIPE, clips(16))
    data = fused_posteriors(system, batch), np.arange(16) % 8
    fuse(system, data, data)
    expected = fusion_models()["logistic regression, C=100000"].fit(*data).predict_proba(data[0])
    with torch.inference_mode():
        found = system(batch)["probs_fused"].softmax(1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_a_fusion_that_serves_research_only_is_refused():
    system, rng = RECIPE.build(), np.random.default_rng(0)
    data = rng.random((16, 16)), np.arange(16) % 8
    with pytest.raises(ArgumentError, match="serve research only"):
        fuse(system, data, data, model="SVM, linear, C=0.001")


def test_posteriors_of_the_sound_come_before_those_of_the_face():
    system, batch = RECIPE.build(), clip_batch(RECIPE, clips(4))
    found = fused_posteriors(system, batch)
    with torch.inference_mode():
        logits = system.eval()(batch)
    expected = torch.cat([logits[name].softmax(1) for name in ("probs_audio", "probs_visual")], 1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_embeddings_are_those_that_the_sequence_model_is_tried_on():
    batch = clip_batch(RECIPE, clips(4))
    for embedding, size in (("flatten810", 162), ("fc50", 50), ("posteriors", 8)):
        system = replace(RECIPE, network=replace(NETWORK, embedding=embedding)).build()
        assert image_embeddings(system, batch).shape == (4, 4, size)


@pytest.mark.parametrize("network", ["cnn14", "alexnet"])
def test_extracted_embeddings_of_sound_feed_an_svm(network):
    log_mel, labels = clip_batch(RECIPE, clips(16))["log_mel"], np.arange(16) % 8
    torch.manual_seed(0)
    if network == "cnn14":
        embeddings = in_batches(Cnn14(width=2).eval().embedding, log_mel)
    else:
        embeddings = in_batches(lambda part: AlexNet(width=1).eval().fc7(SpectrogramImage()(part)), log_mel)
    assert embeddings.shape == (16, 64)
    svm = embedding_svm().fit(embeddings.numpy(), labels)
    assert set(svm.predict(embeddings.numpy())) <= set(labels)


def test_alexnet_is_fine_tuned_on_spectrograms():
    log_mel, labels = clip_batch(RECIPE, clips(16))["log_mel"], torch.arange(16) % 8
    torch.manual_seed(0)
    network = AlexNet(8, width=1)
    weight = network.features[0].weight.detach().clone()
    model = nn.Sequential(SpectrogramImage(), network)
    train_stage(model, (log_mel, labels), (log_mel, labels), replace(STAGES["alexnet"], epochs=1))
    assert not torch.equal(network.features[0].weight, weight)
