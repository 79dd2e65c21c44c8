"""PyTorch as the oracle: the same numbers to both, the same answer from both."""

import numpy as np
import torch

import tenor as tn

torch.set_num_threads(1)

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NUMBERS = (*FLOATS, torch.int64, torch.int32, torch.uint8)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def given(x):
    """Return a PyTorch tensor as Tenor's, with the same values, dtype and need of a gradient."""
    held = x.detach()
    if x.dtype is torch.bfloat16:
        made = tn.tensor(held.float().numpy()).bfloat16()
    else:
        made = tn.tensor(held.numpy())
    return made.requires_grad_() if x.requires_grad else made


def name(dtype):
    return str(dtype).split(".")[1]


def agree(got, want, tolerance=None, absolute=None):
    """Compare values, shapes and dtypes; tuples one by one."""
    if isinstance(want, (tuple, list)):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            agree(g, w, tolerance, absolute)
        return
    if not isinstance(want, torch.Tensor):
        assert got == want
        return
    assert name(got.dtype) == name(want.dtype)
    assert tuple(got.shape) == tuple(want.shape)
    if tolerance is None:
        tolerance = TOLERANCE.get(want.dtype, 0)
    a = got.detach().to(tn.float64).numpy()
    b = want.detach().to(torch.float64).numpy()
    np.testing.assert_allclose(
        a, b, rtol=tolerance, atol=tolerance if absolute is None else absolute
    )


def gradients_agree(ours, theirs, inputs, tolerance=1e-4):
    """Compare a function's value and the gradients of its weighted sum for some inputs."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    mine = [given(x) for x in leaves]
    want, got = theirs(*leaves), ours(*mine)
    agree(got, want, tolerance)
    weight = torch.linspace(-1, 1, want.numel(), dtype=want.dtype).reshape(want.shape)
    (want * weight).sum().backward()
    (got * given(weight)).sum().backward()
    for a, b in zip(mine, leaves, strict=True):
        agree(a.grad, b.grad, tolerance)
