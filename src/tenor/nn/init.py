"""Initial values for parameters, written in place; PyTorch's `nn.init`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tenor.errors import ArgumentError, ShapeError
from tenor.nn.fresh import fresh
from tenor.tensor import empty, eye, float32, float64, from_numpy, no_grad, rand, where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor import Generator, Tensor

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_",
]  # fmt: skip

LINEAR = ("linear", *(f"conv{turned}{d}d" for turned in ("", "_transpose") for d in (1, 2, 3)))
GAINS = dict.fromkeys((*LINEAR, "sigmoid"), 1.0) | {
    "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the scale that keeps the variance through a nonlinearity."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ArgumentError(
            "calculate_gain: unknown nonlinearity.",
            came=repr(nonlinearity),
            fix=f"use one of {', '.join([*GAINS, 'leaky_relu'])}",
        )
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return (inputs, outputs) of one element of a weight (O, I, *K)."""
    if tensor.ndim < 2:
        raise ShapeError(
            "init: fan-in and fan-out need a tensor of at least two dims.",
            came=f"{tuple(tensor.shape)}",
            fix="use uniform_ or normal_ for vectors",
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _written(tensor: Tensor) -> Tensor:
    """Return a tensor that was given an initial value, to be computed before the next step."""
    fresh.pending = True
    return tensor


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill from the uniform distribution on [a, b)."""
    with no_grad():
        return _written(tensor.uniform_(a, b, generator=generator))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill from the normal distribution."""
    with no_grad():
        return _written(tensor.normal_(mean, std, generator=generator))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill from the normal distribution cut to [a, b]: its quantiles at uniform numbers."""
    low, high = (math.erf((edge - mean) / (std * math.sqrt(2.0))) for edge in (a, b))
    with no_grad():
        tensor.uniform_(low, high, generator=generator)
        drawn = _erfinv(tensor.to(float64)) * (std * math.sqrt(2.0)) + mean
        return _written(tensor.copy_(drawn.clamp(a, b)))


NEAR = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
        -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
FAR = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
       -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


def _erfinv(x: Tensor) -> Tensor:
    """Return the y in float64 with erf(y) = x, by a polynomial and two steps of Newton's method.

    Source:
        Giles 2010, "Approximating the erfinv function", table of the single-precision version.
    """
    x = x.clamp(-1.0 + 1e-15, 1.0 - 1e-15)
    w = -((1.0 - x) * (1.0 + x)).log()
    near, far = _polynomial(w - 2.5, NEAR), _polynomial(w.clamp(min=0.0).sqrt() - 3.0, FAR)
    y: Tensor = where(w < 5.0, near, far) * x
    for _ in range(2):
        y = y - (y.erf() - x) * (y * y).exp() * (math.sqrt(math.pi) / 2.0)
    return y


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Return a polynomial's value, the highest power's coefficient first."""
    total = x * 0.0
    for c in coefficients:
        total = total * x + c
    return total


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    with no_grad():
        return _written(tensor.fill_(val))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill from U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)); Glorot and Bengio 2010."""
    fan_in, fan_out = fans(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill from N(0, gain^2 2 / (fan_in + fan_out)); Glorot and Bengio 2010."""
    fan_in, fan_out = fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = dict(zip(("fan_in", "fan_out"), fans(tensor), strict=True)).get(mode)
    if fan is None:
        raise ArgumentError(
            "kaiming: mode must be 'fan_in' or 'fan_out'.", came=repr(mode), fix="choose one"
        )
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill from U(-b, b), b = gain sqrt(3 / fan); He et al. 2015."""
    if 0 in tensor.shape:
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill from N(0, gain^2 / fan); He et al. 2015."""
    if 0 in tensor.shape:
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _expect_dims(name: str, tensor: Tensor, ranks: Sequence[int], kinds: str) -> None:
    if tensor.ndim not in ranks:
        raise ShapeError(
            f"{name}: fills {kinds}.",
            came=f"a tensor of shape {tuple(tensor.shape)}",
            fix="fill other parameters with uniform_ or normal_",
        )


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity, as much of it as fits.

    Raises:
        ShapeError: the tensor is no matrix.

    Example:
        >>> import tenor as tn
        >>> eye_(tn.empty(2, 3)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    _expect_dims("eye_", tensor, (2,), "a matrix")
    with no_grad():
        return _written(tensor.copy_(eye(*tensor.shape, dtype=tensor.dtype)))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the weight (O, I, *K) of a convolution so that it returns its input's channels.

    Args:
        tensor: Three to five dims.
        groups: Of the convolution; each returns its first channels.

    Raises:
        ShapeError: the tensor has other dims, or O is no multiple of the groups.

    Example:
        >>> import tenor as tn
        >>> dirac_(tn.empty(2, 2, 3)).tolist()
        [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    _expect_dims("dirac_", tensor, (3, 4, 5), "weights (O, I, *K) of convolutions")
    out, into, *kernel = tensor.shape
    if groups < 1 or out % groups:
        raise ShapeError(
            "dirac_: the first extent must be a multiple of the groups.",
            came=f"a tensor of shape {tuple(tensor.shape)}, groups={groups}",
            fix="pass the groups of the convolution",
        )
    each = out // groups
    values = np.zeros(tuple(tensor.shape), np.float32)
    middle = tuple(n // 2 for n in kernel)
    for group in range(groups):
        for channel in range(min(each, into)):
            values[(group * each + channel, channel, *middle)] = 1.0
    with no_grad():
        return _written(tensor.copy_(from_numpy(values)))


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a random matrix whose rows, or columns where they are fewer, are orthonormal.

    Args:
        tensor: Two dims or more; those after the first are one dim of the matrix.
        gain: Scales the matrix.
        generator: Draws the numbers.

    Raises:
        ShapeError: the tensor has fewer than two dims.

    Source:
        Saxe et al. 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear
        neural networks".

    Example:
        >>> import tenor as tn
        >>> weight = orthogonal_(tn.empty(2, 5))
        >>> tn.allclose(weight @ weight.T, tn.eye(2), atol=1e-6)
        True
    """
    if tensor.ndim < 2:
        _expect_dims("orthogonal_", tensor, (), "tensors of two dims or more")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with no_grad():
        drawn = normal_(empty(rows, columns, dtype=float64), generator=generator).numpy()
        q, r = np.linalg.qr(drawn if rows >= columns else drawn.T)
        q = q * np.where(np.diag(r) < 0.0, -gain, gain)  # uniform over orthogonal matrices
        whole = np.ascontiguousarray(q if rows >= columns else q.T).reshape(tuple(tensor.shape))
        return _written(tensor.copy_(from_numpy(whole)))


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fill a matrix from N(0, std^2), then a share of each column with zeros.

    Args:
        tensor: Two dims.
        sparsity: The share, in [0, 1]; rounded up to whole elements.
        std: The standard deviation of the rest.
        generator: Draws the numbers.

    Raises:
        ShapeError: the tensor is no matrix.
        ArgumentError: the share is outside [0, 1].

    Source:
        Martens 2010, "Deep learning via Hessian-free optimization".

    Example:
        >>> import tenor as tn
        >>> (sparse_(tn.empty(10, 3), sparsity=0.25) == 0).sum(0).tolist()
        [3, 3, 3]
    """
    _expect_dims("sparse_", tensor, (2,), "a matrix")
    if not 0.0 <= sparsity <= 1.0:
        raise ArgumentError(
            "sparse_: sparsity is a share, in [0, 1].", came=f"{sparsity}", fix="e.g. 0.1"
        )
    zeros = math.ceil(sparsity * tensor.shape[0])
    with no_grad():
        normal_(tensor, 0.0, std, generator)
        places = rand(*tensor.shape, generator=generator, dtype=float32).argsort(0).argsort(0)
        return _written(tensor.masked_fill_(places < zeros, 0.0))
