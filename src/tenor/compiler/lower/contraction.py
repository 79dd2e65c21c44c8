"""Templates of the contractions: matrix multiply, convolution and its gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.convolution import (
    conv,
    conv_input,
    packed_elements,
    prepare,
    takes_epilogue,
)
from tenor.compiler.lower.matmul import matmul
from tenor.compiler.lower.weight_gradient import conv_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.program import Lowered
    from tenor.ir.target import Target

__all__ = ["TEMPLATES", "prepared_elements", "takes_epilogue"]

TEMPLATES: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "matmul": matmul,
    "conv": conv,
    "conv_input": conv_input,
    "conv_weight": conv_weight,
    "prepare": prepare,
}
"""The lowering of each contraction."""


def prepared_elements(kernel: Kernel, target: Target) -> int:
    """Return the elements of the prepared form of a kernel's second operand; 0: it has none."""
    return packed_elements(kernel, target) if kernel.kind in ("conv", "conv_input") else 0
