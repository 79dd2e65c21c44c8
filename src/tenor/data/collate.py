"""Collate: many samples into one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.tensor import stack
from tenor.tensor.conversion import concrete, from_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["default_collate", "rows"]


def default_collate(batch: Sequence[Any]) -> Any:
    """Return samples as one batch, the same nest with one dim more in front.

    Tensors and arrays are stacked; floats become float32 (PyTorch's float64 halves the speed of
    everything after it), integers int64, bools bool; strings and bytes stay lists; tuples, lists,
    named tuples and dicts are collated member by member.

    Args:
        batch: Samples, all of one form.

    Raises:
        ShapeError: samples differ in shape or length.
        DTypeError: samples are of a type that has no batch.
        ArgumentError: an integer does not fit int64.

    Example:
        >>> import tenor as tn
        >>> tn.data.default_collate([(tn.ones(2), 0), (tn.zeros(2), 1)])
        (tensor([[1., 1.],
                [0., 0.]]), tensor([0, 1]))
    """
    first = batch[0]
    if isinstance(first, Handle):
        return _tensors(batch)
    if isinstance(first, np.ndarray):
        return from_array(np.stack(_alike(batch)))
    if isinstance(first, (int, float, np.bool_, np.number)):
        return _numbers(batch)
    if isinstance(first, (str, bytes)):
        return list(batch)
    return _nest(first, batch)


def _numbers(batch: Sequence[Any]) -> Any:
    """Return numbers as one dim, of the dtype that holds them all."""
    if all(isinstance(number, int) for number in batch):
        return _integers(batch)
    array = np.asarray(batch)
    plain = not any(isinstance(number, np.generic) for number in batch)
    kinds = {"f": dt.default_float, "i": dt.int64}
    return from_array(array, kinds.get(array.dtype.kind) if plain else None)


def _integers(batch: Sequence[int]) -> Any:
    """Return Python's integers as int64, and bools as bools."""
    kind = dt.bool_ if all(isinstance(number, bool) for number in batch) else dt.int64
    try:
        return from_array(np.asarray(batch, kind.numpy), kind)
    except OverflowError:
        raise ArgumentError(
            "default_collate: integers must fit int64.",
            came=str(max(batch, key=abs)),
            fix="give smaller numbers, or floats or NumPy's uint64",
        ) from None


def _tensors(batch: Sequence[Any]) -> Any:
    first = batch[0]
    if any(t.needs_grad or t.element_type is not first.element_type for t in batch):
        return stack(list(batch))
    # Rows are stacked as bytes: no plan for every batch size.
    held = [concrete(t, "default_collate()") for t in batch]
    return from_array(np.stack(_alike(held)), first.element_type)


def rows(source: Any, order: Sequence[int] | NDArray[np.intp]) -> Any:
    """Return some rows of a tensor or array as a tensor.

    Args:
        source: Shape (rows, ...).
        order: Which rows.
    """
    if not isinstance(source, Handle):
        return from_array(np.asarray(source)[order])
    if source.needs_grad:
        return source[from_array(np.asarray(order, np.int64))]  # type: ignore[index]
    held = concrete(source, "DataLoader")  # type: ignore[arg-type]
    return from_array(held[np.asarray(order, np.int64)], source.element_type)


def _alike(arrays: Sequence[Any]) -> Sequence[Any]:
    shapes = {np.shape(a) for a in arrays}
    if len(shapes) > 1:
        raise ShapeError(
            "default_collate: the samples of a batch must have one shape.",
            came=[f"shape {s}" for s in sorted(shapes)],
            fix="pad or crop them in the data set, or pass collate_fn=",
        )
    return arrays


def _nest(first: Any, batch: Sequence[Any]) -> Any:
    if isinstance(first, Mapping):
        made = {key: default_collate([sample[key] for sample in batch]) for key in first}
        return made if type(first) is dict else type(first)(made)  # type: ignore[call-arg]
    if isinstance(first, (tuple, list)):
        if len({len(sample) for sample in batch}) > 1:
            raise ShapeError(
                "default_collate: the samples of a batch must have one length.",
                came=f"lengths {sorted({len(s) for s in batch})}",
                fix="pad them in the data set, or pass collate_fn=",
            )
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*parts)
        return tuple(parts) if isinstance(first, tuple) else parts
    raise DTypeError(
        "default_collate: samples are tensors, arrays, numbers, strings, or nests of them.",
        came=type(first).__name__,
        fix="convert them in the data set, or pass collate_fn=",
    )
