"""Writing in place: every name that ends in an underscore, and `x += y`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.alias import excuse, write
from tenor.engine.handle import Handle
from tenor.engine.trace import local
from tenor.errors import DTypeError, ShapeError
from tenor.tensor.movement import clone
from tenor.tensor.operands import Number, broadcast_shapes, cast, constant, expand, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = ["copy_", "fill_", "holds", "in_place", "overwrite", "zero_"]


def overwrite(x: Tensor, value: Tensor, name: str, since: int | None = None) -> Tensor:
    """Give x a new value of its shape, brought to its dtype; return x.

    Args:
        x: What is written.
        value: What is written to it.
        name: The method, for messages.
        since: How deep the trace was before the value was computed; see `engine.alias.write`.

    Raises:
        ShapeError: the value has another shape.
        DTypeError: floats would be written to integers, or integers to bools.
    """
    dtype, given = x.element_type, value.element_type
    if value.shape_tuple != x.shape_tuple:
        raise ShapeError(
            f"{name}: an in-place result must have the tensor's shape.",
            came=f"result {value.shape_tuple} for a tensor {x.shape_tuple}",
            fix="use the form without underscore, which makes a new tensor",
        )
    if not holds(dtype, given):
        raise DTypeError(
            f"{name}: the result does not fit the tensor's dtype.",
            came=f"{given.name} for a tensor of {dtype.name}",
            fix="use the form without underscore, or convert the tensor first",
        )
    write(x, cast(value, dtype), since)
    return x


RANK = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def holds(dtype: DType, given: DType) -> bool:
    """Tell whether a tensor of a dtype may be written with another's values."""
    return RANK[given.kind] <= RANK[dtype.kind]


def in_place(name: str, function: Callable[..., Any]) -> Callable[..., Tensor]:
    """Make a method that writes a function's result into its first operand."""

    def method(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        trace = local.trace
        since = trace.state.depth
        result = function(x, *args, **kwargs)
        if result is NotImplemented:
            return result  # type: ignore[no-any-return]
        if local.trace is not trace:
            excuse(x, result, trace.serial, since)
            since = 0
        return overwrite(x, clone(result) if result is x else result, name, since)

    vars(method)["__wrapped__"] = function  # it takes what the function takes
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Write the result of `{name.strip('_')}` into the tensor; return it."
    return method


def fill_(x: Tensor, value: Tensor | Number) -> Tensor:
    """Write one value everywhere; return the tensor.

    Raises:
        ShapeError: the value is a tensor with dims.
    """
    if isinstance(value, Handle):
        if value.shape_tuple:
            raise ShapeError(
                "fill_: the value must be a number or a tensor of no dims.",
                came=f"shape {value.shape_tuple}",
                fix="use copy_(), which broadcasts",
            )
        filler = clone(cast(value, x.element_type))
    else:
        filler = stored("fill_", value, x.element_type)
    write(x, expand(filler, x.shape_tuple))
    return x


def zero_(x: Tensor) -> Tensor:
    """Write zeros everywhere; return the tensor."""
    write(x, expand(constant(0, x.element_type), x.shape_tuple))
    return x


def copy_(x: Tensor, src: Tensor | Number, non_blocking: bool = False) -> Tensor:
    """Write another tensor's values or a number, broadcast and brought to x's dtype; return x.

    Raises:
        ShapeError: src does not broadcast to x's shape.
    """
    del non_blocking
    if src is x:
        return x
    if not isinstance(src, Handle):
        return fill_(x, src)
    shape = x.shape_tuple
    if broadcast_shapes("copy_", shape, src.shape_tuple) != shape:
        raise ShapeError(
            "copy_: the source must broadcast to the tensor's shape.",
            came=f"source {src.shape_tuple}, tensor {shape}",
            fix="reshape the source",
        )
    write(x, clone(expand(cast(src, x.element_type), shape)))
    return x
