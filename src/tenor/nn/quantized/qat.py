"""Layers that train with rounded weights, with PyTorch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tenor.nn import conv, functional, linear
from tenor.nn.module import Module

if TYPE_CHECKING:
    from tenor.nn.quantized.fake import FakeQuantize
    from tenor.nn.quantized.qconfig import QConfig
    from tenor.tensor import Tensor

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Linear", "Rounding"]


class Rounding(Module):
    """A layer with a weight, which is rounded before each use.

    Attributes:
        weight_fake_quant: What rounds it.
    """

    weight_fake_quant: FakeQuantize
    weight: Any
    plain: type[Module]

    @classmethod
    def from_float(cls, mod: Any, qconfig: QConfig | None = None) -> Self:
        """Return a float layer that rounds its weight from now on; the parameters are its own.

        Args:
            mod: The layer.
            qconfig: How; the layer's own `qconfig` by default.
        """
        made: Any = cls.__new__(cls)
        made.__setstate__(mod.__getstate__())
        wanted = mod.qconfig if qconfig is None else qconfig
        made.weight_fake_quant = wanted.weight()
        made.weight_fake_quant.observe(mod.weight)  # so that its buffers have their shapes
        return made  # type: ignore[no-any-return]

    def to_float(self) -> Module:
        """Return the plain layer whose weight is the rounded one."""
        state = self.__getstate__()
        state["_modules"].pop("weight_fake_quant")
        made = self.plain.__new__(self.plain)
        made.__setstate__(state)
        return made

    def rounded(self) -> Tensor:
        """Return the weight rounded."""
        found: Tensor = self.weight_fake_quant(self.weight)
        return found


class Linear(Rounding, linear.Linear):
    """`nn.Linear` with a rounded weight; made by `prepare_qat` or `from_float`."""

    plain = linear.Linear

    def forward(self, input: Tensor) -> Tensor:
        """Return x rounded(weight)^T + bias."""
        return functional.linear(input, self.rounded(), self.bias)


class _Conv(Rounding, conv.Conv):
    """The convolution of any rank with a rounded weight."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution with the rounded weight."""
        return self.convolved(input, self.rounded())


class Conv1d(_Conv, conv.Conv1d):
    """`nn.Conv1d` with a rounded weight; made by `prepare_qat` or `from_float`."""

    plain = conv.Conv1d


class Conv2d(_Conv, conv.Conv2d):
    """`nn.Conv2d` with a rounded weight; made by `prepare_qat` or `from_float`."""

    plain = conv.Conv2d


class Conv3d(_Conv, conv.Conv3d):
    """`nn.Conv3d` with a rounded weight; made by `prepare_qat` or `from_float`."""

    plain = conv.Conv3d
