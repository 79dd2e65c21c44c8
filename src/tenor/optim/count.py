"""How many steps parameters have taken, and the numbers of a step that depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenor.engine.pin import pinned
from tenor.engine.trace import emit_scalar

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.tensor import Tensor

__all__ = ["StepCount", "StepNumber", "StepNumbers"]


class StepCount:
    """A number of steps that several parameters share, readable as a number.

    Args:
        value: Steps taken.
        holders: How many parameters share it.
    """

    __slots__ = ("holders", "value")

    def __init__(self, value: int = 0, holders: int = 0) -> None:
        self.value = value
        self.holders = holders

    def item(self) -> int:
        """Return the number of steps."""
        return self.value

    __int__ = __index__ = item

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        return f"StepCount({self.value})"


class StepNumbers:
    """The run-time numbers of one step for parameters with the same options and count.

    They are slots of the program, not constants: a plan that is replayed asks for them again, and
    the first to be asked for counts the step.

    Args:
        function: Gives the numbers of step t (from 1) of a group of parameters.
        group: The group and its options.
        count: The steps taken.
        counts: Whether these numbers count the step; one per count does.
    """

    def __init__(
        self,
        function: Callable[[dict[str, Any], int], tuple[float, ...]],
        group: dict[str, Any],
        count: StepCount,
        counts: bool,
    ) -> None:
        self.function = function
        self.group = group
        self.count = count
        self.counts = counts
        self.values = self._next()

    def _next(self) -> tuple[float, ...]:
        if self.counts:
            self.count.value += 1
        return self.function(self.group, self.count.value)

    def again(self) -> None:
        """Work out the numbers of the next step."""
        self.values = self._next()

    def emit(self, dtype: DType) -> list[Tensor]:
        """Record the numbers as slots of shape ()."""
        if not pinned():
            return [emit_scalar(value, dtype) for value in self.values]
        return [
            emit_scalar(value, dtype, StepNumber(self, at)) for at, value in enumerate(self.values)
        ]


@dataclass(frozen=True)
class StepNumber:
    """One of a step's numbers, asked for at each run of a compiled step, in order.

    Attributes:
        numbers: All of them; the first to be asked for begins the step.
        at: Which it is.
    """

    numbers: StepNumbers
    at: int

    def __call__(self) -> float:
        """Return the number of the step that is run."""
        if self.at == 0:
            self.numbers.again()
        return self.numbers.values[self.at]
