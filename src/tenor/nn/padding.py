"""Layers that pad space; each is `functional.pad` in one mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tenor.nn import functional
from tenor.nn.functional_space import spread
from tenor.nn.module import Module

if TYPE_CHECKING:
    from tenor.tensor import Tensor

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


class Padding(Module):
    """The padding of any number of dims, in any mode.

    Args:
        padding: One width for every side, or (left, right) of the last dim, then of the one before.
    """

    spatial: ClassVar[int]
    mode: ClassVar[str] = "constant"
    value: float = 0.0

    def __init__(self, padding: Any) -> None:
        self.padding = spread("padding", padding, 2 * self.spatial)

    def forward(self, input: Tensor) -> Tensor:
        """Return x padded."""
        return functional.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"{self.padding}"


class ConstantPad(Padding):
    """The padding with one value."""

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(ConstantPad):
    """Pad (*, L) with one value."""

    spatial = 1


class ConstantPad2d(ConstantPad):
    """Pad (*, H, W) with one value."""

    spatial = 2


class ConstantPad3d(ConstantPad):
    """Pad (*, D, H, W) with one value."""

    spatial = 3


class ZeroPad1d(Padding):
    """Pad (*, L) with zeros."""

    spatial = 1


class ZeroPad2d(Padding):
    """Pad (*, H, W) with zeros.

    Example:
        >>> import tenor as tn
        >>> tn.nn.ZeroPad2d((1, 0, 0, 1))(tn.tensor([[1.0]])).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """

    spatial = 2


class ZeroPad3d(Padding):
    """Pad (*, D, H, W) with zeros."""

    spatial = 3


class ReflectionPad1d(Padding):
    """Pad (*, L) with what lies inside, mirrored at the border."""

    spatial = 1
    mode = "reflect"


class ReflectionPad2d(Padding):
    """Pad (*, H, W) with what lies inside, mirrored at the border.

    Example:
        >>> import tenor as tn
        >>> tn.nn.ReflectionPad2d((1, 0, 0, 0))(tn.tensor([[1.0, 2.0]])).tolist()
        [[2.0, 1.0, 2.0]]
    """

    spatial = 2
    mode = "reflect"


class ReflectionPad3d(Padding):
    """Pad (*, D, H, W) with what lies inside, mirrored at the border."""

    spatial = 3
    mode = "reflect"


class ReplicationPad1d(Padding):
    """Pad (*, L) with the values at the border."""

    spatial = 1
    mode = "replicate"


class ReplicationPad2d(Padding):
    """Pad (*, H, W) with the values at the border."""

    spatial = 2
    mode = "replicate"


class ReplicationPad3d(Padding):
    """Pad (*, D, H, W) with the values at the border."""

    spatial = 3
    mode = "replicate"


class CircularPad1d(Padding):
    """Pad (*, L) with what lies at the other end."""

    spatial = 1
    mode = "circular"


class CircularPad2d(Padding):
    """Pad (*, H, W) with what lies at the other end."""

    spatial = 2
    mode = "circular"


class CircularPad3d(Padding):
    """Pad (*, D, H, W) with what lies at the other end."""

    spatial = 3
    mode = "circular"
