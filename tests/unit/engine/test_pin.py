"""What a replay of a compiled function does to tensors outside it: always what Python would."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest

import tenor as tn
from tenor.engine import pin, recorder
from tenor.errors import GradientError, ObservationError


def ready(*values):
    return tn.tensor(list(values)).materialize()


# -- arguments ---------------------------------------------------------------------------------
def test_an_argument_written_in_place_is_each_calls_own():
    @tn.compile
    def step(x):
        x.add_(1)
        return x * 2

    a, b = ready(0.0, 0.0), ready(10.0, 20.0)
    assert step(a).tolist() == [2.0, 2.0]
    assert step(b).tolist() == [22.0, 42.0]
    assert (a.tolist(), b.tolist()) == ([1.0, 1.0], [11.0, 21.0])
    assert step.recordings == 1


def test_a_view_given_as_an_argument_writes_its_own_base():
    @tn.compile
    def double(x):
        x.mul_(2)
        return x + 1

    m, n = tn.ones(3, 2).materialize(), tn.ones(3, 2).materialize()
    for x in (m[0], n[1], n[2], n[1]):
        double(x)
    assert m.tolist() == [[2.0, 2.0], [1.0, 1.0], [1.0, 1.0]]
    assert n.tolist() == [[1.0, 1.0], [4.0, 4.0], [2.0, 2.0]]


def test_an_argument_gets_its_own_gradient():
    @tn.compile
    def step(x):
        loss = (x * x).sum()
        loss.backward()
        return loss

    a, b = ready(1.0, 1.0).requires_grad_(), ready(3.0, 4.0).requires_grad_()
    for x in (a, b, b, b, a):
        step(x)
    assert (a.grad.tolist(), b.grad.tolist()) == ([4.0, 4.0], [18.0, 24.0])


def test_what_is_returned_as_it_came_is_the_same_object():
    w = ready(1.0)

    @tn.compile
    def both(x, y):
        x.add_(y)
        return x, w, y * w

    a, b, c, d = ready(1.0), ready(2.0), ready(3.0), ready(4.0)
    for x, y in ((a, b), (c, d)):
        got = both(x, y)
        assert got[0] is x
        assert got[1] is w
    assert (a.tolist(), c.tolist()) == ([3.0], [7.0])


def test_the_same_tensor_twice_is_not_two():
    @tn.compile
    def add(x, y):
        x.add_(y)
        return x - y

    a, b, c = ready(1.0), ready(2.0), ready(5.0)
    assert add(a, b).tolist() == [1.0]
    assert add(c, c).tolist() == [0.0]
    assert (a.tolist(), c.tolist()) == ([3.0], [10.0])


# -- what is captured --------------------------------------------------------------------------
def test_a_captured_tensor_is_written_also_where_it_is_not_read():
    kept, total = ready(0.0, 0.0), ready(0.0, 0.0)

    @tn.compile
    def step(x):
        kept.copy_(x)
        total.add_(x)
        return x * 1

    for k in (1.0, 2.0, 3.0):
        step(ready(k, k))
    assert (kept.tolist(), total.tolist()) == ([3.0, 3.0], [6.0, 6.0])
    assert step.recordings == 1


def test_a_tensor_made_inside_is_made_anew():
    @tn.compile
    def step(x):
        y = tn.tensor([1.0, 1.0])
        y.add_(x)
        z = tn.zeros(2)
        z[1] = y[0]
        return y, z, tn.tensor([7.0])

    for k in (0.0, 1.0, 2.0):
        y, z, seven = step(ready(k, k))
        assert (y.tolist(), z.tolist(), seven.tolist()) == ([k + 1] * 2, [0.0, k + 1], [7.0])
        seven.add_(1)


def test_a_view_of_what_is_written_shows_the_new_value():
    @tn.compile
    def step(x):
        y = x.clone()
        early = y[:1]
        y.add_(1)
        return y, early

    for k in (1.0, 5.0):
        y, early = step(ready(k, k))
        assert (y.tolist(), early.tolist()) == ([k + 1, k + 1], [k + 1])


# -- gradients ---------------------------------------------------------------------------------
CLEARING = {
    "not cleared": lambda w: None,
    "set to None": lambda w: setattr(w, "grad", None),
    "zeroed": lambda w: w.grad.zero_() if w.grad is not None else None,
}


@pytest.mark.parametrize("held", [False, True], ids=["none before", "one before"])
@pytest.mark.parametrize("clear", CLEARING)
def test_gradients_add_up_as_they_do_without_compiling(clear, held):
    def run(wrap):
        w = ready(1.0, 2.0).requires_grad_()
        if held:
            w.grad = ready(100.0, 100.0)

        def step(x):
            CLEARING[clear](w)
            loss = (w * x).sum()
            loss.backward()
            return loss

        step, found = wrap(step), []
        for k in range(6):
            step(ready(k + 1.0, k + 2.0))
            found.append(w.grad.tolist())
            if k == 3:
                w.grad = None
        return found

    assert run(tn.compile) == run(lambda step: step)


def test_a_function_that_does_not_touch_gradients_leaves_them():
    w = ready(1.0, 2.0).requires_grad_()
    look = tn.compile(lambda x: (w * x).sum())
    look(ready(1.0, 1.0))
    w.grad = ready(5.0, 5.0)
    look(ready(1.0, 1.0))
    assert w.grad.tolist() == [5.0, 5.0]
    assert look.recordings == 1


def test_a_step_alone_reads_the_gradients_of_the_call():
    w = ready(1.0, 1.0).requires_grad_()
    opt = tn.optim.SGD([w], lr=0.5)
    step = tn.compile(lambda: opt.step())
    for k in (1.0, 2.0, 3.0):
        w.grad = ready(k, -k)
        step()
    assert w.tolist() == [-2.0, 4.0]


def test_accumulation_over_batches():
    """Two compiled functions: one adds gradients up, one steps and clears them."""

    def run(wrap):
        w = ready(1.0, -1.0).requires_grad_()
        opt = tn.optim.AdamW([w], lr=0.1)

        def gather(x):
            loss = ((w * x) ** 2).sum()
            loss.backward()
            return loss

        def apply():
            opt.step()
            opt.zero_grad()

        gather, apply = wrap(gather), wrap(apply)
        for k in range(8):
            gather(ready(1.0 + k, 2.0))
            if k % 4 == 3:
                apply()
        return w.tolist()

    assert run(tn.compile) == run(lambda f: f)


def test_a_gradient_that_is_returned_is_the_calls():
    w = ready(2.0).requires_grad_()

    @tn.compile
    def step(x):
        (w * x).sum().backward()
        return w.grad

    assert [step(ready(k)).item() for k in (1.0, 2.0, 4.0)] == [1.0, 3.0, 7.0]
    w.grad = None
    assert step(ready(9.0)).item() == 9.0


# -- whatever it is, what plain Python does --------------------------------------------------------
def same_as_plain(program, recordings=None):
    """Run a program with a function plain and compiled; the results must be equal.

    Args:
        program: Takes what to wrap its function in.
        recordings: How often the function may be recorded; by default as often as it likes.
    """
    made = []

    def wrap(function):
        made.append(tn.compile(function))
        return made[-1]

    assert program(wrap) == program(lambda function: function)
    if recordings is not None:
        assert [f.recordings for f in made] == [recordings] * len(made)


def test_arguments_that_share_elements():
    def program(wrap):
        f, found = wrap(lambda x, y: (x.add_(1), y.mul_(2), x + y)[2]), []
        for make in (
            lambda b: (b.clone(), b.clone()), lambda b: (b[:2], b[1:3]), lambda b: (b[:2], b[2:]),
            lambda b: (b, b), lambda b: (b, b[:]), lambda b: (b.detach(), b),
            lambda b: (b.clone(), b.clone()),
        ):  # fmt: skip
            base = ready(1.0, 2.0, 3.0, 4.0)
            args = make(base)
            found += [f(*args).tolist(), [a.tolist() for a in args], base.tolist()]
        return found

    same_as_plain(program)


@pytest.mark.parametrize("first", [0, 1], ids=["captured first", "another first"])
@pytest.mark.parametrize(
    "body",
    [
        lambda c, x: c + x * 2,
        lambda c, x: (c.add_(10), x * 1)[1],
        lambda c, x: (x.add_(1), c * 1)[1],
        lambda c, x: ((c * x).sum().backward(), c.grad.clone())[1],
    ],
    ids=["read", "captured written", "argument written", "gradients"],
)
def test_an_argument_that_is_also_captured(body, first):
    def program(wrap):
        c, d = ready(1.0, 2.0), ready(5.0, 7.0)
        if "backward" in body.__code__.co_names:
            c.requires_grad_()
        f, found = wrap(lambda x: body(c, x)), []
        for k in range(first, 6 + first):
            found.append(f([c, d, c.detach(), d][k % 4]).tolist())
            found += [c.tolist(), d.tolist(), None if c.grad is None else c.grad.tolist()]
            c.grad = None
        return found

    same_as_plain(program)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (lambda y: (y, y, y[:1]))(x * 2),
        lambda x: (lambda y: (y, y.detach(), y.reshape(1, 2)))(x * 2),
        lambda x: (lambda y: (y[1:], y[:1]))(x * 2),
        lambda x: (x[1:], x * 1),
        lambda x: x.t(),
    ],
)
def test_returned_tensors_share_elements_as_they_do(function):
    def program(wrap):
        f, found = wrap(function), []
        for _ in range(3):
            x = ready(1.0, 2.0)
            got = f(x)
            got = got if isinstance(got, tuple) else (got,)
            for y in got:
                y.add_(10)
                found.append([z.tolist() for z in (x, *got)])
            x.mul_(3)
            found.append([z.tolist() for z in (x, *got)])
            found.append([[a is b for a in got] for b in got])
        return found

    same_as_plain(program)


def test_a_view_whose_base_was_written_between_calls():
    def program(wrap):
        base = ready(1.0, 2.0, 3.0)
        view = base[1:]
        given, captured = wrap(lambda x: x * 2), wrap(lambda x: view * x)
        found = []
        for k in range(4):
            found += [given(view).tolist(), captured(ready(1.0, 1.0)).tolist()]
            base.add_(k)
        return found

    same_as_plain(program, recordings=1)


def test_gradients_flow_on_to_where_arguments_come_from():
    def program(wrap):
        f, found = wrap(lambda x: (x * x).tanh()), []
        for _ in range(3):
            log, x = [], ready(0.5, 0.25).requires_grad_()
            h = x * 3
            h.retain_grad()
            a = f(h)
            a.register_hook(lambda g, log=log: log.append(g.tolist()))
            (f(f(a)).sum() + a.sum() + h.sum()).backward()
            found += [x.grad.tolist(), h.grad.tolist(), log]
        return found

    same_as_plain(program, recordings=1)


def test_backpropagation_through_time():
    def program(wrap):
        p, found = ready(0.5, 0.5).requires_grad_(), []
        f = wrap(lambda h, x: (h * p + x).tanh())
        for _ in range(3):
            h = ready(0.0, 0.0)
            for _ in range(4):
                h = f(h, ready(1.0, 2.0))
            p.grad = None
            h.sum().backward()
            found.append(p.grad.tolist())
        return found

    same_as_plain(program, recordings=2)  # the first state needs no gradient


@pytest.mark.parametrize("what", ["returned", "argument"])
def test_values_written_over_are_refused_in_backward(what):
    def program(wrap):
        f, found = wrap(lambda x: (lambda y: (y, (y * y * x).sum()))(x.exp())), []
        for k in range(4):
            x = ready(0.5, 0.25).requires_grad_()
            y, z = f(x)
            if k % 2:
                with tn.no_grad():
                    (x if what == "argument" else y).add_(1)
            try:
                z.backward()
                found.append(x.grad.tolist())
            except GradientError:
                found.append("refused")
        assert found.count("refused") == 2
        return found

    same_as_plain(program, recordings=1)


def test_graphs_are_let_go_and_kept():
    def program(wrap):
        f, found = wrap(lambda x: (x**3).sum()), []
        for _ in range(3):
            x = ready(1.0, 2.0).requires_grad_()
            z = f(x)
            z.backward(retain_graph=True)
            z.backward()
            with pytest.raises(GradientError, match="let go"):
                z.backward()
            (g,) = tn.autograd.grad(f(x), x, create_graph=True)
            found += [x.grad.tolist(), tn.autograd.grad(g.sum(), x)[0].tolist()]
        return found

    same_as_plain(program, recordings=1)


class Loud(tn.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 10 * g * x * x


def hooked(x):
    h = x * 2
    h.register_hook(lambda g: g * 5)
    return (h * h).sum()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: Loud.apply(x).sum(),
        hooked,
        lambda x: tn.autograd.checkpoint(lambda a: dropout(a * 3).sin().sum(), x),
        lambda x: (dropout(x), tn.manual_seed(5), dropout(x))[2].sum(),
        lambda x: (x.requires_grad_(), (x * x).sum())[1],
    ],
    ids=["custom Function", "hook", "checkpoint", "seed", "requires_grad_"],
)
def test_derivatives_that_are_python(function):
    def program(wrap):
        tn.manual_seed(3)
        f, found = wrap(function), []
        for _ in range(3):
            x = tn.arange(8).float().materialize()
            if function.__code__.co_names[0] != "requires_grad_":
                x.requires_grad_()
            f(x).backward()
            found += [x.grad.tolist(), tn.rand(1).item()]
        return found

    same_as_plain(program)


def dropout(x):
    return tn.nn.functional.dropout(x, 0.5)


def test_a_backward_pass_inside_that_leads_outside():
    def program(wrap):
        p, found = ready(1.0, 2.0).requires_grad_(), []

        def step(h):
            loss = (h * h).sum()
            loss.backward()
            return loss

        f = wrap(step)
        for k in range(4):
            f((p * (k + 1)).exp())
            found.append(p.grad.tolist())
        return found

    same_as_plain(program)


def test_hooks_that_come_and_go():
    def program(wrap):
        p, found = ready(1.0, 2.0).requires_grad_(), []

        def step(x):
            loss = (x * p).sum()
            loss.backward()
            return loss

        f = wrap(step)
        for k in range(6):
            if k == 2:
                hook = p.register_hook(lambda g: g * 10)
            if k == 4:
                hook.remove()
            p.grad = None
            f(ready(1.0, 1.0))
            found.append(p.grad.tolist())
        return found

    same_as_plain(program)


def test_schedules_stepped_inside():
    def program(wrap):
        p, found = ready(1.0).requires_grad_(), []
        opt = tn.optim.SGD([p], lr=1.0)
        schedule = tn.optim.lr_scheduler.ExponentialLR(opt, 0.5)

        def step():
            opt.zero_grad()
            p.sum().backward()
            opt.step()
            schedule.step()

        f = wrap(step)
        for _ in range(4):
            f()
            found.append(p.tolist())
        return found

    same_as_plain(program)


def test_arguments_that_are_no_keys_are_looked_at_each_time():
    def program(wrap):
        f, array = wrap(lambda x, a: x * tn.tensor(a)), np.ones(2, np.float32)
        found = []
        for k in range(3):
            array[0] = k
            found.append(f(ready(1.0, 1.0), array).tolist())
        return found

    same_as_plain(program)


def test_zeros_of_either_sign_are_two_arguments():
    same_as_plain(lambda wrap: [
        wrap(lambda x, k: tn.copysign(x, tn.tensor(k)))(ready(1.0), k).tolist() for k in (0.0, -0.0)
    ])  # fmt: skip

    f = tn.compile(lambda x, k: tn.copysign(x, tn.tensor(k)))
    assert [f(ready(1.0), k).item() for k in (0.0, -0.0, 0.0)] == [1.0, -1.0, 1.0]


def test_a_bad_index_changes_nothing_that_comes_after_it():
    def program(wrap):
        table, count, found = ready(1.0, 2.0, 3.0), ready(0.0), []

        def look(i):
            count.add_(1)
            return table[i]

        f = wrap(look)
        for i in (0, 1, 7, 2, 9):
            try:
                found.append(f(tn.tensor([i]).materialize()).tolist())
            except IndexError:
                found.append("refused")
            found.append(count.tolist())
        return found

    same_as_plain(program, recordings=1)


def test_values_made_of_python_data_may_be_read():
    def program(wrap):
        def pick(x):
            y = x[tn.tensor([True, False, True])] * tn.tensor(3).item()
            x = x.clone()
            x[tn.tensor([True, True, False])] = tn.tensor([7.0, 8.0])
            return y, x, tn.tensor([1, 2]).tolist()

        f = wrap(pick)
        return [[v if isinstance(v, list) else v.tolist() for v in f(ready(1.0, 2.0, k))]
                for k in (3.0, 4.0, 5.0)]  # fmt: skip

    same_as_plain(program, recordings=1)


def test_values_written_since_may_not():
    def f(x):
        k = tn.tensor([1.0])
        k.add_(x)
        return x * k.item()

    with pytest.raises(ObservationError):
        tn.compile(f)(ready(1.0))


def test_pending_work_outside_goes_on():
    def program(wrap):
        f, total, found = wrap(lambda x: x * 2), tn.zeros(2), []
        for _ in range(4):
            total = total + 1
            view = total[:1]
            got = f(ready(1.0))
            total.add_(1)
            found += [got.tolist(), total.tolist(), view.tolist()]
        return found

    same_as_plain(program, recordings=1)


def test_one_function_in_several_threads():
    f = tn.compile(lambda x, k: (x @ x).tanh() * k + tn.rand(1) * 0)
    given = [tn.full((40, 40), 0.01 * (i + 1)).materialize() for i in range(4)]
    wanted = [f(x, 2).tolist() for x in given]
    wrong = []

    def work(k):
        wrong.extend(k for _ in range(20) if f(given[k], 2).tolist() != wanted[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_value_pending_in_another_thread():
    f = tn.compile(lambda x: x.sum() * 2)
    f(tn.ones(3).materialize())
    pending, got = tn.ones(5) * 3, []
    thread = threading.Thread(target=lambda: got.append(f(pending).item()))
    thread.start()
    thread.join()
    assert got == [30.0]


def test_a_captured_tensor_is_returned_as_it_is():
    other = ready(1.0)
    f = tn.compile(lambda x: (x * 2, other))
    for k in (1.0, 2.0):
        got, same = f(ready(k))
        assert got.item() == 2 * k
        assert same is other
    assert f.recordings == 1


def test_an_interrupt_before_a_replay_runs_leaves_every_value(monkeypatch):
    count = ready(0.0)

    @tn.compile
    def step(x):
        count.add_(x)
        return count * 2

    step(ready(1.0))

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pin, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(ready(1.0))
    assert count.within is None
    assert count.item() == 1.0
    assert step(ready(2.0)).item() == 6.0


# -- results and arguments that are more than tensors ------------------------------------------
@dataclass
class Output:
    value: object


class Values(list):
    pass


class Pair(NamedTuple):
    first: object
    second: object


@pytest.mark.parametrize(
    ("hold", "read", "replayed"),
    [
        (Output, lambda o: o.value, False),
        (lambda y: {y}, lambda s: next(iter(s)), False),
        (lambda y: {y: 1}, lambda d: next(iter(d)), True),
        (lambda y: OrderedDict(a=y), lambda d: d["a"], False),
        (lambda y: Values([y]), lambda v: v[0], False),
        (lambda y: [Output(y)], lambda v: v[0].value, False),
        (lambda y: lambda: y, lambda f: f(), False),
        (lambda y: Pair(y, {"n": [1, None]}), lambda p: p.first, True),
    ],
)
def test_a_result_is_the_calls_own_whatever_holds_it(hold, read, replayed):
    f = tn.compile(lambda x: hold(x + 1))
    got = [f(ready(float(k))) for k in range(4)]
    assert [read(g).item() for g in got] == [1.0, 2.0, 3.0, 4.0]
    assert {type(g) for g in got} == {type(hold(ready(0.0)))}
    assert f.recordings == (1 if replayed else 4)


@dataclass(frozen=True)
class Settings:
    rate: float = field(compare=False)


def test_arguments_that_are_equal_and_not_the_same():
    f = tn.compile(lambda x, c: x * c.rate)
    two, five = Settings(2.0), Settings(5.0)
    assert [f(ready(1.0), c).item() for c in (two, five, two, five)] == [2.0, 5.0, 2.0, 5.0]
    assert f.recordings == 2
    assert [f(ready(1.0), Settings(float(k))).item() for k in range(9)] == list(range(9))


def test_slices_and_sizes_are_arguments_by_value():
    f = tn.compile(lambda x, at, size: x[at].reshape(size) * 1)
    x = ready(1.0, 2.0, 3.0)
    for _ in range(3):
        assert f(x, slice(0, 2), tn.ones(2, 1).shape).tolist() == [[1.0], [2.0]]
    assert f.recordings == 1


# -- run again by the builtin -------------------------------------------------------------------
@pytest.fixture
def builtins():
    made = recorder.native()
    if made is None or made.pinned is None:
        pytest.skip("this interpreter counts no versions")
    with recorder.using(made):
        yield made


@pytest.fixture
def looked(builtins, monkeypatch):
    """Return a list that grows by each call that is looked at in Python."""
    seen, real = [], pin.Pin.holds
    monkeypatch.setattr(pin.Pin, "holds", lambda p, tensors: seen.append(1) or real(p, tensors))
    return seen


def test_a_call_is_run_again_without_python(looked):
    model = tn.nn.Sequential(tn.nn.Linear(3, 3), tn.nn.ReLU()).eval()
    run, x = tn.compile(model), ready(1.0, 2.0, 3.0)
    with tn.no_grad():
        first = [run(x).tolist() for _ in range(3)]
        looked.clear()
        assert [run(x).tolist(), run(x + 0).tolist()] == [first[0]] * 2
    assert len(looked) <= 1, "an argument that is not computed yet is"
    assert run.recordings == 1


def test_several_results_and_signatures_are_run_again(looked):
    @tn.compile
    def both(x, y):
        return y * 2, x + y

    pairs = [(ready(1.0), ready(2.0)), (ready(1.0, 2.0), ready(3.0, 4.0)), (ready(5.0), ready(6.0))]
    for k in range(4):
        if k == 3:
            looked.clear()
        for x, y in pairs:
            a, b = both(x, y)
            assert (a.tolist(), b.tolist()) == ((y * 2).tolist(), (x + y).tolist())
    assert looked == []
    assert both.recordings == 2


SCALE = {"by": 2.0}


class Net(tn.nn.Module):
    def __init__(self):
        self.inner = tn.nn.Linear(2, 2)
        self.factor = 3.0

    def forward(self, x):
        return self.inner(x) * self.factor * SCALE["by"]


FOUND = {
    "a global": lambda net: SCALE.update(by=5.0),
    "an attribute": lambda net: setattr(net, "factor", 7.0),
    "a weight": lambda net: net.inner.weight.data.fill_(2.0),
    "a weight written": lambda net: tn.no_grad()(net.inner.weight.add_)(1.0),
    "another weight": lambda net: setattr(net.inner, "weight", tn.nn.Parameter(tn.ones(2, 2))),
    "a hook": lambda net: net.inner.register_forward_hook(lambda m, a, y: y * 10),
    "another part": lambda net: setattr(net, "inner", tn.nn.Linear(2, 2)),
    "training": lambda net: net.eval(),
    "the class": lambda net: setattr(Net, "forward", lambda self, x: self.inner(x)),
    "frozen": lambda net: net.requires_grad_(False),
    "lent": lambda net: net.inner.weight.detach().numpy().fill(4.0),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_it_can_find_is_seen_when_it_changes(name, builtins, monkeypatch):
    monkeypatch.setitem(SCALE, "by", 2.0)
    monkeypatch.setattr(Net, "forward", Net.forward)
    net, x = Net(), ready(1.0, 2.0)
    run = tn.compile(net)
    with tn.no_grad():
        for _ in range(4):
            assert run(x).tolist() == net(x).tolist()
        FOUND[name](net)
        for _ in range(3):
            assert run(x).tolist() == net(x).tolist()


def test_a_global_that_changes_all_the_time_is_compared_alone(looked):
    space = {"tn": tn, "SCALE": 2.0, "i": 0}
    exec("def f(x):\n    return x * SCALE", space)
    run, x = tn.compile(space["f"]), ready(1.0)
    for i in range(6):
        space["i"] = i
        assert run(x).tolist() == [2.0]
        if i == 2:
            looked.clear()
    assert looked == []
    space["SCALE"] = 3.0
    assert run(x).tolist() == [3.0]


def test_modes_and_kinds_of_arguments_are_seen(builtins):
    w = ready(2.0, 3.0).requires_grad_()

    @tn.compile
    def f(x):
        return x * w

    shared = np.ones(2, np.float32)
    for k in range(4):
        with tn.no_grad():
            assert not f(ready(1.0, 1.0)).requires_grad
            shared += 1
            assert f(tn.from_numpy(shared)).tolist() == [2.0 * (k + 2), 3.0 * (k + 2)]
            assert f(ready(1.0)).tolist() == [2.0, 3.0]
            assert f(tn.ones(2, 2)[k % 2]).tolist() == [2.0, 3.0]
            with tn.immediate():
                assert f(ready(1.0, 1.0)).tolist() == [2.0, 3.0]
        assert f(ready(1.0, 1.0)).requires_grad
        x = ready(1.0, 1.0).requires_grad_()
        f(x).sum().backward()
        assert x.grad.tolist() == [2.0, 3.0]


def test_a_closure_is_compared_each_time(builtins):
    factor = 2.0

    @tn.compile
    def f(x):
        return x * factor

    for factor in (2.0, 2.0, 2.0, 2.0, 3.0, 3.0):
        assert f(ready(1.0)).tolist() == [factor]
