"""Dropout: noise that training sees and evaluation does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.errors import ArgumentError
from tenor.nn import functional
from tenor.nn.module import Module

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = ["Dropout", "Dropout1d", "Dropout2d"]


class Dropout(Module):
    """Zero elements with probability p in training and scale the rest by 1 / (1 - p).

    Args:
        p: The probability, in [0, 1].
        inplace: Whether the result is written into the input.

    Raises:
        ArgumentError: p is no probability.

    Example:
        >>> import tenor as tn
        >>> tn.nn.Dropout(0.5).eval()(tn.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(
                f"{type(self).__name__}: p must lie in [0, 1].",
                came=f"{p}",
                fix="give a probability",
            )
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return x with elements dropped in training, x itself in evaluation."""
        return functional.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Zero whole channels of (N, C, L) with probability p in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Return x with channels dropped in training."""
        return functional.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(Dropout):
    """Zero whole channels of (N, C, H, W) with probability p in training."""

    def forward(self, input: Tensor) -> Tensor:
        """Return x with channels dropped in training."""
        return functional.dropout2d(input, self.p, self.training, self.inplace)
