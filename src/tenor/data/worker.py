"""Workers: threads that prepare batches ahead of the loop that uses them.

Threads rather than processes: reading files, decoding and NumPy let go of the interpreter, nothing
is pickled, and an error keeps its traceback.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenor.engine.trace import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["WorkerInfo", "get_worker_info", "in_turn", "shared_out"]


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker a data set is read by.

    Attributes:
        id: Its number, from 0.
        num_workers: How many there are.
        dataset: What they read.
    """

    id: int
    num_workers: int
    dataset: Any


class Current(threading.local):
    """The worker that the thread is."""

    info: WorkerInfo | None = None


current = Current()


def get_worker_info() -> WorkerInfo | None:
    """Return which worker calls; None outside of workers."""
    return current.info


class Worker:
    """A thread that does one thing after another.

    Args:
        info: Which worker it is.
        begin: Called in the thread with its number first.
    """

    def __init__(self, info: WorkerInfo, begin: Callable[[int], Any] | None) -> None:
        def initialize() -> None:
            current.info = info

        self.thread = ThreadPoolExecutor(1, f"tenor-data-{info.id}", initialize)
        self.ready = self.thread.submit(begin, info.id) if begin is not None else None

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have the thread call a function, and compute the tensors it recorded."""

        def call() -> Any:
            if self.ready is not None:
                self.ready.result()
            result = function(*args)
            local.flush()
            return result

        return self.thread.submit(call)


def _workers(count: int, dataset: Any, begin: Callable[[int], Any] | None) -> list[Worker]:
    return [Worker(WorkerInfo(i, count, dataset), begin) for i in range(count)]


def in_turn(
    fetch: Callable[[Any], Any],
    orders: Iterable[Any],
    dataset: Any,
    count: int,
    ahead: int,
    begin: Callable[[int], Any] | None,
) -> Iterator[Any]:
    """Yield fetch(order) for each order, in their order, made ahead of time by workers.

    Args:
        fetch: Makes a batch.
        orders: What to make.
        dataset: What the workers read.
        count: How many workers.
        ahead: How many batches each makes ahead.
        begin: Called in each worker with its number first.
    """
    workers = _workers(count, dataset, begin)
    waiting: deque[Future[Any]] = deque()
    source = iter(orders)
    given = 0
    try:
        while True:
            while len(waiting) < count * ahead:
                order = next(source, waiting)
                if order is waiting:
                    break
                waiting.append(workers[given % count].submit(fetch, order))
                given += 1
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for worker in workers:
            worker.thread.shutdown(wait=True, cancel_futures=True)


END = object()
"""What a worker gives when its share of the samples is at an end."""


def shared_out(
    start: Callable[[], Iterator[Any]],
    dataset: Any,
    count: int,
    ahead: int,
    begin: Callable[[int], Any] | None,
) -> Iterator[Any]:
    """Yield what iterators, one in each worker, give by turns until all are at an end.

    Args:
        start: Makes an iterator; called in each worker.
        dataset: What the workers read.
        count: How many workers.
        ahead: How many values each makes ahead.
        begin: Called in each worker with its number first.
    """
    workers = _workers(count, dataset, begin)
    iterators: list[Iterator[Any] | None] = [None] * count

    def advance(at: int) -> Any:
        iterator = iterators[at]
        if iterator is None:
            iterator = iterators[at] = start()
        return next(iterator, END)

    try:
        lines = {i: deque([w.submit(advance, i) for _ in range(ahead)])
                 for i, w in enumerate(workers)}  # fmt: skip
        while lines:
            for at in list(lines):
                value = lines[at].popleft().result()
                if value is END:
                    del lines[at]
                    continue
                lines[at].append(workers[at].submit(advance, at))
                yield value
    finally:
        for worker in workers:
            worker.thread.shutdown(wait=True, cancel_futures=True)
