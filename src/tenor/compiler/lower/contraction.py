"""Templates of the contractions: matrix multiply, convolution and its gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.byte_product import matmul_int8
from tenor.compiler.lower.convolution import conv, conv_input
from tenor.compiler.lower.matmul import matmul
from tenor.compiler.lower.weight_gradient import conv_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.program import Lowered
    from tenor.ir.target import Target

__all__ = ["TEMPLATES"]

TEMPLATES: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "matmul": matmul,
    "matmul_int8": matmul_int8,
    "conv": conv,
    "conv_input": conv_input,
    "conv_weight": conv_weight,
}
"""The lowering of each contraction."""
