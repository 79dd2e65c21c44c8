"""Gradient clipping against PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError
from tenor.optim import SGD, clip_grad_norm_, clip_grad_value_

RNG = np.random.default_rng(1)
GRADS = [RNG.normal(size=s).astype(np.float32) for s in [(4, 3), (3,), ()]]


def params(lib):
    made = []
    for g in GRADS:
        p = lib.tensor(np.zeros_like(g)).requires_grad_()
        p.grad = lib.tensor(np.array(g))
        made.append(p)
    return [*made, lib.zeros(2).requires_grad_()]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_norm_matches_torch(norm_type, max_norm):
    ours, ref = params(tn), params(torch)
    norm = clip_grad_norm_(ours, max_norm, norm_type)
    wanted = torch.nn.utils.clip_grad_norm_(ref, max_norm, norm_type)
    assert norm.item() == pytest.approx(wanted.item(), rel=1e-5)
    for p, q in zip(ours[:3], ref[:3], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5)


def test_value_matches_torch():
    ours, ref = params(tn), params(torch)
    clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(ref, 0.3)
    for p, q in zip(ours[:3], ref[:3], strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_clipped_step_is_one_plan_and_matches_torch():
    from tenor.engine.flush import counts

    w, v = tn.tensor(GRADS[0]).requires_grad_(), torch.tensor(GRADS[0]).requires_grad_()
    opt, ref = SGD([w], lr=0.1), torch.optim.SGD([v], lr=0.1)
    plans = []
    for _ in range(4):
        flushes = counts["flushes"]
        opt.zero_grad()
        (w**4).sum().backward()
        clip_grad_norm_([w], 1.0)
        opt.step()
        assert counts["flushes"] == flushes + 1
        plans.append(counts["plans"])
        ref.zero_grad()
        (v**4).sum().backward()
        torch.nn.utils.clip_grad_norm_([v], 1.0)
        ref.step()
    assert plans[0] == plans[-1]
    np.testing.assert_allclose(w.detach().numpy(), v.detach().numpy(), rtol=2e-5)


def test_norm_that_is_not_finite():
    p = tn.zeros(2).requires_grad_()
    p.grad = tn.tensor([math.nan, 1.0])
    assert math.isnan(clip_grad_norm_(p, 1.0).item())
    with pytest.raises(ArgumentError, match="finite"):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_no_gradients_have_norm_zero():
    assert clip_grad_norm_([tn.zeros(2).requires_grad_()], 1.0).item() == 0.0
