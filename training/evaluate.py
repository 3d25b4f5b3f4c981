"""Figures of merit of predictions: accuracy, unweighted average recall, calibration error."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
TEMPERATURES = 0.3 * (5 / 0.3) ** (np.arange(400) / 199)
"""From 0.3 to 84, among which the best is chosen."""

Probs = dict[str, npt.NDArray[np.float32]]
"""Probabilities [shape=(n, labels)] by output name."""


def confusion_matrix(labels: Ints, predictions: Ints, classes: int) -> npt.NDArray[np.int64]:
    """Counts [shape=(classes, classes)], rows true, columns predicted."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def figures_of_merit(probs: Floats, labels: Ints) -> dict[str, float]:
    """Of predictions [shape=(n, classes)]: "accuracy", "uar" over the classes present, "ece"; all 0..1."""
    matrix = confusion_matrix(labels, probs.argmax(1), probs.shape[1])
    present = matrix.sum(1) > 0
    recalls = matrix.diagonal()[present] / matrix.sum(1)[present]
    return {
        "accuracy": float(matrix.trace() / matrix.sum()),
        "uar": float(recalls.mean()),
        "ece": expected_calibration_error(probs, labels),
    }


def expected_calibration_error(probs: Floats, labels: Ints, bins: int = 10) -> float:
    """Mean |confidence - accuracy| over `bins` bins of equal mass (Nguyen & O'Connor 2015), 0..1."""
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    _, ties = np.unique(confidence, return_inverse=True)
    correct = (np.bincount(ties, correct) / np.bincount(ties))[ties]  # whatever their order among equals
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(bin_) * abs(confidence[bin_].mean() - correct[bin_].mean())
        for bin_ in np.array_split(order, bins)
        if len(bin_)
    ]
    return float(sum(gaps) / len(labels))


def fit_temperature(probs: Floats, labels: Ints) -> float:
    """Temperature that minimises the cross-entropy of `probs` [shape=(n, classes)] (Guo et al. 2017)."""
    rows = np.arange(len(labels))

    def cross_entropy(temperature: float) -> float:
        return float(-np.log(temper(probs, temperature)[rows, labels] + 1e-12).mean())

    return float(min(TEMPERATURES, key=cross_entropy))


def temper(probs: Floats, temperature: float) -> Floats:
    """softmax(log(probs) / temperature) over the last axis."""
    powers = np.power(probs, 1 / temperature)
    return powers / powers.sum(-1, keepdims=True)
