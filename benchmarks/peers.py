"""Timing two libraries in turns, so that both meet the same machine at the same moment."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Comparison", "compare", "machine"]


@dataclass(frozen=True)
class Comparison:
    """Seconds a call of each, and how many times faster the first is.

    Attributes:
        ours, theirs: Medians.
        ratio: The median of theirs / ours over the rounds.
        low, high: Its 10th and 90th percentile.
    """

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 41, budget: float = 6
) -> Comparison:
    """Run both in turns for at most `budget` seconds; each sample is at least 2 ms of calls."""
    for _ in range(3):
        ours()
        theirs()
    counts = [max(1, int(0.002 / max(_once(f, 3), 1e-7))) for f in (ours, theirs)]
    samples: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget
        for i in range(rounds):
            if time.perf_counter() > end and i >= 5:
                break
            # Who goes first changes from round to round.
            if i % 2:
                b, a = _once(theirs, counts[1]), _once(ours, counts[0])
            else:
                a, b = _once(ours, counts[0]), _once(theirs, counts[1])
            samples.append((a, b))
    finally:
        gc.enable()
    ratios = sorted(b / a for a, b in samples)
    at = len(ratios) - 1
    return Comparison(
        statistics.median(a for a, _ in samples),
        statistics.median(b for _, b in samples),
        statistics.median(ratios),
        ratios[round(0.1 * at)],
        ratios[round(0.9 * at)],
    )


def _once(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def machine() -> str:
    """Return the processor's name, its count and the system."""
    import os
    from pathlib import Path

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1] for line in info.read_text().splitlines() if "model name" in line
        ]
        name = names[0].strip() if names else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
