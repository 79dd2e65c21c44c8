"""Running a program: status codes, donation, run-time numbers, memory."""

import gc
import threading

import numpy as np
import pytest

from tenor.compiler import compile
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import Graph
from tenor.runtime import allocator, cpu, executable
from tests.unit.runtime.programs import buffers, checked_take, loaded, values


def test_a_good_index_has_status_zero():
    graph = checked_take()
    index = np.array([0, 9, -1, -10, 5, 5])
    outputs, code, value = loaded(graph).run(buffers(np.arange(10, dtype=np.float32), index), [])
    assert (code, value) == (0, 0)
    taken = np.cumsum(np.arange(10)[index])
    assert np.array_equal(values(graph, outputs)[0], np.cumsum(taken[::-1])[::-1])


@pytest.mark.parametrize("bad", [10, -11, 2**62, -(2**63)])
def test_a_bad_index_is_reported_with_the_code_of_its_check(bad):
    graph = checked_take()
    index = np.array([0, 9, bad, -10, 5, 5])
    _, code, value = loaded(graph).run(buffers(np.arange(10, dtype=np.float32), index), [])
    (check,) = graph.codes
    assert (code, value) == (graph.codes[check], bad)


def test_no_launch_follows_a_bad_index():
    graph = checked_take()
    ready = loaded(graph)
    assert len(ready.program.launches) > 1
    given = buffers(np.arange(10, dtype=np.float32), np.array([0, 9, 10, 0, 0, 0]))
    mark = allocator.copy_of(np.full(6, 77, np.float32))
    pointer = mark.pointer
    del mark  # its memory is the next output's
    outputs, code, _ = ready.run(given, [])
    assert code
    assert outputs[0].pointer == pointer
    assert np.array_equal(values(graph, outputs)[0], np.full(6, 77))


def test_a_good_run_after_a_bad_one_is_good():
    ready = loaded(checked_take())
    x = np.arange(10, dtype=np.float32)
    for index, wanted in (
        ([10] * 6, True),
        ([1] * 6, False),
        ([-11] * 6, True),
        ([-10] * 6, False),
    ):
        _, code, _ = ready.run(buffers(x, np.array(index)), [])
        assert bool(code) == wanted


@pytest.mark.parametrize(("what", "low"), [("index", -5), ("row", 0), ("label", 0)])
def test_each_kind_of_index_has_its_range(what, low):
    b = GraphBuilder()
    index = b.leaf((1,), dt.int64)
    graph = b.graph(b.emit(ops.WRAP_INDEX, (index,), (5, what)))
    ready = loaded(graph)
    for value in range(-7, 8):
        outputs, code, reported = ready.run(buffers(np.array([value])), [])
        assert bool(code) == (not low <= value < 5)
        assert reported == (value if code else 0)
        if not code:
            assert values(graph, outputs)[0][0] == value % 5


def test_two_checks_have_codes_of_their_own():
    b = GraphBuilder()
    i, j = b.leaf((4,), dt.int64), b.leaf((4,), dt.int64)
    first = b.emit(ops.WRAP_INDEX, (i,), (5, "index"))
    second = b.emit(ops.WRAP_INDEX, (j,), (50, "index"))
    graph = b.graph(b.add(first, second))
    ready = loaded(graph)
    good = np.zeros(4, np.int64)
    for bad, node in ((0, first), (1, second)):
        arrays = [good.copy(), good.copy()]
        arrays[bad][2] = 50
        _, code, value = ready.run(buffers(*arrays), [])
        assert (code, value) == (graph.codes[node], 50)


def donating(shape=(100,)):
    """Return x - lr * g as a graph that may write over x."""
    b = GraphBuilder()
    x, g = b.leaf(shape, dt.float32), b.leaf(shape, dt.float32)
    rate = b.scalar(dt.float32)
    new = b.sub(x, b.mul(rate, g))
    return Graph(b.nodes, [new], [(x, 0)])


def test_a_donated_buffer_is_written_over_and_returned():
    graph = donating()
    ready = loaded(graph)
    assert ready.donated == (0,)
    x, g = buffers(np.arange(100, dtype=np.float32), np.ones(100, np.float32))
    (out,), code, _ = ready.run([x, g], [0.5])
    assert code == 0
    assert out is x
    assert np.array_equal(values(graph, [out])[0], np.arange(100) - 0.5)
    (out,), _, _ = ready.run([out, g], [2.0])
    assert np.array_equal(values(graph, [out])[0], np.arange(100) - 2.5)


def test_a_donated_update_takes_no_memory():
    graph = donating((10_000,))
    ready = loaded(graph)
    x, g = buffers(np.zeros(10_000, np.float32), np.ones(10_000, np.float32))
    ready.run([x, g], [1.0])
    before = allocator.memory_allocated()
    for _ in range(10):
        ready.run([x, g], [1.0])
    assert allocator.memory_allocated() == before


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_run_time_numbers_are_converted(dtype):
    b = GraphBuilder()
    graph = b.graph(b.expand(b.scalar(dtype), (3,)), b.scalar(dt.int64))
    value = {"float": 0.1, "bool": 1}.get(dtype.kind, 100)
    first, second = values(graph, loaded(graph).run([], [value, -(2**63)])[0])
    assert second == -(2**63)
    if dtype is dt.bfloat16:
        assert list(first) == [0x3DCD] * 3
    else:
        assert list(first) == [dtype.numpy.type(value)] * 3


def test_a_graph_with_no_work_gives_its_empty_outputs():
    b = GraphBuilder()
    x = b.leaf((0, 3), dt.float32)
    graph = b.graph(b.neg(x))
    ready = loaded(graph)
    assert ready.program.launches == []
    outputs, code, _ = ready.run(buffers(np.zeros((0, 3), np.float32)), [])
    assert code == 0
    assert values(graph, outputs)[0].shape == (0, 3)


@pytest.mark.parametrize(("n", "large"), [(32, False), (1024, True)])
def test_packed_panels_of_a_large_product_fill_large_pages(n, large):
    b = GraphBuilder()
    x, y = (b.leaf((n, n), dt.float32) for _ in range(2))
    scratch = loaded(b.graph(b.emit(ops.MATMUL, (x, y)))).scratch
    assert (scratch > 0 and scratch % allocator.PAGE == 0) == large


def test_runs_leave_no_memory_behind():
    graph = checked_take(10, 6000)
    ready = loaded(graph)
    arrays = np.arange(10, dtype=np.float32), np.zeros(6000, np.int64)
    ready.run(buffers(*arrays), [])
    gc.collect()
    before, reserved = allocator.memory_allocated(), allocator.memory_reserved()
    for _ in range(50):
        outputs, *_ = ready.run(buffers(*arrays), [])
        del outputs
    gc.collect()
    assert allocator.memory_allocated() == before
    assert allocator.memory_reserved() == reserved


def test_one_executable_runs_in_several_threads_at_once():
    graph = checked_take(10, 3000)
    ready = loaded(graph)
    x = np.arange(10, dtype=np.float32)
    problems = []

    def work(k):
        index = np.full(3000, k)
        for _ in range(100):
            outputs, code, value = ready.run(buffers(x, index), [])
            if k >= 10:
                good = code != 0 and value == k
            else:
                last = np.cumsum(np.full(3000, k, np.float32))[-1]
                good = code == 0 and values(graph, outputs)[0][-1] == last
            if not good:
                problems.append((k, code, value))

    running = [threading.Thread(target=work, args=(k,)) for k in (0, 1, 3, 12, 44)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert problems == []


def test_ctypes_stands_in_where_builtins_cannot_be_made(monkeypatch):
    def fail(name):
        raise OSError(name)

    executable._entries.cache_clear()
    monkeypatch.setattr(executable, "_builtin", fail)
    try:
        graph = checked_take()
        ready = executable.load(compile(graph, cpu.host_target()))
        x = np.arange(10, dtype=np.float32)
        assert ready.run(buffers(x, np.zeros(6, np.int64)), [])[1] == 0
        _, code, value = ready.run(buffers(x, np.full(6, 10)), [])
        assert (code, value) == (3, 10)
    finally:
        executable._entries.cache_clear()
