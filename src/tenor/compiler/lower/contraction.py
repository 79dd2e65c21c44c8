"""Templates of the contractions: matrix multiply, convolution, attention, their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower import convolution
from tenor.compiler.lower.attention import attention
from tenor.compiler.lower.attention_gradient import attention_gradient
from tenor.compiler.lower.byte_convolution import conv_int8, prepare_bytes, prepared_bytes
from tenor.compiler.lower.byte_product import matmul_int8
from tenor.compiler.lower.convolution import conv, conv_input
from tenor.compiler.lower.convolution import takes_epilogue as takes_numbers
from tenor.compiler.lower.finish import Finish
from tenor.compiler.lower.matmul import matmul
from tenor.compiler.lower.strips import in_strips, strip_elements, strips
from tenor.compiler.lower.weight_gradient import conv_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.program import Lowered
    from tenor.ir.target import Target

__all__ = ["TEMPLATES", "prepared_elements", "takes_epilogue"]

PREPARED: Final[dict[str, tuple[Callable[[Kernel, Target], int], Callable[..., Lowered]]]] = {
    "conv": (convolution.packed_elements, convolution.prepare),
    "conv_input": (convolution.packed_elements, convolution.prepare),
    "conv_int8": (prepared_bytes, prepare_bytes),
    "matmul": (strip_elements, strips),
}
"""Elements of the prepared form of a template's second operand, and what brings it into it."""


def takes_epilogue(kernel: Kernel) -> bool:
    """Tell whether a map may follow a kernel piece by piece."""
    return kernel.kind == "conv_int8" or takes_numbers(kernel)


def _product(kernel: Kernel, target: Target) -> Lowered:
    """Lower a product, whether its second operand is prepared or not."""
    finish = Finish(kernel, target) if kernel.parts else None
    low = (in_strips if "prepared" in kernel.params else matmul)(kernel, target, finish)
    if finish is not None:
        low.cost += finish.cost
    return low


def _prepare(kernel: Kernel, target: Target) -> Lowered:
    return PREPARED[kernel.params["of"]][1](kernel, target)


TEMPLATES: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "matmul": _product,
    "matmul_int8": matmul_int8,
    "conv": conv,
    "conv_int8": conv_int8,
    "conv_input": conv_input,
    "conv_weight": conv_weight,
    "attention": attention,
    "attention_gradient": attention_gradient,
    "prepare": _prepare,
}
"""The lowering of each contraction."""


def prepared_elements(kernel: Kernel, target: Target) -> int:
    """Return the elements of the prepared form of a kernel's second operand; 0: it has none."""
    return PREPARED[kernel.kind][0](kernel, target) if kernel.kind in PREPARED else 0
