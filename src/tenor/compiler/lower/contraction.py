"""Templates of the contractions: matrix multiply, convolution, attention, their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.attention import attention
from tenor.compiler.lower.attention_gradient import attention_gradient
from tenor.compiler.lower.byte_convolution import conv_int8, prepare_bytes, prepared_bytes
from tenor.compiler.lower.byte_product import matmul_int8
from tenor.compiler.lower.convolution import (
    conv,
    conv_input,
    packed_elements,
)
from tenor.compiler.lower.convolution import prepare as prepare_numbers
from tenor.compiler.lower.convolution import takes_epilogue as takes_numbers
from tenor.compiler.lower.matmul import finished, matmul
from tenor.compiler.lower.weight_gradient import conv_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.program import Lowered
    from tenor.ir.target import Target

__all__ = ["TEMPLATES", "prepared_elements", "takes_epilogue"]


def takes_epilogue(kernel: Kernel) -> bool:
    """Tell whether a map may follow a kernel piece by piece."""
    return kernel.kind == "conv_int8" or takes_numbers(kernel)


def prepare(kernel: Kernel, target: Target) -> Lowered:
    """Lower the kernel that brings an operand into the form a template reads."""
    of_bytes = kernel.params["of"] == "conv_int8"
    return (prepare_bytes if of_bytes else prepare_numbers)(kernel, target)


TEMPLATES: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "matmul": matmul,
    "finish": finished,
    "matmul_int8": matmul_int8,
    "conv": conv,
    "conv_int8": conv_int8,
    "conv_input": conv_input,
    "conv_weight": conv_weight,
    "attention": attention,
    "attention_gradient": attention_gradient,
    "prepare": prepare,
}
"""The lowering of each contraction."""


def prepared_elements(kernel: Kernel, target: Target) -> int:
    """Return the elements of the prepared form of a kernel's second operand; 0: it has none."""
    if kernel.kind == "conv_int8":
        return prepared_bytes(kernel, target)
    return packed_elements(kernel, target) if kernel.kind in ("conv", "conv_input") else 0
