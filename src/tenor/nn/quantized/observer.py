"""Observers: the range of what passes, and the scale and zero point that follow from it."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.nn.module import Module
from tenor.tensor import full, maximum, minimum, no_grad, tensor, where
from tenor.tensor.operands import cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.tensor import Tensor

__all__ = [
    "MinMaxObserver", "MovingAverageMinMaxObserver", "MovingAveragePerChannelMinMaxObserver",
    "PerChannelMinMaxObserver",
]  # fmt: skip

BOUNDS: Final = {dt.int8: (-128, 127), dt.uint8: (0, 255)}
"""dtype -> the least and the greatest number stored; with `reduce_range` half of them."""
SCHEMES: Final = (
    "per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
)  # fmt: skip
EPS: Final = 2.0**-23
"""The least scale: float32's epsilon, as in PyTorch."""


class MinMaxObserver(Module):
    """Pass values on, and keep the least and the greatest of all that came.

    With these, affine: scale = (max - min) / (quant_max - quant_min), zero_point = quant_min -
    round(min / scale), where min <= 0 <= max; symmetric: scale = 2 max(-min, max) / (quant_max -
    quant_min), and zero_point is the middle.

    Args:
        dtype: Of the stored numbers: uint8 or int8.
        qscheme: PyTorch's name of the scheme, e.g. "per_tensor_affine".
        reduce_range: Use half of the range.
        quant_min: The least number stored; the dtype's by default.
        quant_max: The greatest.
        eps: The least scale.

    Raises:
        ArgumentError: Another dtype or scheme, or bounds that are none.

    Example:
        >>> import tenor as tn
        >>> observer = tn.ao.quantization.MinMaxObserver(dtype=tn.int8)
        >>> _ = observer(tn.tensor([-1.0, 4.1]))
        >>> scale, zero_point = observer.calculate_qparams()
        >>> round(scale.item(), 4), zero_point.item()
        (0.02, -78)
    """

    min_val: Tensor
    max_val: Tensor
    schemes: tuple[str, ...] = SCHEMES[:2]

    def __init__(
        self, dtype: Any = dt.uint8, qscheme: str | None = None, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, eps: float = EPS,
    ) -> None:  # fmt: skip
        self.dtype = dt.of(dtype)
        self.qscheme = self.schemes[0] if qscheme is None else str(qscheme).rpartition(".")[2]
        if self.dtype not in BOUNDS or self.qscheme not in self.schemes:
            raise ArgumentError(
                f"{type(self).__name__}: dtype is int8 or uint8, qscheme one of "
                f"{', '.join(self.schemes)}.",
                came=f"{self.dtype.name}, {self.qscheme}",
                fix="choose among them",
            )
        low, high = BOUNDS[self.dtype]
        if reduce_range:
            low, high = low // 2, high // 2
        self.customized = quant_min is not None or quant_max is not None
        self.quant_min = low if quant_min is None else int(quant_min)
        self.quant_max = high if quant_max is None else int(quant_max)
        if not self.quant_min <= 0 < self.quant_max:
            raise ArgumentError(
                f"{type(self).__name__}: 0 must lie between quant_min and quant_max.",
                came=f"{self.quant_min} and {self.quant_max}",
                fix="leave them out for the dtype's own",
            )
        self.eps = float(eps)
        self.register_buffer("min_val", tensor(math.inf))
        self.register_buffer("max_val", tensor(-math.inf))

    @classmethod
    def with_args(cls, **kwargs: Any) -> Callable[..., Any]:
        """Return what makes observers with these arguments."""
        return functools.partial(cls, **kwargs)

    @property
    def symmetric(self) -> bool:
        """Whether the range is the same on both sides of 0."""
        return self.qscheme.endswith("symmetric")

    def forward(self, x_orig: Tensor) -> Tensor:
        """Look at a tensor, and return it."""
        if x_orig.numel():
            with no_grad():
                self.see(*self.extremes(cast(x_orig.detach(), dt.float32)))
        return x_orig

    def extremes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest of a tensor."""
        return x.amin(), x.amax()

    def see(self, low: Tensor, high: Tensor) -> None:
        """Take the extremes of one tensor in."""
        self.keep(minimum(self.min_val, low), maximum(self.max_val, high))

    def keep(self, low: Tensor, high: Tensor) -> None:
        """Keep a range: in place, or where it is the first of several channels, anew."""
        if self.min_val.shape_tuple == low.shape_tuple:
            self.min_val.copy_(low)
            self.max_val.copy_(high)
        else:
            self.min_val, self.max_val = low, high

    def reset_min_max_vals(self) -> None:
        """Forget what came."""
        self.min_val, self.max_val = tensor(math.inf), tensor(-math.inf)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point), float32 and int32; 1 and 0 before the first tensor."""
        with no_grad():
            low, high = self.min_val.clamp(max=0.0), self.max_val.clamp(min=0.0)
            span = float(self.quant_max - self.quant_min)
            if self.symmetric:
                scale = maximum(-low, high) / (span / 2.0)
                zero = full(scale.shape_tuple, float(self.middle))
            else:
                scale = (high - low) / span
                steps = (low / scale.clamp(min=self.eps)).round()
                zero = (self.quant_min - steps).clamp(self.quant_min, self.quant_max)
            scale = scale.clamp(min=self.eps)
            seen = self.min_val <= self.max_val
            scale, zero = where(seen, scale, 1.0), where(seen, zero, 0.0)
            return scale.reshape(-1), cast(zero, dt.int32).reshape(-1)

    @property
    def middle(self) -> int:
        """The zero point of a symmetric range."""
        if self.dtype is dt.int8:
            return 0
        return (self.quant_min + self.quant_max) // 2 if self.customized else 128

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"dtype={self.dtype.name}, qscheme={self.qscheme}, quant_min={self.quant_min}, "
            f"quant_max={self.quant_max}"
        )


class MovingAverageMinMaxObserver(MinMaxObserver):
    """Pass values on, and keep moving averages of their least and their greatest.

    min <- min + averaging_constant (the tensor's - min), beginning with the first tensor's.

    Args:
        averaging_constant: The weight of each new tensor; 1 keeps the last one's range.
        kwargs: As for `MinMaxObserver`.
    """

    def __init__(self, averaging_constant: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.averaging_constant = float(averaging_constant)

    def see(self, low: Tensor, high: Tensor) -> None:
        """Take the extremes of one tensor in."""
        first, share = self.min_val > self.max_val, self.averaging_constant
        if share == 1.0:
            self.keep(low, high)
            return
        moved = [old + share * (new - old) for old, new in ((self.min_val, low),
                                                            (self.max_val, high))]  # fmt: skip
        self.keep(where(first, low, moved[0]), where(first, high, moved[1]))


class PerChannelMinMaxObserver(MinMaxObserver):
    """Pass values on, and keep the least and the greatest of each channel.

    Args:
        ch_axis: The dim of the channels.
        kwargs: As for `MinMaxObserver`; the scheme is "per_channel_affine" by default.
    """

    schemes = (*SCHEMES[2:], *SCHEMES[:2])

    def __init__(self, ch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ch_axis = int(ch_axis)

    def extremes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest of each channel."""
        dims = [d for d in range(x.ndim) if d != self.ch_axis % x.ndim]
        return (x.amin(dims), x.amax(dims)) if dims else (x, x)


class MovingAveragePerChannelMinMaxObserver(PerChannelMinMaxObserver, MovingAverageMinMaxObserver):
    """Pass values on, and keep moving averages of each channel's least and greatest.

    Args:
        averaging_constant: The weight of each new tensor.
        ch_axis: The dim of the channels.
        kwargs: As for `MinMaxObserver`.
    """

    def __init__(self, averaging_constant: float = 0.01, ch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(ch_axis, averaging_constant=averaging_constant, **kwargs)
