"""Memory: aligned, reused, counted, given back."""

import gc
import itertools
import threading

import numpy as np
import pytest

from tenor.runtime import allocator
from tenor.runtime.allocator import ALIGN, PAGE, Buffer, allocate, copy_of


@pytest.fixture(autouse=True)
def nothing_left():
    """Hold each test to giving back what it took."""
    gc.collect()
    before = allocator.memory_allocated()
    yield
    gc.collect()
    assert allocator.memory_allocated() == before


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000, 3_000_001])
def test_memory_is_aligned_and_large_enough(nbytes):
    held = [allocate(nbytes) for _ in range(3)]
    for buffer in held:
        assert buffer.pointer % ALIGN == 0
        assert buffer.capacity >= max(nbytes, ALIGN)
        assert buffer.nbytes == nbytes
    spans = sorted((b.pointer, b.pointer + b.capacity) for b in held)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize("nbytes", [1, 1000, 4097, 5000, 70_000, 10**6, 10**7])
def test_rounding_up_wastes_at_most_an_eighth_or_a_cache_line(nbytes):
    assert nbytes <= allocate(nbytes).capacity <= max(nbytes * 1.125, nbytes + ALIGN)


@pytest.mark.parametrize("nbytes", [PAGE, PAGE + 1, 3 * PAGE])
def test_what_fills_a_large_page_begins_on_one(nbytes):
    assert allocate(nbytes).pointer % PAGE == 0


def test_memory_is_reused():
    first = allocate(10_000)
    pointer = first.pointer
    del first
    assert allocate(10_001).pointer == pointer


def test_the_capacity_of_what_is_alive_is_counted():
    before, reserved = allocator.memory_allocated(), allocator.memory_reserved()
    held = [allocate(100_000), allocate(5)]
    assert allocator.memory_allocated() == before + sum(b.capacity for b in held)
    assert allocator.memory_reserved() >= reserved
    del held
    assert allocator.memory_allocated() == before


def test_cached_memory_can_be_given_back():
    held = [allocate(123_456) for _ in range(4)]
    del held
    assert allocator.memory_reserved() > allocator.memory_allocated()
    allocator.release_cached()
    assert allocator.memory_reserved() == allocator.memory_allocated()


def test_no_more_than_the_limit_is_kept():
    allocator.release_cached()
    allocator.counted[allocator.LIMIT] = 1 << 20
    try:
        held = [allocate(1 << 19) for _ in range(8)]
        del held
    finally:
        allocator.counted[allocator.LIMIT] = allocator.KEEP_BYTES
    kept = allocator.memory_reserved() - allocator.memory_allocated()
    assert 0 < kept <= 1 << 20


def test_a_loop_of_allocations_reserves_no_more_after_its_first_round():
    for size in (1000, 50_000, 1000):
        allocate(size)
    reserved = allocator.memory_reserved()
    for _ in range(1000):
        kept = [allocate(1000), allocate(50_000)]
        del kept
    assert allocator.memory_reserved() <= reserved + 64


def test_a_view_keeps_its_memory_alive():
    view = copy_of(np.arange(1000)).array(np.dtype(np.int64), (10, 100))
    others = [copy_of(np.full(1000, -1)) for _ in range(4)]
    assert np.array_equal(view, np.arange(1000).reshape(10, 100))
    assert view.flags.writeable
    assert len(others) == 4


def test_a_copy_is_in_row_major_order():
    array = np.arange(12).reshape(3, 4).T[::-1]
    made = copy_of(array).array(array.dtype, array.shape)
    assert np.array_equal(made, array)
    assert made.flags.c_contiguous


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_small_and_empty_shapes(shape):
    array = np.full(shape, 7, np.int16)
    assert np.array_equal(copy_of(array).array(array.dtype, shape), array)


def test_memory_somebody_may_still_write_is_not_reused():
    buffer = copy_of(np.arange(5000))
    buffer.shared = True
    pointer, owner = buffer.pointer, buffer.owner
    del buffer
    held = [allocate(40_000) for _ in range(3)]
    assert pointer not in [b.pointer for b in held]
    assert owner.nbytes >= 40_000
    del held


def test_borrowed_memory_is_the_array_itself():
    array = np.arange(10)
    buffer = Buffer.from_array(array)
    assert buffer.pointer == array.ctypes.data
    assert buffer.shared
    assert buffer.capacity == 0
    array[3] = 99
    assert buffer.array(array.dtype, (10,))[3] == 99


def test_snapshots_and_assignments_copy():
    first = copy_of(np.arange(10))
    copy = first.snapshot()
    first.assign(copy_of(np.zeros(10, np.int64)))
    assert np.array_equal(copy.array(np.dtype(np.int64), (10,)), np.arange(10))
    assert not first.array(np.dtype(np.int64), (10,)).any()


def test_several_threads_never_share_a_buffer():
    problems = []

    def work(mark):
        for k in range(300):
            size = 64 * (1 + k % 7)
            made = copy_of(np.full(size, mark, np.uint8))
            other = allocate(size)
            if not (made.array(np.dtype(np.uint8), (size,)) == mark).all():
                problems.append((mark, k))
            del other

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
