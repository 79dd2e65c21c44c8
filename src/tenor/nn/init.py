"""Initial values for parameters, written in place; PyTorch's `nn.init`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.errors import ArgumentError, ShapeError
from tenor.nn.fresh import fresh
from tenor.tensor import no_grad, where

if TYPE_CHECKING:
    from tenor.tensor import Generator, Tensor

__all__ = [
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

GAINS = {"linear": 1.0, "conv": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0),
         "selu": 0.75}  # fmt: skip


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
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Fill from the normal distribution cut to [a, b], by drawing again what falls outside."""
    with no_grad():
        tensor.normal_(mean, std)
        for _ in range(16):
            again = tensor.clone().normal_(mean, std)
            tensor.copy_(where((tensor < a) | (tensor > b), again, tensor))
        return _written(tensor.clamp_(a, b))


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


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill from U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)); Glorot and Bengio 2010."""
    fan_in, fan_out = fans(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill from N(0, gain^2 2 / (fan_in + fan_out)); Glorot and Bengio 2010."""
    fan_in, fan_out = fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = dict(zip(("fan_in", "fan_out"), fans(tensor), strict=True)).get(mode)
    if fan is None:
        raise ArgumentError(
            "kaiming: mode must be 'fan_in' or 'fan_out'.", came=repr(mode), fix="choose one"
        )
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill from U(-b, b), b = gain sqrt(3 / fan); He et al. 2015."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill from N(0, gain^2 / fan); He et al. 2015."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))
