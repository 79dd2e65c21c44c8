"""Products of matrices of bytes, with sums that are exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.errors import DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.operands import cast

if TYPE_CHECKING:
    from tenor.tensor.tensor import Tensor

__all__ = ["_int_mm"]

LONGEST = 65_793
"""Products of an unsigned and a signed byte that always add up in 32 bits."""


def bytes_product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x weight^T of uint8 [M, K] and int8 [N, K] in int32."""
    made: Tensor = record(ops.MATMUL_INT8, (x, weight))
    return made


def row_sums(weight: Tensor) -> Tensor:
    """Return the sums of the rows of an int8 matrix in int32, [N, 1]."""
    made: Tensor = record(ops.SUM, (cast(weight, dt.int32),), ((1,),))
    return made


@macro
def _int_mm(x: Tensor, mat2: Tensor) -> Tensor:
    """Return the product of two int8 matrices, [M, K] and [K, N], in int32 (modulo 2^32).

    Raises:
        ShapeError: they are not matrices that fit.
        DTypeError: one is not int8.

    Example:
        >>> import tenor as tn
        >>> x = tn.full((2, 300), 100, dtype=tn.int8)
        >>> tn._int_mm(x, x.T)
        tensor([[3000000, 3000000],
                [3000000, 3000000]], dtype=tenor.int32)
    """
    a, b = x.shape_tuple, mat2.shape_tuple
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ShapeError(
            "_int_mm: expects matrices [M, K] and [K, N].",
            came=[f"x: {a}", f"mat2: {b}"],
            fix="reshape or transpose one of them",
            operands=(x, mat2),
        )
    if x.element_type is not dt.int8 or mat2.element_type is not dt.int8:
        raise DTypeError(
            "_int_mm: both matrices must be int8.",
            came=[f"x: {x.element_type.name}", f"mat2: {mat2.element_type.name}"],
            fix="convert with .to(tn.int8)",
            operands=(x, mat2),
        )
    turned: Any = record(ops.PERMUTE, (mat2,), ((1, 0),))
    # Machines multiply unsigned bytes with signed ones: x + 128 is unsigned.
    shifted = cast(cast(x, dt.int16) + 128, dt.uint8)
    return bytes_product(shifted, turned) - row_sums(turned).reshape(1, b[1]) * 128
