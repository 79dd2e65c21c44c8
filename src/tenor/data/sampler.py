"""Samplers: in which order the samples of a data set are visited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tenor.data.randomness import as_generator, permutation, units, words
from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Sized

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Indices, in an order; subclasses define `__iter__` and, if they can, `__len__`."""

    def __iter__(self) -> Iterator[T_co]:
        raise TypeError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler[int]):
    """Every index once, in order.

    Args:
        data_source: What has the length.
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Every index once in random order, another order each time.

    Args:
        data_source: What has the length.
        replacement: Draw each index anew instead.
        num_samples: How many; by default as many as there are.
        generator: A seed, a `tn.Generator` or a NumPy generator; by default Tenor's own.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        if num_samples is not None and num_samples <= 0:
            raise ArgumentError(
                "RandomSampler: num_samples is above 0.",
                came=str(num_samples),
                fix="leave it out to draw as many as there are",
            )
        self.data_source = data_source
        self.replacement = replacement
        self.wanted = num_samples
        self.generator = as_generator(generator)

    @property
    def num_samples(self) -> int:
        """How many indices are drawn."""
        return len(self.data_source) if self.wanted is None else self.wanted

    def __iter__(self) -> Iterator[int]:
        length, left = len(self.data_source), self.num_samples
        if self.replacement:
            yield from (words(left, self.generator) % np.uint64(length)).tolist()
            return
        while left > 0:
            yield from permutation(length, self.generator)[:left].tolist()
            left -= length

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Given indices once, in random order.

    Args:
        indices: The indices.
        generator: A seed, a `tn.Generator` or a NumPy generator; by default Tenor's own.
    """

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = as_generator(generator)

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in permutation(len(self.indices), self.generator))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices drawn with probabilities in proportion to weights.

    Args:
        weights: One weight for each index, not negative.
        num_samples: How many to draw.
        replacement: Whether an index may be drawn twice.
        generator: A seed, a `tn.Generator` or a NumPy generator; by default Tenor's own.

    Raises:
        ArgumentError: a weight is negative, or too few are above 0.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        possible = int((self.weights > 0).sum())
        needed = 1 if replacement else num_samples
        if (self.weights < 0).any() or possible < needed or num_samples <= 0:
            raise ArgumentError(
                "WeightedRandomSampler: weights are not negative, and enough of them above 0.",
                came=f"{possible} weights above 0 for {num_samples} samples",
                fix="draw fewer samples, or set replacement=True",
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = as_generator(generator)

    def __iter__(self) -> Iterator[int]:
        if self.replacement:
            ends = np.cumsum(self.weights)
            at = units(self.num_samples, self.generator) * ends[-1]
            drawn = np.searchsorted(ends, at, side="right")
        else:
            # The k largest of log(u) / w are k draws without replacement (Efraimidis, 2006).
            with np.errstate(divide="ignore"):
                race = np.log(1.0 - units(len(self.weights), self.generator)) / self.weights
            race[self.weights == 0] = -np.inf
            drawn = np.argsort(-race, kind="stable")[: self.num_samples]
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Another sampler's indices, several at a time.

    Args:
        sampler: The indices.
        batch_size: How many make a batch.
        drop_last: Leave out a last batch that is not full.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        if batch_size <= 0:
            raise ArgumentError(
                "batch_size: is at least 1.", came=str(batch_size), fix="e.g. batch_size=32"
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
