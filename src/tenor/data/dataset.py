"""Data sets: samples by index, or one after another."""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tenor.data.randomness import permutation
from tenor.errors import ArgumentError, IndexRangeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "Subset",
    "TensorDataset",
    "random_split",
]

T = TypeVar("T")


class Dataset(Generic[T]):
    """Samples by index: subclasses define `__getitem__` and `__len__`.

    Define `__getitems__(indices)` too where a whole batch is read faster at once.
    """

    def __getitem__(self, index: Any) -> T:
        raise TypeError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset[T]) -> ConcatDataset[T]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T]):
    """Samples one after another: subclasses define `__iter__`.

    With several workers each runs its own `__iter__`; `get_worker_info` tells which share of the
    samples is its own.
    """

    def __iter__(self) -> Iterator[T]:
        raise TypeError(f"{type(self).__name__} must define __iter__")


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Row i of several tensors or arrays.

    Args:
        tensors: Tensors or arrays with one length.

    Raises:
        ShapeError: the lengths differ.

    Example:
        >>> import tenor as tn
        >>> data = tn.data.TensorDataset(tn.arange(3), tn.arange(3) * 10)
        >>> data[1]
        (tensor(1), tensor(10))
    """

    def __init__(self, *tensors: Any) -> None:
        lengths = [len(t) for t in tensors]
        if not tensors or len(set(lengths)) > 1:
            raise ShapeError(
                "TensorDataset: the tensors must have one length.",
                came=f"lengths {lengths}",
                fix="row i of each belongs to sample i",
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset[T]):
    """Some samples of a data set.

    Args:
        dataset: Where they are.
        indices: Which they are.
    """

    def __init__(self, dataset: Dataset[T], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T:
        if isinstance(index, (list, np.ndarray)):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[T]):
    """Data sets one behind the other.

    Args:
        datasets: Data sets with a length.

    Attributes:
        cumulative_sizes: Where each of them ends.
    """

    def __init__(self, datasets: Iterable[Dataset[T]]) -> None:
        self.datasets = list(datasets)
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))  # type: ignore[arg-type]
        if not self.cumulative_sizes:
            raise ArgumentError("ConcatDataset: needs data sets.", came="none", fix="pass a list")

    def __getitem__(self, index: Any) -> T:
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexRangeError(
                f"ConcatDataset: an index must lie in [{-len(self)}, {len(self)}).",
                came=str(index),
                fix="check the index",
            )
        ends = self.cumulative_sizes
        which = bisect.bisect_right(ends, at)
        return self.datasets[which][at - (ends[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def random_split(
    dataset: Dataset[T], lengths: Sequence[float], generator: Any = None
) -> list[Subset[T]]:
    """Return a data set cut at random into parts that do not overlap.

    Args:
        dataset: Samples by index.
        lengths: Numbers of samples that sum to the data set's length, or shares that sum to 1.
        generator: A seed or a NumPy generator; by default drawn from Tenor's own seed.

    Raises:
        ArgumentError: the lengths do not sum to the data set's.
    """
    total = len(dataset)  # type: ignore[arg-type]
    counts = _counts(lengths, total)
    order = permutation(total, generator)
    ends = list(itertools.accumulate(counts))
    return [
        Subset(dataset, [int(i) for i in order[end - count : end]])
        for end, count in zip(ends, counts, strict=True)
    ]


def _counts(lengths: Sequence[float], total: int) -> list[int]:
    if abs(sum(lengths) - 1.0) < 1e-6 and any(isinstance(n, float) for n in lengths):
        counts = [int(total * share) for share in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
        return counts
    if sum(lengths) != total:
        raise ArgumentError(
            f"random_split: the lengths must sum to the data set's {total}, or shares to 1.",
            came=f"{list(lengths)}, {sum(lengths)} in all",
            fix="e.g. [0.8, 0.2]",
        )
    return [int(n) for n in lengths]
