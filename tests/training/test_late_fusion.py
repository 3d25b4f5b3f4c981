"""Late fusion: the paper's grid, and what of it can be deployed."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from bundle.errors import ArgumentError
from training.late_fusion import BEST, concatenated, fusion_models, grid_search, linear_layer

TABLE_A3 = [
    *(f"logistic regression, C={c}" for c in ("0.1", "1", "10", "100", "1000", "10000", "100000", "1e+06")),
    *(f"SVM, linear, C={c}" for c in ("0.0001", "0.001", "0.01", "0.1", "1", "10")),
    *(f"SVM, rbf, C={c}" for c in ("0.1", "1", "10", "100")),
    *(f"k-NN, k={k}" for k in (10, 20, 30, 40, 50)),
]


def posteriors(count=120, labels=4, seed=0):
    """Two modalities that each tell something of the label."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % labels
    logits = rng.normal(size=(2, count, labels)) + 2 * np.eye(labels)[label]
    probs = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    return concatenated(*probs), label


def test_the_grid_holds_table_a3_in_its_order():
    assert [name for name in fusion_models() if name in TABLE_A3] == TABLE_A3


def test_the_grid_is_that_of_section_4_2():
    names = set(fusion_models()) - set(TABLE_A3)  # in the text, not in the table: stopped before
    assert names == {"SVM, linear, C=100", "SVM, rbf, C=0.0001", "SVM, rbf, C=0.001", "SVM, rbf, C=0.01"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("logistic regression, C=1000", {"C": 1000.0, "fit_intercept": True, "solver": "lbfgs"}),
        ("SVM, linear, C=0.001", {"C": 0.001, "kernel": "linear"}),
        ("SVM, rbf, C=10", {"C": 10.0, "kernel": "rbf", "gamma": "scale"}),
        ("k-NN, k=30", {"n_neighbors": 30, "weights": "uniform"}),
    ],
)
def test_models_have_the_parameters_of_their_names(name, parameters):
    assert parameters.items() <= fusion_models()[name].get_params().items()


def test_the_sound_comes_first():
    assert concatenated(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("name", ["logistic regression, C=0.1", BEST])
def test_a_logistic_regression_is_its_linear_layer(name):
    inputs, labels = posteriors()
    model = fusion_models()[name].fit(inputs, labels)
    weight, bias = linear_layer(model)
    assert weight.dtype == bias.dtype == np.float32
    logits = inputs @ weight.T.astype(float) + bias
    probs = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probs / probs.sum(1, keepdims=True), model.predict_proba(inputs), atol=1e-5)


@pytest.mark.parametrize("model", [SVC(kernel="linear"), SVC(kernel="rbf"), KNeighborsClassifier()], ids=str)
def test_svm_and_neighbours_cannot_be_deployed(model):
    with pytest.raises(ArgumentError, match="cannot be deployed: SVM and k-NN serve research only"):
        linear_layer(model.fit(*posteriors()))


def test_a_regression_that_never_saw_a_label_cannot_be_deployed():
    inputs, labels = posteriors()
    with pytest.raises(ArgumentError, match="knows 3 labels"):
        linear_layer(fusion_models()[BEST].fit(inputs[labels < 3], labels[labels < 3]))


def test_grid_search_reports_the_accuracy_of_each_model():
    train, validation = posteriors(seed=0), posteriors(seed=1)
    found = grid_search(*train, *validation)
    assert list(found) == list(fusion_models())
    name = "SVM, linear, C=1"
    predicted = fusion_models()[name].fit(*train).predict(validation[0])
    assert found[name] == (predicted == validation[1]).mean()
    assert max(found.values()) > 0.8


def test_more_neighbours_than_clips_are_not_tried():
    found = grid_search(*posteriors(24), *posteriors(24, seed=1))
    assert [name for name in found if name.startswith("k-NN")] == ["k-NN, k=10", "k-NN, k=20"]
