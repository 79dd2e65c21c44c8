"""The semantics table: what recording must never let a user notice."""

from __future__ import annotations

import contextlib
import gc
import threading

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.config import config
from tenor.engine.flush import counts
from tenor.errors import GradientError, ObservationError, OutOfMemoryError, ShapeError
from tenor.runtime import cpu


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def plans(function) -> int:
    before = counts["plans"]
    function()
    return counts["plans"] - before


# -- in-place, views, aliasing --------------------------------------------------------------------
def test_a_write_through_a_view_and_its_gradient_are_pytorchs(rng):
    start = rng.standard_normal((3, 4))

    def run(lib):
        a = lib.tensor(start, requires_grad=True)
        b = a * 1
        row = b[1]
        row.add_(10)
        b.mul_(2)
        (b * b).sum().backward()
        return b.detach().numpy(), row.detach().numpy(), a.grad.numpy()

    for ours, theirs in zip(run(tn), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_reader_recorded_before_a_write_keeps_the_old_value():
    a = tn.zeros(3)
    old = a + 1
    a += 5
    assert old.tolist() == [1, 1, 1]
    assert a.tolist() == [5, 5, 5]


@pytest.mark.parametrize("observe", [False, True])
def test_views_of_views_and_bases_see_each_other(rng, observe):
    start = rng.standard_normal((4, 6)).astype(np.float32)

    def run(lib):
        base = lib.tensor(start)
        view = base[1:3].t()
        deep = view[2:5, 1]
        other = base.reshape(2, 12)[1]
        if observe:
            str(deep)
        deep.fill_(9)
        if observe:
            str(base)
        base[2] += 1
        other[0:2] *= 3
        return [x.numpy().copy() for x in (base, view, deep, other)]

    for ours, theirs in zip(run(tn), run(torch), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_clone_and_contiguous_copies_do_not_alias():
    a = tn.arange(6).reshape(2, 3)
    b, c = a.clone(), a.t().contiguous()
    a.zero_()
    assert b.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert c.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_from_numpy_shares_memory_both_ways():
    array = np.arange(4, dtype=np.float32)
    x = tn.from_numpy(array)
    y = x * 2
    array[0] = 100
    assert y.tolist() == [0, 2, 4, 6]  # recorded before NumPy wrote
    assert x.tolist() == [100, 1, 2, 3]
    x += 1
    assert array.tolist() == [101, 2, 3, 4]
    back = x.numpy()
    back[1] = -1
    assert x[1].item() == -1


def test_a_saved_value_written_in_place_is_refused():
    x = tn.ones(3, requires_grad=True)
    y = x.exp()
    z = y * y
    y.add_(1)
    with pytest.raises(GradientError, match="in place"):
        z.sum().backward()


def test_a_saved_value_written_in_place_after_observation_is_refused():
    x = tn.ones(3, requires_grad=True)
    y = x.exp()
    z = (y * y).sum()
    z.item()
    y.add_(1)
    with pytest.raises(GradientError, match="in place"):
        z.backward()


def test_a_leaf_that_requires_a_gradient_is_not_written_while_recording():
    x = tn.ones(3, requires_grad=True)
    with pytest.raises(GradientError, match="leaf"):
        x += 1
    with tn.no_grad():
        x += 1
    assert x.is_leaf
    assert x.requires_grad
    assert x.tolist() == [2, 2, 2]


# -- data-dependent control flow ------------------------------------------------------------------
def test_a_data_dependent_loop_is_one_plan():
    def loop(start: float) -> int:
        x, n = tn.tensor([start]), 0
        while x.item() > 1:
            x = x * 0.5
            n += 1
        return n

    loop(8.0)
    total = 0

    def many():
        nonlocal total
        total = sum(loop(float(i)) for i in range(1, 101))

    assert plans(many) <= 1
    assert total == sum(int(np.ceil(np.log2(i))) for i in range(1, 101))


def test_branches_on_values_take_the_branch_and_its_gradient():
    def f(x):
        return (x * 3).sum() if (x.sum() > 0) else (x * x).sum()

    for start in ([1.0, 2.0], [-1.0, -2.0], [3.0, -1.0]):
        x = tn.tensor(start, requires_grad=True)
        t = torch.tensor(start, requires_grad=True)
        f(x).backward()
        f(t).backward()
        assert x.grad.tolist() == t.grad.tolist()


# -- observation between forward and backward -----------------------------------------------------
def test_looking_at_values_changes_no_bit_of_a_gradient(rng):
    w1, w2 = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(2))
    data = rng.standard_normal((5, 8)).astype(np.float32)

    def run(look: bool):
        a, b = tn.tensor(w1, requires_grad=True), tn.tensor(w2, requires_grad=True)
        h = (tn.tensor(data) @ a).tanh()
        if look:
            str(h)
        z = (h @ b).softmax(1)
        if look:
            z.max().item()
        loss = (z * z).mean()
        if look:
            print(loss)
        loss.backward()
        return a.grad.numpy(), b.grad.numpy()

    for seen, unseen in zip(run(True), run(False), strict=True):
        assert seen.tobytes() == unseen.tobytes()


def test_a_segment_crossed_by_two_losses_gives_both_gradients(rng):
    start = rng.standard_normal(4)

    def run(lib):
        x = lib.tensor(start, requires_grad=True)
        h = (x * x).exp()
        first = h.sum()
        first.item()
        second = (h * h).sum()
        second.item()
        (first + second).backward()
        return x.grad.numpy()

    np.testing.assert_allclose(run(tn), run(torch), rtol=1e-12)


# -- scalars, live sets, memory -------------------------------------------------------------------
def test_changing_python_numbers_compile_nothing_new():
    x = tn.tensor([0.0, 1, 2, 3, 4])
    (x * 0.5 + 1).tolist()
    results = []
    assert plans(lambda: results.extend((x * (i / 7) + i).tolist() for i in range(100))) == 0
    np.testing.assert_allclose(results[99], np.arange(5) * np.float32(99 / 7) + 99, rtol=1e-6)


def test_a_leaked_local_costs_at_most_one_more_plan():
    kept = []

    def step(i: int) -> None:
        h = tn.ones(16) * i
        z = (h + 1).sum()
        if i == 0:
            kept.append(h)
        z.item()

    def run():
        for i in range(20):
            step(i)

    assert plans(run) <= 2
    assert kept[0].tolist() == [0.0] * 16


def test_an_unobserved_loop_is_bounded_in_plans_and_memory():
    x = tn.ones(1000)

    def run(n: int):
        y = x
        for _ in range(n):
            y = y * 1.0000001 + 0.0
        return y

    run(3000).sum().item()
    before = tn.memory_allocated()
    assert plans(lambda: run(6000).sum().item()) <= 4
    gc.collect()
    assert tn.memory_allocated() <= before + 3 * x.nbytes


def test_dropping_every_result_frees_every_byte():
    gc.collect()
    before = tn.memory_allocated()
    x = tn.ones(512, 512)
    y = (x @ x).relu()
    y.sum().item()
    del x, y
    gc.collect()
    assert tn.memory_allocated() == before


def test_training_steps_hold_a_constant_number_of_bytes(rng):
    w = tn.tensor(rng.standard_normal((64, 64)), requires_grad=True)
    x = tn.tensor(rng.standard_normal((16, 64)))

    def step():
        loss = ((x @ w).tanh() ** 2).sum()
        loss.backward()
        with tn.no_grad():
            w.sub_(0.01 * w.grad)
        w.grad = None
        loss.item()

    for _ in range(3):
        step()
    gc.collect()
    before = tn.memory_allocated()
    assert plans(lambda: [step() for _ in range(20)]) == 0
    gc.collect()
    assert tn.memory_allocated() == before


@pytest.mark.parametrize("limit", ["max_plans", "max_states"])
def test_forgetting_changes_no_result(rng, monkeypatch, limit):
    """The recorder forgets plans and positions when there are too many, anywhere in a program."""
    start, data = rng.standard_normal((5, 5)), rng.standard_normal((12, 3, 5))

    def run():
        w = tn.tensor(start, requires_grad=True)
        opt = tn.optim.Adam([w], lr=0.1)
        step = tn.compile(lambda x: ((x @ w).tanh() ** 2).sum())
        kept, found = (w * 2).exp(), []
        kept.sum().item()
        for i, x in enumerate(data):
            opt.zero_grad()
            loss = step(tn.tensor(x)) + (tn.tensor(x[: i % 3 + 1]) @ w).sin().sum()
            if i % 4 == 1:
                loss.item()
            loss.backward()
            opt.step()
            found.append(loss.item())
        kept.sum().backward()
        return [*found, *w.grad.flatten().tolist()]

    wanted = run()
    monkeypatch.setattr(config, limit, 3)
    assert run() == wanted


def test_plans_that_are_forgotten_leave_memory(monkeypatch):
    """Thousands of programs in one process: the kernel limits how many stay loaded."""

    def run(first):
        for k in range(first, first + 60):
            (tn.ones(3) * 1.5).expand(k % 20 + 1, 3).reshape(-1)[k % 3 :].cumsum(0).tolist()

    monkeypatch.setattr(config, "max_plans", 10)
    run(0)
    gc.collect()
    before = len(cpu._linked)
    run(1000)
    gc.collect()
    assert len(cpu._linked) <= before + 15


def test_a_chain_may_be_longer_than_pythons_stack():
    x = tn.arange(4.0, requires_grad=True)
    y = x
    for _ in range(2000):
        y = y + x
    assert y.tolist() == [0.0, 2001.0, 4002.0, 6003.0]
    y.sum().backward()
    assert x.grad.tolist() == [2001.0] * 4


# -- exceptions, hooks, modes ---------------------------------------------------------------------
def test_an_exception_leaves_what_was_recorded_usable():
    x = tn.ones(3, requires_grad=True)
    y = x * 2
    with pytest.raises(ShapeError, match="3"):
        y + tn.ones(4)
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 8, 8]


CHECKED = {
    "index": "tn.ones(3)[tn.tensor([at])]",
    "embedding": "tn.nn.functional.embedding(tn.tensor([at]), tn.ones(3, 2))",
    "cross_entropy": "tn.nn.functional.cross_entropy(tn.zeros(1, 3), tn.tensor([at]))",
}


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("name", CHECKED)
def test_an_index_error_names_the_line_that_runs_not_the_one_that_ran_first(name, immediate):
    user = {"tn": tn}
    for line, function in ((1, "first"), (7, "second")):
        source = "\n" * line + f"def {function}(at):\n    return {CHECKED[name]}"
        exec(compile(source, "user.py", "exec"), user)
    with tn.immediate() if immediate else contextlib.nullcontext():
        for _ in range(2):
            user["first"](1).numpy()
        for line, function in ((9, "second"), (3, "first")):
            with pytest.raises(tn.TenorError) as error:
                user[function](9).numpy()
            assert error.value.where == ("user.py", line)


def test_an_index_error_names_the_users_line_and_loses_nothing():
    table = tn.arange(5, dtype=tn.float32)
    other = table + 1
    index = tn.tensor([0, 7])
    bad = table[index]
    with pytest.raises(IndexError, match="7") as caught:
        bad.tolist()
    assert __file__ in str(caught.value)
    assert other.tolist() == [1, 2, 3, 4, 5]
    assert table.tolist() == [0, 1, 2, 3, 4]


def test_hooks_see_and_change_gradients():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    h = x * 3
    handle = h.register_hook(lambda g: seen.append(g.tolist()) or g * 10)
    (h * h).sum().backward()
    assert seen == [[6.0, 12.0]]
    assert x.grad.tolist() == [180.0, 360.0]
    handle.remove()
    x.grad = None
    (x * 3 * (x * 3)).sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]


def test_a_hook_that_looks_at_its_gradient_changes_nothing(rng):
    start = rng.standard_normal((4, 4))

    def run(lib, look):
        x = lib.tensor(start, requires_grad=True)
        a = x.tanh()
        b = a @ a
        if look:
            a.register_hook(lambda g: print(float(g.abs().sum())))
            b.register_hook(lambda g: print(g))
            x.register_hook(lambda g: print(g))
        (b.exp() * a).sum().backward()
        return x.grad.numpy()

    np.testing.assert_allclose(run(tn, True), run(torch, False), rtol=1e-10)
    assert run(tn, True).tobytes() == run(tn, False).tobytes()


def test_no_grad_detach_and_enable_grad():
    x = tn.ones(2, requires_grad=True)
    with tn.no_grad():
        y = x * 2
        with tn.enable_grad():
            z = x * 3
    assert not y.requires_grad
    assert z.requires_grad
    d = (x * 5).detach()
    assert not d.requires_grad
    assert d.is_leaf

    @tn.no_grad()
    def f(v):
        return v * 2

    assert not f(x).requires_grad


def test_retain_graph_and_its_absence():
    x = tn.tensor(2.0, requires_grad=True)
    y = x**3
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 24
    with pytest.raises(GradientError, match="let go"):
        y.backward()


def test_retain_graph_across_an_observation():
    x = tn.tensor(2.0, requires_grad=True)
    y = x**3
    assert y.item() == 8
    y.backward(retain_graph=True)
    assert x.grad.item() == 12
    y.backward()
    assert x.grad.item() == 24
    with pytest.raises(GradientError, match="let go"):
        y.backward()


def test_higher_orders():
    x = tn.tensor(2.0, dtype=tn.float64, requires_grad=True)
    y = x**3
    values = []
    for _ in range(3):
        (y,) = tn.autograd.grad(y, x, create_graph=True)
        values.append(y.item())
    assert values == [12, 12, 6]


def test_gradients_accumulate_over_steps_and_observations():
    x = tn.ones(3, requires_grad=True)
    for i in range(3):
        (x * (i + 1)).sum().backward()
        if i == 1:
            x.grad.tolist()
    assert x.grad.tolist() == [6, 6, 6]


# -- custom Function, checkpoint -------------------------------------------------------------------
class Cube(tn.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x**3 * scale

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g * ctx.scale, None


@pytest.mark.parametrize("look", [False, True])
def test_custom_function(look):
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x, 2.0)
    if look:
        assert y.tolist() == [2, 16]
    (y * 2).sum().backward()
    assert x.grad.tolist() == [12, 48]


def test_custom_function_is_differentiated_twice():
    x = tn.tensor(2.0, requires_grad=True)
    (g,) = tn.autograd.grad(Cube.apply(x, 1.0), x, create_graph=True)
    g.backward()
    assert x.grad.item() == 12


def test_a_function_that_prints_in_backward():
    class Loud(tn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            print(g)
            return g * 2

    x = tn.tensor([1.0, 2.0], requires_grad=True)
    Loud.apply(x.exp()).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([1.0, 2.0]), rtol=1e-6)


@pytest.mark.parametrize("look", [False, True])
def test_checkpoint_gives_the_same_gradients(rng, look):
    start, weight = rng.standard_normal((3, 4)), rng.standard_normal((4, 4))

    def run(again: bool):
        x, w = tn.tensor(start, requires_grad=True), tn.tensor(weight, requires_grad=True)

        def block(v):
            return (v @ w).tanh()

        y = tn.autograd.checkpoint(block, x) if again else block(x)
        loss = (y * y).sum()
        if look:
            loss.item()
        loss.backward()
        return loss.item(), x.grad.numpy(), w.grad.numpy()

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


# -- threads --------------------------------------------------------------------------------------
def test_threads_record_apart():
    found: dict[int, list[float]] = {}

    def work(k: int) -> None:
        x = tn.ones(50, requires_grad=True)
        for _ in range(20):
            y = (x * k).sum()
            y.backward()
        found[k] = x.grad.tolist()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {k: [20.0 * k] * 50 for k in range(6)}


def test_a_pending_value_crosses_threads():
    x = tn.arange(4) * 2
    got = []
    thread = threading.Thread(target=lambda: got.append((x + 1).tolist()))
    thread.start()
    thread.join()
    assert got == [[1, 3, 5, 7]]
    assert x.tolist() == [0, 2, 4, 6]


# -- compile, immediate ---------------------------------------------------------------------------
def test_compiled_step_repeats_the_plain_one_bit_for_bit(rng):
    start = rng.standard_normal((8, 8)).astype(np.float32)
    data = [rng.standard_normal((4, 8)).astype(np.float32) for _ in range(5)]

    def train(compiled: bool):
        w = tn.tensor(start, requires_grad=True)

        def step(x):
            loss = ((x @ w).tanh() ** 2).mean()
            loss.backward()
            with tn.no_grad():
                w.sub_(w.grad * 0.1)
            w.grad = None
            return loss

        run = tn.compile(step) if compiled else step
        losses = [run(tn.tensor(x)).item() for x in data]
        if compiled:
            assert run.recordings == 1
        return losses, w.detach().numpy().tobytes()

    assert train(True) == train(False)


def test_compile_refuses_observation():
    @tn.compile
    def f(x):
        return x * 2 if x.sum().item() > 0 else x

    with pytest.raises(ObservationError, match=r"tn\.compile"):
        f(tn.ones(2))
    assert (tn.ones(2) + 1).tolist() == [2, 2]


def test_compile_records_again_for_new_shapes_numbers_and_modes():
    @tn.compile
    def f(x, k):
        return x * k

    assert f(tn.ones(2), 3).tolist() == [3, 3]
    assert f(tn.ones(3), 3).tolist() == [3, 3, 3]
    assert f(tn.ones(3), 4).tolist() == [4, 4, 4]
    assert f(tn.ones(3), 4).tolist() == [4, 4, 4]
    assert f.recordings == 3


def test_compiled_results_carry_gradients():
    @tn.compile
    def f(x):
        return (x * x).sum()

    for k in (1.0, 2.0):
        x = tn.tensor([k, 2 * k], requires_grad=True)
        f(x).backward()
        assert x.grad.tolist() == [2 * k, 4 * k]


def test_compiled_random_numbers_stay_random():
    @tn.compile
    def f(x):
        return x + tn.rand(4)

    x = tn.zeros(4)
    assert f(x).tolist() != f(x).tolist()


def test_immediate_mode_agrees_and_raises_at_the_line(rng):
    start = rng.standard_normal((6, 5)).astype(np.float32)

    def run():
        x = tn.tensor(start, requires_grad=True)
        y = (x.exp().sum(1, keepdim=True) * x).tanh()
        y.mean().backward()
        return y.detach().numpy(), x.grad.numpy()

    recorded = run()
    with tn.immediate():
        at_once = run()
    for a, b in zip(recorded, at_once, strict=True):
        assert a.tobytes() == b.tobytes()
    with tn.immediate(), pytest.raises(IndexError):
        tn.arange(3)[tn.tensor([5])]


def test_data_and_detach_write_behind_the_tape(rng):
    start = rng.standard_normal((3, 4))

    def run(lib):
        p = lib.tensor(start, requires_grad=True)
        p.data.mul_(0.5)
        p.data[1] = 7.0
        p.detach()[0, 0] = -1.0
        y = p * 2
        y.detach().add_(1)
        (y * 3).sum().backward()
        return p.detach().numpy(), y.detach().numpy(), p.grad.numpy(), p.is_leaf, y.requires_grad

    for ours, theirs in zip(run(tn), run(torch), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_memory_is_shared_with_numpy_while_an_array_lives():
    x = tn.arange(4, dtype=tn.float32)
    array = x.numpy()[1:]
    x += 1
    assert array.tolist() == [2, 3, 4]
    assert x.buffer.shared
    del array
    assert not x.buffer.shared
    x += 1
    assert x.tolist() == [2, 3, 4, 5]


def test_writes_recorded_after_a_bad_index_are_not_done():
    table, weight = tn.arange(3), tn.tensor([1.0, 1.0])
    before = tn.tensor([1.0, 1.0])
    before.mul_(3)
    bad = table[tn.tensor([9])]
    weight.mul_(5)
    with pytest.raises(IndexError):
        bad.tolist()
    assert before.tolist() == [3, 3]
    assert weight.tolist() == [1, 1]


def test_a_mistake_in_the_compiler_spoils_one_trace_only(monkeypatch):
    from tenor.engine import flush
    from tenor.errors import CompileError

    def broken(graph):
        raise KeyError("a bug")

    x = tn.tensor([1.0, 1.0, 1.0])
    y = x * 1234.5 - 77
    with monkeypatch.context() as patch:
        patch.setattr(flush, "load", broken)
        with pytest.raises(CompileError, match="a bug"):
            y.tolist()
    assert (x + 1).tolist() == [2, 2, 2]
    with pytest.raises(CompileError, match="a bug"):
        y.tolist()


@pytest.mark.parametrize("wide", [(2**26, 2**26), (2**62, 2), (2**80, 2)])
def test_what_does_not_fit_in_memory_spoils_nothing_else(wide):
    """16 PiB are more than a process can address, 2^62 numbers more than NumPy can count."""
    x = tn.tensor([1.0, 2.0])
    held = x * 3
    x.add_(1)
    with pytest.raises(MemoryError) as caught:
        (x[0].expand(wide) + 1).materialize()
    error = caught.value
    assert isinstance(error, OutOfMemoryError)
    assert error.where[0] == __file__
    assert f"for a tensor {wide} float32" in str(error)
    assert "fix:" in str(error)
    assert (held.tolist(), x.tolist(), (x * 2).tolist()) == ([3, 6], [2, 3], [4, 6])


def test_what_did_not_fit_in_memory_says_so_again(monkeypatch):
    from tenor.runtime import allocator

    allocate = allocator.allocate
    x = tn.tensor([1.0, 2.0])
    large, small = x.expand(1000, 2) + 4.5, x + 4.5

    def scarce(nbytes):
        if nbytes > 4000:
            raise MemoryError("no more")
        return allocate(nbytes)

    with monkeypatch.context() as patch:
        patch.setattr(allocator, "allocate", scarce)
        with pytest.raises(OutOfMemoryError, match=r"\(1000, 2\)"):
            small.tolist()
    assert small.tolist() == [5.5, 6.5]
    with pytest.raises(OutOfMemoryError):
        large.sum()
