"""Metrics by name, as `Model.compile(metrics=["accuracy"])` takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError
from tenor.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    TopKAccuracy,
)
from tenor.metrics.confusion import F1, Precision, Recall
from tenor.metrics.curve import AUC
from tenor.metrics.metric import MeanOf, Metric
from tenor.metrics.regression import (
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAMES", "get"]

NAMES: Final[dict[str, Callable[..., Metric]]] = {
    "accuracy": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "auc": AUC,
    "mean_squared_error": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "r2": R2Score,
}
"""The metrics by name."""

SHORT: Final = {
    "acc": "accuracy",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "r2_score": "r2",
    "f1_score": "f1",
}
"""Shorter names; a metric is logged under the name it was asked for by."""

ON_LOGITS: Final = frozenset(
    ("accuracy", "binary_accuracy", "precision", "recall", "f1", "auc"),
)
"""Which metrics ask whether scores are logits."""


def get(metric: Any, *, from_logits: bool = False) -> Metric:
    """Return a metric by name, as it is, or as the mean of a function.

    Args:
        metric: A name of `NAMES` (or top_3_accuracy and the like), a Metric, a Metric class, or a
            function of predictions and targets.
        from_logits: Whether single scores are logits rather than probabilities.

    Raises:
        ArgumentError: there is no such metric.

    Example:
        >>> import tenor as tn
        >>> tn.metrics.get("mae")
        MeanAbsoluteError(name='mae')
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type) and issubclass(metric, Metric):
        return metric()
    if callable(metric):
        return MeanOf(metric)
    name = str(metric)
    top = re.fullmatch(r"top_(\d+)_accuracy", name)
    if top:
        return TopKAccuracy(int(top[1]))
    full = SHORT.get(name, name)
    if full not in NAMES:
        raise ArgumentError(
            f"metrics: a metric is one of {', '.join(NAMES)}.",
            came=repr(metric),
            fix="pass a Metric, or a function of predictions and targets",
        )
    options: dict[str, Any] = {"from_logits": True} if from_logits and full in ON_LOGITS else {}
    return NAMES[full](name=name, **options)
