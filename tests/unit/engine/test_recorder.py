"""The recorder made by LLVM does what Python's does; where it cannot be used, Python's goes on."""

from __future__ import annotations

import contextlib
import gc
import platform
import sys
import sysconfig
import threading

import numpy as np
import pytest

import tenor as tn
import tenor.nn.functional as F
from tenor.config import config
from tenor.engine import call, flush, macro, recorder
from tenor.engine.trace import local, reset_trie
from tenor.errors import IndexRangeError
from tenor.runtime import allocator, cpython

BUILTIN = platform.python_implementation() == "CPython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)

CALLS = {
    "one tensor": lambda x, w, n: F.gelu(x),
    "by name": lambda x, w, n: F.gelu(x, approximate="tanh"),
    "two names": lambda x, w, n: x.sum(dim=1, keepdim=True),
    "names the other way round": lambda x, w, n: x.sum(keepdim=True, dim=1),
    "several tensors": lambda x, w, n: F.linear(x, w, n),
    "none": lambda x, w, n: F.linear(x, w),
    "one tensor thrice": lambda x, w, n: F.scaled_dot_product_attention(x, x, x),
    "a large integer": lambda x, w, n: x.expand(int("300"), 4, 6),
    "a new float": lambda x, w, n: F.leaky_relu(x, float("0.25")),
    "a new tuple": lambda x, w, n: F.layer_norm(x, tuple(x.shape[1:]), None, None, float("1e-5")),
    "a view": lambda x, w, n: x.reshape(2, 12),
    "a view of a view": lambda x, w, n: x.reshape(2, 12).t().unsqueeze(0),
    "a copy": lambda x, w, n: x.t().reshape(24),
    "views": lambda x, w, n: x.split(2)[1] + x.chunk(2)[0],
    "a slice": lambda x, w, n: x[1:3, ::2],
    "an index": lambda x, w, n: x[2],
    "a checked index": lambda x, w, n: F.embedding(tn.tensor([1, 2]), x),
    "several results": lambda x, w, n: tn.var_mean(x, 1)[0] + tn.aminmax(x, dim=1)[1],
}


@pytest.fixture
def native():
    if not BUILTIN:
        pytest.skip("the builtin is for CPython with its lock")
    made = recorder.native()
    assert made is not None, "CPython with its lock has it"
    with recorder.using(made):
        yield made


def rounds(function, times=4):
    """Return what a function does in several traces: values, gradients, where each trace ended."""
    x = tn.tensor(X, requires_grad=True)
    w = tn.tensor(X[:3], requires_grad=True)
    n = tn.tensor(X[0, :3])
    seen = []
    for _ in range(times):
        y = function(x, w, n)
        end, outs, leaves = local.trace.state, len(local.trace.outs), len(local.trace.leaves)
        about = y.shape, y.base is None, y.chain, y.is_leaf, y.requires_grad
        y.sum().backward()
        seen.append((end, outs, leaves, about, y.detach().numpy().copy(), x.grad.numpy().copy()))
        x.grad = w.grad = None
    return seen


@pytest.mark.parametrize("case", CALLS)
def test_it_records_what_python_records(case, native, monkeypatch):
    made = rounds(CALLS[case])
    monkeypatch.setattr(recorder, "current", call.replay)
    for a, b in zip(made[1:], rounds(CALLS[case])[1:], strict=True):
        assert a[:4] == b[:4]
        np.testing.assert_array_equal(a[4], b[4])
        np.testing.assert_array_equal(a[5], b[5])


def test_most_calls_need_no_python(native, monkeypatch):
    def step():
        y = F.gelu(F.linear(x, w), approximate="tanh").reshape(2, 6).t()[1:3]
        return y.sum().item()

    x, w = tn.tensor(X), tn.tensor(X[:3], requires_grad=True)
    step()
    step()
    again = []
    replay = call.replay
    monkeypatch.setattr(macro, "replay", lambda *a: again.append(a[1].__name__) or replay(*a))
    step()
    assert again == ["get"], "slices are compared in Python"


def test_modes_tell_calls_apart(native):
    x = tn.tensor(X, requires_grad=True)
    for _ in range(3):
        assert F.gelu(x).requires_grad
        with tn.no_grad():
            assert not F.gelu(x).requires_grad
        with tn.autocast("cpu"):
            assert F.linear(x, x).dtype is tn.bfloat16
        assert F.linear(x, x).dtype is tn.float32
        with tn.immediate():
            assert F.gelu(x).buffer is not None


def test_it_keeps_no_reference(native):
    x, w = tn.tensor(X, requires_grad=True), tn.tensor(X[:3])
    shape = (2, 12)

    def step():
        y = F.linear(F.gelu(x.reshape(*shape).reshape(4, 6)), w)
        a, b = y.split(2)
        loss = a.sum() + b.sum()
        loss.backward()
        loss.item()
        x.grad = None

    for _ in range(10):
        step()
    objects = (x, w, x.meta, None, True, shape, local.trace.state, "approximate")
    before = [sys.getrefcount(o) for o in objects]
    for _ in range(500):
        step()
    after = [sys.getrefcount(o) for o in objects]
    assert [b - a for a, b in zip(before, after, strict=True) if abs(b - a) > 50] == []


# -- flushes -----------------------------------------------------------------------------------
@pytest.fixture
def bound(native, monkeypatch):
    """Return a list that grows by each flush done in Python, as one for many sizes is at first."""
    monkeypatch.setattr(config, "symbolic", False)
    reset_trie()
    seen, bind = [], flush.bind
    monkeypatch.setattr(flush, "bind", lambda trace: seen.append(1) or bind(trace))
    return seen


FLUSHES = {
    "a product": lambda x, w: (x @ w.t()).numpy(),
    "several values": lambda x, w: (x.exp(), x + w[0], x.sum(0))[1].numpy(),
    "a detached value": lambda x, w: F.gelu(x).detach().numpy(),
    "a number": lambda x, w: (x * 1.5).sum().item(),
    "a view": lambda x, w: (x * 2).reshape(2, 12).tolist(),
    "a leaf as it came": lambda x, w: (x.reshape(24), x + 1)[0].tolist(),
    "checked": lambda x, w: F.embedding(tn.tensor([1, 2]), x).numpy(),
}


@pytest.mark.parametrize("case", FLUSHES)
def test_a_flush_done_before_needs_no_python(case, bound):
    x, w = tn.tensor(X), tn.tensor(X[:3])
    with tn.no_grad():
        for _ in range(3):
            found = np.array(FLUSHES[case](x, w))
        bound.clear()
        np.testing.assert_array_equal(FLUSHES[case](x, w), found)
        assert bound == []
        with recorder.in_python():
            np.testing.assert_array_equal(FLUSHES[case](x, w), found)


def test_flushes_are_counted(bound):
    x = tn.tensor(X)
    for _ in range(3):
        x.exp().numpy()
    before = flush.counts["flushes"]
    for _ in range(5):
        x.exp().numpy()
    assert flush.counts["flushes"] == before + 5


def test_what_is_alive_decides_what_is_stored(native):
    x = tn.tensor(X)

    def step(keep):
        y = x * 2
        z = y + 1
        if not keep:
            del y
            return z.numpy().copy(), None
        return z.numpy().copy(), y

    for keep in (True, False, True, False, True, True, False):
        z, y = step(keep)
        np.testing.assert_array_equal(z, X * 2 + 1)
        if keep:
            assert y.within is None
            np.testing.assert_array_equal(y.numpy(), X * 2)


def test_an_array_shares_memory_until_it_is_gone(native):
    x = tn.tensor(X) + 1
    array = x.numpy()
    array[0, 0] = 7
    assert x[0, 0].item() == 7
    x.add_(1)
    assert array[0, 0] == 8
    part = array[1:]
    del array
    assert x.buffer.shared
    del part
    assert not x.buffer.shared
    np.testing.assert_array_equal(x.numpy()[1:], X[1:] + 2)


def test_a_detached_array_is_the_tensors_own_memory(native):
    y = tn.tensor(X) * 2
    held = y.detach()
    array = held.numpy()
    array[0, 0] = 9
    assert y[0, 0].item() == held[0, 0].item() == (held + 0)[0, 0].item() == 9


def test_what_is_not_lent_by_the_builtin_is_lent_by_python(native):
    x = tn.tensor(X)
    other = x.reshape(24)
    np.testing.assert_array_equal(other.numpy(), X.reshape(24))
    np.testing.assert_array_equal(x.t().numpy(), X.T)
    assert tn.tensor(3.0).numpy() == 3
    assert tn.zeros(0, 3).numpy().shape == (0, 3)
    with pytest.raises(tn.errors.GradientError):
        tn.tensor(X, requires_grad=True).numpy()
    with pytest.raises(tn.errors.DTypeError):
        tn.tensor(X).bfloat16().numpy()
    for dtype in (tn.float64, tn.int32, tn.uint8, tn.bool, tn.float16):
        made = tn.tensor(X).to(dtype)
        found = made.numpy()
        assert found.dtype == dtype.numpy
        assert found.tolist() == made.tolist()


def test_a_weight_that_is_written_is_prepared_anew(native):
    w, x = tn.tensor(np.ones((40, 40), np.float32)), tn.tensor(np.ones((1, 40), np.float32))
    for k in range(12):
        if k % 4 == 3:
            w.add_(1)
        wanted = 40 * (1 + (k + 1) // 4)
        assert F.linear(x, w).numpy()[0, 0] == wanted


def test_a_bad_index_is_found_and_the_next_flush_is_right(native):
    x = tn.tensor(X)
    good, bad = tn.tensor([1, 2]), tn.tensor([1, 99])
    for _ in range(4):
        F.embedding(good, x).numpy()
    for _ in range(2):
        with pytest.raises(IndexRangeError):
            F.embedding(bad, x).numpy()
        np.testing.assert_array_equal(F.embedding(good, x).numpy(), X[1:3])


def test_threads_share_a_plan(native):
    x, wanted, wrong = tn.tensor(X), X @ X.T, []

    def work():
        for _ in range(300):
            found = (x @ x.t()).numpy()
            if not (found == first).all():
                wrong.append(found)

    first = (x @ x.t()).numpy().copy()
    np.testing.assert_allclose(first, wanted, rtol=1e-5)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_flushes_keep_no_reference(native):
    x, w = tn.tensor(X), tn.tensor(X[:3])
    again = tn.compile(lambda x: F.linear(x, w))

    def step():
        (x * 2).detach().numpy()
        F.gelu(x).numpy()
        x.numpy()
        again(x).numpy()

    for _ in range(20):
        step()
    objects = (x, w, x.meta, None, True, False, 0, 1, local.trace.state, x.meta.dtype,
               recorder.Ready, np.dtype(np.float32), allocator.Loan, allocator.Buffer)  # fmt: skip
    gc.collect()  # what earlier tests left is not counted
    before = [sys.getrefcount(o) for o in objects]
    live = allocator.memory_allocated()
    for _ in range(500):
        step()
    after = [sys.getrefcount(o) for o in objects]
    assert [b - a for a, b in zip(before, after, strict=True) if abs(b - a) > 250] == []
    assert allocator.memory_allocated() <= live


def test_a_trace_nobody_holds_is_used_again(bound):
    x = tn.tensor(X)
    for _ in range(3):
        (x * 2).numpy()
    traces, serials = set(), set()
    for _ in range(4):
        assert x.within is None, "what was read is in memory again"
        (x * 2).numpy()
        traces.add(id(local.trace))
        serials.add(local.trace.serial)
    assert (len(traces), len(serials)) == (1, 4)
    held = local.trace
    (x * 2).numpy()
    assert held.done
    assert local.trace is not held


def test_a_pending_tensor_keeps_its_trace(bound):
    x, w = tn.tensor(X), tn.tensor(X)
    for _ in range(3):
        y = x + w
        (x * 2).numpy()
        np.testing.assert_array_equal(y.numpy(), X + X)
        assert y.within is None


def test_code_that_runs_when_a_tensor_ends_records_into_the_next_trace(bound):
    x, seen = tn.tensor(X), []

    class Ends:
        def __del__(self):
            seen.append((x + 1).numpy()[0, 0])

    def step():
        y = tn.tensor(X)
        y.name = Ends()  # goes with the tensor, which the trace alone holds by then
        z = y * 2
        del y
        return z.numpy()

    for k in range(6):
        np.testing.assert_array_equal(step(), X * 2)
        assert seen == [X[0, 0] + 1] * (k + 1)


def test_operators_and_detach_are_found_at_the_surface(native, monkeypatch):
    x, w, looked = tn.tensor(X), tn.tensor(X.T.copy()), []
    for _ in range(3):
        wanted = (x.exp() @ w).detach().numpy()
    replay = call.replay
    monkeypatch.setattr(macro, "replay", lambda *a: looked.append(a[1].__name__) or replay(*a))
    np.testing.assert_array_equal((x.exp() @ w).detach().numpy(), wanted)
    assert looked == []


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="CPython's own generators crash where memory is short"
)
def test_memory_that_is_short_harms_nothing(native):
    short = pytest.importorskip("_testcapi")
    x, w = tn.tensor(X), tn.tensor(X.T.copy())
    again = tn.compile(lambda x: F.gelu(x @ w))
    steps = {
        "product": lambda: (x @ w).detach().numpy(),
        "a number": lambda: (x * 2).numpy(),
        "compiled": lambda: again(x).numpy(),
    }
    for name, step in steps.items():
        for _ in range(5):
            wanted = step().copy()
        failed = 0
        for start in range(60):
            short.set_nomemory(start, start + 1)
            try:
                step()
            except Exception:  # MemoryError, or what somebody makes of it
                failed += 1
            finally:
                short.remove_mem_hooks()
            with contextlib.suppress(tn.errors.TenorError):
                step()  # a trace that was left half recorded says so, once
            np.testing.assert_array_equal(step(), wanted, name)
        assert failed
        allocator.release_cached()
        assert allocator.memory_reserved() == allocator.memory_allocated(), name


@pytest.mark.parametrize("made", ["builtins", "Python"])
def test_one_tensor_given_twice_is_one_leaf(made, native, monkeypatch):
    def step(once):
        x = tn.tensor(X[:, :4], requires_grad=True)
        y = x if once else tn.tensor(X[:, :4], requires_grad=True)
        seen = []
        x.register_post_accumulate_grad_hook(seen.append)
        ((x @ y).tanh() * x).sum().backward()
        assert len(seen) == 1
        return x.grad.numpy().copy()

    with recorder.using(native if made == "builtins" else recorder.PYTHON):
        reset_trie()
        wanted = step(once=True)
        for once in (False, True, False, True):
            found = step(once)
            if once:
                np.testing.assert_array_equal(found, wanted)
        x = tn.tensor(X[:, :4])
        for _ in range(3):
            (x @ x).numpy()
        looked = []
        monkeypatch.setattr(macro, "_call", lambda *a, **k: looked.append(a))
        assert (x @ x) is not None
        assert looked == []
    reset_trie()


# -- mistakes ----------------------------------------------------------------------------------
def test_a_bad_index_is_reported_at_the_line_that_runs(native):
    table = tn.tensor(X, requires_grad=True)
    for _ in range(3):
        F.embedding(tn.tensor([1]), table).sum().item()
    with pytest.raises(IndexRangeError, match="bad") as caught:
        F.embedding(tn.tensor([99]), table).sum().item()  # bad
    assert "test_recorder.py" in str(caught.value)


def test_a_parameter_with_a_hook_is_entered_by_python(native):
    x, seen = tn.tensor(X, requires_grad=True), []
    x.register_hook(lambda g: seen.append(float(g.sum())))
    for _ in range(4):
        F.gelu(x).sum().backward()
    assert len(seen) == 4


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(config, "native_recorder", False)
    with recorder.in_python():
        assert not recorder.use_native()
        assert recorder.current is call.replay


def test_builtins_are_used_soon_where_the_cache_has_them(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    with recorder.in_python():
        assert not recorder.use_native(compiled=True)
        assert recorder.in_use is recorder.PYTHON, "left as it was"
        assert recorder.use_native()
        recorder.use(recorder.PYTHON)
        assert recorder.use_native(compiled=True)
        assert len(list(tmp_path.rglob("*.o"))) == 1


@pytest.mark.parametrize("fault", ["layout", "objects", "answers"])
def test_a_foreign_interpreter_keeps_pythons(fault, monkeypatch):
    if fault == "layout":

        def elsewhere(kind, name):
            raise LookupError(name)

        monkeypatch.setattr(cpython, "offset", elsewhere)
    elif fault == "objects":
        monkeypatch.setattr(cpython, "_laid_out", lambda: False)
    else:
        answers = [lambda *_: None] * len(recorder.ENTRIES)
        monkeypatch.setattr(cpython, "builtins", lambda *_, **__: answers)
    assert recorder.native() is None
