"""The libraries compared. Each file says how one of them does a workload's work."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

__all__ = ["PEERS", "Session", "installed", "open_session"]

PEERS = {
    "tenor": ("peers.tenor_recorded", ("tenor",)),
    "torch": ("peers.torch_eager", ("torch",)),
    "torch.compile": ("peers.torch_compiled", ("torch",)),
    "jax": ("peers.jax_jitted", ("jax", "optax")),
    "onnxruntime": ("peers.onnx_session", ("onnxruntime", "onnx", "torch")),
}
"""Name: the module that speaks for it, and what must be installed."""


@dataclass
class Session:
    """A workload made ready on one library.

    Attributes:
        step: Do the work once, to its end.
        check: What the first steps gave: losses, or the answer's numbers; peers must agree.
        bytes_held: Bytes of the parameters, for the report.
    """

    step: Callable[[], Any]
    check: Callable[[], np.ndarray]


def installed(kind: str) -> list[str]:
    """Return the peers at hand that can do a kind of workload."""
    found = [n for n, (_, needed) in PEERS.items() if all(find_spec(m) for m in needed)]
    return [n for n in found if kind != "training" or n != "onnxruntime"]


def open_session(peer: str, row: Any, threads: int, folder: Path) -> Session | None:
    """Return a peer's session of a workload; None where it has none.

    Args:
        peer: A name of `PEERS`.
        row: The workload.
        threads: How many threads it may use.
        folder: Where the weights (`weights.npz`) and exported models lie.
    """
    return import_module(PEERS[peer][0]).session(row, threads, folder)  # type: ignore[no-any-return]
