"""What was seen of a value over many batches: its least, its greatest, and how they spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["BINS", "Histogram", "Observed"]

BINS: Final = 2048
PIECE: Final = 1 << 18
"""Values counted at a time, so that what is made on the way stays in the caches."""
LEAST: Final = -126
"""Two to this is the narrowest bin: float32's least normal number."""


class Histogram:
    """Counts in 2,048 bins, which grow wider as the range does; memory does not grow.

    A bin's width is a power of two and bin i holds [i width, (i + 1) width), so two bins become one
    exactly, and what is counted depends on the values alone: not on their order or the batches.

    Attributes:
        width: Of a bin; 0.0 before the first value.
        first: The number i of the first bin.
        counts: How many values each bin holds.
    """

    def __init__(self) -> None:
        self.width = 0.0
        self.first = 0
        self.counts: Array = np.zeros(BINS, np.int64)

    def add(self, values: Array, low: float, high: float) -> None:
        """Count finite values, of which the least and the greatest are told."""
        if self.width:
            used = np.flatnonzero(self.counts)
            low = min(low, (self.first + int(used[0])) * self.width)
            high = max(high, (self.first + int(used[-1])) * self.width)
        width = max(self.width, _width(low, high))
        while math.floor(high / width) - math.floor(low / width) >= BINS:
            width *= 2.0
        self._widen(width, math.floor(low / width))
        flat = values.reshape(-1)
        for begin in range(0, len(flat), PIECE):
            scaled = flat[begin : begin + PIECE].astype(np.float64) * (1.0 / width)
            at = np.floor(scaled).astype(np.int64) - self.first
            self.counts += np.bincount(at, minlength=BINS)

    def _widen(self, width: float, first: int) -> None:
        """Make the bins so wide and begin with that one."""
        used = np.flatnonzero(self.counts)
        counts, self.counts = self.counts[used], np.zeros(BINS, np.int64)
        if len(used):
            ratio = round(width / self.width)
            np.add.at(self.counts, (self.first + used) // ratio - first, counts)
        self.width, self.first = width, first

    @property
    def edges(self) -> Array:
        """The bins' 2,049 edges."""
        return np.arange(self.first, self.first + BINS + 1) * self.width


class Observed:
    """The range of a value, and its histogram where one is wanted.

    Attributes:
        low: The least finite element; 0.0 before the first.
        high: The greatest.
        count: How many elements there were.
        nans: How many were NaN.
        infinities: How many were infinite.
        histogram: How the finite ones spread; None where nobody asks.
    """

    def __init__(self, histogram: bool = False) -> None:
        self.low = self.high = 0.0
        self.count = self.nans = self.infinities = 0
        self.histogram = Histogram() if histogram else None

    def add(self, values: Array) -> None:
        """Look at a batch."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            self.nans += int(np.isnan(values).sum())
            self.infinities += int(np.isinf(values).sum())
            values = values[np.isfinite(values)]
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        seen = self.count > 0
        self.low = min(self.low, low) if seen else low
        self.high = max(self.high, high) if seen else high
        self.count += values.size
        if self.histogram is not None:
            self.histogram.add(values, low, high)


def _width(low: float, high: float) -> float:
    """Return the power of two that about 2,048 bins from low to high are wide."""
    span = max(high - low, abs(low), abs(high)) / (BINS - 1)
    return float(2.0 ** max(LEAST, math.ceil(math.log2(span)) if span else LEAST))
