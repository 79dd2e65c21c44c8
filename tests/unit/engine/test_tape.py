"""Backward over traces and segments: hooks, what is let go, and who holds what."""

from __future__ import annotations

import functools
import gc

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import tenor as tn
from tenor.config import config
from tenor.engine.tape import RecordingWalk
from tenor.engine.trace import reset_trie
from tenor.errors import ArgumentError, DTypeError, GradientError, ShapeError

LOOK = pytest.mark.parametrize("look", [False, True])


def same(run, *args):
    ours, theirs = run(tn, *args), run(torch, *args)
    assert ours == theirs
    return ours


# -- what is let go --------------------------------------------------------------------------------
def test_losses_looked_at_together_are_differentiated_one_by_one():
    def run(lib):
        a, b = (lib.tensor(v, requires_grad=True) for v in (2.0, 3.0))
        first, second, third = a * a, b * b, (a * b).exp()
        first.item(), second.item(), third.item()
        first.backward()
        second.backward()
        third.backward()
        return [round(x, 2) for x in (a.grad.item(), b.grad.item())]

    same(run)


@LOOK
def test_a_graph_that_kept_nothing_can_be_walked_again(look):
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = (x + 1).reshape(2, 1) + x.sum()
        if look:
            y.tolist()
        z = y.sum()
        z.backward()
        if look:
            x.grad.tolist()
        z.backward()
        return x.grad.tolist()

    same(run)


@LOOK
def test_what_was_let_go_is_missed_only_where_it_is_read(look):
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * x
        first, other = y.sum(), (x * 3).sum()
        if look:
            first.item(), other.item()
        first.backward()
        if look:
            x.grad.tolist()
        other.backward()
        try:
            (y + 1).sum().backward()
        except RuntimeError:
            return x.grad.tolist()
        return None

    assert same(run) == [5.0, 7.0]


def test_values_are_let_go_when_their_last_reader_is():
    x = tn.ones(1000, requires_grad=True)
    x.tolist()
    gc.collect()
    before = tn.memory_allocated()
    y = x * 3
    first, second = (y * y).sum(), y.exp().sum()
    first.item(), second.item()
    del y
    first.backward()
    x.grad = None
    assert tn.memory_allocated() > before + 3500
    second.backward()
    x.grad = None
    tn.ones(1).tolist()
    assert tn.memory_allocated() < before + 1000


# -- inputs that are no leaves ---------------------------------------------------------------------
def test_a_gradient_is_gathered_from_every_stretch_that_used_a_tensor():
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * x
        y.tolist()
        first = (y * 2).sum()
        first.item()
        second = (y * 3).sum()
        (g,) = lib.autograd.grad(first + second, y)
        return g.tolist()

    same(run)


# -- hooks -----------------------------------------------------------------------------------------
@LOOK
@pytest.mark.parametrize("place", ["leaf", "inner"])
def test_hooks_run_once_with_the_whole_gradient(look, place):
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        seen = []
        y = x * 2
        watched = x if place == "leaf" else y
        watched.register_hook(lambda g: seen.append(g.tolist()))
        if look:
            y.tolist()
        a = (y * 3).sum()
        if look:
            a.item()
        b = (y * y).sum() + x.sum()
        (a + b).backward()
        return seen, x.grad.tolist()

    same(run)


def test_a_hook_put_on_a_leaf_after_it_was_used():
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = (x * x).sum()
        y.item()
        x.register_hook(lambda g: g * 10)
        y.backward()
        return x.grad.tolist()

    same(run)


def test_a_hook_put_on_a_tensor_entered_again_in_a_later_trace():
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        y.tolist()
        z = (y * y).sum()
        z.item()
        y.register_hook(lambda g: g * 10)
        z.backward()
        return x.grad.tolist()

    same(run)


def test_a_leafs_hooks_are_seen_by_a_pass_recorded_before():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    seen = []

    def step():
        x.grad = None
        (x * x).sum().backward()
        return x.grad.tolist()

    for _ in range(3):
        assert step() == [2, 4]
    handle = x.register_hook(lambda g: seen.append(1) or g * 2)
    for _ in range(2):
        assert step() == [4, 8]
    handle.remove()
    assert step() == [2, 4]
    assert seen == [1, 1]


GIVEN = {
    "new": lambda lib, x, y, g: lib.tensor([g, 2.0]),
    "a leaf of the graph": lambda lib, x, y, g: x.detach(),
    "the leaf itself": lambda lib, x, y, g: x,
    "recorded": lambda lib, x, y, g: lib.tensor([g, 2.0]) * 3,
    "the result": lambda lib, x, y, g: y.detach(),
    "a view": lambda lib, x, y, g: lib.tensor([[g, 2.0], [3.0, 4.0]])[1],
    "one element": lambda lib, x, y, g: lib.tensor([g]).expand(2),
    "in another dtype": lambda lib, x, y, g: lib.tensor([g, 2.0]).double().float(),
}
"""Where the gradient that a backward pass is given comes from."""


@LOOK
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("product", [False, True])
def test_a_pass_with_a_gradient_of_its_own_gives_pytorchs_each_time(given, product, look):
    """Whatever arrives at the result may arrive at a leaf as it is."""

    def run(lib):
        x = lib.tensor([1.0, -2.0], requires_grad=True)
        w = lib.tensor([0.5, 3.0], requires_grad=True)
        found = []
        for g in (1.0, 5.0, -1.0, 0.25):
            y = x * w if product else x + w
            if look:
                y.tolist()
            y.backward(given(lib, x, y, g))
            found += [x.grad.tolist(), w.grad.tolist(), y.tolist()]
            if g > 0:  # once it is added to what is there
                x.grad = None
        return found

    same(run)


def test_a_pass_with_a_gradient_is_walked_once(monkeypatch):
    reset_trie()
    walks = []
    run = RecordingWalk.run
    monkeypatch.setattr(RecordingWalk, "run", lambda walk: walks.append(1) or run(walk))
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    for g in (1.0, 2.0, 3.0):
        x.grad = None
        (x * x).backward(tn.tensor([g, 1.0]))
        assert x.grad.tolist() == [2 * g, 4]
    assert len(walks) == 1
    with pytest.raises(ShapeError):
        (x * x).backward(tn.tensor([1.0, 2.0, 3.0]))
    y = x * x
    y.backward(tn.tensor([1.0, 1.0]))
    with pytest.raises(GradientError):
        y.backward(tn.tensor([1.0, 1.0]))


@LOOK
def test_a_hook_after_accumulation_sees_the_whole_gradient_each_time(look):
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        w = lib.tensor([3.0, 4.0], requires_grad=True)
        seen = []
        x.register_hook(lambda g: g * 2)
        for p in (x, w):
            p.register_post_accumulate_grad_hook(
                lambda p: seen.append((p.grad.tolist(), lib.is_grad_enabled(), p.is_leaf))
            )
        for _ in range(3):
            y = x * w
            if look:
                y.tolist()
            (y * y).sum().backward()
        (x * x).sum().backward(inputs=[x])
        lib.autograd.grad((x * x).sum(), x)
        return sorted(seen), x.grad.tolist()

    same(run)


def test_a_step_may_be_taken_while_backward_goes_on():
    def run(lib):
        params = [lib.tensor([1.0, 2.0], requires_grad=True) for _ in range(3)]
        steps = {p: lib.optim.SGD([p], lr=0.125, momentum=0.5) for p in params}

        def update(p):
            steps[p].step()
            steps[p].zero_grad()

        handles = [p.register_post_accumulate_grad_hook(update) for p in params]
        found = []
        for turn in range(4):
            if turn == 3:
                handles[0].remove()
            a, b, c = params
            (a * b + b * c + a * a).sum().backward()
            found.append([p.tolist() for p in params])
            found.append([p.grad is None for p in params])
        return found

    same(run)


def test_a_hook_after_accumulation_is_seen_by_a_pass_recorded_before():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    seen = []

    def step():
        x.grad = None
        (x * x).sum().backward()
        return x.grad.tolist()

    for _ in range(3):
        step()
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.tolist()))
    assert [step() for _ in range(2)] == seen == [[2, 4], [2, 4]]
    handle.remove()
    step()
    assert len(seen) == 2


def test_a_hook_after_accumulation_is_a_leafs_and_returns_nothing():
    x = tn.ones(2, requires_grad=True)
    for other in (tn.ones(2), x * 2):
        with pytest.raises(GradientError, match="a leaf that requires a gradient"):
            other.register_post_accumulate_grad_hook(print)
    x.register_post_accumulate_grad_hook(lambda p: p.grad)
    with pytest.raises(ArgumentError, match="must return nothing"):
        x.sum().backward()


@LOOK
def test_a_retained_gradient_is_kept_once_and_after_the_hooks(look):
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        y.retain_grad()
        y.retain_grad()
        y.register_hook(lambda g: g * 10)
        if look:
            y.tolist()
        y.register_hook(lambda g: g + 1)
        (y * y).sum().backward()
        return y.grad.tolist(), x.grad.tolist()

    same(run)


def test_a_gradient_there_is_not_is_not_retained():
    with pytest.raises(GradientError, match="no gradient"):
        tn.ones(2).retain_grad()


@LOOK
@pytest.mark.parametrize("write", [False, True])
def test_retained_gradients_are_of_the_name_hooks_of_the_value(look, write):
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        seen = []
        y.retain_grad()
        y.register_hook(lambda g: seen.append(g.tolist()))
        if look:
            y.tolist()
        if write:
            y.mul_(3)
        z = (y * y).sum()
        if look:
            z.item()
        z.backward()
        return y.grad.tolist(), x.grad.tolist(), seen

    same(run)


@LOOK
def test_an_error_in_a_hook_leaves_everything_usable(look):
    def bad(_g):
        raise KeyError("mine")

    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    handle = y.register_hook(bad)
    z = (y * y).sum()
    if look:
        z.item()
    with pytest.raises(KeyError, match="mine"):
        z.backward()
    assert tn.is_grad_enabled()
    handle.remove()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert y.tolist() == [2, 4]


def test_a_hook_that_removes_itself_and_one_that_writes():
    def run(lib):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        y, z = x * 2, lib.zeros(2)
        handles = []

        def once(g):
            handles[0].remove()
            return g * 10

        def writes(g):
            z.add_(g)

        handles.append(y.register_hook(once))
        y.register_hook(writes)
        total = (y * y).sum()
        total.backward(retain_graph=True)
        total.backward()
        return x.grad.tolist(), z.tolist()

    same(run)


# -- custom Functions ------------------------------------------------------------------------------
def exponential(lib):
    class Exponential(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * y

    return Exponential


@LOOK
@pytest.mark.parametrize("drop", [False, True])
def test_an_output_kept_by_a_function_is_differentiated_again(look, drop):
    def run(lib):
        x = lib.tensor(1.0, dtype=lib.float64, requires_grad=True)
        y = exponential(lib).apply(x)
        z = y * 1
        if look:
            z.item()
        if drop:
            del y
        found = []
        for _ in range(3):
            (z,) = lib.autograd.grad(z, x, create_graph=True)
            found.append(round(z.item(), 12))
        return found

    same(run)


@LOOK
def test_a_function_whose_first_output_has_no_gradient(look):
    def run(lib):
        class Both(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                place, double = x.argmax(), x * 2
                ctx.mark_non_differentiable(place)
                return place, double

            @staticmethod
            def backward(ctx, _place, g):
                return g * 2

        x = lib.tensor([1.0, 2.0], requires_grad=True)
        place, double = Both.apply(x)
        if look:
            double.tolist()
        double.sum().backward()
        return place.item(), place.requires_grad, x.grad.tolist()

    same(run)


@LOOK
def test_what_a_function_kept_is_let_go_with_the_graph(look):
    def run(lib):
        x = lib.tensor(1.0, requires_grad=True)
        y = exponential(lib).apply(x)
        if look:
            y.item()
        y.backward()
        try:
            y.backward()
        except RuntimeError:
            return "refused"
        return "walked again"

    assert same(run) == "refused"


def test_a_function_may_write_its_argument():
    def run(lib):
        class Increment(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                x.add_(1)
                ctx.mark_dirty(x)
                return x

            @staticmethod
            def backward(ctx, g):
                return g * 5

        x = lib.tensor([1.0, 2.0], requires_grad=True)
        h = x * 1
        y = Increment.apply(h)
        y.sum().backward()
        return y is h, h.tolist(), x.grad.tolist()

    same(run)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_error_in_a_function_leaves_the_mode_as_it_was(where):
    class Bad(tn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            if where == "forward":
                raise KeyError(where)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise KeyError(where)

    x = tn.ones(2, requires_grad=True)
    with pytest.raises(KeyError, match=where):
        Bad.apply(x).sum().backward()
    assert tn.is_grad_enabled()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


# -- deep graphs -----------------------------------------------------------------------------------
def test_a_chain_of_thousands_of_operations_is_walked_without_recursion(monkeypatch):
    from tenor.config import config

    monkeypatch.setattr(config, "backend", "reference")
    x = tn.ones(2, requires_grad=True)
    y = x
    for i in range(9000):
        y = y + i
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


# -- memory without the garbage collector ----------------------------------------------------------
class Kept(tn.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        _, y = ctx.saved_tensors
        return g * y


def plain(x):
    return (x * x).sum()


def looked_at(x):
    y = x * x
    y.tolist()
    return y.sum()


def retained(x):
    y = x * 2
    y.retain_grad()
    return (y * y).sum()


def hooked(x):
    y = x * 2
    y.register_hook(lambda g: g * 2)
    return (y * y).sum()


def by_function(x):
    return Kept.apply(x).sum()


def checkpointed(x):
    return tn.autograd.checkpoint(lambda v: (v * 2).tanh(), x).sum()


def written(x):
    y = x * 2
    y.tolist()
    y.add_(1)
    y[3:].mul_(2)
    return y.sum()


@pytest.mark.parametrize(
    "loss", [plain, looked_at, retained, hooked, by_function, checkpointed, written]
)
@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("walk", [False, True])
def test_a_step_leaves_nothing_behind_for_the_garbage_collector(loss, look, walk):
    def step():
        x = tn.ones(1000, requires_grad=True)
        y = loss(x)
        if look:
            y.item()
        if walk:
            y.backward()
            x.grad.tolist()
        tn.ones(1).tolist()

    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            step()
        before = tn.memory_allocated()
        for _ in range(3):
            step()
        assert tn.memory_allocated() == before
    finally:
        gc.enable()


def test_an_error_leaves_nothing_behind_either():
    def bad(_g):
        raise KeyError

    def step():
        x = tn.ones(1000, requires_grad=True)
        y = x * 2
        y.register_hook(bad)
        with pytest.raises(KeyError):
            (y * y).sum().backward()
        with pytest.raises(GradientError):
            x.detach().sum().backward()
        y.tolist()

    gc.collect()
    step()
    before = tn.memory_allocated()
    for _ in range(3):
        step()
    gc.collect()
    assert tn.memory_allocated() == before


# -- gradients by name go no further than they must ----------------------------------------------
def both(program):
    """Return what a program gives in PyTorch and in Tenor."""
    return program(torch), program(tn)


def leaf(lib, *values):
    return lib.tensor(list(values), dtype=lib.float64, requires_grad=True)


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("inputs", [False, True], ids=["autograd.grad", "backward(inputs=)"])
def test_what_no_asked_for_gradient_needs_is_not_walked(look, inputs):
    """Values written over are refused, and hooks called, only on the way to an input."""

    def program(lib):
        x, w, log = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0), []
        h = x.exp()
        h.register_hook(lambda g: log.append(g.tolist()))
        y = h * w
        if look:
            y.tolist()
        z = (y.tanh() * w).sum() + (h * h).sum()
        if look:
            z.tolist()
        with lib.no_grad():
            h.add_(1)
        if inputs:
            try:
                z.backward(inputs=[x])
            except RuntimeError:
                log.append("refused")
            return log, x.grad
        w2 = leaf(lib, 5.0, 6.0)
        k = (w2 * w2 + h.detach() * x).sum()
        (g,) = lib.autograd.grad(k, w2, retain_graph=True)
        return log, g.tolist()

    theirs, ours = both(program)
    assert ours == theirs


def test_hooks_before_an_input_are_not_called():
    def program(lib):
        x, log = leaf(lib, 1.0, 2.0), []
        x.register_hook(lambda g: log.append("x"))
        h = x * 2
        h.register_hook(lambda g: log.append("h"))
        found = lib.autograd.grad((h * h).sum(), h)
        return log, [g.tolist() for g in found]

    theirs, ours = both(program)
    assert ours == theirs


def test_an_input_whose_own_history_was_let_go():
    def program(lib):
        x = leaf(lib, 1.0, 2.0)
        h = x * x
        h.sum().backward()
        found = lib.autograd.grad((h * h).sum(), h)[0].tolist()
        with pytest.raises(RuntimeError):
            lib.autograd.grad((h * h).sum(), x)
        return found

    theirs, ours = both(program)
    assert ours == theirs


def test_a_quotient_may_be_written_over():
    def program(lib):
        x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
        y = x / w
        y.mul_(3)
        y.sum().backward()
        return x.grad.tolist(), w.grad.tolist()

    theirs, ours = both(program)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


# -- checkpoint ----------------------------------------------------------------------------------
def remember(lib):
    if lib is tn:
        return tn.autograd.checkpoint
    return functools.partial(checkpoint, use_reentrant=False)


@pytest.mark.parametrize("cap", [20_000, 3, 4, 5, 7], ids="cap {}".format)
@pytest.mark.parametrize(
    "function",
    [
        lambda lib, c, x, w, h: c(lambda a: (a * x).sin() * w, x),
        lambda lib, c, x, w, h: c(lambda a: (a * h).sin() * w, x),
        lambda lib, c, x, w, h: c(lambda a: (a * h).sin() * w, h),
        lambda lib, c, x, w, h: c(lambda a: c(lambda b: (a * b * h).exp(), a * w), h * x),
    ],
    ids=["argument found again", "computed from the argument", "a computed argument", "nested"],
)
def test_checkpoint_of_what_is_found_outside(function, cap, monkeypatch):
    monkeypatch.setattr(config, "max_pending_ops", cap)
    reset_trie()

    def program(lib):
        x, w, log = leaf(lib, 0.5, 0.25), leaf(lib, 3.0, 4.0), []
        w.register_hook(lambda g: log.append("w"))
        h = x.tanh()
        h.register_hook(lambda g: log.append("h") or g * 2)
        function(lib, remember(lib), x, w, h).sum().backward()
        return [x.grad.tolist(), w.grad.tolist()], sorted(log)

    try:
        (theirs, order), (ours, our_order) = both(program)
    finally:
        reset_trie()
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert our_order == order


def test_a_checkpoint_is_differentiated_twice():
    def program(lib):
        x, w = leaf(lib, 0.5, 0.25), leaf(lib, 3.0, 4.0)
        y = remember(lib)(lambda a: (a**3 * w).sum(), x * 2)
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        return [g.tolist()] + [v.tolist() for v in lib.autograd.grad((g * g).sum(), [x, w])]

    theirs, ours = both(program)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_checkpoint_in_immediate_mode():
    with tn.immediate():
        x = tn.tensor([1.0, 2.0], requires_grad=True)
        tn.autograd.checkpoint(lambda a: (a * a).sum(), x).backward()
        assert x.grad.tolist() == [2.0, 4.0]


# -- what rules of a user's may return -----------------------------------------------------------
class Given(tn.autograd.Function):
    """Gives a gradient of any shape."""

    @staticmethod
    def forward(ctx, x, gradient):
        ctx.gradient = gradient
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return ctx.gradient, None


def test_a_functions_gradient_must_fit_its_argument():
    x = tn.zeros(3, 1, requires_grad=True)
    Given.apply(x, tn.ones(2, 3, 4, dtype=tn.float64)).sum().backward()
    assert x.grad.tolist() == [[8.0]] * 3
    assert x.grad.dtype is tn.float32
    for shape in ((1,), (2, 1), (3, 1, 2), ()):
        with pytest.raises(GradientError, match=r"Given\.backward"):
            Given.apply(x, tn.ones(shape)).sum().backward()


def test_a_hook_must_keep_shape_and_dtype():
    for hook in (lambda g: g[:1], lambda g: g.double()):
        x = tn.ones(2, requires_grad=True)
        x.register_hook(hook)
        with pytest.raises(GradientError, match="hook"):
            (x * x).sum().backward()


def test_what_is_retained_is_what_hooks_leave():
    def program(lib):
        x = leaf(lib, 1.0, 2.0)
        h = x * 2
        h.retain_grad()
        h.register_hook(lambda g: g * 3)
        (h * h).sum().backward()
        return h.grad.tolist(), x.grad.tolist()

    theirs, ours = both(program)
    assert ours == theirs


def test_a_function_with_its_context_set_up_apart():
    def program(lib):
        class Scale(lib.autograd.Function):
            @staticmethod
            def forward(x, k):
                return x * k

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.save_for_backward(inputs[0])
                ctx.k = inputs[1]

            @staticmethod
            def backward(ctx, g):
                return g * ctx.k + 0 * ctx.saved_tensors[0], None

        x = leaf(lib, 1.0, 2.0)
        Scale.apply(x, 3.0).sum().backward()
        return x.grad.tolist()

    theirs, ours = both(program)
    assert ours == theirs


def test_a_gradient_of_another_dtype_is_refused():
    x = tn.ones(2, requires_grad=True)
    with pytest.raises(DTypeError, match="grad"):
        x.grad = tn.ones(2, dtype=tn.float64)
    assert x.grad is None
