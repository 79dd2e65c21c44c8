"""Layers that resize images, or turn channels into pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.nn.functional_sample import interpolate
from tenor.nn.functional_space import pixel_shuffle, pixel_unshuffle
from tenor.nn.module import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor import Tensor

__all__ = ["PixelShuffle", "PixelUnshuffle", "Upsample"]


def _floats(factor: float | Sequence[float] | None) -> float | tuple[float, ...] | None:
    if factor is None:
        return None
    return float(factor) if isinstance(factor, (int, float)) else tuple(float(f) for f in factor)


class Upsample(Module):
    """Resize (N, C, *S) to other extents of its spatial dims.

    Args:
        size: The new extents.
        scale_factor: Or what to multiply the extents by.
        mode: "nearest", "linear", "bilinear", "trilinear" or "bicubic".
        align_corners: Whether the corners' centres stay where they are, not the corners.
        recompute_scale_factor: Work the factor out again from the rounded extents.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.Upsample(scale_factor=2, mode="bilinear")(tn.ones(1, 3, 4, 5)).shape)
        (1, 3, 8, 10)
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        self.size = size
        self.scale_factor = _floats(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Return x resized."""
        return interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners,
            self.recompute_scale_factor,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        what = "size" if self.scale_factor is None else "scale_factor"
        return f"{what}={getattr(self, what)}, mode={self.mode!r}"


class PixelShuffle(Module):
    """Return (*, C r^2, H, W) as (*, C, H r, W r); see `functional.pixel_shuffle`.

    Example:
        >>> import tenor as tn
        >>> tuple(tn.nn.PixelShuffle(2)(tn.ones(1, 8, 3, 4)).shape)
        (1, 2, 6, 8)
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Return channels as pixels."""
        return pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Return (*, C, H r, W r) as (*, C r^2, H, W): the inverse of `PixelShuffle`."""

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Return pixels as channels."""
        return pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"downscale_factor={self.downscale_factor}"
