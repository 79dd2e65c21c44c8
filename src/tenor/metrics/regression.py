"""Errors of predicted numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.errors import ShapeError
from tenor.ir import dtype as dt
from tenor.metrics.accuracy import same_shape
from tenor.metrics.metric import Mean, Metric, as_tensor, ratio
from tenor.tensor import ones, where
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

    Of targets (batch, outputs) it is the mean of the outputs' scores.

    Args:
        name: What it is called in logs; r2 by default.
    """

    error: Tensor
    total: Tensor
    squares: Tensor
    weight: Tensor

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or "r2")
        self._anew = True

    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count one more batch; the first tells how many outputs there are."""
        with no_grad():
            preds, target = same_shape(self.name, as_tensor(preds), as_tensor(target))
            rows = target.shape_tuple[0] if target.ndim else 1
            columns = math.prod(target.shape_tuple[1:])
            preds, target = (x.to(dt.float64).reshape(rows, columns) for x in (preds, target))
            if self._anew and (not self._counts or self.error.shape_tuple != (columns,)):
                # Of the same width they are kept: a compiled update goes on adding to them.
                self._counts.clear()
                self.error, self.total, self.squares = (self.count(columns) for _ in range(3))
                self.weight = self.count()
            self._anew = False
            weight = weights_of(rows, sample_weight)
            column = weight.unsqueeze(1)
            self.error.add_(((preds - target) ** 2 * column).sum(0))
            self.total.add_((target * column).sum(0))
            self.squares.add_((target * target * column).sum(0))
            self.weight.add_(weight.sum())

    def reset(self) -> None:
        """Forget all batches, and how many outputs there are."""
        super().reset()
        self._anew = True

    def compute(self) -> Tensor:
        """Return the score; 1 is perfect, 0 as good as the mean, and what there is at first."""
        if not self._counts:
            return as_tensor(0.0)
        spread = self.squares - ratio(self.total * self.total, self.weight)
        score = (1.0 - ratio(self.error, spread)).mean()
        return where(self.weight != 0, score, 0.0)  # type: ignore[no-any-return]


def weights_of(rows: int, sample_weight: Any) -> Tensor:
    """Return one weight for each sample, in float64.

    Raises:
        ShapeError: there are more or fewer.
    """
    if sample_weight is None:
        return ones(rows, dtype=dt.float64)
    w = as_tensor(sample_weight).to(dt.float64)
    if w.shape_tuple != (rows,):
        raise ShapeError(
            "metric: there must be one weight for each sample.",
            came=[f"weights {w.shape_tuple}", f"samples {rows}"],
            fix="pass weights of shape (batch,)",
        )
    return w
