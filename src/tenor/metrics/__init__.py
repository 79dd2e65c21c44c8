"""Metrics: how good predictions are, counted batch by batch.

In:     predictions and targets, tensors or arrays, one batch after another.
Out:    one number (or one a class) for all batches since the last reset.
Never:  looks at a value before it is asked to; counting joins the trace it is recorded in.
"""

from tenor.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    TopKAccuracy,
)
from tenor.metrics.confusion import F1, ConfusionMatrix, Precision, Recall
from tenor.metrics.curve import AUC
from tenor.metrics.metric import Mean, MeanOf, Metric
from tenor.metrics.naming import NAMES, get
from tenor.metrics.regression import (
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)

__all__ = [
    "AUC",
    "F1",
    "NAMES",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "ConfusionMatrix",
    "Mean",
    "MeanAbsoluteError",
    "MeanOf",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "TopKAccuracy",
    "get",
]
