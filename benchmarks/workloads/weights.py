"""The same first weights for every library: drawn by name and shape, no library's own."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["draw", "load", "read"]


def draw(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Return an array for each (name, shape): a matrix is uniform within 1/sqrt(inputs)."""
    return {name: _one(name, shape) for name, shape in shapes}


def _one(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if len(shape) < 2:
        ones = name.endswith(("weight", "running_var"))
        return np.full(shape, float(ones), np.float32)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    bound = 1 / np.sqrt(np.prod(shape[1:]))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def load(lib: Any, module: Any) -> None:
    """Fill a module of a library with PyTorch's names."""
    state = module.state_dict()
    drawn = draw((name, tuple(value.shape)) for name, value in state.items())
    module.load_state_dict({name: lib.tensor(value) for name, value in drawn.items()})


def read(path: Path) -> dict[str, np.ndarray]:
    """Return what an .npz holds."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
