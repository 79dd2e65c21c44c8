"""The one record of an eight-bit model, which every exporter reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["Quantization", "Scheme"]


@dataclass(frozen=True)
class Scheme:
    """How real numbers are held: real = scale * (stored - zero_point), stored an int8.

    Attributes:
        scale: float32, one number, or one for each index of `axis`.
        zero_point: int32, of the same shape. Weights have 0 everywhere.
        axis: The dim whose indices have scales of their own; None: all share one.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    axis: int | None = None

    def stored(self, real: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return real numbers as they are held: rounded to nearest even, clipped to [-128, 127]."""
        scale, zero = self._along(real.ndim)
        rounded: NDArray[np.float64] = np.rint(real / scale) + zero
        return np.clip(rounded, -128, 127).astype(np.int8)

    def real(self, stored: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return what held numbers stand for."""
        scale, zero = self._along(stored.ndim)
        return ((stored.astype(np.int32) - zero) * scale).astype(np.float32)

    def _along(self, rank: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        if self.axis is None:
            return self.scale.reshape(()), self.zero_point.reshape(())
        shape = tuple(-1 if d == self.axis else 1 for d in range(rank))
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


@dataclass(frozen=True)
class Quantization:
    """A folded source, and the scheme of every value that is held in eight bits.

    Weights of convolutions and products: symmetric (zero point 0, stored in [-127, 127]), one
    scale an output channel. Activations: one scale and zero point a value; 0.0 is always held
    exactly. What has no scheme stays float32. Biases are int32 of scale input * weight where a
    format wants them so.

    Attributes:
        source: What is quantised; its graph's nodes are the keys.
        schemes: The scheme of a node: of an activation, or of a weight's leaf.
        method: How the ranges were found: "minmax", "percentile" or "entropy".
    """

    source: Source
    schemes: dict[Node, Scheme] = field(default_factory=dict)
    method: str = "minmax"
