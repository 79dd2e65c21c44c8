"""Tenor: plain Python, no decorator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import counting
from workloads.inference import Inference
from workloads.training import Training

import tenor as tn
from peers import torch_names

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from peers import Session

__all__ = ["session"]


def force(found: Any) -> np.ndarray:
    """Have everything pending computed, in one program; return the first, or only, result."""
    first = found[0] if isinstance(found, (tuple, list)) else found
    return first.detach().numpy()  # type: ignore[no-any-return]


def session(row: Any, threads: int, folder: Path) -> Session:  # noqa: ARG001
    """Return the work of a row."""
    tn.set_num_threads(threads)
    counting.listen()
    if isinstance(row, Training):
        return torch_names.training(tn, row)
    if isinstance(row, Inference):
        return torch_names.answering(tn, row, force)
    return torch_names.kernel(tn, row)
