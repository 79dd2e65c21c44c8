"""What happens to operands before an elementwise operation: numbers, dtypes, broadcasting.

The rules are PyTorch's and are written down in docs/promotion.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.trace import emit_scalar, local, record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.infer import broadcast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.node import Shape
    from tenor.tensor.tensor import Tensor

__all__ = [
    "NUMBERS", "Number", "broadcast_shapes", "cast", "constant", "expand", "fitted", "floating",
    "limits", "lowered", "prepare", "raised", "refuse_bools", "result_type", "slot", "spread",
    "stored",
]  # fmt: skip

Number = float | int | bool
NUMBERS: Final = (bool, int, float, np.number, np.bool_)
"""What counts as a number beside a tensor; it never decides more than the kind of the result."""


def cast(x: Tensor, dtype: DType) -> Tensor:
    """Return x in a dtype; x itself where it has it."""
    return x if x.element_type is dtype else record(ops.CAST, (x,), (dtype,))


def constant(value: Number, dtype: DType) -> Tensor:
    """Record a number that is part of the program, of shape ()."""
    kind = {"float": float, "bool": bool}.get(dtype.kind, int)
    made: Tensor = record(ops.CONST, (), (kind(value), dtype))
    return made


def slot(value: Number, dtype: DType) -> Tensor:
    """Record a number that may differ at each run, of shape (); integers wrap as casts do."""
    if dtype.kind == "float":
        number: Number = float(value)
    elif dtype.kind == "bool":
        number = bool(value)
    else:
        bits = 8 * dtype.itemsize
        whole = int(value) & ((1 << bits) - 1)
        if dtype.kind == "int" and whole >> (bits - 1):
            whole -= 1 << bits
        if whole >> 63 > 0:
            return constant(whole, dtype)  # slots are signed
        number = whole
    made: Tensor = emit_scalar(number, dtype)
    return made


def stored(name: str, value: Number, dtype: DType) -> Tensor:
    """Record a number that is written to a tensor of a dtype, as `slot` does.

    Raises:
        ArgumentError: the dtype does not hold it. A negative number counts from the top of an
            unsigned dtype, as in PyTorch.
    """
    low, high = limits(dtype)
    if dtype.is_integral and not low <= value <= high:
        raise ArgumentError(
            f"{name}: the number must fit the dtype.",
            came=f"{value} for {dtype.name}",
            fix="use a wider dtype, or clamp the number first",
        )
    return slot(value, dtype)


def limits(dtype: DType) -> tuple[int, int]:
    """Return the least and the largest integer that may be written to an integer dtype."""
    high = (1 << 8 * dtype.itemsize - (dtype.kind == "int")) - 1
    return -high - (dtype.kind == "int"), high


def expand(x: Tensor, shape: Shape) -> Tensor:
    """Return x broadcast to a shape it is known to fit."""
    return x if x.shape_tuple == shape else record(ops.EXPAND, (x,), (shape,))


def lowered(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the operands of a product, float32 in the dtype of `tn.autocast` where it is on."""
    dtype = local.lowered
    if dtype is None:
        return tensors
    return tuple([cast(x, dtype) if x.element_type in AUTOCAST else x for x in tensors])


def raised(x: Tensor) -> Tensor:
    """Return what is to be added up, halves in float32 where `tn.autocast` is on."""
    return cast(x, dt.float32) if local.lowered is not None and x.element_type in AUTOCAST else x


AUTOCAST: Final = frozenset((dt.float32, dt.float16, dt.bfloat16))
"""The dtypes that autocast changes."""


def floating(x: Tensor) -> Tensor:
    """Return x, integers and bools as the default float."""
    return x if x.element_type.kind == "float" else cast(x, dt.default_float)


def _level(operand: Any) -> int:
    """Return how much an operand's dtype counts: 2 with dims, 1 without, 0 for a number."""
    if not isinstance(operand, Handle):
        return 0
    return 2 if operand.shape_tuple else 1


def _dtype_of(operand: Any) -> DType:
    if isinstance(operand, Handle):
        return operand.element_type
    if isinstance(operand, (bool, np.bool_)):
        return dt.bool_
    return dt.int64 if isinstance(operand, (int, np.integer)) else dt.default_float


def _combine(higher: DType | None, lower: DType | None) -> DType | None:
    """Let the lower level decide only where its kind is above the higher level's."""
    if higher is None or lower is None:
        return higher or lower
    if higher.kind == "float":
        return higher
    if higher.kind == "bool" or lower.kind == "float":
        return dt.promote(higher, lower)
    return higher


def result_type(*operands: Tensor | Number) -> DType:
    """Return the dtype of operands together: tensors with dims first, then without, then numbers.

    Raises:
        DTypeError: no dtype holds both.
    """
    levels: list[DType | None] = [None, None, None]
    for operand in operands:
        level, dtype = _level(operand), _dtype_of(operand)
        before = levels[level]
        levels[level] = dtype if before is None else dt.promote(before, dtype)
    found = _combine(levels[2], _combine(levels[1], levels[0]))
    assert found is not None
    return found


def broadcast_shapes(name: str, *shapes: Shape) -> Shape:
    """Return the shape that shapes broadcast to.

    Raises:
        ShapeError: two extents differ and neither is 1.
    """
    result: Shape = ()
    for shape in shapes:
        wider = broadcast(result, shape)
        if wider is None:
            raise ShapeError(
                f"{name}: extents must be equal, or one of them 1, counted from the last dim.",
                came=[f"shape {s}" for s in shapes],
                fix="line the dims up with unsqueeze(), reshape() or transpose()",
            )
        result = wider
    return result


def fitted(operand: Tensor | Number, dtype: DType) -> Tensor:
    """Return an operand as a tensor of a dtype; a number becomes a run-time slot."""
    if isinstance(operand, Handle):
        return cast(operand, dtype)
    return slot(operand, dtype)


def spread(name: str, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return operands in one shape; those of shape () meet every element as they are.

    Raises:
        ShapeError: they do not broadcast.
    """
    shapes = {x.shape_tuple for x in operands}
    shapes.discard(())
    if len(shapes) < 2:
        return tuple(operands)
    shape = broadcast_shapes(name, *[x.shape_tuple for x in operands])
    return tuple([x if x.shape_tuple == () else expand(x, shape) for x in operands])


def refuse_bools(name: str, *operands: Tensor | Number) -> None:
    """Refuse operands that are bool.

    Raises:
        DTypeError: one is.
    """
    if dt.bool_ in map(_dtype_of, operands):
        raise DTypeError(
            f"{name}: is not defined for bools.",
            came=" and ".join(_dtype_of(x).name for x in operands),
            fix="use ^ or ~ to turn a mask round, or convert with .long() or .float()",
        )


def prepare(name: str, a: Tensor | Number, b: Tensor | Number, kinds: str) -> tuple[Tensor, ...]:
    """Return two operands in one dtype and shape.

    Args:
        name: The operation, for messages.
        a: A tensor or number.
        b: A tensor or number.
        kinds: "any"; "float", where integers become floats; "bits", where floats are refused;
            "numbers", where bools are.

    Raises:
        DTypeError: the dtypes do not go together, or the operation is not defined for them.
        ShapeError: the shapes do not broadcast.
    """
    dtype = result_type(a, b)
    if kinds == "float" and dtype.kind != "float":
        dtype = dt.default_float
    if kinds == "bits" and dtype.kind == "float":
        raise DTypeError(
            f"{name}: is defined for integers and bools.",
            came=dtype.name,
            fix="compare first, or convert with .long() or .bool()",
        )
    if kinds == "numbers":
        refuse_bools(name, a, b)
    return spread(name, (fitted(a, dtype), fitted(b, dtype)))
