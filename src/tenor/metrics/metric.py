"""Metric: counts kept as tensors, added to batch by batch; and the mean, the simplest of them."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.trace import local
from tenor.errors import ShapeError
from tenor.ir import dtype as dt
from tenor.runtime import allocator
from tenor.tensor import where
from tenor.tensor.conversion import adopt, from_array
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.tensor import Tensor

__all__ = ["Mean", "MeanOf", "Metric", "as_tensor", "ratio", "weighted"]


class Metric:
    """Base of the metrics.

    A subclass makes its counts with `count` when it is constructed, and adds to them in place in
    `update`. Nothing is computed until `compute()`'s result is looked at, so a metric joins the
    plan of the step it is recorded in.

    Args:
        name: What it is called in logs; the class's name by default.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        self._counts: list[Tensor] = []

    def count(self, *shape: int, dtype: DType = dt.float64) -> Tensor:
        """Return a new count of a shape that `reset` sets to 0."""
        # The metric's own, also where a function is being compiled.
        made = adopt(allocator.copy_of(np.zeros(shape, dtype.numpy)), shape, dtype)
        self._counts.append(made)
        return made

    @abstractmethod
    def update(self, preds: Any, target: Any, sample_weight: Any = None) -> None:
        """Count one more batch.

        Args:
            preds: What the model said.
            target: What is so.
            sample_weight: How much each sample counts, shape (batch,); 1 by default.
        """
        raise TypeError(f"{type(self).__name__} must say how it counts")

    def compute(self) -> Tensor:
        """Return the metric over all batches since the last reset."""
        raise TypeError(f"{type(self).__name__} must say what it computes")

    def reset(self) -> None:
        """Forget all batches."""
        with no_grad():
            for count in self._counts:
                count.zero_()
        # At once: the first batch after a reset is then recorded as every other.
        local.flush()

    def __call__(self, preds: Any, target: Any, sample_weight: Any = None) -> Tensor:
        """Count one more batch, and return the metric over all of them."""
        self.update(preds, target, sample_weight)
        return self.compute()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


def as_tensor(value: Any) -> Tensor:
    """Return a tensor without gradient; arrays and numbers are copied."""
    if isinstance(value, Handle):
        return value.detach()  # type: ignore[attr-defined, no-any-return]
    return from_array(np.asarray(value))


def ratio(total: Tensor, weight: Tensor) -> Tensor:
    """Return total / weight, and 0 where the weight is 0."""
    some = weight != 0
    return where(some, total / where(some, weight, 1), 0.0)  # type: ignore[no-any-return]


def weighted(values: Tensor, sample_weight: Any) -> tuple[Tensor, Tensor | float]:
    """Return the sum of values and how much they weigh, in float64.

    Args:
        values: Shape (batch, ...), or () for a batch as a whole.
        sample_weight: Shape (batch,) or that of the values; None weighs each value 1.

    Raises:
        ShapeError: there is not one weight for each sample.
    """
    values = values.detach().to(dt.float64)
    if sample_weight is None:
        return values.sum(), float(values.numel())
    w = as_tensor(sample_weight).to(dt.float64)
    if w.shape != values.shape[: w.ndim]:
        raise ShapeError(
            "metric: there must be one weight for each sample.",
            came=[f"weights {tuple(w.shape)}", f"values {tuple(values.shape)}"],
            fix="pass weights of shape (batch,)",
        )
    w = w.reshape(*w.shape, *[1] * (values.ndim - w.ndim)).expand(values.shape_tuple)
    return (values * w).sum(), w.sum()


class Mean(Metric):
    """The mean of all values: sum_i w_i v_i / sum_i w_i.

    Args:
        name: What it is called in logs.

    Example:
        >>> import tenor as tn
        >>> mean = tn.metrics.Mean()
        >>> mean.update(tn.tensor([1.0, 2.0]))
        >>> mean.update(6.0)
        >>> mean.compute().item()
        3.0
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.total = self.count()
        self.weight = self.count()

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the values to take the mean of, one a sample."""
        del target
        return preds

    def update(self, preds: Any, target: Any = None, sample_weight: Any = None) -> None:
        """Count more values; a plain `Mean` takes the values themselves."""
        with no_grad():
            preds = as_tensor(preds)
            values = self.values(preds, preds if target is None else as_tensor(target))
            total, weight = weighted(values, sample_weight)
            self.total.add_(total)
            self.weight.add_(weight)

    def compute(self) -> Tensor:
        """Return the mean; 0 before the first value."""
        return ratio(self.total, self.weight)


class MeanOf(Mean):
    """The mean of a function of predictions and targets.

    Args:
        function: Takes predictions and targets, returns a value for each sample or for the batch.
        name: What it is called in logs; the function's name by default.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", type(function).__name__))
        self.function = function

    def values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the function's values."""
        return as_tensor(self.function(preds, target))

    def update(self, preds: Any, target: Any = None, sample_weight: Any = None) -> None:
        """Count one more batch; a value for the whole batch counts as often as it has samples."""
        with no_grad():
            preds = as_tensor(preds)
            values = self.values(preds, as_tensor(target))
            if values.ndim == 0 and preds.ndim and sample_weight is None:
                values = values.expand(preds.shape_tuple[:1])
            total, weight = weighted(values, sample_weight if values.ndim else None)
            self.total.add_(total)
            self.weight.add_(weight)
