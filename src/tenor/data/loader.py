"""DataLoader: batches of a data set, in order or shuffled, prepared ahead by workers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tenor.data.collate import default_collate, rows
from tenor.data.dataset import IterableDataset, Subset, TensorDataset
from tenor.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from tenor.data.worker import in_turn, shared_out
from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["DataLoader"]

T = TypeVar("T")


class DataLoader(Generic[T]):
    """Go through a data set in batches.

    Args:
        dataset: Samples by index (anything with `__getitem__` and `__len__`), or an
            `IterableDataset`.
        batch_size: Samples in a batch; None gives samples one by one as they are.
        shuffle: Whether to visit the samples in random order, another each epoch.
        sampler: The order of the samples instead.
        batch_sampler: The batches instead, as lists of indices.
        num_workers: Threads that prepare batches ahead; 0 prepares them in the loop. The batches
            are the same for every number.
        collate_fn: Makes a batch of a list of samples; `default_collate` by default.
        pin_memory: Taken and not needed.
        drop_last: Leave out a last batch that is not full.
        timeout: Taken and not needed: a thread cannot die unseen.
        worker_init_fn: Called in each worker with its number.
        generator: What shuffles: a seed, a `tn.Generator` or a NumPy generator; by default
            Tenor's own, which `tn.manual_seed` sets.
        prefetch_factor: Batches each worker prepares ahead.
        persistent_workers: Taken and not needed.

    Raises:
        ArgumentError: options exclude one another.

    Example:
        >>> import tenor as tn
        >>> data = tn.data.TensorDataset(tn.arange(5))
        >>> [batch.tolist() for (batch,) in tn.data.DataLoader(data, batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], T] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        *,
        generator: Any = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        del pin_memory, timeout, persistent_workers
        self.dataset = dataset
        self.iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        self._refuse(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if num_workers < 0:
            raise ArgumentError(
                "DataLoader: num_workers is not negative.", came=str(num_workers), fix="pass 0"
            )
        self.num_workers = num_workers
        self.prefetch_factor = 2 if prefetch_factor is None else max(1, prefetch_factor)
        self.worker_init_fn = worker_init_fn
        self.collate_fn = collate_fn
        self.generator = generator
        self.drop_last = drop_last
        self.batch_size = batch_size if batch_sampler is None else None
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        if not self.iterable:
            self._choose_order(bool(shuffle), drop_last)

    def _choose_order(self, shuffle: bool, drop_last: bool) -> None:
        if self.sampler is None and self.batch_sampler is None:
            self.sampler = (
                RandomSampler(self.dataset, generator=self.generator)
                if shuffle
                else SequentialSampler(self.dataset)
            )
        if self.batch_sampler is None and self.batch_size is not None:
            assert self.sampler is not None
            self.batch_sampler = BatchSampler(self.sampler, self.batch_size, drop_last)

    def _refuse(
        self, batch_size: int | None, shuffle: bool | None, sampler: Any, batches: Any, drop: bool
    ) -> None:
        problem = ""
        if batches is not None and (batch_size != 1 or shuffle or sampler is not None or drop):
            problem = "batch_sampler decides batch_size, shuffle, sampler and drop_last"
        elif sampler is not None and shuffle:
            problem = "sampler decides the order; shuffle does too"
        elif self.iterable and (shuffle or sampler is not None or batches is not None):
            problem = "an IterableDataset decides its own order; shuffle or a sampler cannot"
        elif batch_size is None and drop:
            problem = "drop_last needs batches"
        elif batch_size is not None and batch_size < 1:
            problem = f"batch_size={batch_size}"
        if problem:
            raise ArgumentError(
                "DataLoader: one thing decides which samples make a batch.",
                came=problem,
                fix="leave out one of the two, and pass a batch_size of at least 1",
            )

    # -- batches ------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[T]:
        orders: Iterable[Any] | None = self.batch_sampler
        if orders is None:
            orders = self.sampler
        workers = (self.dataset, self.num_workers, self.prefetch_factor, self.worker_init_fn)
        if self.iterable:
            return shared_out(self._stream, *workers) if self.num_workers else self._stream()
        assert orders is not None
        if self.num_workers:
            return in_turn(self._fetch, orders, *workers)
        return map(self._fetch, orders)

    def _fetch(self, order: Any) -> Any:
        if self.batch_sampler is None:
            sample = _sample(self.dataset, order)
            return sample if self.collate_fn is None else self.collate_fn(sample)
        if self.collate_fn is None:
            batch = _whole(self.dataset, order)
            if batch is not None:
                return batch
        many = getattr(self.dataset, "__getitems__", None)
        samples = many(order) if many is not None else [_sample(self.dataset, i) for i in order]
        return (self.collate_fn or default_collate)(samples)

    def _stream(self) -> Iterator[Any]:
        collate = self.collate_fn
        if self.batch_size is None:
            yield from self.dataset if collate is None else map(collate, self.dataset)
            return
        source = iter(self.dataset)
        while samples := list(itertools.islice(source, self.batch_size)):
            if len(samples) == self.batch_size or not self.drop_last:
                yield (collate or default_collate)(samples)

    def __len__(self) -> int:
        if not self.iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def _sample(dataset: Any, index: Any) -> Any:
    """Return a sample; an error on the way to it is told which it was."""
    try:
        return dataset[index]
    except Exception as error:
        error.add_note(f"DataLoader: at sample {index} of {type(dataset).__name__}")
        raise


def _whole(dataset: Any, order: list[int]) -> Any:
    """Return a batch of rows taken at once, where the data set is made of whole tensors."""
    while isinstance(dataset, Subset):
        order = [dataset.indices[i] for i in order]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    return tuple(rows(t, order) for t in dataset.tensors)
