"""Activations: functions of one tensor, element by element or along a dim.

Of halves, those of several steps are computed in float32 and rounded once, as PyTorch's are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.engine.macro import macro
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.tensor import is_grad_enabled, where
from tenor.tensor.dims import aliased, axis
from tenor.tensor.inplace import in_place
from tenor.tensor.operands import cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.tensor import Tensor

__all__ = [
    "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax",
    "logsigmoid", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softmin",
    "softplus", "softsign", "tanh", "threshold",
]  # fmt: skip

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _into(input: Tensor, result: Callable[[], Tensor], inplace: bool) -> Tensor:
    """Return the result, written into the input where asked for."""
    return in_place("inplace=True", lambda _: result())(input) if inplace else result()


def _once(input: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the function of the input, rounded once where the input is a half."""
    dtype = input.element_type
    return cast(function(cast(input, dtype.compute)), dtype)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return max(x, 0); the gradient at 0 is 0."""
    return _into(input, input.relu, inplace)


def sigmoid(input: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """Return the hyperbolic tangent."""
    return input.tanh()


@macro
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x sigmoid(x); Elfwing et al. 2017."""
    return _into(input, lambda: _once(input, lambda x: x * x.sigmoid()), inplace)


@macro
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return x Phi(x), Phi the normal distribution function.

    Args:
        input: Any shape, floating.
        approximate: "none" for erf; "tanh" for
            0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    Source:
        Hendrycks and Gimpel 2016, "Gaussian Error Linear Units".
    """
    if approximate == "none":
        return _once(input, lambda x: x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1.0))
    if approximate == "tanh":
        return _once(input, _gelu_by_tanh)
    raise ArgumentError(
        "gelu: approximate must be 'none' or 'tanh'.",
        came=repr(approximate),
        fix="choose one of the two",
    )


def _gelu_by_tanh(x: Tensor) -> Tensor:
    inner = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
    return x * 0.5 * (inner.tanh() + 1.0)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return x where positive, else negative_slope x."""
    return _into(input, lambda: where(input > 0, input, input * negative_slope), inplace)


@macro
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return x where positive, else weight x.

    Args:
        input: (N, C, *), or any shape where there is one weight.
        weight: (C,), or one for all: (1,) or ().

    Raises:
        ShapeError: there are several weights, but not one for each channel.
        DTypeError: input and weight are of two dtypes.

    Source:
        He et al. 2015, "Delving Deep into Rectifiers".

    Example:
        >>> import tenor as tn
        >>> prelu(tn.tensor([[-2.0, 1.0], [-4.0, -1.0]]), tn.tensor([0.5, 0.25])).tolist()
        [[-1.0, 1.0], [-2.0, -0.25]]
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ShapeError(
            f"prelu: weight must have one value, or one for each of {channels} channels.",
            came=[f"input: {tuple(input.shape)}", f"weight: {tuple(weight.shape)}"],
            fix="give a vector of weights; channels are dim 1 of the input",
            operands=(input, weight),
        )
    if input.element_type is not weight.element_type:
        raise DTypeError(
            "prelu: the input must have the weight's dtype.",
            came=[f"input: {input.dtype.name}", f"weight: {weight.dtype.name}"],
            fix=f"convert the input with .to(tn.{weight.dtype.name})",
            operands=(input, weight),
        )
    column = (-1, *[1] * (input.ndim - 2)) if weight.numel() > 1 else ()
    return where(input > 0, input, input * weight.reshape(column))  # type: ignore[no-any-return]


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return x where it is above the threshold, else the value.

    Example:
        >>> import tenor as tn
        >>> threshold(tn.tensor([-1.0, 0.5, 2.0]), 0.5, 9.0).tolist()
        [9.0, 9.0, 2.0]
    """
    return _into(
        input, lambda: where(input <= threshold, input.new_full((), value), input), inplace
    )


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where positive, else alpha (exp(x) - 1)."""
    above = input > 0
    # The other branch never sees large x, whose exp would be inf and its gradient NaN.
    bent = where(above, 0.0, input).expm1() * alpha
    return _into(input, lambda: where(above, input, bent), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return scale elu(x, alpha), with the constants that keep mean and variance.

    Source:
        Klambauer et al. 2017, "Self-Normalizing Neural Networks".
    """
    return _into(input, lambda: elu(input, SELU_ALPHA) * SELU_SCALE, inplace)


@macro
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta; x itself where beta x exceeds the threshold."""

    def of(x: Tensor) -> Tensor:
        scaled = x * beta
        linear = scaled > threshold
        bent: Tensor = where(linear, 0.0, scaled).exp().log1p() / beta
        return where(linear, x, bent)  # type: ignore[no-any-return]

    return _once(input, of)


@macro
def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(x)), without overflow."""
    return _once(input, lambda x: -softplus_of(-x))


def softplus_of(input: Tensor) -> Tensor:
    """Return log(1 + exp(x)) exactly for any x."""
    # By choices of one mask: maximum and abs would be right at 0 once, but not twice derived.
    positive = input > 0
    return where(positive, input, 0.0) + where(positive, -input, input).exp().log1p()  # type: ignore[no-any-return]


@macro
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x tanh(softplus(x)); Misra 2019."""
    return _into(input, lambda: _once(input, lambda x: x * softplus_of(x).tanh()), inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Return x clamped to [min_val, max_val]; no gradient flows on the bounds.

    Raises:
        ArgumentError: min_val is above max_val.
    """
    if min_val > max_val:
        raise ArgumentError(
            "hardtanh: min_val must not be above max_val.",
            came=f"min_val={min_val}, max_val={max_val}",
            fix="swap them",
        )
    if not inplace:
        return _clamped(input, min_val, max_val)
    return _into(input, lambda: _clamped(input, min_val, max_val), inplace)


@macro
def _clamped(input: Tensor, low: float, high: float) -> Tensor:
    if not (input.needs_grad and is_grad_enabled()):
        return input.clamp(low, high)
    inside = (input > low) & (input < high)
    return where(inside, input, input.detach().clamp(low, high))  # type: ignore[no-any-return]


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x clamped to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return clamp(x + 3, 0, 6) / 6."""
    return _into(input, lambda: hardtanh(input + 3.0, 0.0, 6.0) / 6.0, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x clamp(x + 3, 0, 6) / 6; Howard et al. 2019."""
    return _into(input, lambda: input * hardtanh(input + 3.0, 0.0, 6.0) / 6.0, inplace)


@macro
@aliased
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return a sigmoid(b), a and b the halves of x along a dim.

    Raises:
        ShapeError: the dim's extent is odd, or x has no dims.

    Source:
        Dauphin et al. 2016, "Language Modeling with Gated Convolutional Networks".

    Example:
        >>> import tenor as tn
        >>> glu(tn.tensor([4.0, 6.0, 0.0, 0.0])).tolist()
        [2.0, 3.0]
    """
    extent = input.shape[axis("glu", dim, input.ndim)] if input.ndim else 1
    if extent % 2:
        raise ShapeError(
            f"glu: the extent of dim {dim} must be even, to be halved.",
            came=f"input: {tuple(input.shape)}",
            fix="make the layer before it twice as wide as the result is to be",
            operands=(input,),
        )
    return input.narrow(dim, 0, extent // 2) * input.narrow(dim, extent // 2, extent // 2).sigmoid()


def softsign(input: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    return input / (input.abs() + 1.0)


@macro
@aliased
def softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """Return exp(x) scaled to sum to one along a dim.

    Args:
        input: Any shape, floating.
        dim: None picks 0 for inputs of 0, 1 or 3 dims, else 1, as PyTorch does.
        dtype: Converts the input first.
    """
    return input.softmax(_usual(input, dim), dtype=None if dtype is None else dt.of(dtype))


@aliased
def softmin(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """Return the softmax of -x; the arguments are those of `softmax`."""
    return softmax(-input, dim, dtype)


@macro
@aliased
def log_softmax(input: Tensor, dim: int | None = None, dtype: DType | None = None) -> Tensor:
    """Return the logarithm of softmax; the arguments are those of `softmax`."""
    return input.log_softmax(_usual(input, dim), dtype=None if dtype is None else dt.of(dtype))


def _usual(input: Tensor, dim: int | None) -> int:
    return dim if dim is not None else 0 if input.ndim in (0, 1, 3) else 1
