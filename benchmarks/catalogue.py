"""Every row by its name."""

from __future__ import annotations

from typing import Any

from workloads import growing
from workloads.inference import INFERENCE, Inference
from workloads.kernels import KERNELS
from workloads.layers import LAYERS
from workloads.training import TRAINING, Training

__all__ = ["ROWS", "kind", "matching", "row"]

ROWS: dict[str, Any] = {
    **TRAINING, **INFERENCE, **{k.name: k for k in (*KERNELS.values(), *LAYERS)}
}  # fmt: skip


def row(name: str) -> Any:
    """Return a workload by name; `batch=64` is a point of a growing one."""
    return growing.row(name) if "=" in name else ROWS[name]


def kind(name: str) -> str:
    """Return `training`, `inference` or `kernel`."""
    found = row(name)
    if isinstance(found, Training):
        return "training"
    return "inference" if isinstance(found, Inference) else "kernel"


def matching(words: list[str]) -> list[str]:
    """Return the rows whose name begins with one of the words, in order; K is every kernel."""
    kernels = "K" in words
    return [
        n for n in ROWS if any(n.startswith(w) for w in words) or (kernels and kind(n) == "kernel")
    ]
