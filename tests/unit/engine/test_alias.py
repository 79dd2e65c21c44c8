"""Views and in-place writes: who sees them, what keeps its gradient, what is never written over."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.config import config
from tenor.engine.trace import reset_trie
from tenor.errors import GradientError


def same(run, *args):
    """Run in both libraries and compare what comes back."""
    ours, theirs = run(tn, *args), run(torch, *args)
    assert ours == theirs
    return ours


LOOK = pytest.mark.parametrize("look", [False, True])


def numbers(lib, *shape, grad=False):
    count = int(np.prod(shape))
    return lib.tensor(
        np.linspace(-1, 2, count).reshape(shape).tolist(), dtype=lib.float64, requires_grad=grad
    )


# -- gradients of what was written ---------------------------------------------------------------
@LOOK
def test_a_computed_tensor_written_with_a_constant_still_needs_a_gradient(look):
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x * 2
        if look:
            y.tolist()
        y.fill_(4.0)
        z = y * y
        needs = (y.requires_grad, y.is_leaf, z.requires_grad)
        z.sum().backward()
        return needs, x.grad.tolist(), y.tolist()

    same(run)


@LOOK
def test_a_computed_tensor_written_under_no_grad_keeps_its_history(look):
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x * 2
        if look:
            y.tolist()
        with lib.no_grad():
            y.add_(1)
            y[0] = 7
        needs = y.requires_grad, y.is_leaf
        (y * 3).sum().backward()
        return needs, x.grad.tolist(), y.tolist()

    same(run)


@LOOK
def test_a_stored_tensor_written_in_place_leads_back_to_its_leaf(look):
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x * 2
        y.tolist()
        y.add_(1)
        if look:
            y.tolist()
        z = (y * y).sum()
        if look:
            z.item()
        z.backward()
        return x.grad.tolist(), y.is_leaf

    same(run)


def test_what_was_computed_before_a_write_keeps_the_old_history():
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x * 2
        y.tolist()
        before = y.sum()
        y.mul_(5)
        before.backward()
        return x.grad.tolist()

    same(run)


def test_the_same_where_the_earlier_result_was_looked_at():
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x * 2
        y.tolist()
        before = y.sum()
        before.item()
        y.add_(1)
        y.detach_()
        before.backward()
        return x.grad.tolist()

    same(run)


@LOOK
def test_a_view_made_under_no_grad_has_no_gradient_after_its_base_is_written(look):
    x = numbers(tn, 3, grad=True)
    y = x * 2
    with tn.no_grad():
        view = y[1:]
    if look:
        view.tolist()
    y.add_(1)
    assert not view.requires_grad
    assert not (view * 2).requires_grad
    assert view.tolist() == y.tolist()[1:]


@LOOK
def test_a_view_derived_again_under_no_grad_has_its_gradient_afterwards(look):
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x * 2
        view = y[1:]
        y.add_(1)
        with lib.no_grad():
            total = view.sum()
            if look:
                total.item()
        (view * view).sum().backward()
        return view.requires_grad, x.grad.tolist()

    same(run)


def test_a_write_with_a_gradient_reaches_the_views_of_its_base():
    def run(lib):
        w = numbers(lib, 2, grad=True)
        base = lib.zeros(2, 2, dtype=lib.float64)
        first, second = base[0], base[1]
        first.copy_(w)
        (base * base).sum().backward()
        return base.requires_grad, first.requires_grad, second.requires_grad, w.grad.tolist()

    same(run)


def test_a_detached_tensor_written_with_a_gradient_leaves_its_source_without():
    def run(lib):
        w = numbers(lib, 2, grad=True)
        source = lib.zeros(2, dtype=lib.float64)
        apart = source.detach()
        apart.add_(w)
        (apart * 3).sum().backward()
        return source.requires_grad, apart.requires_grad, source.tolist(), w.grad.tolist()

    same(run)


def test_a_gradient_that_could_only_be_lost_is_an_error():
    w = numbers(tn, 2, grad=True)
    apart = tn.zeros(2, dtype=tn.float64).detach()
    with pytest.raises(GradientError, match="detach"):
        apart[0:1] = w[0:1]


def test_data_of_a_view_of_a_leaf_leaves_it_a_leaf():
    def run(lib):
        p = numbers(lib, 2, 3, grad=True)
        p[0:1].data.mul_(0.5)
        return p.is_leaf, p.requires_grad, p.tolist()

    same(run)


# -- errors of PyTorch's version counter ---------------------------------------------------------
def refused(lib, run):
    """Tell whether the library refuses; ours must say so by its own error."""
    with contextlib.suppress(GradientError if lib is tn else RuntimeError):
        run(lib)
        return False
    return True


def written_then_looked_at(lib):
    x = numbers(lib, 3, grad=True)
    y = (x * x).sum()
    with lib.no_grad():
        x.add_(1)
    y.item()
    y.backward()


def looked_at_then_written(lib):
    x = numbers(lib, 3, grad=True)
    y = (x * x).sum()
    y.item()
    with lib.no_grad():
        x.add_(1)
    y.backward()


def written_through_its_base(lib):
    x = numbers(lib, 3, grad=True)
    y = x * 1
    view = y[1:]
    z = (view * view).sum()
    y.add_(1)
    z.backward()


def written_through_a_view(lib):
    x = numbers(lib, 3, grad=True)
    y = x * 1
    z = (y * y).sum()
    y[0].zero_()
    z.backward()


def a_constant_written(lib):
    x, c = numbers(lib, 3, grad=True), numbers(lib, 3)
    z = (x * c).sum()
    c.add_(1)
    z.backward()


def an_array_written(lib):
    x, c = numbers(lib, 3, grad=True), lib.from_numpy(np.ones(3))
    z = (x * c).sum()
    c.add_(1)
    z.backward()


def the_own_old_value(lib):
    x, c = numbers(lib, 3, grad=True), numbers(lib, 3)
    c.mul_(x)
    c.sum().backward()


def the_own_old_value_looked_at(lib):
    x, c = numbers(lib, 3, grad=True), numbers(lib, 3)
    c.tolist()
    c.mul_(x)
    c.tolist()
    c.add_(1)
    c.sum().backward()


def nothing_kept(lib):
    x = numbers(lib, 3, grad=True)
    y = x + 1
    z = y * 2
    y.add_(5)
    z.sum().backward()


@pytest.mark.parametrize(
    "run",
    [
        written_then_looked_at, looked_at_then_written, written_through_its_base,
        written_through_a_view, a_constant_written, an_array_written, the_own_old_value,
        the_own_old_value_looked_at, nothing_kept,
    ],
)  # fmt: skip
def test_a_value_written_after_it_was_used_is_refused_where_pytorch_refuses(run):
    assert refused(tn, run) == refused(torch, run)


# -- memory that is somebody else's ----------------------------------------------------------------
def test_a_tensor_assigned_whole_does_not_write_where_it_came_from():
    x, t = tn.zeros(3) + 0, tn.ones(3) + 0
    x.tolist(), t.tolist()
    x[...] = t
    x.add_(1)
    assert x.tolist() == [2, 2, 2]
    assert t.tolist() == [1, 1, 1]
    x.mul_(5)
    assert x.tolist() == [10, 10, 10]
    assert t.tolist() == [1, 1, 1]


@LOOK
def test_gradients_given_to_backward_are_not_added_to(look):
    x, g = numbers(tn, 3, grad=True), tn.ones(3, dtype=tn.float64) + 0
    if look:
        g.tolist()
    for _ in range(3):
        x.backward(g)
        if look:
            x.grad.tolist()
    assert x.grad.tolist() == [3, 3, 3]
    assert g.tolist() == [1, 1, 1]


def test_clones_and_copies_of_a_state_keep_what_they_held():
    p = tn.tensor([1.0, 2.0])
    clone, detached, kept = p.clone(), p.detach().clone(), {"p": p.clone()}
    for _ in range(3):
        p.mul_(2)
        p.tolist()
    assert p.tolist() == [8, 16]
    assert clone.tolist() == detached.tolist() == kept["p"].tolist() == [1, 2]


def test_values_kept_for_a_gradient_are_not_written_over():
    def run(lib):
        x = numbers(lib, 3, grad=True)
        y = x.exp()
        y.tolist()
        z = y * 2
        y.mul_(100)  # what exp kept is its result: refused, rather than wrong
        y.tolist()
        try:
            z.sum().backward()
        except RuntimeError:
            return "refused"
        return x.grad.tolist()

    same(run)


# -- views -----------------------------------------------------------------------------------------
def test_a_stored_view_that_was_used_again_sees_a_later_write():
    base = tn.tensor([1.0, 2.0, 3.0])
    view = base.detach()
    base.tolist(), view.tolist()
    total = view.sum()
    base.fill_(7)
    assert (view + 0).tolist() == [7, 7, 7]
    assert total.item() == 6


def test_a_stored_view_that_was_only_written_sees_a_later_write():
    base = tn.tensor([1.0, 2.0, 3.0])
    view = base[:]
    base.tolist(), view.tolist()
    view.fill_(5)
    base.fill_(9)
    assert view.sum().item() == 27


@pytest.mark.parametrize("index", [0, slice(0, 1), slice(1, 2)])
def test_one_row_of_an_expanded_tensor_can_be_written(index):
    def run(lib):
        base = numbers(lib, 3)
        wide = base.expand(2, 3)
        wide[index].add_(10)
        return base.tolist(), wide.tolist()

    same(run)


def test_an_expanded_tensor_cannot_be_written():
    wide = tn.zeros(3).expand(2, 3)
    with pytest.raises(GradientError, match="expanded"):
        wide.add_(1)


def test_a_read_never_sees_an_array_written_after_it_nor_misses_one_before():
    array = np.arange(3.0)
    x = tn.from_numpy(array)
    old = x * 2
    array[0] = 100
    new = x + 1
    array[1] = 200
    assert (new.tolist(), old.tolist()) == ([101, 2, 3], [0, 2, 4])
    assert x.tolist() == [100, 200, 2]


def test_many_writes_through_views_are_linear():
    out = tn.zeros(400, 2)
    for i in range(400):
        out[i] = float(i)
    assert out.sum(1).tolist() == [2.0 * i for i in range(400)]


@pytest.mark.parametrize("cap", ["immediate", 1, 2, 3, 4, 5, 6, 20_000])
@pytest.mark.parametrize(
    "write",
    [
        lambda y, w: y.mul_(w * 1),
        lambda y, w: y.pow_(w),
        lambda y, w: y[0].mul_(w[0] * 2),
        lambda y, w: y.t()[0].div_(w[0] + 5),
    ],
)
def test_a_write_whose_own_derivative_reads_the_old_value(write, cap, monkeypatch):
    """It may have been run before the value was written, at any point."""

    def program(lib):
        x = lib.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=lib.float64, requires_grad=True)
        w = lib.tensor([[0.5, 2.0], [1.5, 3.0]], dtype=lib.float64, requires_grad=True)
        y = x * 3
        write(y, w)
        (y * y.detach()).sum().backward()
        return x.grad.tolist(), w.grad.tolist()

    if cap == "immediate":
        with tn.immediate():
            ours = program(tn)
    else:
        monkeypatch.setattr(config, "max_pending_ops", cap)
        reset_trie()
        ours = program(tn)
        reset_trie()
    np.testing.assert_allclose(ours, program(torch), rtol=1e-12)


def test_a_read_before_such_a_write_is_still_refused():
    for mode in (tn.immediate, tn.enable_grad):
        with mode():
            x = tn.tensor([1.0, 2.0], requires_grad=True)
            y = x * 3
            z = y * y
            y.mul_(x * 1)
            with pytest.raises(GradientError, match="in place"):
                z.sum().backward()
