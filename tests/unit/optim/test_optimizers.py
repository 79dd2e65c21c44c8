"""Optimizers against PyTorch's, step by step, and the plans they make."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.engine.flush import counts
from tenor.errors import ArgumentError, ShapeError
from tenor.optim import SGD, Adam, AdamW, RMSprop

CASES = {
    "sgd": (SGD, torch.optim.SGD, {"lr": 0.05}),
    "sgd-momentum": (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "sgd-dampening": (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    "sgd-decay": (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1}),
    "sgd-nesterov": (
        SGD,
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "sgd-maximize": (SGD, torch.optim.SGD, {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    "adam": (Adam, torch.optim.Adam, {"lr": 0.05}),
    "adam-betas": (Adam, torch.optim.Adam, {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4}),
    "adam-l2": (Adam, torch.optim.Adam, {"lr": 0.05, "weight_decay": 0.1}),
    "adam-amsgrad": (Adam, torch.optim.Adam, {"lr": 0.05, "amsgrad": True}),
    "adam-maximize": (Adam, torch.optim.Adam, {"lr": 0.05, "maximize": True}),
    "adam-decoupled": (
        Adam,
        torch.optim.Adam,
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "adamw": (AdamW, torch.optim.AdamW, {"lr": 0.05}),
    "adamw-decay": (AdamW, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3}),
    "adamw-amsgrad": (AdamW, torch.optim.AdamW, {"lr": 0.05, "amsgrad": True}),
    "adamw-maximize": (AdamW, torch.optim.AdamW, {"lr": 0.05, "maximize": True}),
    "rmsprop": (RMSprop, torch.optim.RMSprop, {"lr": 0.01}),
    "rmsprop-momentum": (RMSprop, torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.9}),
    "rmsprop-centered": (RMSprop, torch.optim.RMSprop, {"lr": 0.01, "centered": True}),
    "rmsprop-all": (
        RMSprop,
        torch.optim.RMSprop,
        {
            "lr": 0.01,
            "alpha": 0.9,
            "eps": 1e-4,
            "weight_decay": 0.1,
            "momentum": 0.5,
            "centered": True,
            "maximize": True,
        },
    ),
}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))
SHAPES = [(4, 3), (3,)]
START = [RNG.normal(size=shape) for shape in SHAPES]


def ours(dtype):
    return [tn.tensor(a.astype(dtype), requires_grad=True) for a in START]


def theirs(dtype):
    return [torch.tensor(a.astype(dtype), requires_grad=True) for a in START]


def loss_of(x, params):
    w, b = params
    return ((x @ w + b) ** 2).mean() + (w * w * w).mean()


def descend(params, opt, x):
    opt.zero_grad()
    loss = loss_of(x, params)
    loss.backward()
    opt.step()
    return loss


def values(params):
    return [p.detach().numpy() for p in params]


def assert_same(mine, other, dtype):
    tolerance = {"float32": 2e-5, "float64": 1e-11}[dtype]
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_matches_torch_step_by_step(case, dtype):
    kind, peer, options = CASES[case]
    mine, other = ours(dtype), theirs(dtype)
    opt, ref = kind(mine, **options), peer(other, **options)
    x, y = tn.tensor(X.astype(dtype)), torch.tensor(X.astype(dtype))
    for _ in range(8):
        descend(mine, opt, x)
        descend(other, ref, y)
        assert_same(mine, other, dtype)


@pytest.mark.parametrize("case", CASES)
def test_second_step_compiles_nothing(case):
    kind, _, options = CASES[case]
    mine = ours("float32")
    opt = kind(mine, **options)
    x = tn.tensor(X.astype("float32"))
    descend(mine, opt, x)
    plans, flushes = counts["plans"], counts["flushes"]
    for step in range(3):
        opt.param_groups[0]["lr"] = 0.1 / (step + 2)
        descend(mine, opt, x)
    assert counts["plans"] == plans
    assert counts["flushes"] == flushes + 3


@pytest.mark.parametrize("case", CASES)
def test_compiled_step_counts_and_reads_the_rate(case):
    kind, peer, options = CASES[case]
    mine, other = ours("float64"), theirs("float64")
    opt, ref = kind(mine, **options), peer(other, **options)
    step = tn.compile(lambda x: descend(mine, opt, x))
    x, y = tn.tensor(X), torch.tensor(X)
    for i in range(6):
        opt.param_groups[0]["lr"] = ref.param_groups[0]["lr"] = options["lr"] / (i + 1)
        loss = step(x)
        expected = descend(other, ref, y)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-11)
        assert_same(mine, other, "float64")
    assert step.recordings == 1


def test_compiled_step_notices_options_that_change_the_program():
    mine, other = ours("float64"), theirs("float64")
    opt, ref = SGD(mine, lr=0.05), torch.optim.SGD(other, lr=0.05)
    step = tn.compile(lambda x: descend(mine, opt, x))
    for i in range(6):
        for o in (opt, ref):
            o.param_groups[0]["weight_decay"] = 0.1 * (i // 3)
        step(tn.tensor(X))
        descend(other, ref, torch.tensor(X))
        assert_same(mine, other, "float64")
    assert step.recordings == 2


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("kind", "peer", "name", "value"),
    [
        (SGD, torch.optim.SGD, "momentum", 0.9),
        (AdamW, torch.optim.AdamW, "weight_decay", 0.0),
        (RMSprop, torch.optim.RMSprop, "weight_decay", 0.2),
        (SGD, torch.optim.SGD, "maximize", True),
    ],
)
def test_options_may_change_between_steps(kind, peer, name, value, compiled):
    mine, other = ours("float64"), theirs("float64")
    opt, ref = kind(mine, lr=0.01), peer(other, lr=0.01)

    def step(x):
        return descend(mine, opt, x)

    call = tn.compile(step) if compiled else step
    for i in range(5):
        if i == 2:
            opt.param_groups[0][name] = ref.param_groups[0][name] = value
        call(tn.tensor(X))
        descend(other, ref, torch.tensor(X))
        assert_same(mine, other, "float64")


def test_compiled_update_alone_reads_new_gradients():
    mine, other = ours("float64"), theirs("float64")
    opt, ref = Adam(mine, lr=0.05), torch.optim.Adam(other, lr=0.05)
    update = tn.compile(opt.step)
    for _ in range(4):
        opt.zero_grad()
        loss_of(tn.tensor(X), mine).backward()
        update()
        descend(other, ref, torch.tensor(X))
        assert_same(mine, other, "float64")


def test_parameters_without_gradient_stay_and_keep_their_own_count():
    mine, other = ours("float64"), theirs("float64")
    opt, ref = Adam(mine, lr=0.05), torch.optim.Adam(other, lr=0.05)
    for i in range(7):
        for params, o in ((mine, opt), (other, ref)):
            o.zero_grad()
            loss = (params[0] ** 2).sum() + ((params[1] ** 2).sum() if i % 3 == 1 else 0.0)
            loss.backward()
            o.step()
        assert_same(mine, other, "float64")
    assert int(opt.state[mine[0]]["step"]) == 7
    assert int(opt.state[mine[1]]["step"]) == 2


def test_groups_have_options_of_their_own():
    mine, other = ours("float64"), theirs("float64")
    opt = SGD([{"params": mine[0], "lr": 0.01}, {"params": [mine[1]]}], lr=0.1, momentum=0.5)
    ref = torch.optim.SGD(
        [{"params": other[0], "lr": 0.01}, {"params": [other[1]]}], lr=0.1, momentum=0.5
    )
    for _ in range(4):
        descend(mine, opt, tn.tensor(X))
        descend(other, ref, torch.tensor(X))
    assert_same(mine, other, "float64")
    assert [g["lr"] for g in opt.param_groups] == [0.01, 0.1]


def test_parameters_may_come_with_their_names():
    model = tn.nn.Linear(2, 1)
    opt = SGD(model.named_parameters(), lr=0.1)
    opt.add_param_group({"params": [("free", tn.ones(2, requires_grad=True))]})
    assert [g["param_names"] for g in opt.param_groups] == [["weight", "bias"], ["free"]]
    assert opt.param_groups[0]["params"][0] is model.weight
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_add_param_group_later():
    mine, other = ours("float64"), theirs("float64")
    opt, ref = Adam(mine[:1], lr=0.01), torch.optim.Adam(other[:1], lr=0.01)
    for i in range(4):
        if i == 2:
            opt.add_param_group({"params": mine[1:], "lr": 0.2})
            ref.add_param_group({"params": other[1:], "lr": 0.2})
        descend(mine, opt, tn.tensor(X))
        descend(other, ref, torch.tensor(X))
    assert_same(mine, other, "float64")


@pytest.mark.parametrize("case", CASES)
def test_state_dict_round_trip_goes_on_exactly(case):
    kind, _, options = CASES[case]
    first, second = ours("float32"), ours("float32")
    opt = kind(first, **options)
    x = tn.tensor(X.astype("float32"))
    for _ in range(3):
        descend(first, opt, x)
    with tn.no_grad():
        for a, b in zip(first, second, strict=True):
            b.copy_(a)
    other = kind(second, lr=1.0)
    other.load_state_dict(opt.state_dict())
    for _ in range(3):
        descend(first, opt, x)
        descend(second, other, x)
    for a, b in zip(values(first), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES)
def test_state_dict_is_pytorchs_format_both_ways(case):
    kind, peer, options = CASES[case]
    mine, other = ours("float64"), theirs("float64")
    opt, ref = kind(mine, **options), peer(other, **options)
    for _ in range(3):
        descend(mine, opt, tn.tensor(X))
        descend(other, ref, torch.tensor(X))
    state, wanted = opt.state_dict(), ref.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0, 1]]
    names = {k for k, v in wanted["state"].get(0, {}).items() if v is not None}
    assert set(state["state"].get(0, {})) == names
    for number, kept in wanted["state"].items():
        for name in names:
            np.testing.assert_allclose(
                state["state"][number][name].numpy(), kept[name].numpy(), rtol=1e-10
            )
    mine_again = [tn.tensor(p.detach().numpy(), requires_grad=True) for p in other]
    again = kind(mine_again, **options)
    again.load_state_dict(wanted)
    for _ in range(2):
        descend(mine_again, again, tn.tensor(X))
        descend(other, ref, torch.tensor(X))
    assert_same(mine_again, other, "float64")


def test_load_state_dict_refuses_another_model():
    opt = Adam(ours("float32"))
    descend(opt.param_groups[0]["params"], opt, tn.tensor(X.astype("float32")))
    state = opt.state_dict()
    with pytest.raises(ArgumentError, match="groups"):
        Adam(ours("float32")[:1]).load_state_dict(state)
    others = [tn.zeros(2, 2).requires_grad_(), tn.zeros(3).requires_grad_()]
    with pytest.raises(ShapeError, match="exp_avg"):
        Adam(others).load_state_dict(state)


def test_step_and_clear_forgets_the_gradients_and_stores_none():
    mine, other = ours("float64"), theirs("float64")
    opt, ref = Adam(mine, lr=0.05), torch.optim.Adam(other, lr=0.05)
    for _ in range(3):
        loss_of(tn.tensor(X), mine).backward()
        opt.step_and_clear()
        assert all(p.grad is None for p in mine)
        descend(other, ref, torch.tensor(X))
    assert_same(mine, other, "float64")


def test_failed_first_step_counts_nothing():
    w = tn.ones(3, requires_grad=True)
    opt = Adam([w], lr=0.1)
    w[tn.tensor([7])].sum().backward()
    with pytest.raises(IndexError):
        opt.step()
    assert int(opt.state[w]["step"]) == 0


def test_closure_is_called_with_gradients_on_and_returned():
    mine = ours("float32")
    opt = SGD(mine, lr=0.1)
    x = tn.tensor(X.astype("float32"))
    called = []

    def closure():
        opt.zero_grad()
        loss = loss_of(x, mine)
        loss.backward()
        called.append(tn.is_grad_enabled())
        return loss

    with tn.no_grad():
        loss = opt.step(closure)
    assert called == [True]
    assert loss.item() == pytest.approx(loss_of(torch.tensor(X), theirs("float64")).item(), 1e-5)


@pytest.mark.parametrize("clear", [False, True])
def test_hooks_before_and_after_a_step_are_pytorchs(clear):
    found = []
    for lib in (tn, torch):
        x = lib.ones(2, requires_grad=True)
        opt = lib.optim.SGD([x], lr=0.5)
        seen = []

        def note(o, args, kwargs, seen=seen, x=x, opt=opt):
            seen.append((o is opt, len(args), args[0] is opt, kwargs, x.tolist(), x.grad.tolist()))

        def halve(o, args, kwargs, x=x):
            x.grad.mul_(0.5)

        handles = [opt.register_step_pre_hook(note), opt.register_step_pre_hook(halve)]
        handles.append(opt.register_step_post_hook(note))
        for turn in range(3):
            if turn == 2:
                handles[0].remove()
                handles[2].remove()
            (x * x).sum().backward()
            if clear and lib is tn:
                opt.step_and_clear()
            else:
                opt.step()
                opt.zero_grad()
        found.append((seen, x.tolist(), x.grad is None))
    assert found[0] == found[1]
    assert len(found[0][0]) == 4


def test_a_hook_before_a_step_may_give_it_another_closure():
    found = []
    for lib in (tn, torch):
        x = lib.ones(2, requires_grad=True)
        opt = lib.optim.SGD([x], lr=0.5)
        x.grad = lib.ones(2)
        opt.register_step_pre_hook(lambda o, args, kwargs: ((o,), {"closure": lambda: 7}))
        found.append((opt.step(), opt.step(lambda: 3), x.tolist()))
    assert found[0] == found[1]
    opt = SGD([tn.ones(1, requires_grad=True)], lr=0.5)
    opt.register_step_pre_hook(lambda o, args, kwargs: 1)
    with pytest.raises(ArgumentError, match="pre-hook"):
        opt.step()


def test_zero_grad_forgets_or_sets_to_zero():
    mine = ours("float32")
    opt = SGD(mine, lr=0.1)
    loss_of(tn.tensor(X.astype("float32")), mine).backward()
    opt.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in mine)
    opt.zero_grad()
    assert all(p.grad is None for p in mine)


def test_parameters_stay_leaves_and_the_same_objects():
    mine = ours("float32")
    opt = AdamW(mine, lr=0.1)
    before = [v.copy() for v in values(mine)]
    descend(mine, opt, tn.tensor(X.astype("float32")))
    assert all(p.is_leaf and p.requires_grad for p in mine)
    assert opt.param_groups[0]["params"][0] is mine[0]
    assert not np.array_equal(before[0], values(mine)[0])


def test_failed_step_counts_nothing():
    w = tn.ones(3, requires_grad=True)
    opt = Adam([w], lr=0.1)
    opt.zero_grad()
    (w * w).sum().backward()
    opt.step()
    before = w.detach().numpy().copy()
    opt.zero_grad()
    index = tn.tensor([7])
    w[index].sum().backward()
    with pytest.raises(IndexError):
        opt.step()
    assert int(opt.state[w]["step"]) == 1
    np.testing.assert_array_equal(w.detach().numpy(), before)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: SGD([], lr=0.1), "parameters to update"),
        (lambda: SGD(tn.ones(2), lr=0.1), "several parameters"),
        (lambda: SGD([1.0], lr=0.1), "updates tensors"),
        (lambda: SGD(ours("float32"), lr=-1.0), "lr must not be negative"),
        (lambda: SGD(ours("float32"), lr=0.1, nesterov=True), "nesterov"),
        (lambda: Adam(ours("float32"), betas=(0.9, 1.0)), "betas"),
        (lambda: Adam(ours("float32"), eps=-1.0), "eps"),
        (lambda: Adam([tn.ones(2, requires_grad=True) * 2]), "leaf"),
        (lambda: Adam(ours("float32")[:1] * 2), "one group"),
    ],
)
def test_bad_arguments_are_refused(make, what):
    with pytest.raises(ArgumentError, match=what):
        make()


def test_repr_shows_the_options():
    text = repr(SGD(ours("float32"), lr=0.1))
    assert "Parameter Group 0" in text
    assert "lr: 0.1" in text


def test_state_is_reached_by_parameter():
    mine = ours("float32")
    opt = Adam(mine)
    descend(mine, opt, tn.tensor(X.astype("float32")))
    for p, name in itertools.product(mine, ("exp_avg", "exp_avg_sq")):
        assert opt.state[p][name].shape == p.shape
    assert float(opt.state[mine[0]]["step"]) == 1.0
