"""Layers with int8 weights whose inputs are quantised row by row while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from tenor.engine.macro import macro
from tenor.errors import ArgumentError, GradientError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir.node import size
from tenor.nn.module import Module
from tenor.tensor import autograd, is_grad_enabled, no_grad, zeros
from tenor.tensor.integer import LONGEST, bytes_product, row_sums
from tenor.tensor.operands import cast
from tenor.tensor.reduction import reshaped

if TYPE_CHECKING:
    from tenor.nn.linear import Linear as FloatLinear
    from tenor.tensor import Tensor

__all__ = ["Linear", "linear"]

STEPS: Final = 255
"""Steps from the least to the greatest byte."""
MOST: Final = 127
"""The greatest weight; the least is its negative, so that 0 is 0."""


def linear(
    input: Tensor, weight: Tensor, scale: Tensor, sums: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return x (weight * scale)^T + bias, the product taken of bytes.

    Each row of x is quantised by its own least and greatest element, 0 among them:
    x = step (q - zero), q in 0..255; so a row does not depend on the others. Then
    y[i, j] = step[i] scale[j] (sum_k q[i, k] weight[j, k] - zero[i] sums[j]) + bias[j],
    the bracket exactly.

    Args:
        input: (..., D_in), floating; the result has its dtype.
        weight: (D_out, D_in), int8.
        scale: (D_out,): what a step of each row of the weight is worth.
        sums: (D_out,), int32: the sums of the rows of the weight.
        bias: (D_out,).

    Raises:
        ShapeError: the last dim of the input is not D_in.
        GradientError: a gradient is asked for; raised by the backward pass.
    """
    wanted = weight.shape[-1]
    if not input.shape or input.shape[-1] != wanted:
        raise ShapeError(
            f"quantized.dynamic.linear: expects {wanted} features in the last dim of the input.",
            came=[f"input: {tuple(input.shape)}", f"weight: {tuple(weight.shape)}"],
            fix=f"feed {wanted} features",
            operands=(input, weight),
        )
    if input.requires_grad and is_grad_enabled():
        found: Tensor = _Refusing.apply(input, weight, scale, sums, bias)
        return found
    return _linear(input, weight, scale, sums, bias)


@macro
def _linear(
    input: Tensor, weight: Tensor, scale: Tensor, sums: Tensor, bias: Tensor | None
) -> Tensor:
    *lead, length = input.shape_tuple
    rows = reshaped(cast(input, dt.float32), (size(lead), length))
    with no_grad():
        q, step, zero = quantized_rows(rows)
        whole = bytes_product(q, weight) - zero * sums
        out = cast(whole, dt.float32) * (step * cast(scale, dt.float32))
        if bias is not None:
            out = out + cast(bias, dt.float32)
        out = reshaped(out, (*lead, weight.shape_tuple[0]))
        return cast(out, input.element_type)


def quantized_rows(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (q, step, zero) with x = step (q - zero), for each row of x [M, K] its own.

    q is uint8; step, float32, and zero, int32, are [M, 1]. A row with a NaN or an infinity has a
    step that is none either.
    """
    low = x.amin(1, keepdim=True).clamp(max=0.0)
    high = x.amax(1, keepdim=True).clamp(min=0.0)
    step = high / STEPS - low / STEPS  # the difference itself may overflow
    step = step.masked_fill(step == 0.0, 1.0)
    zero = (-low / step).round()
    q = ((x / step).round() + zero).clamp(0.0, float(STEPS))
    return cast(q, dt.uint8), step, cast(zero, dt.int32)


class _Refusing(autograd.Function):
    """The product, with a backward that says why there is none."""

    @staticmethod
    def forward(_ctx: Any, *args: Any) -> Any:
        return _linear(*args)

    @staticmethod
    def backward(_ctx: Any, *_grads: Any) -> NoReturn:
        raise GradientError(
            "quantized.dynamic.Linear: has no gradient; its weights are integers.",
            came="backward() through a quantised layer",
            fix="train the float model and quantise it afterwards; run a quantised one under "
            "tn.no_grad()",
        )


class Linear(Module):
    """Map the last dim affinely with int8 weights: `nn.Linear` after `quantize_dynamic`.

    The weight of each output has its own scale; inputs are quantised row by row, to 8 bits. There
    are no parameters and there is no gradient. The state dict holds `weight` (int8), `scale`
    (float32), `sums` (int32, of the weight's rows) and `bias` (float32).

    Args:
        in_features: D_in, from 1 to 65,793, so that no sum leaves 32 bits.
        out_features: D_out.
        bias_: Whether to add a bias.

    Shape:
        (..., D_in) to (..., D_out).

    Raises:
        ArgumentError: in_features is out of range.
        ShapeError: the last dim of the input is not D_in.

    Example:
        >>> import tenor as tn
        >>> layer = tn.nn.quantized.dynamic.Linear.from_float(tn.nn.Linear(3, 2))
        >>> layer.weight.dtype, tuple(layer(tn.ones(4, 3)).shape)
        (tenor.int8, (4, 2))
    """

    weight: Tensor
    scale: Tensor
    sums: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias_: bool = True) -> None:
        if not 1 <= in_features <= LONGEST:
            raise ArgumentError(
                f"quantized.dynamic.Linear: in_features must lie in 1..{LONGEST}.",
                came=str(in_features),
                fix="leave this layer as it is: name only others in qconfig_spec",
            )
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", zeros(out_features, in_features, dtype=dt.int8))
        self.register_buffer("scale", zeros(out_features) + 1.0)
        self.register_buffer("sums", zeros(out_features, dtype=dt.int32))
        self.register_buffer("bias", zeros(out_features) if bias_ else None)

    @classmethod
    def from_float(cls, mod: FloatLinear) -> Linear:
        """Return a float layer quantised: scale[j] is the largest |weight[j, :]| / 127.

        Raises:
            ArgumentError: the layer has too many features, or none.
        """
        return cls.from_weight(mod.weight, mod.bias).train(mod.training)

    @classmethod
    def from_weight(cls, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """Return the layer of a float weight (D_out, D_in) and a bias (D_out,), as `from_float`."""
        count, length = weight.shape
        made = cls(length, count, bias is not None)
        with no_grad():
            weight = cast(weight.detach(), dt.float32)
            scale = weight.abs().amax(1, keepdim=True) / MOST
            scale = scale.masked_fill(scale == 0.0, 1.0)
            made.weight = cast((weight / scale).round().clamp(-MOST, MOST), dt.int8)
            made.scale = scale.reshape(-1)
            made.sums = row_sums(made.weight).reshape(-1)
            if bias is not None:
                made.bias = cast(bias.detach(), dt.float32).clone()
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Return x (weight * scale)^T + bias."""
        return linear(input, self.weight, self.scale, self.sums, self.bias)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"dtype=int8, bias={self.bias is not None}"
        )
