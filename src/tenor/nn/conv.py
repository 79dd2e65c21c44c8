"""Convolutions and their transposes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.nn import functional, init
from tenor.nn.functional_space import positive, same_padding, spread
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import empty

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.tensor import Tensor

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"]

MODES = ("zeros", "reflect", "replicate", "circular")


class Kernels(Module):
    """A bank of kernels: what convolutions and their transposes share.

    Attributes:
        rank: The number of spatial dims.
    """

    rank: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        dilation: Any, groups: int, bias: bool, padding_mode: str,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        if groups <= 0 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name}: groups must divide in_channels and out_channels.",
                came=f"groups={groups}, in_channels={in_channels}, out_channels={out_channels}",
                fix="choose a common divisor of the two",
            )
        if padding_mode not in MODES:
            raise ArgumentError(
                f"{name}: padding_mode must be one of {', '.join(MODES)}.",
                came=repr(padding_mode),
                fix="choose one of them",
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(
                f"{name}: padding is a number, one for each spatial dim, 'same' or 'valid'.",
                came=repr(padding),
                fix="choose one of them",
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = positive("kernel_size", kernel_size, self.rank)
        self.stride = spread("stride", stride, self.rank)
        self.padding = (
            padding if isinstance(padding, str) else spread("padding", padding, self.rank)
        )
        self.dilation = spread("dilation", dilation, self.rank)
        self.output_padding = (0,) * self.rank
        self.groups = groups
        self.padding_mode = padding_mode
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ArgumentError(
                f"{name}: padding='same' needs stride 1.",
                came=f"stride {self.stride}",
                fix="give the padding as a number",
            )
        self._wants_bias = bias

    def make(self, rows: int, columns: int, device: Any, dtype: Any) -> None:
        """Make the parameters: a weight (rows, columns, *kernel_size) and a bias."""
        weight = empty(rows, columns, *self.kernel_size, device=device, dtype=dtype)
        self.weight = Parameter(weight)
        bias = empty(self.out_channels, device=device, dtype=dtype) if self._wants_bias else None
        self.register_parameter("bias", None if bias is None else Parameter(bias))
        del self._wants_bias
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        fan_in = init.fans(self.weight)[0]
        if self.bias is not None and fan_in:
            bound = 1.0 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        zeros, ones = (0,) * self.rank, (1,) * self.rank
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        shown = {
            "padding": (self.padding, zeros), "dilation": (self.dilation, ones),
            "output_padding": (self.output_padding, zeros), "groups": (self.groups, 1),
            "padding_mode": (self.padding_mode, "zeros"),
        }  # fmt: skip
        for name, (value, usual) in shown.items():
            if value != usual:
                text = value if name in ("padding", "padding_mode") else str(value)
                parts.append(f"{name}={text}")
        if self.bias is None:
            parts.insert(-1 if self.padding_mode != "zeros" else len(parts), "bias=False")
        return ", ".join(parts)


class Conv(Kernels):
    """The convolution of any rank."""

    function: Callable[..., Tensor]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode,
        )  # fmt: skip
        self.make(out_channels, in_channels // groups, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of (N, C, *space), or of (C, *space)."""
        return self.convolved(input, self.weight)

    def convolved(self, input: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution with a weight that stands in for the layer's own."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = functional.pad(input, self._around(), mode=self.padding_mode)
            padding = 0
        return type(self).function(
            input, weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _around(self) -> list[int]:
        """Return what `functional.pad` takes, last dim first."""
        if isinstance(self.padding, str):
            pairs = (
                same_padding(self.kernel_size, self.dilation)
                if self.padding == "same"
                else ((0, 0),) * self.rank
            )
        else:
            pairs = tuple((p, p) for p in self.padding)
        return [n for pair in reversed(pairs) for n in pair]


class Conv1d(Conv):
    """Convolve (N, C, L) with kernels; see `Conv2d`."""

    rank = 1
    function = staticmethod(functional.conv1d)


class Conv2d(Conv):
    """Convolve images with kernels (cross-correlation); see `functional.conv2d`.

    Weight and bias begin uniform on [-b, b), b = 1 / sqrt(in_channels / groups * P * Q).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (P, Q), or one number for both.
        stride: Step between outputs.
        padding: Elements around the image; a number, a pair, "same" or "valid".
        dilation: Step between the elements of a kernel.
        groups: Splits channels into independent convolutions.
        bias: Whether to add one for each output channel.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Shape:
        (N, C, H, W) to (N, O, H', W'), H' = floor((H + 2 pad - dilation (P - 1) - 1) / stride) + 1.

    Raises:
        ArgumentError: groups does not divide the channels, or an option is unknown.
        ShapeError: the input has other channels, or is smaller than a kernel.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.Conv2d(3, 8, 3, padding=1)(tn.ones(2, 3, 16, 16)).shape)
        (2, 8, 16, 16)
    """

    rank = 2
    function = staticmethod(functional.conv2d)


class Conv3d(Conv):
    """Convolve (N, C, D, H, W) with kernels; see `Conv2d`."""

    rank = 3
    function = staticmethod(functional.conv3d)


class ConvTranspose(Kernels):
    """The transposed convolution of any rank."""

    function: Callable[..., Tensor]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ArgumentError(
                f"{type(self).__name__}: padding is a number, with padding_mode 'zeros'.",
                came=f"padding={padding!r}, padding_mode={padding_mode!r}",
                fix="pad the input with functional.pad() first",
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode,
        )  # fmt: skip
        self.output_padding = spread("output_padding", output_padding, self.rank)
        self.make(in_channels, out_channels // groups, device, dtype)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """Return the transposed convolution, of `output_size` where that is one of its sizes."""
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return type(self).function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def _extra(self, x: Tensor, output_size: Any) -> tuple[int, ...]:
        """Return the output padding that gives a wanted extent."""
        wanted = spread("output_size", tuple(output_size)[-self.rank :], self.rank)
        extra = []
        for i, n in enumerate(x.shape[x.ndim - self.rank :]):
            step, pad = self.stride[i], int(self.padding[i])
            least = (n - 1) * step - 2 * pad + self.dilation[i] * (self.kernel_size[i] - 1) + 1
            if not 0 <= wanted[i] - least < max(step, self.dilation[i]):
                raise ArgumentError(
                    f"{type(self).__name__}: output_size must lie in "
                    f"[{least}, {least + max(step, self.dilation[i]) - 1}] for spatial dim {i}.",
                    came=f"{wanted[i]}",
                    fix="choose an extent that the strided convolution maps to the input's",
                )
            extra.append(wanted[i] - least)
        return tuple(extra)


class ConvTranspose1d(ConvTranspose):
    """Transpose `Conv1d`; see `ConvTranspose2d`."""

    rank = 1
    function = staticmethod(functional.conv_transpose1d)


class ConvTranspose2d(ConvTranspose):
    """Transpose `Conv2d`: the map whose matrix is that convolution's, transposed.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (P, Q), or one number for both.
        stride: Step between the places inputs are added at.
        padding: Elements cut off around the result.
        output_padding: Elements added at the end of each dim.
        groups: Splits channels into independent maps.
        bias: Whether to add one for each output channel.
        dilation: Step between the elements of a kernel.
        padding_mode: "zeros".
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Shape:
        (N, C, H, W) to (N, O, H', W'),
        H' = (H - 1) stride - 2 padding + dilation (P - 1) + output_padding + 1.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.ConvTranspose2d(4, 2, 2, stride=2)(tn.ones(1, 4, 5, 5)).shape)
        (1, 2, 10, 10)
    """

    rank = 2
    function = staticmethod(functional.conv_transpose2d)
