"""I1 to I6: answers of a trained model, no gradients, in eval mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import networks

if TYPE_CHECKING:
    from collections.abc import Callable

    Arrays = tuple[np.ndarray, ...]

__all__ = ["INFERENCE", "Inference"]


@dataclass(frozen=True)
class Inference:
    """One inference workload.

    Attributes:
        name, title: Its row and what stands beside it.
        network: Library to module.
        data: Generator to the arrays of one request.
        carried: How many of the last inputs are replaced by the last outputs, call by call: the
            caches of a decoder.
    """

    name: str
    title: str
    network: Callable[[Any], Any]
    data: Callable[[np.random.Generator], Arrays]
    carried: int = 0


def _normal(*shape: int) -> Callable[[np.random.Generator], Arrays]:
    return lambda rng: (rng.standard_normal(shape, np.float32),)


def _text(rng: np.random.Generator) -> Arrays:
    return (rng.integers(0, 8_192, (1, 128)),)


def _token(rng: np.random.Generator) -> Arrays:
    shape = 6, 1, 6, 256, 64
    cache = rng.standard_normal(shape, np.float32)
    return rng.integers(0, 1_024, (1, 1)), np.array([[200]]), cache, cache.copy()


INFERENCE = {
    row.name: row
    for row in (
        Inference("I1", "MLP 784-512-512-10, batch 1", networks.mlp, _normal(1, 784)),
        Inference("I2", "ResNet-50 224x224, batch 1", networks.resnet50, _normal(1, 3, 224, 224)),
        Inference("I3", "MobileNetV2 224x224, batch 1", networks.mobilenet_v2,
                  _normal(1, 3, 224, 224)),
        Inference("I4", "encoder 6 x 384, length 128, batch 1", networks.encoder, _text),
        Inference("I5", "GPT 6 x 384, one token, cache of 256", networks.decoder, _token, 2),
        Inference("I6", "ResNet-18 224x224, batch 16", networks.resnet18,
                  _normal(16, 3, 224, 224)),
    )
}  # fmt: skip
