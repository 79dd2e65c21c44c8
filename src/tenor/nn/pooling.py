"""Pooling layers; each is the function of the same name in `nn.functional`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.nn import functional
from tenor.nn.functional_space import spread
from tenor.nn.module import Module

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.tensor import Tensor

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AvgPool1d", "AvgPool2d", "MaxPool1d", "MaxPool2d",
]  # fmt: skip


class MaxPool(Module):
    """The maximum over windows, of any rank."""

    function: Callable[..., Any]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """Return the maxima, with their positions where `return_indices`."""
        return type(self).function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(MaxPool):
    """Return maxima over windows of (N, C, L); see `MaxPool2d`."""

    function = staticmethod(functional.max_pool1d)


class MaxPool2d(MaxPool):
    """Return maxima over windows of (N, C, H, W) or (C, H, W).

    Args:
        kernel_size: The window.
        stride: Step between windows; the window's extent by default.
        padding: Implicit -inf around the image, at most half a window.
        dilation: Step between the elements of a window.
        return_indices: Whether to return the maxima's positions in the flattened image too.
        ceil_mode: Whether a last, partly filled window counts.

    Example:
        >>> import tenor as tn
        >>> tn.nn.MaxPool2d(2)(tn.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[4.0]]]
    """

    function = staticmethod(functional.max_pool2d)


class AvgPool(Module):
    """The mean over windows, of any rank."""

    function: Callable[..., Any]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """Return the means."""
        means: Tensor = type(self).function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )
        return means

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(AvgPool):
    """Return means over windows of (N, C, L); see `AvgPool2d`."""

    function = staticmethod(functional.avg_pool1d)

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        steps = kernel_size if stride is None else stride
        super().__init__(
            spread("kernel_size", kernel_size, 1), spread("stride", steps, 1),
            spread("padding", padding, 1), ceil_mode, count_include_pad,
        )  # fmt: skip


class AvgPool2d(AvgPool):
    """Return means over windows of (N, C, H, W) or (C, H, W).

    Args:
        kernel_size: The window.
        stride: Step between windows; the window's extent by default.
        padding: Zeros around the image, at most half a window.
        ceil_mode: Whether a last, partly filled window counts.
        count_include_pad: Whether the padding counts in the mean.
        divisor_override: Divides instead of the number of elements.

    Example:
        >>> import tenor as tn
        >>> tn.nn.AvgPool2d(2)(tn.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[2.5]]]
    """

    function = staticmethod(functional.avg_pool2d)

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """Return the means."""
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class Adaptive(Module):
    """Pooling into a fixed number of bins, of any rank."""

    function: Callable[..., Any]

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        """Return one value for each bin."""
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(Adaptive):
    """Return means over an even partition of (..., L) into `output_size` bins."""

    function = staticmethod(functional.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(Adaptive):
    """Return means over an even partition of (..., H, W) into `output_size` bins.

    Args:
        output_size: One number, or one for each dim; None keeps a dim.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.AdaptiveAvgPool2d(1)(tn.ones(2, 3, 5, 7)).shape)
        (2, 3, 1, 1)
    """

    function = staticmethod(functional.adaptive_avg_pool2d)


class AdaptiveMax(Adaptive):
    """The maximum in each of a fixed number of bins, of any rank."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """Return the maxima, with their positions where `return_indices`."""
        return type(self).function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(AdaptiveMax):
    """Return maxima over an even partition of (..., L) into `output_size` bins."""

    function = staticmethod(functional.adaptive_max_pool1d)


class AdaptiveMaxPool2d(AdaptiveMax):
    """Return maxima over an even partition of (..., H, W) into `output_size` bins.

    Args:
        output_size: One number, or one for each dim; None keeps a dim.
        return_indices: Whether to return the maxima's positions in the flattened image too.
    """

    function = staticmethod(functional.adaptive_max_pool2d)
