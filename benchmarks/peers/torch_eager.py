"""PyTorch as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from workloads.inference import Inference
from workloads.training import Training

from peers import torch_names

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from peers import Session

__all__ = ["force", "session"]


def force(found: Any) -> np.ndarray:
    """Return the first, or only, result; PyTorch has computed it by now."""
    first = found[0] if isinstance(found, (tuple, list)) else found
    return first.detach().numpy()  # type: ignore[no-any-return]


def session(row: Any, threads: int, folder: Path) -> Session:  # noqa: ARG001
    """Return the work of a row."""
    torch.set_num_threads(threads)
    if isinstance(row, Training):
        return torch_names.training(torch, row)
    if isinstance(row, Inference):
        return torch_names.answering(torch, row, force)
    return torch_names.kernel(torch, row)
