"""What the tests of layers share: one call against PyTorch's, values and gradients."""

import numpy as np
import pytest
import torch

import tenor as tn

torch.set_num_threads(1)

TOLERANCE = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-9, "atol": 1e-10}}


def flat(value):
    """Return the tensors of a nest of tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [t for part in value for t in flat(part)]
    return [value]


def near(ours, theirs, dtype, what):
    """Assert that a tensor of ours has the values of PyTorch's."""
    theirs = theirs.detach().numpy()
    assert tuple(ours.shape) == theirs.shape, what
    assert ours.dtype.name == str(theirs.dtype), what
    np.testing.assert_allclose(ours.detach().numpy(), theirs, err_msg=what, **TOLERANCE[dtype])


def drawn(shape, dtype, seed):
    """Return the same values for every test; an array is taken as it is."""
    if isinstance(shape, np.ndarray):
        return shape
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Agreement:
    """Runs a function or module of ours and PyTorch's on one input, forward and backward."""

    def inputs(self, shapes, dtype):
        """Return (ours, theirs), floats with a gradient."""
        arrays = [drawn(shape, dtype, 7 + i) for i, shape in enumerate(shapes)]
        ours = [tn.tensor(a) for a in arrays]
        theirs = [torch.tensor(a) for a in arrays]
        for a, b in zip(ours, theirs, strict=True):
            if b.is_floating_point():
                a.requires_grad_()
                b.requires_grad_()
        return ours, theirs

    def __call__(self, ours, theirs, shapes, dtype="float32"):
        """Assert one value and one gradient for each input and parameter."""
        mine, its = self.inputs(shapes, dtype)
        if isinstance(theirs, torch.nn.Module):
            theirs = theirs.to(getattr(torch, dtype))
            ours = ours.to(dtype)
            ours.load_state_dict(theirs.state_dict())
        got, wanted = flat(ours(*mine)), flat(theirs(*its))
        assert len(got) == len(wanted)
        for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
            near(a, b, dtype, f"output {i}")
        pairs = [
            (a, b, drawn(tuple(b.shape), dtype, 100 + i))
            for i, (a, b) in enumerate(zip(got, wanted, strict=True))
            if b.requires_grad
        ]
        if not pairs:
            return
        torch.autograd.backward([b for _, b, _ in pairs], [torch.tensor(g) for *_, g in pairs])
        tn.autograd.backward([a for a, *_ in pairs], [tn.tensor(g) for *_, g in pairs])
        for i, (a, b) in enumerate(zip(mine, its, strict=True)):
            if b.grad is not None:
                near(a.grad, b.grad, dtype, f"gradient of input {i}")
        if isinstance(theirs, torch.nn.Module):
            self.parameters(ours, theirs, dtype)

    def parameters(self, ours, theirs, dtype):
        """Assert one set of parameters, buffers and gradients."""
        mine = dict(ours.named_parameters())
        for name, p in theirs.named_parameters():
            assert (p.grad is None) == (mine[name].grad is None), name
            if p.grad is not None:
                near(mine[name].grad, p.grad, dtype, f"gradient of {name}")
        for name, b in theirs.named_buffers():
            near(ours.get_buffer(name), b, dtype, f"buffer {name}")


@pytest.fixture
def agree():
    """Return a function that asserts agreement with PyTorch."""
    return Agreement()
