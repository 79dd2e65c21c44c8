"""T1 to T9: whole training steps (forward, backward, optimizer); S1 and S2 are smaller ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads import networks

if TYPE_CHECKING:
    from collections.abc import Callable

    Arrays = tuple[np.ndarray, ...]

__all__ = ["TRAINING", "Training"]


@dataclass(frozen=True)
class Training:
    """One training workload.

    Attributes:
        name, title: Its row and what stands beside it.
        network: Library to module.
        data: Generator to the arrays of one batch; the last are the labels.
        optimizer: The optimizer's name and its arguments.
    """

    name: str
    title: str
    network: Callable[[Any], Any]
    data: Callable[[np.random.Generator], Arrays]
    optimizer: tuple[str, dict[str, float]] = field(default=("AdamW", {"lr": 1e-3}))


def _images(batch: int, channels: int, size: int, classes: int = 10) -> Callable[..., Arrays]:
    def draw(rng: np.random.Generator) -> Arrays:
        x = rng.standard_normal((batch, channels, size, size), np.float32)
        return x, rng.integers(0, classes, batch)

    return draw


def _rows(batch: int, features: int) -> Callable[..., Arrays]:
    def draw(rng: np.random.Generator) -> Arrays:
        x = rng.standard_normal((batch, features), np.float32)
        return x, rng.integers(0, 10, batch)

    return draw


def _tokens(batch: int, length: int, vocabulary: int) -> Callable[..., Arrays]:
    def draw(rng: np.random.Generator) -> Arrays:
        text = rng.integers(0, vocabulary, (batch, length + 1))
        return text[:, :-1].copy(), text[:, 1:].reshape(-1).copy()

    return draw


def _series(rng: np.random.Generator) -> Arrays:
    return rng.standard_normal((32, 64, 128), np.float32), rng.integers(0, 10, 32)


def _table(rng: np.random.Generator) -> Arrays:
    codes = np.stack([rng.integers(0, rows, 1024) for rows in networks.FIELDS], 1)
    return codes, rng.standard_normal((1024, 20), np.float32), rng.integers(0, 2, 1024)


def _masks(rng: np.random.Generator) -> Arrays:
    x = rng.standard_normal((8, 3, 64, 64), np.float32)
    return x, rng.integers(0, 2, (8, 64, 64))


def _sound(rng: np.random.Generator) -> Arrays:
    return rng.standard_normal((8, 1, 16_000), np.float32), rng.integers(0, 10, 8)


def _tiny(lib: Any) -> Any:
    return networks.gpt(lib, width=8, heads=2, context=4, vocabulary=16)


def _small(lib: Any) -> Any:
    return networks.mlp(lib, (784, 128, 10))


MOMENTUM = ("SGD", {"lr": 0.01, "momentum": 0.9})
ADAM = ("Adam", {"lr": 1e-3})
TRAINING = {
    row.name: row
    for row in (
        Training("T1", "MLP 784-512-512-10, batch 128, AdamW", networks.mlp, _rows(128, 784)),
        Training("T2", "CNN 28x28, batch 64, SGD momentum", networks.cnn,
                 _images(64, 1, 28), MOMENTUM),
        Training("T3", "ResNet-18 32x32, batch 32, SGD momentum", networks.resnet18_small,
                 _images(32, 3, 32), MOMENTUM),
        Training("T4", "GPT 4 x 256, context 128, batch 8, AdamW", networks.gpt,
                 _tokens(8, 128, 1_024)),
        Training("T5", "LSTM 2 x 256, length 64, batch 32, Adam", networks.lstm, _series, ADAM),
        Training("T6", "tabular, 12 embeddings, batch 1,024, Adam", networks.tabular, _table, ADAM),
        Training("T7", "U-Net 64x64, batch 8, Adam", networks.unet, _masks, ADAM),
        Training("T8", "1-D convolutions, 16,000 samples, batch 8, AdamW", networks.waves, _sound),
        Training("T9", "transformer 4 x 8, length 4, batch 1, AdamW", _tiny, _tokens(1, 4, 16)),
        Training("S1", "MLP 784-128-10, batch 32, SGD", _small, _rows(32, 784),
                 ("SGD", {"lr": 0.01})),
        Training("S2", "CNN with batch norm 28x28, batch 32, Adam", networks.normed,
                 _images(32, 1, 28), ADAM),
    )
}  # fmt: skip
