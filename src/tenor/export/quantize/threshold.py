"""Which range of a value is kept, where its rarest elements may be clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tenor.export.quantize.observed import Histogram, Observed

    Array = NDArray[Any]

__all__ = ["METHODS", "entropy_range", "kept_range", "percentile_range"]

LEVELS: Final = 255
"""Steps between the least and the greatest of eight bits."""
TRIED: Final = 128
"""Thresholds that are tried."""
LITTLE: Final = 1e-4
"""What a bin that holds nothing counts as, so that no logarithm is of 0."""


def kept_range(observed: Observed, method: str, percentile: float) -> tuple[float, float]:
    """Return (low, high) as a method chooses them.

    Raises:
        ArgumentError: An unknown method, or a percentile outside (50, 100].
    """
    check(method, percentile)
    if not observed.count or observed.low == observed.high:
        return observed.low, observed.high
    return METHODS[method](observed, percentile)


def check(method: str, percentile: float) -> None:
    """Refuse an unknown method, or a percentile outside (50, 100]."""
    if method not in METHODS:
        raise ArgumentError(
            f"calibrate: method is one of {', '.join(METHODS)}.",
            came=repr(method),
            fix="choose one of them",
        )
    if not 50.0 < percentile <= 100.0:
        raise ArgumentError(
            "calibrate: percentile lies above 50 and at most at 100.",
            came=repr(percentile),
            fix="99.99 keeps all but one element in 10,000 at each end",
        )


def whole_range(observed: Observed, _percentile: float) -> tuple[float, float]:
    """Return the least and the greatest element."""
    return observed.low, observed.high


def percentile_range(observed: Observed, percentile: float) -> tuple[float, float]:
    """Return the range without the rarest elements: (100 - percentile) % of them at each end."""
    histogram = _histogram(observed)
    total = np.cumsum(histogram.counts)
    out = observed.count * (1.0 - percentile / 100.0)
    first = int(np.searchsorted(total, out, side="right"))
    last = int(np.searchsorted(total, observed.count - out, side="left"))
    edges = histogram.edges
    return max(observed.low, float(edges[first])), min(observed.high, float(edges[last + 1]))


def entropy_range(observed: Observed, _percentile: float = 100.0) -> tuple[float, float]:
    """Return the range [-t, t], cut to what was seen, that loses the least information.

    P is the histogram with everything beyond t counted at the ends, Q the one inside t with 256
    levels in place of its bins; t has the least Kullback-Leibler divergence of Q from P. The bin
    that holds 0 counts as much as its neighbour: 0 is held exactly whatever the range.

    Source:
        S. Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017.
    """
    histogram = _histogram(observed)
    counts, edges = histogram.counts.astype(np.float64), histogram.edges
    zero = -histogram.first
    if 0 <= zero < len(counts):
        beside = np.delete(counts[max(0, zero - 1) : zero + 2], min(zero, 1))
        counts[zero] = min(counts[zero], beside.max(initial=0.0))
    largest = max(abs(observed.low), abs(observed.high))
    best, kept = np.inf, (observed.low, observed.high)
    for share in np.linspace(1.0, 0.0, TRIED, endpoint=False):
        threshold = largest * share
        low, high = max(observed.low, -threshold), min(observed.high, threshold)
        start = int(np.searchsorted(edges, low, side="right")) - 1
        stop = int(np.searchsorted(edges, high, side="left"))
        if low >= high or stop - start <= LEVELS:
            continue
        found = _divergence(counts, max(start, 0), min(stop, len(counts)))
        if found < best:
            best, kept = found, (low, high)
    return kept


def _divergence(counts: Array, start: int, stop: int) -> float:
    """Return the divergence of 256 levels from bins, those outside [start, stop) at the ends."""
    inside = counts[start:stop]
    whole = inside.copy()
    whole[0] += counts[:start].sum()
    whole[-1] += counts[stop:].sum()
    level = np.arange(len(inside)) * (LEVELS + 1) // len(inside)
    sums = np.bincount(level, inside)
    filled = np.bincount(level, whole > 0)
    spread = np.where(whole > 0, (sums / np.maximum(filled, 1))[level], 0.0)
    p, q = (np.maximum(x, LITTLE) / np.maximum(x, LITTLE).sum() for x in (whole, spread))
    return float(np.sum(p * np.log(p / q)))


def _histogram(observed: Observed) -> Histogram:
    assert observed.histogram is not None, "the value was observed without its histogram"
    return observed.histogram


METHODS: Final[dict[str, Callable[[Observed, float], tuple[float, float]]]] = {
    "minmax": whole_range, "percentile": percentile_range, "entropy": entropy_range,
}  # fmt: skip
