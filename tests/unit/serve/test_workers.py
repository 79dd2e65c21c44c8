"""A few threads behind a queue of bounded length."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from tenor.serve.workers import Busy, Workers


@pytest.fixture
def workers():
    made = Workers(threads=1, queue=1)
    yield made
    made.close()


def test_a_call_runs_in_another_thread(workers):
    assert asyncio.run(workers.run(threading.get_ident)) != threading.get_ident()


def test_an_error_is_raised_where_the_call_is_awaited(workers):
    def fail():
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing"):
        asyncio.run(workers.run(fail))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_no_exception_of_a_call_ends_the_loop_or_the_thread(workers, error):
    def fail():
        raise error

    with pytest.raises(RuntimeError):
        asyncio.run(workers.run(fail))
    assert asyncio.run(workers.run(lambda: 5)) == 5
    assert workers.taken == 0


def test_a_call_beyond_every_place_is_refused_and_later_ones_are_not(workers):
    release = threading.Event()

    async def overload():
        running = [asyncio.ensure_future(workers.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        assert workers.full
        with pytest.raises(Busy):
            await workers.run(lambda: 1)
        release.set()
        await asyncio.gather(*running)
        return await workers.run(lambda: 2)

    assert asyncio.run(overload()) == 2
    assert workers.taken == 0


def test_a_cancelled_call_that_waits_is_not_made_and_gives_its_place_back(workers):
    release, made = threading.Event(), []

    async def cancel():
        running = asyncio.ensure_future(workers.run(release.wait))
        waiting = asyncio.ensure_future(workers.run(lambda: made.append(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        release.set()
        await running
        await workers.run(lambda: None)

    asyncio.run(cancel())
    assert made == []
    assert workers.taken == 0


def test_an_idle_thread_keeps_nothing_of_a_call_alive(workers):
    class Large:
        pass

    large = Large()
    seen = weakref.ref(large)
    asyncio.run(workers.run(lambda large=large: None))
    del large
    asyncio.run(workers.run(lambda: None))
    gc.collect()
    assert seen() is None
