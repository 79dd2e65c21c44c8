"""What `fit` takes as data, as batches (x, y, weights)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tenor.data import DataLoader, Dataset, IterableDataset
from tenor.data.collate import rows
from tenor.data.randomness import permutation
from tenor.engine.handle import Handle
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import dtype as dt
from tenor.tensor.conversion import from_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenor.ir.dtype import DType

__all__ = ["Batch", "Batches", "batches_of", "cut", "unpacked"]


class Batch(NamedTuple):
    """One batch: inputs, targets and weights, the last two perhaps None."""

    x: Any
    y: Any = None
    weights: Any = None

    @property
    def size(self) -> int:
        """How many samples it has."""
        return int(_first(self.x).shape[0]) if _first(self.x).ndim else 1


def _first(nest: Any) -> Any:
    while isinstance(nest, (tuple, list, Mapping)):
        nest = next(iter(nest.values() if isinstance(nest, Mapping) else nest))
    return nest


def mapped(nest: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to every array of a nest of tuples and dicts."""
    if isinstance(nest, Mapping):
        return {key: mapped(part, function) for key, part in nest.items()}
    if isinstance(nest, tuple):
        return tuple(mapped(part, function) for part in nest)
    return None if nest is None else function(nest)


def _leaves(nest: Any) -> Iterator[Any]:
    if isinstance(nest, Mapping):
        nest = tuple(nest.values())
    if isinstance(nest, tuple):
        for part in nest:
            yield from _leaves(part)
    elif nest is not None:
        yield nest


def _array(value: Any, dtype: DType) -> Any:
    """Return a tensor as it is, anything else as an array; floats in the model's dtype."""
    if isinstance(value, Handle):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(
            "fit: the rows of an array must have one shape.",
            came=f"a {type(value).__name__} of {len(value)} rows that differ",
            fix="pad the rows to one length; pass batches as a generator or a DataLoader",
        ) from None
    if array.dtype.kind == "f" and dtype is not dt.bfloat16:
        return array.astype(dtype.numpy, copy=False)
    return array


class Batches:
    """Batches again and again, one pass an epoch.

    Args:
        make: Begins a pass.
        steps: Batches in a pass; None where nobody knows.
        endless: Whether a pass goes on where the last one stopped (an iterator).
    """

    def __init__(
        self, make: Callable[[], Iterable[Any]], steps: int | None, endless: bool = False
    ) -> None:
        self.make = make
        self.steps = steps
        self.source: Iterator[Any] | None = None
        self.endless = endless

    def __iter__(self) -> Iterator[Batch]:
        if self.endless:
            if self.source is None:
                self.source = iter(self.make())
            found = itertools.islice(self.source, self.steps)
        else:
            found = itertools.islice(iter(self.make()), self.steps)
        return (unpacked(part) for part in found)


def unpacked(part: Any) -> Batch:
    """Return what a loader gave as a batch: x, (x, y) or (x, y, weights).

    Raises:
        ArgumentError: it has more parts.
    """
    if isinstance(part, Batch):
        return part
    if not isinstance(part, (tuple, list)):
        part = (part,)
    if not 1 <= len(part) <= 3:
        raise ArgumentError(
            "fit: a batch is x, (x, y) or (x, y, sample_weight).",
            came=f"{len(part)} parts",
            fix="nest several inputs: ((a, b), y)",
        )
    return Batch(*[mapped(_tupled(p), _tensor) for p in part])


def _tupled(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part


def _tensor(value: Any) -> Any:
    if isinstance(value, Handle):
        return value
    array = np.asarray(value)
    narrow = array.dtype == np.float64 and not isinstance(value, np.ndarray)
    return from_array(array, dt.default_float if narrow else None)


def batches_of(
    x: Any,
    y: Any = None,
    weights: Any = None,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    steps: int | None = None,
    dtype: DType = dt.float32,
) -> Batches:
    """Return data of any of the kinds as batches.

    Args:
        x: Arrays, tensors, or tuples or dicts of them; a DataLoader, Dataset, or iterable of
            batches.
        y: Targets, where x is arrays.
        weights: Weights of samples, where x is arrays.
        batch_size: 32 by default.
        shuffle: Whether arrays and data sets are visited in random order.
        steps: Batches in a pass, if not all.
        dtype: What floating arrays are brought to.

    Raises:
        ArgumentError: y is given where x holds targets itself.
        ShapeError: arrays differ in length.
    """
    batch_size = 32 if batch_size is None else batch_size
    if batch_size < 1:
        raise ArgumentError(
            "fit: batch_size must be positive.", came=str(batch_size), fix="e.g. batch_size=32"
        )
    if isinstance(x, (DataLoader, Dataset, Iterator)) or _is_loader(x):
        if y is not None or weights is not None:
            raise ArgumentError(
                f"fit: a {type(x).__name__} gives targets and weights itself.",
                came="y or sample_weight beside it",
                fix="let it give (x, y) or (x, y, sample_weight)",
            )
        return _streamed(x, batch_size, shuffle, steps)
    data = tuple(mapped(_listed(part), lambda a: _array(a, dtype)) for part in (x, y, weights))
    return _rows(data, batch_size, shuffle, steps)


def _is_loader(x: Any) -> bool:
    arrays = (Handle, np.ndarray, tuple, list, Mapping)
    return not isinstance(x, arrays) and hasattr(x, "__iter__") and not hasattr(x, "__array__")


def _listed(part: Any) -> Any:
    """Return a list of arrays as a tuple: several inputs, as Keras has it."""
    many = (
        isinstance(part, list) and part and all(isinstance(p, (Handle, np.ndarray)) for p in part)
    )
    return tuple(part) if many and all(len(p.shape) for p in part) else part


def _streamed(x: Any, batch_size: int, shuffle: bool, steps: int | None) -> Batches:
    if isinstance(x, Iterator):
        return Batches(lambda: x, steps, endless=True)
    if isinstance(x, Dataset):
        shuffled = shuffle and not isinstance(x, IterableDataset)
        x = DataLoader(x, batch_size=batch_size, shuffle=shuffled)
    known = _length(x) if isinstance(x, Sized) else None
    count = known if steps is None else steps if known is None else min(steps, known)
    return Batches(lambda: x, count)


def _length(x: Sized) -> int | None:
    try:
        return len(x)
    except TypeError:
        return None


def _rows(data: tuple[Any, ...], size: int, shuffle: bool, steps: int | None) -> Batches:
    lengths = [len(a) for a in _leaves(data)]
    if not lengths or len(set(lengths)) > 1:
        raise ShapeError(
            "fit: inputs, targets and weights must have one length.",
            came=f"lengths {lengths}",
            fix="row i of each belongs to sample i",
        )
    total = lengths[0]
    count = -(-total // size)

    def one_pass() -> Iterator[Batch]:
        order = permutation(total, None) if shuffle else np.arange(total)
        for at in range(0, total, size):
            chosen = order[at : at + size]
            yield Batch(*mapped(data, lambda a: rows(a, chosen)))  # noqa: B023 - used at once

    return Batches(one_pass, count if steps is None else min(steps, count))


def cut(x: Any, y: Any, weights: Any, share: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return (x, y, weights) for training, and the last share of the samples for validation.

    Raises:
        ArgumentError: the data have no rows that can be cut, or the share leaves none.
    """
    data = (_listed(x), _listed(y), _listed(weights))
    found = list(_leaves(data))
    if isinstance(x, (DataLoader, Dataset, Iterator)) or _is_loader(x) or not 0.0 < share < 1.0:
        raise ArgumentError(
            "fit: validation_split takes a share of arrays or tensors.",
            came=f"{type(x).__name__}, validation_split={share}",
            fix="pass validation_data=",
        )
    at = int(len(found[0]) * (1.0 - share))
    if not 0 < at < len(found[0]):
        raise ArgumentError(
            "fit: validation_split must leave samples on both sides.",
            came=f"{share} of {len(found[0])} samples",
            fix="choose another share",
        )
    ahead: tuple[Any, ...] = mapped(data, lambda a: _sliced(a, slice(None, at)))
    behind: tuple[Any, ...] = mapped(data, lambda a: _sliced(a, slice(at, None)))
    return ahead, behind


def _sliced(value: Any, part: slice) -> Any:
    return value[part] if hasattr(value, "shape") else np.asarray(value)[part]
