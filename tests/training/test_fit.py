"""The training loop: what an interruption costs is the epoch that it broke, and nothing else."""

import csv
import resource
import sys
import threading
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import training.fit
from bundle.errors import ArgumentError, ArtefactError
from training.fit import AVERAGE_DECAY, FitConfig, claim_folder, fit, save_whole
from training.metrics import Metrics

CONFIG = FitConfig(epochs=4, lr=0.02, weight_decay=1e-2)
STEPS = 3


class Interrupted(Exception):  # noqa: N818
    """Stands for a power cut."""


class Run:
    """A training of a small classifier with dropout and normalisation; it may be interrupted anywhere."""

    def __init__(self, folder, *, uars=None, losses=None, interrupt_at=None):
        torch.manual_seed(99)
        self.model = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 2)
        )  # fmt: skip
        self.folder, self.uars, self.losses, self.interrupt_at = folder, uars, losses, interrupt_at
        self.epochs, self.snapshots = [], []

    def batches(self, epoch):
        self.epochs.append(epoch)
        generator = torch.Generator().manual_seed(epoch)
        for step in range(STEPS):
            if self.interrupt_at == (epoch, step):
                raise Interrupted
            inputs = torch.randn(16, 4, generator=generator)
            yield inputs, (inputs[:, 0] > 0).long()

    def loss_of(self, batch):
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def validate(self):
        epoch = self.epochs[-1]
        if self.interrupt_at == (epoch, "validate"):
            raise Interrupted
        self.snapshots.append(self.state())
        inputs = torch.randn(400, 4, generator=torch.Generator().manual_seed(5))
        accuracy = float((self.model(inputs).argmax(1) == (inputs[:, 0] > 0)).float().mean())
        figures = {"accuracy": accuracy, "uar": self.uars[epoch] if self.uars else accuracy}
        return figures | ({"validation_loss": self.losses[epoch]} if self.losses else {})

    def state(self):
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def fit(self, config=CONFIG, seed=0, tensorboard=False):
        return fit(
            "small", self.model, self.model.parameters(), self.batches, STEPS, self.loss_of, self.validate,
            config, seed, self.folder, tensorboard,
        )  # fmt: skip


def assert_same(state, other):
    assert state.keys() == other.keys()
    for name in state:
        assert torch.equal(state[name], other[name]), name


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("interrupt_at", [(0, 1), (1, 0), (2, 2), (2, "validate"), (3, "validate")])
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(tmp_path, interrupt_at, average):
    config = replace(CONFIG, average=average)
    folders = tmp_path / "whole", tmp_path / "broken"
    for folder in folders:
        folder.mkdir()
    whole = Run(folders[0])
    expected = whole.fit(config)
    with pytest.raises(Interrupted):
        Run(folders[1], interrupt_at=interrupt_at).fit(config)
    torch.rand(17)  # another process starts with other random numbers
    resumed = Run(folders[1])
    assert resumed.fit(config) == expected
    assert resumed.epochs == list(range(interrupt_at[0], CONFIG.epochs))
    assert_same(resumed.state(), whole.state())
    assert (folders[0] / "small.csv").read_text() == (folders[1] / "small.csv").read_text()
    saved = [torch.load(folder / "small.pt", weights_only=True) for folder in folders]
    assert_same(saved[0]["model"], saved[1]["model"])
    assert saved[0]["history"] == saved[1]["history"]


def test_a_run_interrupted_while_saving_resumes_from_the_epoch_before(tmp_path, monkeypatch):
    def half_saved(content, path):
        path.write_bytes(b"half a checkpoint")
        raise Interrupted

    with pytest.raises(Interrupted):
        Run(tmp_path, interrupt_at=(2, 0)).fit()
    with monkeypatch.context() as patch:
        patch.setattr(training.fit.torch, "save", half_saved)
        with pytest.raises(Interrupted):
            Run(tmp_path).fit()
    resumed = Run(tmp_path)
    resumed.fit()
    assert resumed.epochs == [2, 3]


def test_a_disk_that_is_full_is_told_and_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "kept.pt"
    save_whole({"epoch": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"kept\.pt cannot be written \(.*\)\. Is the disk full\?"):
            save_whole({"epoch": 2, "model": torch.zeros(9_999)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [*tmp_path.iterdir()] == [path]
    assert torch.load(path, weights_only=True) == {"epoch": 1}


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, second = Run(tmp_path), Run(tmp_path)
    assert first.fit() == second.fit()
    assert second.epochs == []
    assert_same(first.state(), second.state())
    assert not second.model.training


@pytest.mark.parametrize(
    ("config", "seed"),
    [
        (replace(CONFIG, epochs=5), 0),
        (replace(CONFIG, lr=0.01), 0),
        (replace(CONFIG, weight_decay=0.0), 0),
        (CONFIG, 1),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, config, seed):
    Run(tmp_path).fit()
    before = (tmp_path / "small.pt").read_bytes()
    with pytest.raises(ArtefactError, match="or choose another folder or checkpoint"):
        Run(tmp_path).fit(config, seed)
    assert (tmp_path / "small.pt").read_bytes() == before


@pytest.mark.parametrize(("uars", "best"), [([0.2, 0.9, 0.5, 0.1], 1), ([0.5, 0.5, 0.5, 0.4], 2), ([0.9, 0, 0, 0], 0)])
def test_the_best_epochs_weights_are_left(tmp_path, uars, best):
    run = Run(tmp_path, uars=uars)
    figures = run.fit()
    assert (figures["epoch"], figures["uar"]) == (best, uars[best])
    assert_same(run.state(), run.snapshots[best])
    assert not torch.equal(run.state()["0.weight"], run.snapshots[3]["0.weight"])


def test_the_best_epoch_is_remembered_over_an_interruption(tmp_path):
    uars = [0.9, 0.2, 0.3, 0.4]
    first = Run(tmp_path, uars=uars, interrupt_at=(2, 0))
    with pytest.raises(Interrupted):
        first.fit()
    resumed = Run(tmp_path, uars=uars)
    assert resumed.fit()["epoch"] == 0
    assert_same(resumed.state(), first.snapshots[0])


def test_the_last_epochs_weights_are_left_where_the_last_is_to_be_kept(tmp_path):
    config, uars = replace(CONFIG, keep="last"), [0.2, 0.9, 0.5, 0.1]
    with pytest.raises(Interrupted):
        Run(tmp_path, uars=uars, interrupt_at=(3, 1)).fit(config)
    run = Run(tmp_path, uars=uars)
    assert run.fit(config)["epoch"] == 3
    assert_same(run.state(), run.snapshots[-1])


def test_the_last_epoch_cannot_be_kept_where_the_best_decides_when_to_stop():
    with pytest.raises(ArgumentError, match="patience is 3; expected None"):
        replace(CONFIG, keep="last", patience=3)


def test_bfloat16_is_for_training_alone(tmp_path):
    products = []
    run = Run(tmp_path)
    run.model[0].register_forward_hook(lambda module, inputs, output: products.append(output.dtype))
    config = FitConfig(20, 0.05, 0.0, precision="bfloat16")
    assert run.fit(config)["accuracy"] > 0.85
    assert products == [*[torch.bfloat16] * STEPS, torch.float32] * 20
    assert all(value.dtype == torch.float32 for value in run.state().values() if value.is_floating_point())


def test_the_moving_average_is_judged_and_kept_and_not_trained_on(tmp_path):
    folders = tmp_path / "plain", tmp_path / "averaged"
    for folder in folders:
        folder.mkdir()
    plain, averaged = Run(folders[0]), Run(folders[1])
    steps, loss_of = [], plain.loss_of
    plain.loss_of = lambda batch: (steps.append(plain.state()), loss_of(batch))[1]  # before each step
    config = replace(CONFIG, keep="last")
    plain.fit(config)
    averaged.fit(replace(config, average=True))
    mean, *later = [*steps[1:], plain.snapshots[-1]]
    for number, state in enumerate(later, 1):
        decay = (1 + number) / (10 + number)
        mean = {name: decay * mean[name] + (1 - decay) * value for name, value in state.items()}
    assert_same(averaged.state(), averaged.snapshots[-1])
    for name in ("0.weight", "1.running_mean", "1.running_var", "4.bias"):
        torch.testing.assert_close(averaged.state()[name], mean[name])
    assert not torch.equal(averaged.state()["0.weight"], plain.state()["0.weight"])
    saved = [torch.load(folder / "small.pt", weights_only=True) for folder in folders]
    assert_same(saved[0]["model"], saved[1]["model"])


@pytest.mark.parametrize(("most", "share"), [(AVERAGE_DECAY, 9 / (10 + 299)), (0.95, 0.05)])
def test_the_moving_average_forgets_where_it_began(tmp_path, monkeypatch, most, share):
    """All weights are 1 after the first and the last of 300 steps, else 0."""
    monkeypatch.setattr(training.fit, "AVERAGE_DECAY", most)
    run, last = Run(tmp_path), 299
    numbers, loss_of = iter(range(last + 1)), run.loss_of

    def with_weights_of_the_step(batch):
        with torch.no_grad():
            run.model[4].weight.fill_(float(next(numbers) in (0, last)))
        return 0 * loss_of(batch)

    run.loss_of = with_weights_of_the_step
    run.fit(FitConfig(100, 0.0, 0.0, schedule="constant", keep="last", average=True))
    assert run.model[4].weight.mean().item() == pytest.approx(share, rel=1e-3)


def test_what_is_validated_is_in_evaluation_mode_and_what_is_trained_is_not(tmp_path):
    modes = []
    run = Run(tmp_path)
    loss_of, validate = run.loss_of, run.validate
    run.loss_of = lambda batch: (modes.append(run.model.training), loss_of(batch))[1]
    run.validate = lambda: (modes.append(run.model.training), validate())[1]
    run.fit()
    assert modes == [*[True] * STEPS, False] * CONFIG.epochs


def test_training_learns(tmp_path):
    run = Run(tmp_path)
    figures = run.fit(FitConfig(epochs=20, lr=0.05, weight_decay=0.0))
    with (tmp_path / "small.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert figures["accuracy"] > 0.85
    assert losses[-1] < 0.7 * losses[0]


def test_the_table_holds_each_epochs_figures(tmp_path):
    run = Run(tmp_path, uars=[0.1, 0.4, 0.3, 0.2])
    run.fit()
    with (tmp_path / "small.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["uar"]) for row in rows] == [("0", "0.1"), ("1", "0.4"), ("2", "0.3"), ("3", "0.2")]


def test_a_table_that_cannot_be_written_misses_no_epoch_once_it_can(tmp_path, monkeypatch):
    write = Metrics.write

    def write_three(metrics, history):
        if len(history) == CONFIG.epochs:
            raise OSError(28, "No space left on device")
        write(metrics, history)

    monkeypatch.setattr(Metrics, "write", write_three)
    with pytest.raises(OSError, match="No space left"):
        Run(tmp_path).fit()
    monkeypatch.undo()
    Run(tmp_path).fit()
    with (tmp_path / "small.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


def test_a_batch_is_made_while_the_network_is_at_the_one_before(tmp_path):
    run, made = Run(tmp_path), [threading.Event() for _ in range(STEPS)]
    batches, loss_of, step = run.batches, run.loss_of, iter(range(STEPS))

    def noted(epoch):
        for event, batch in zip(made, batches(epoch), strict=True):
            event.set()
            yield batch

    def waiting(batch):
        following = min(next(step) + 1, STEPS - 1)
        assert made[following].wait(timeout=60)  # it would never come, were it not made meanwhile
        return loss_of(batch)

    run.batches, run.loss_of = noted, waiting
    run.fit(replace(CONFIG, epochs=1))


def test_metrics_are_written_for_tensorboard_too(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Run(tmp_path, uars=[0.1, 0.4, 0.3, 0.2]).fit(tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "small")).Reload()
    assert events.Tags()["scalars"] == ["epoch", "loss", "accuracy", "uar"]
    assert [(event.step, round(event.value, 3)) for event in events.Scalars("uar")] == [
        (0, 0.1), (1, 0.4), (2, 0.3), (3, 0.2),
    ]  # fmt: skip


def test_tensorboard_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ArgumentError, match=r"install edge-emotion\[tensorboard\]"):
        Run(tmp_path).fit(tensorboard=True)


def test_the_seed_decides_what_dropout_drops(tmp_path):
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name)
        run.fit(seed=seed)
        states.append(run.state())
    assert_same(states[0], states[1])
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])


def rates(folder):
    """Learning rate after the last epoch, and the optimizer's other numbers."""
    saved = torch.load(folder / "small.pt", weights_only=True)
    return saved["optimizer"]["param_groups"][0]


def test_plateau_halves_the_rate_after_ten_epochs_without_a_lower_loss(tmp_path):
    losses = [3.0, 2.0, *[2.0] * 9, 2.5, *[1.0], *[1.5] * 10]
    expected = [0.02] * 11 + [0.01] * 11 + [0.005]
    for epochs in (11, 12, 22, 23):
        folder = tmp_path / str(epochs)
        folder.mkdir()
        Run(folder, losses=losses).fit(FitConfig(epochs, 0.02, 0.0, schedule="plateau"))
        assert rates(folder)["lr"] == pytest.approx(expected[epochs - 1])


def test_a_plateau_is_remembered_over_an_interruption(tmp_path):
    losses, config = [2.0] * 12, FitConfig(12, 0.02, 0.0, schedule="plateau")
    with pytest.raises(Interrupted):
        Run(tmp_path, losses=losses, interrupt_at=(7, 1)).fit(config)
    Run(tmp_path, losses=losses).fit(config)
    assert rates(tmp_path)["lr"] == pytest.approx(0.01)


def test_a_constant_rate_stays(tmp_path):
    Run(tmp_path).fit(replace(CONFIG, schedule="constant"))
    assert rates(tmp_path)["lr"] == CONFIG.lr


@pytest.mark.parametrize(("optimizer", "mark"), [("adamw", "betas"), ("adam", "betas"), ("sgd", "momentum")])
def test_each_optimizer_learns(tmp_path, optimizer, mark):
    run = Run(tmp_path)
    assert run.fit(FitConfig(20, 0.05, 0.0, optimizer=optimizer))["accuracy"] > 0.85
    assert mark in rates(tmp_path)


@pytest.mark.parametrize(
    "change", [{"optimizer": "lion"}, {"schedule": "cosine"}, {"keep": "first"}, {"precision": "int8"}]
)
def test_an_unknown_name_is_refused(change):
    with pytest.raises(ArgumentError, match="expected one of"):
        replace(CONFIG, **change)


def test_training_stops_when_patience_is_over_and_stays_stopped(tmp_path):
    uars, config = [0.5, 0.7, 0.6, 0.6, 0.9, 0.9], FitConfig(6, 0.02, 0.0, patience=2)
    first, again = Run(tmp_path, uars=uars), Run(tmp_path, uars=uars)
    assert first.fit(config)["epoch"] == 1
    assert first.epochs == [0, 1, 2, 3]
    assert again.fit(config)["epoch"] == 1
    assert again.epochs == []
    assert_same(first.state(), again.state())


def test_a_folder_belongs_to_one_training(tmp_path):
    folder = tmp_path / "new"
    claim_folder(folder, {"fold": 2})
    claim_folder(folder, {"fold": 1})  # in which nothing was trained yet
    claim_folder(folder, {"fold": 1})
    (folder / "epochs.pt").touch()
    with pytest.raises(ArtefactError, match=r"recipe\.json"):
        claim_folder(folder, {"fold": 2})
