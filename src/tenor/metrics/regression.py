"""Errors of predicted numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.ir import dtype as dt
from tenor.metrics.accuracy import same_shape
from tenor.metrics.metric import Mean, Metric, as_tensor, ratio, weighted
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["MeanAbsoluteError", "MeanSquaredError", "R2Score", "RootMeanSquaredError"]


class MeanSquaredError(Mean):
    """mean (pred - target)^2."""

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each squared error."""
        preds, target = same_shape(self.name, preds, target)
        return (preds - target) ** 2


class RootMeanSquaredError(MeanSquaredError):
    """sqrt(mean (pred - target)^2)."""

    def compute(self) -> Tensor:
        """Return the root of the mean squared error."""
        return super().compute().sqrt()


class MeanAbsoluteError(Mean):
    """mean |pred - target|."""

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each absolute error."""
        preds, target = same_shape(self.name, preds, target)
        return (preds - target).abs()


class R2Score(Metric):
    """1 - sum (pred - target)^2 / sum (target - mean target)^2: the share of variance explained.

    Args:
        name: What it is called in logs; r2 by default.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or "r2")
        self.error, self.total = self.count(), self.count()
        self.squares, self.weight = self.count(), self.count()

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count one more batch."""
        with no_grad():
            preds, target = same_shape(self.name, as_tensor(preds), as_tensor(target))
            preds, target = preds.to(dt.float64), target.to(dt.float64)
            self.error.add_(weighted((preds - target) ** 2, sample_weight)[0])
            total, weight = weighted(target, sample_weight)
            self.total.add_(total)
            self.squares.add_(weighted(target * target, sample_weight)[0])
            self.weight.add_(weight)

    def compute(self) -> Tensor:
        """Return the score; 1 is perfect, 0 as good as the mean."""
        spread = self.squares - ratio(self.total * self.total, self.weight)
        return 1.0 - ratio(self.error, spread)
