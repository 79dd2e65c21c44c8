"""The recorder made by LLVM does what Python's does; where it cannot be used, Python's goes on."""

from __future__ import annotations

import platform
import sys
import sysconfig

import numpy as np
import pytest

import tenor as tn
import tenor.nn.functional as F
from tenor.config import config
from tenor.engine import call, macro, recorder
from tenor.engine.trace import local
from tenor.errors import IndexRangeError
from tenor.runtime import replaying

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
def native(monkeypatch):
    if not BUILTIN:
        pytest.skip("the builtin is for CPython with its lock")
    made = recorder.native()
    assert made is not None, "CPython with its lock has it"
    monkeypatch.setattr(recorder, "current", made)
    return made


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
    monkeypatch.setattr(recorder, "current", recorder.current)
    assert not recorder.use_native()
    assert recorder.current is call.replay


@pytest.mark.parametrize("fault", ["layout", "answers"])
def test_a_foreign_interpreter_keeps_pythons(fault, monkeypatch):
    if fault == "layout":

        def elsewhere(kind, name):
            raise LookupError(name)

        monkeypatch.setattr(replaying, "offset", elsewhere)
    else:
        monkeypatch.setattr(replaying, "builtin", lambda *_: lambda *_: None)
    assert recorder.native() is None
