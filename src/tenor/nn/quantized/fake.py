"""Fake quantisation: numbers rounded as eight bits would hold them, and gradients as if not."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.macro import macro
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.nn.module import Module
from tenor.nn.quantized.observer import MovingAverageMinMaxObserver, PerChannelMinMaxObserver
from tenor.tensor import is_grad_enabled, maximum, minimum, no_grad, tensor, where
from tenor.tensor.operands import cast, fitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.tensor import Tensor

__all__ = [
    "FakeQuantize", "disable_fake_quant", "disable_observer", "enable_fake_quant",
    "enable_observer", "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine",
]  # fmt: skip


def fake_quantize_per_tensor_affine(
    input: Tensor, scale: Tensor | float, zero_point: Tensor | int, quant_min: int, quant_max: int
) -> Tensor:
    """Return (clamp(round(x / scale) + zero_point, quant_min, quant_max) - zero_point) * scale.

    Rounding is to even. The gradient is 1 where nothing was clamped and 0 elsewhere.

    Args:
        input: Floating.
        scale: Positive; a number or a tensor of one.
        zero_point: What stands for 0.
        quant_min: The least number stored.
        quant_max: The greatest.

    Raises:
        ArgumentError: zero_point, given as a number, lies outside the bounds, or they are none.
        DTypeError: The input is not floating.

    Example:
        >>> import tenor as tn
        >>> x = tn.tensor([0.13, 2.0])
        >>> tn.fake_quantize_per_tensor_affine(x, 0.25, 0, 0, 3)
        tensor([0.2500, 0.7500])
    """
    name = "fake_quantize_per_tensor_affine"
    _check(name, input, zero_point, quant_min, quant_max)
    for what, given in (("scale", scale), ("zero_point", zero_point)):
        if isinstance(given, Handle) and given.numel() != 1:
            raise ShapeError(
                f"{name}: {what} is one number.", came=str(tuple(given.shape)),
                fix="use fake_quantize_per_channel_affine",
            )  # fmt: skip
    numbers = [x.reshape(()) if isinstance(x, Handle) else x for x in (scale, zero_point)]
    step, zero = (fitted(x, dt.float32) for x in numbers)
    graded = is_grad_enabled() and input.requires_grad
    return _rounded(input, step, zero, int(quant_min), int(quant_max), graded)


def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """Return `fake_quantize_per_tensor_affine` with a scale and a zero point for each channel.

    Args:
        input: Floating.
        scale: (C,), positive.
        zero_point: (C,).
        axis: The dim of the channels, of extent C.
        quant_min: The least number stored.
        quant_max: The greatest.

    Raises:
        ShapeError: scale or zero_point are not (C,).
        ArgumentError: The bounds are none.
        DTypeError: The input is not floating.

    Example:
        >>> import tenor as tn
        >>> x, scale, zero = tn.full((2, 2), 0.8), tn.tensor([0.5, 1.0]), tn.tensor([0, 0])
        >>> tn.fake_quantize_per_channel_affine(x, scale, zero, 0, -8, 7).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    name = "fake_quantize_per_channel_affine"
    _check(name, input, 0, quant_min, quant_max)
    axis = axis % input.ndim if -input.ndim <= axis < input.ndim else axis
    channels = input.shape[axis] if axis < input.ndim else None
    if any(tuple(x.shape) != (channels,) for x in (scale, zero_point)):
        raise ShapeError(
            f"{name}: scale and zero_point must have one number a channel.",
            came=[f"input: {tuple(input.shape)}, axis {axis}", f"scale: {tuple(scale.shape)}",
                  f"zero_point: {tuple(zero_point.shape)}"],
            fix="axis is the dim of the channels",
            operands=(input, scale, zero_point),
        )  # fmt: skip
    shape = [-1 if d == axis else 1 for d in range(input.ndim)]
    step, zero = (cast(x, dt.float32).reshape(shape) for x in (scale, zero_point))
    graded = is_grad_enabled() and input.requires_grad
    return _rounded(input, step, zero, int(quant_min), int(quant_max), graded)


def _check(name: str, input: Tensor, zero: Any, low: int, high: int) -> None:
    if input.element_type.kind != "float":
        raise DTypeError(
            f"{name}: the input must be floating.", came=input.element_type.name,
            fix="convert with .float() first",
        )  # fmt: skip
    if low > high or (not isinstance(zero, Handle) and not low <= zero <= high):
        raise ArgumentError(
            f"{name}: quant_min <= zero_point <= quant_max.",
            came=f"{low}, {'a tensor' if isinstance(zero, Handle) else zero}, {high}",
            fix="for uint8 they are 0 and 255, for int8 -128 and 127",
        )


@macro
def _rounded(
    input: Tensor, step: Tensor, zero: Tensor, low: int, high: int, graded: bool
) -> Tensor:
    """Return the input rounded; export finds these operations again by their order."""
    dtype = input.element_type
    x = cast(input, dt.float32)
    still = x.detach()
    steps = (still * (1.0 / step)).round() + zero
    held = minimum(maximum(steps, fitted(low, dt.float32)), fitted(high, dt.float32))
    real = (held - zero) * step
    if graded:
        inside = (steps >= float(low)) & (steps <= float(high))
        through = where(inside, x, 0.0)
        real = real + (through - through.detach())  # 0, whose gradient is 1 inside
    return cast(real, dtype)


class FakeQuantize(Module):
    """Round what passes as eight bits would hold it, by ranges seen while training.

    In training mode the observer looks at every input and moves the scale; in evaluation mode the
    scale stays (in PyTorch that takes `disable_observer`). The buffers are `scale`, `zero_point`
    and the observer's.

    Args:
        observer: What watches the range.
        quant_min: The least number stored; the dtype's by default.
        quant_max: The greatest.
        observer_kwargs: Arguments of the observer.

    Example:
        >>> import tenor as tn
        >>> fake = tn.ao.quantization.FakeQuantize()
        >>> fake(tn.tensor([0.0, 0.001, 2.55])).tolist()[:2]
        [0.0, 0.0]
    """

    scale: Tensor
    zero_point: Tensor
    activation_post_process: Any

    def __init__(
        self, observer: Callable[..., Any] = MovingAverageMinMaxObserver,
        quant_min: int | None = None, quant_max: int | None = None, **observer_kwargs: Any,
    ) -> None:  # fmt: skip
        self.activation_post_process = observer(
            quant_min=quant_min, quant_max=quant_max, **observer_kwargs
        )
        self.quant_min = self.activation_post_process.quant_min
        self.quant_max = self.activation_post_process.quant_max
        self.register_buffer("scale", tensor([1.0]))
        self.register_buffer("zero_point", tensor(np.zeros(1, np.int32)))
        self.observer_enabled = self.fake_quant_enabled = True

    @classmethod
    def with_args(cls, **kwargs: Any) -> Callable[..., Any]:
        """Return what makes fake quantisations with these arguments."""
        return functools.partial(cls, **kwargs)

    @property
    def ch_axis(self) -> int | None:
        """The dim of the channels; None where all share one scale."""
        watched = self.activation_post_process
        return watched.ch_axis if isinstance(watched, PerChannelMinMaxObserver) else None

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point) of the range seen."""
        found: tuple[Tensor, Tensor] = self.activation_post_process.calculate_qparams()
        return found

    def observe(self, x: Tensor) -> None:
        """Look at a tensor and move the scale, in any mode."""
        self.activation_post_process(x)
        with no_grad():
            scale, zero = self.calculate_qparams()
            if scale.shape_tuple == self.scale.shape_tuple:
                self.scale.copy_(scale)
                self.zero_point.copy_(zero)
            else:
                self.scale, self.zero_point = scale, zero

    def forward(self, X: Tensor) -> Tensor:
        """Return X rounded."""
        if self.observer_enabled and self.training:
            self.observe(X)
        if not self.fake_quant_enabled:
            return X
        bounds = (self.quant_min, self.quant_max)
        if self.ch_axis is None:
            return fake_quantize_per_tensor_affine(X, self.scale, self.zero_point, *bounds)
        return fake_quantize_per_channel_affine(
            X, self.scale, self.zero_point, self.ch_axis, *bounds
        )

    def enable_observer(self, enabled: bool = True) -> None:
        """Let the scale follow the inputs, or not."""
        self.observer_enabled = bool(enabled)

    def disable_observer(self) -> None:
        """Let the scale stay."""
        self.enable_observer(False)

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Round, or pass inputs as they are."""
        self.fake_quant_enabled = bool(enabled)

    def disable_fake_quant(self) -> None:
        """Pass inputs as they are."""
        self.enable_fake_quant(False)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"quant_min={self.quant_min}, quant_max={self.quant_max}"


def enable_observer(mod: Module) -> None:
    """Let a module's scale follow its inputs, if it is a FakeQuantize: `model.apply(...)`."""
    if isinstance(mod, FakeQuantize):
        mod.enable_observer()


def disable_observer(mod: Module) -> None:
    """Let a module's scale stay, if it is a FakeQuantize: `model.apply(...)`."""
    if isinstance(mod, FakeQuantize):
        mod.disable_observer()


def enable_fake_quant(mod: Module) -> None:
    """Let a module round, if it is a FakeQuantize: `model.apply(...)`."""
    if isinstance(mod, FakeQuantize):
        mod.enable_fake_quant()


def disable_fake_quant(mod: Module) -> None:
    """Let a module pass inputs as they are, if it is a FakeQuantize: `model.apply(...)`."""
    if isinstance(mod, FakeQuantize):
        mod.disable_fake_quant()
