"""Learning-rate schedules against PyTorch's, step by step."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as theirs

import tenor as tn
from tenor.engine.flush import counts
from tenor.errors import ArgumentError
from tenor.optim import SGD, Adam
from tenor.optim import lr_scheduler as mine

SCHEDULES = {
    "step": lambda m, o: m.StepLR(o, 3, 0.5),
    "multi-step": lambda m, o: m.MultiStepLR(o, [2, 5, 5, 9], 0.3),
    "constant": lambda m, o: m.ConstantLR(o, 0.25, 4),
    "linear": lambda m, o: m.LinearLR(o, 0.1, 0.9, 6),
    "linear-down": lambda m, o: m.LinearLR(o, 1.0, 0.2, 5),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.8),
    "polynomial": lambda m, o: m.PolynomialLR(o, 8, 2.0),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 5, 0.01),
    "cosine-beyond": lambda m, o: m.CosineAnnealingLR(o, 4),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2, 0.001),
    "lambda": lambda m, o: m.LambdaLR(o, lambda t: 1.0 / (1 + t)),
    "lambdas": lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: t + 1.0]),
    "multiplicative": lambda m, o: m.MultiplicativeLR(o, lambda t: 1.0 - 0.03 * t),
    "multiplicatives": lambda m, o: m.MultiplicativeLR(o, [lambda t: 0.9, lambda t: 1 + 1 / t]),
    "chained": lambda m, o: m.ChainedScheduler(
        [m.ConstantLR(o, 0.1, 3), m.ExponentialLR(o, 0.9), m.StepLR(o, 4)]
    ),
    "cyclic": lambda m, o: m.CyclicLR(o, 0.01, 0.5, 3),
    "cyclic-uneven": lambda m, o: m.CyclicLR(
        o, [0.01, 0.02], [0.5, 0.3], 2, 3, "triangular2", base_momentum=[0.5, 0.6]
    ),
    "cyclic-range": lambda m, o: m.CyclicLR(
        o, 0.01, 0.5, 2, mode="exp_range", gamma=0.9, cycle_momentum=False
    ),
    "cyclic-function": lambda m, o: m.CyclicLR(
        o, 0.01, 0.5, 2, scale_fn=lambda n: 1.0 / (1 + n), scale_mode="iterations"
    ),
    "one-cycle": lambda m, o: m.OneCycleLR(o, 0.5, total_steps=14),
    "one-cycle-linear": lambda m, o: m.OneCycleLR(
        o, [0.5, 0.2], epochs=7, steps_per_epoch=2, anneal_strategy="linear", pct_start=0.4
    ),
    "one-cycle-three": lambda m, o: m.OneCycleLR(o, 0.5, total_steps=14, three_phase=True),
    "warm-up-then-cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), m.CosineAnnealingLR(o, 9)], [4]
    ),
}


def groups(lib):
    first, second = lib.zeros(2).requires_grad_(), lib.zeros(3).requires_grad_()
    return [{"params": [first]}, {"params": [second], "lr": 0.05}]


def pair(kind="SGD"):
    options = {"momentum": 0.9} if kind == "SGD" else {}
    ours = {"SGD": SGD, "Adam": Adam}[kind](groups(tn), lr=0.1, **options)
    return ours, getattr(torch.optim, kind)(groups(torch), lr=0.1, **options)


def rates(optimizer):
    return [g["lr"] for g in optimizer.param_groups]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_matches_torch(name, kind):
    ours, ref = pair(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = SCHEDULES[name](mine, ours), SCHEDULES[name](theirs, ref)
        for t in range(14):
            assert rates(ours) == pytest.approx(rates(ref), rel=1e-9, abs=1e-15), t
            assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-9, abs=1e-15)
            for key in ("momentum", "betas"):
                for g, h in zip(ours.param_groups, ref.param_groups, strict=True):
                    assert g.get(key) == (pytest.approx(h[key]) if key in h else None)
            if t < 13:
                ref.step()
                a.step()
                b.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("options", [{}, {"threshold_mode": "abs", "threshold": 0.3},
                                     {"cooldown": 2, "min_lr": [0.02, 0.0]}])  # fmt: skip
def test_plateau_matches_torch(mode, options):
    ours, ref = pair()
    a = mine.ReduceLROnPlateau(ours, mode, factor=0.5, patience=1, **options)
    b = theirs.ReduceLROnPlateau(ref, mode, factor=0.5, patience=1, **options)
    for value in [5.0, 4.0, 4.0, 4.1, 3.9, 3.9, 3.9, 3.95, 6.0, 7.0, 2.0, 2.0, 2.0, 2.0, 2.0]:
        a.step(value)
        b.step(value)
        assert rates(ours) == pytest.approx(rates(ref), rel=1e-12)


def test_plateau_takes_a_tensor():
    ours, _ = pair()
    plateau = mine.ReduceLROnPlateau(ours, patience=0)
    plateau.step(tn.tensor(1.0))
    plateau.step(tn.tensor(2.0))
    assert rates(ours) == pytest.approx([0.01, 0.005])


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_goes_on_in_another_run(name):
    ours, _ = pair()
    first = SCHEDULES[name](mine, ours)
    for _ in range(5):
        first.step()
    again, _ = pair()
    second = SCHEDULES[name](mine, again)
    again.load_state_dict(ours.state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        first.step()
        second.step()
        assert rates(ours) == rates(again)


OTHERWISE = ("one", "warm", "restarts", "cyclic", "chained")
CHAINED = [n for n in SCHEDULES if n.split("-")[0] not in OTHERWISE]


@pytest.mark.parametrize("name", [n for n in CHAINED if n[:6] not in ("lambda", "multip")])
def test_a_run_goes_on_from_a_step_as_pytorchs(name):
    found = []
    for optimizer, lib in zip(pair(), (mine, theirs), strict=True):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] * 2
        maker = SCHEDULES[name](lib, optimizer)
        options = {k: v for k, v in vars(maker).items() if k in OPTIONS}
        schedule = type(maker)(optimizer, **options, last_epoch=3)
        seen = [rates(optimizer)]
        for _ in range(6):
            optimizer.step()
            schedule.step()
            seen.append(rates(optimizer))
        found.append(seen)
    for ours, its in zip(*found, strict=True):
        assert ours == pytest.approx(its, rel=1e-9)


def test_a_run_by_factors_goes_on_as_pytorchs():
    found = []
    for optimizer, lib in zip(pair(), (mine, theirs), strict=True):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] * 2
        schedule = lib.MultiplicativeLR(optimizer, lambda t: 1 / t, last_epoch=3)
        seen = [rates(optimizer)]
        for _ in range(3):
            optimizer.step()
            schedule.step()
            seen.append(rates(optimizer))
        found.append(np.array(seen))
    np.testing.assert_allclose(*found, rtol=1e-12)


OPTIONS = (
    "step_size", "milestones", "gamma", "factor", "total_iters", "start_factor", "end_factor",
    "power", "T_max", "eta_min",
)  # fmt: skip


# PyTorch multiplies by f(t) once, whatever the way from where the schedule is.
@pytest.mark.parametrize("name", [n for n in CHAINED if "multiplicative" not in n])
@pytest.mark.filterwarnings("ignore")
def test_a_step_that_is_named_is_gone_to(name):
    ours, ref = pair()
    schedule, peer = SCHEDULES[name](mine, ours), SCHEDULES[name](theirs, ref)
    for step in (4, 2, 0):
        schedule.step(step)
        peer.step(step)
        assert schedule.last_epoch == step
        assert rates(ours) == pytest.approx(rates(ref), rel=1e-9)


def test_two_schedules_on_one_optimizer_multiply():
    ours, ref = pair()
    a = [mine.ExponentialLR(ours, 0.9), mine.StepLR(ours, 2, 0.5)]
    b = [theirs.ExponentialLR(ref, 0.9), theirs.StepLR(ref, 2, 0.5)]
    for _ in range(6):
        ref.step()
        for s in (*a, *b):
            s.step()
        assert rates(ours) == pytest.approx(rates(ref), rel=1e-12)


def test_a_schedule_compiles_nothing():
    w = tn.ones(3, requires_grad=True)
    opt = SGD([w], lr=0.1)
    schedule = mine.CosineAnnealingLR(opt, 10)
    built = []
    for _ in range(5):
        opt.zero_grad()
        (w * w).sum().backward()
        opt.step()
        schedule.step()
        built.append(counts["plans"])
    assert built[0] == built[-1]
    assert w[0].item() == pytest.approx(
        torch.tensor([1 - 2 * r for r in _cosine(0.1, 5)]).prod().item(), rel=1e-5
    )


def _cosine(base, steps):
    ref = torch.optim.SGD([torch.zeros(1)], lr=base)
    schedule = theirs.CosineAnnealingLR(ref, 10)
    for _ in range(steps):
        yield ref.param_groups[0]["lr"]
        ref.step()
        schedule.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda o: mine.StepLR("sgd", 3),
        lambda o: mine.LambdaLR(o, [abs]),
        lambda o: mine.OneCycleLR(o, 0.1),
        lambda o: mine.ReduceLROnPlateau(o, factor=2.0),
        lambda o: mine.LinearLR(o, 0.0),
        lambda o: mine.CosineAnnealingWarmRestarts(o, 0),
        lambda o: mine.StepLR(o, 3, last_epoch=4),
        lambda o: mine.SequentialLR(o, [mine.StepLR(o, 1)], [2]),
        lambda o: mine.MultiplicativeLR(o, [abs]),
        lambda o: mine.ChainedScheduler([]),
        lambda o: mine.ChainedScheduler([mine.ReduceLROnPlateau(o)]),
        lambda o: mine.ChainedScheduler([mine.StepLR(o, 1), mine.StepLR(pair()[0], 1)]),
        lambda o: mine.ChainedScheduler([mine.StepLR(o, 1)], pair()[0]),
        lambda o: mine.CyclicLR(o, 0.1, 0.2, mode="square"),
        lambda o: mine.CyclicLR(o, 0.1, 0.2, 0),
        lambda o: mine.CyclicLR(o, 0.1, [0.2]),
        lambda o: mine.CyclicLR(o, 0.1, 0.2, scale_mode="epochs"),
        lambda o: mine.StepLR(o, 3).step(-1),
        lambda o: mine.SequentialLR(o, [mine.StepLR(o, 1), mine.StepLR(o, 1)], [2]).step(-1),
    ],
)
def test_bad_arguments_are_refused(make):
    ours, _ = pair()
    with pytest.raises(ArgumentError):
        make(ours)


def test_one_cycle_needs_momentum_or_says_so():
    plain = SGD([tn.zeros(1).requires_grad_()], lr=0.1)
    plain.param_groups[0].pop("momentum")
    with pytest.raises(ArgumentError, match="cycle_momentum"):
        mine.OneCycleLR(plain, 0.1, total_steps=3)
    with pytest.raises(ArgumentError, match="cycle_momentum"):
        mine.CyclicLR(plain, 0.1, 0.2)
    cycle = mine.OneCycleLR(plain, 0.1, total_steps=3, cycle_momentum=False)
    for _ in range(3):
        cycle.step()
    with pytest.raises(ArgumentError, match="3 steps"):
        cycle.step()
