"""What a replay of a compiled function does to tensors outside it: always what Python would."""

import pytest

import tenor as tn
from tenor.errors import ArgumentError


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


def test_a_tensor_from_elsewhere_cannot_be_returned():
    other = ready(1.0)
    with pytest.raises(ArgumentError, match="did not compute"):
        tn.compile(lambda x: (x * 2, other))(ready(1.0))
