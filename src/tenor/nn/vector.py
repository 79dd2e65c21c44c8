"""Parameters as one vector, and sequences of different lengths as one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.errors import ArgumentError, ShapeError
from tenor.tensor import cat, full, stack
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tenor.tensor import Tensor

__all__ = ["pad_sequence", "parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all elements of parameters, one after another, shape [elements]."""
    joined: Tensor = cat([p.reshape(-1) for p in parameters])
    return joined


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the elements of a vector into parameters, one after another.

    Raises:
        ShapeError: it has fewer or more elements than they have.
    """
    every = list(parameters)
    wanted = sum(p.numel() for p in every)
    if vec.shape_tuple != (wanted,):
        raise ShapeError(
            "vector_to_parameters: the vector must have as many elements as the parameters.",
            came=[f"vector {vec.shape_tuple}", f"parameters {wanted} elements"],
            fix="make it with parameters_to_vector()",
        )
    with no_grad():
        at = 0
        for p in every:
            p.copy_(vec[at : at + p.numel()].reshape(p.shape_tuple))
            at += p.numel()


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Return sequences filled up to the longest, shape [length, sequences, ...].

    Args:
        sequences: Tensors that differ in dim 0 alone.
        batch_first: Return [sequences, length, ...] instead.
        padding_value: What they are filled up with.
        padding_side: "right" or "left": where.

    Raises:
        ArgumentError: there are none, or there is no such side.
        ShapeError: they differ in another dim.
    """
    if not sequences or padding_side not in ("left", "right"):
        raise ArgumentError(
            "pad_sequence: takes sequences, and a side, left or right.",
            came=f"{len(sequences)} sequences, side {padding_side!r}",
            fix="check the list",
        )
    rest = {s.shape_tuple[1:] for s in sequences}
    if len(rest) > 1:
        raise ShapeError(
            "pad_sequence: sequences may differ in their length, dim 0, alone.",
            came=[f"shape {s.shape_tuple}" for s in sequences],
            fix="transpose them, so that the length is dim 0",
        )
    longest = max(s.shape_tuple[0] for s in sequences)
    rows = []
    for s in sequences:
        blank = full((longest - s.shape_tuple[0], *s.shape_tuple[1:]), padding_value, dtype=s.dtype)
        rows.append(cat([s, blank] if padding_side == "right" else [blank, s]))
    batch: Tensor = stack(rows, 0 if batch_first else 1)
    return batch
