"""The thread pool: same bits at any size, from any thread, after a fork."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tenor.config import config
from tenor.errors import ArgumentError
from tenor.runtime import allocator, executable, pool
from tests.unit.runtime.programs import buffers, checked_take, loaded, values, wide_sum


@pytest.fixture(autouse=True)
def threads():
    """Restore the number of threads."""
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


def native_threads():
    """Return how many threads this process has."""
    return len(list(Path("/proc/self/task").iterdir()))


def test_the_number_can_be_set_and_read():
    pool.set_num_threads(3)
    assert pool.get_num_threads() == config.threads == 3


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_number_out_of_range_is_refused(count):
    before = pool.get_num_threads()
    with pytest.raises(ArgumentError, match="set_num_threads"):
        pool.set_num_threads(count)
    assert pool.get_num_threads() == before


def test_any_number_of_threads_gives_the_same_bits():
    graph = wide_sum()
    ready = loaded(graph)
    assert ready.parallel
    given = buffers(np.random.default_rng(0).normal(size=(400, 500)).astype(np.float32))
    found = []
    for count in (1, 2, 3, 5, 2, 1):
        pool.set_num_threads(count)
        for _ in range(5):
            outputs, *status = ready.run(given, [])
            assert status == [0, 0]
            found.append([v.tobytes() for v in values(graph, outputs)])
    assert all(f == found[0] for f in found)


def test_going_back_and_forth_makes_no_new_threads():
    given = buffers(np.zeros((400, 500), np.float32))
    ready = loaded(wide_sum())
    for count in (2, 3):
        pool.set_num_threads(count)
        ready.run(given, [])
    before = native_threads()
    for _ in range(5):
        for count in (2, 3):
            pool.set_num_threads(count)
            ready.run(given, [])
    assert native_threads() == before


def test_one_thread_borrows_no_pool():
    pool.set_num_threads(1)
    assert pool.borrow() is None


def test_a_pool_is_lent_to_one_at_a_time():
    pool.set_num_threads(2)
    first = pool.borrow()
    assert first is not None
    assert pool.borrow() is None
    pool.give_back(first)
    again = pool.borrow()
    assert again is first
    pool.give_back(again)


def test_a_run_while_the_pool_is_lent_out_runs_alone():
    pool.set_num_threads(2)
    graph = wide_sum()
    ready = loaded(graph)
    array = np.random.default_rng(1).normal(size=(400, 500)).astype(np.float32)
    with_pool = [v.tobytes() for v in values(graph, ready.run(buffers(array), [])[0])]
    held = pool.borrow()
    try:
        without = [v.tobytes() for v in values(graph, ready.run(buffers(array), [])[0])]
    finally:
        pool.give_back(held)
    assert with_pool == without


def test_a_process_ends_while_its_worker_looks_for_work():
    """What the worker runs on and looks at is there until the process is gone."""
    code = """
import numpy as np
from tenor.runtime import pool
from tests.unit.runtime.programs import buffers, loaded, wide_sum
pool.set_num_threads(2)
loaded(wide_sum()).run(buffers(np.zeros((400, 500), np.float32)), [])
"""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_workers_have_scratch_of_their_own():
    pool.set_num_threads(3)
    held = pool.borrow()
    try:
        held.reserve(1000)
        first = [held.words[24 + k] for k in (1, 2)]
        held.reserve(500)
        assert [held.words[24 + k] for k in (1, 2)] == first
        held.reserve(100_000)
        second = [held.words[24 + k] for k in (1, 2)]
        assert abs(second[0] - second[1]) >= 100_000
        assert all(address % 64 == 0 for address in second)
        held.reserve(allocator.PAGE)
        assert all(held.words[24 + k] % allocator.PAGE == 0 for k in (1, 2))
    finally:
        pool.give_back(held)


def test_several_python_threads_at_once():
    pool.set_num_threads(2)
    graph = wide_sum()
    ready = loaded(graph)
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=(400, 500)).astype(np.float32) for _ in range(4)]
    wanted = [[v.tobytes() for v in values(graph, ready.run(buffers(a), [])[0])] for a in arrays]
    problems = []

    def work(k):
        for _ in range(25):
            outputs, *status = ready.run(buffers(arrays[k]), [])
            if status != [0, 0] or [v.tobytes() for v in values(graph, outputs)] != wanted[k]:
                problems.append(k)

    running = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert problems == []


def test_a_failed_run_gives_the_pool_back(monkeypatch):
    pool.set_num_threads(2)
    monkeypatch.setattr(executable, "SERIAL_NS", 0)
    monkeypatch.setattr(executable, "ASLEEP_NS", 0)
    ready = loaded(checked_take(10, 30_000))
    assert ready.parallel
    bad = np.zeros(30_000, np.int64)
    bad[12_345] = 10
    for _ in range(3):
        _, code, value = ready.run(buffers(np.ones(10, np.float32), bad), [])
        assert (code, value) == (1 + 2, 10)
    held = pool.borrow()
    assert held is not None
    pool.give_back(held)


def test_which_bad_index_is_reported_does_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr(executable, "SERIAL_NS", 0)
    monkeypatch.setattr(executable, "ASLEEP_NS", 0)
    ready = loaded(checked_take(10, 30_000))
    rng = np.random.default_rng(4)
    bad = np.where(rng.random(30_000) < 0.01, rng.integers(10, 10**6, 30_000), 0)
    reports = set()
    for threads in (1, 2, 3, 2, 3):
        pool.set_num_threads(threads)
        for _ in range(5):
            _, *status = ready.run(buffers(np.ones(10, np.float32), bad), [])
            reports.add(tuple(status))
    assert len(reports) == 1


def test_an_exception_in_between_gives_the_pool_back(monkeypatch):
    pool.set_num_threads(2)
    ready = loaded(wide_sum())

    def fail(address):
        raise RuntimeError(str(address))

    monkeypatch.setattr(ready, "run_held", fail)
    monkeypatch.setattr(ready, "run_released", fail)
    with pytest.raises(RuntimeError):
        ready.run(buffers(np.zeros((400, 500), np.float32)), [])
    held = pool.borrow()
    assert held is not None
    pool.give_back(held)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_process_makes_its_own_workers():
    pool.set_num_threads(2)
    graph = wide_sum()
    ready = loaded(graph)
    array = np.random.default_rng(3).normal(size=(400, 500)).astype(np.float32)
    wanted = [v.tobytes() for v in values(graph, ready.run(buffers(array), [])[0])]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = [v.tobytes() for v in values(graph, ready.run(buffers(array), [])[0])] == wanted
        os.write(write, b"1" if same else b"0")
        os._exit(0)
    os.close(write)
    answer = os.read(read, 1)
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert answer == b"1"
    assert [v.tobytes() for v in values(graph, ready.run(buffers(array), [])[0])] == wanted


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize(("tiles", "chunk"), [(1, 1), (7, 1), (64, 2), (1_000, 15), (3, 8)])
def test_every_tile_is_done_once_and_by_whom_it_lies_with_first(threads, tiles, chunk):
    """Each thread begins with its own even share; chunks of others' are taken from their ends."""
    pool.set_num_threads(threads)
    held = pool.borrow()
    done: list[tuple[int, int, int]] = []

    def kernel(_arguments, begin, end, _scratch, _status):
        done.append((threading.get_native_id(), begin, end))
        time.sleep(0.0005)

    made = ctypes.CFUNCTYPE(
        None, *[ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64] + [ctypes.c_void_p] * 2
    )
    called = made(kernel)
    status = (ctypes.c_int64 * 2)()
    launch = (ctypes.c_int64 * 5)(ctypes.cast(called, ctypes.c_void_p).value, 0, 0, tiles, chunk)
    nothing = (ctypes.c_int64 * 2)()
    at = ctypes.addressof(nothing)
    block = (ctypes.c_int64 * 9)(
        ctypes.addressof(launch), 1, at, at, at, 0, ctypes.addressof(status), held.address, 1
    )
    try:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(pool.entry("execute"))(ctypes.addressof(block))
    finally:
        pool.give_back(held)
    chunks = -(-tiles // chunk)
    assert sorted((b, e) for _, b, e in done) == [
        (k * chunk, min((k + 1) * chunk, tiles)) for k in range(chunks)
    ]
    mine = [b // chunk for who, b, _ in done if who == threading.get_native_id()]
    front, rest = (
        [c for c in mine if c < chunks // threads],
        [c for c in mine if c >= chunks // threads],
    )
    assert mine == front + rest
    assert front == list(range(len(front)))
    if threads == 2:
        assert rest == list(range(chunks - 1, chunks - 1 - len(rest), -1))
