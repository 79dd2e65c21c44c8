"""A few threads behind a queue of bounded length, for work the event loop must not do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Busy", "Workers"]

T = TypeVar("T")


class Busy(Exception):  # noqa: N818 - a state of the server, not an error of anyone
    """Every place in the queue is taken."""


class Job(NamedTuple):
    """A call, and the future that waits for it in an event loop."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    call: Callable[[], Any]


class Workers:
    """Run calls in threads; refuse one that finds every place taken.

    The threads are daemons, unlike those of `concurrent.futures`: a model that never returns
    must not keep the process from ending once its time to stop is over.

    Args:
        threads: Calls that run at once.
        queue: Calls that may wait beyond those.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._places = threads + queue
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._taken = 0  # changed in the event loop's thread only
        self._threads = [
            threading.Thread(target=self._work, name=f"tenor-serve-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def taken(self) -> int:
        """Calls that run or wait."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether the next call would be refused."""
        return self._taken >= self._places

    async def run(self, call: Callable[[], T]) -> T:
        """Return what a call returns, made in a thread.

        Raises:
            Busy: Every place is taken; nothing was done.
        """
        if self.full:
            raise Busy
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[T, BaseException | None]] = loop.create_future()
        self._taken += 1
        self._jobs.put(Job(loop, future, call))
        result, error = await future
        if error is None:
            return result
        if isinstance(error, Exception):
            raise error
        # A model that calls sys.exit() fails; it does not end the server.
        raise RuntimeError(f"the call raised {type(error).__name__}") from error

    def close(self) -> None:
        """Let the threads end after the calls that are queued."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, error = None, None
            try:
                if not job.future.cancelled():
                    result = job.call()
            except BaseException as raised:  # raised again where the call is awaited
                error = raised
            # The loop is closed if the server stopped without waiting for this call.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._finish, job.future, (result, error))
            del job, result, error  # an idle thread must not keep a request's arrays alive

    def _finish(self, future: asyncio.Future[Any], outcome: tuple[Any, object]) -> None:
        self._taken -= 1
        if not future.done():  # it is done if its request was cancelled meanwhile
            future.set_result(outcome)
