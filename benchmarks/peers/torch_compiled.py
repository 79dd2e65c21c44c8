"""PyTorch through torch.compile (inductor): the loss of a batch, and the optimizer's step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from workloads.inference import Inference
from workloads.training import Training

from peers import torch_names
from peers.torch_eager import force

if TYPE_CHECKING:
    from pathlib import Path

    from peers import Session

__all__ = ["session"]


def session(row: Any, threads: int, folder: Path) -> Session | None:  # noqa: ARG001
    """Return the work of a row; None for a kernel alone, which eager runs as well."""
    torch.set_num_threads(threads)
    if isinstance(row, Training):
        return torch_names.training(torch, row, torch.compile)
    if isinstance(row, Inference):
        return torch_names.answering(torch, row, force, torch.compile)
    return None
