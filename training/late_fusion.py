"""Late fusion of posteriors by scikit-learn's models, and the paper's grid (Luna-Jiménez et al. 2021, Table A3)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from bundle.errors import ArgumentError

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

LOGISTIC_C = tuple(10.0**power for power in range(-1, 7))
SVM_C = tuple(10.0**power for power in range(-4, 3))
NEIGHBOURS = (10, 20, 30, 40, 50)
BEST = "logistic regression, C=100000"
"""Of those that can be deployed: 79.70 % in Table A3, against 80.08 % of the linear SVM with C = 0.001."""


def concatenated(audio: Floats, visual: Floats) -> Floats:
    """Input of the fusion: posteriors [shape=(n, labels)] of the sound, then those of the face."""
    return np.concatenate((audio, visual), 1)


def fusion_models() -> Mapping[str, ClassifierMixin]:
    """Untrained models of section 4.2's grid by name, in the order of Table A3; all else is scikit-learn's default.

    But for the iterations of the logistic regression: 100, its default, are too few for a large C.
    """
    models: dict[str, ClassifierMixin] = {}
    for c in LOGISTIC_C:
        models[f"logistic regression, C={c:g}"] = LogisticRegression(C=c, max_iter=10_000)
    for kernel in ("linear", "rbf"):
        for c in SVM_C:
            models[f"SVM, {kernel}, C={c:g}"] = SVC(C=c, kernel=kernel)
    for k in NEIGHBOURS:
        models[f"k-NN, k={k}"] = KNeighborsClassifier(k)
    return models


def grid_search(train: Floats, labels: Ints, validation: Floats, validation_labels: Ints) -> dict[str, float]:
    """Accuracy on the validation clips, 0..1, of each model that has enough training clips for it, by its name.

    The paper "stopped the grid search when the performance started to decrease or saturate"; here no model is left out
    but k-NN with more neighbours than clips.
    """
    return {
        name: float(model.fit(train, labels).score(validation, validation_labels))
        for name, model in fusion_models().items()
        if getattr(model, "n_neighbors", 0) <= len(train)
    }


def linear_layer(model: ClassifierMixin) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weight [shape=(labels, 2 labels)] and bias [shape=(labels,)] of a trained logistic regression: what is deployed.

    Raises
    ------
    ArgumentError : the model is an SVM or k-NN, which serve research only.
    """
    if not isinstance(model, LogisticRegression):
        raise ArgumentError(
            f"{type(model).__name__} cannot be deployed: SVM and k-NN serve research only. "
            "Expected LogisticRegression, which becomes a linear layer of the head."
        )
    if 2 * len(model.coef_) != model.n_features_in_:
        raise ArgumentError(
            f"the fusion of {model.n_features_in_} posteriors knows {len(model.coef_)} labels; expected half as many. "
            "Train it on clips of every label."
        )
    return model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
