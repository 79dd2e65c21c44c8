"""Training steps over a range of sizes: a step's time against batch, length, width and depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import networks
from workloads.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SERIES", "Series", "row"]


@dataclass(frozen=True)
class Series:
    """One size that grows.

    Attributes:
        title: What is measured.
        axis: What grows.
        sizes: The points.
        make: A size to its workload.
    """

    title: str
    axis: str
    sizes: tuple[int, ...]
    make: Callable[[int], Training]


def _rows(batch: int) -> Callable[[np.random.Generator], Any]:
    return lambda rng: (rng.standard_normal((batch, 256), np.float32), rng.integers(0, 10, batch))


def _text(batch: int, length: int) -> Callable[[np.random.Generator], Any]:
    def draw(rng: np.random.Generator) -> Any:
        text = rng.integers(0, 256, (batch, length + 1))
        return text[:, :-1].copy(), text[:, 1:].reshape(-1).copy()

    return draw


def _batch(size: int) -> Training:
    return Training(
        f"batch={size}", f"MLP 256-512-512-10, batch {size}, AdamW",
        lambda lib: networks.mlp(lib, (256, 512, 512, 10)), _rows(size),
    )  # fmt: skip


def _width(size: int) -> Training:
    return Training(
        f"width={size}", f"MLP 256-{size}-{size}-10, batch 64, AdamW",
        lambda lib: networks.mlp(lib, (256, size, size, 10)), _rows(64),
    )  # fmt: skip


def _length(size: int) -> Training:
    return Training(
        f"length={size}", f"GPT 2 x 128, context {size}, batch 2, AdamW",
        lambda lib: networks.gpt(lib, 2, 128, 4, size, 256), _text(2, size),
    )  # fmt: skip


def _depth(size: int) -> Training:
    return Training(
        f"depth={size}", f"GPT {size} x 64, context 32, batch 4, AdamW",
        lambda lib: networks.gpt(lib, size, 64, 4, 32, 256), _text(4, 32),
    )  # fmt: skip


SERIES = {
    "batch": Series("MLP 256-512-512-10, AdamW", "batch", (1, 4, 16, 64, 128, 256, 512), _batch),
    "length": Series("GPT 2 x 128, batch 2, AdamW", "sequence length",
                     (32, 64, 128, 256, 512, 1024), _length),
    "width": Series("MLP 256-width-width-10, batch 64, AdamW", "width",
                    (32, 64, 128, 256, 512, 1024, 2048), _width),
    "depth": Series("GPT of width 64, context 32, batch 4, AdamW", "layers",
                    (1, 2, 4, 8, 16), _depth),
}  # fmt: skip


def row(name: str) -> Training:
    """Return the workload named `batch=64` or the like."""
    series, size = name.split("=")
    return SERIES[series].make(int(size))
