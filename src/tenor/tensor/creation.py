"""Tensors from numbers, from arrays, and from nothing."""

from __future__ import annotations

import builtins
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.trace import record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.runtime import allocator
from tenor.tensor.conversion import adopt, concrete, from_array
from tenor.tensor.device import Device
from tenor.tensor.dims import shape_of
from tenor.tensor.gradient import requires_grad_
from tenor.tensor.movement import permute
from tenor.tensor.operands import Number, cast, constant, expand, limits, result_type, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tenor.ir.dtype import DType
    from tenor.ir.node import Shape
    from tenor.tensor.tensor import Tensor

__all__ = [
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "tensor",
    "zeros",
    "zeros_like",
]


# -- from data ----------------------------------------------------------------------------------
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a new tensor with a copy of the data.

    Args:
        data: A number, nested sequences of numbers, an array, or a tensor.
        dtype: By default int64 for Python integers, bool for bools, float32 for floats; an
            array's own.
        device: "cpu".
        requires_grad: Whether a gradient is computed for it.

    Raises:
        ShapeError: sequences of one level differ in length.
        DTypeError: the data are not numbers.
    """
    on_cpu(device)
    wanted = None if dtype is None else dt.of(dtype)
    if isinstance(data, Handle):
        copy: Tensor = data.detach().clone()  # type: ignore[attr-defined]
        made = copy if wanted is None else cast(copy, wanted)
    else:
        made = _from_data(data, wanted)
    return requires_grad_(made) if requires_grad else made


def _from_data(data: Any, dtype: DType | None) -> Tensor:
    if isinstance(data, (np.ndarray, np.generic)):
        return from_array(np.asarray(data), dtype)
    array = _array_of(_plain(data))
    if dtype is None:
        dtype = _default(data, array)
    if array.dtype.kind not in DEFAULTS:
        raise DTypeError(
            "tensor: the data must be numbers.",
            came=f"{type(data).__name__} of {array.dtype}",
            fix="turn strings into numbers first, e.g. with nn.StringLookup",
        )
    if dtype is not None and dtype.is_integral and array.size:
        _refuse_beyond(array, dtype)
    return from_array(array, dtype)


def _default(data: Any, array: NDArray[Any]) -> DType | None:
    """Return the dtype of nested data that names none; NumPy's numbers count with their own."""
    if not array.size:
        return dt.default_float
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if isinstance(first, np.ndarray):
        return dt.from_numpy(array.dtype)
    if not isinstance(first, np.generic):
        return DEFAULTS.get(array.dtype.kind)
    kinds = {type(v) for v in np.asarray(data, object).ravel()}
    return functools.reduce(dt.promote, [PYTHONS.get(k) or dt.of(k) for k in kinds])


PYTHONS = {bool: dt.bool_, int: dt.int64, float: dt.default_float}


def _refuse_beyond(array: NDArray[Any], dtype: DType) -> None:
    """Refuse numbers an integer dtype does not hold; negative ones count from an unsigned's top."""
    low, high = array.min(), array.max()
    least, largest = limits(dtype)
    if not (least <= low.item() and high.item() <= largest):
        raise ArgumentError(
            "tensor: the numbers must fit the dtype.",
            came=f"numbers from {low} to {high} for {dtype.name}",
            fix="give a wider dtype",
        )


DEFAULTS = {"b": dt.bool_, "i": dt.int64, "u": dt.int64, "f": dt.default_float}
"""The dtype Python numbers get, by the kind NumPy gives them."""


def _plain(data: Any) -> Any:
    """Return nested sequences with the tensors among them as numbers."""
    if isinstance(data, Handle):
        return data.tolist()  # type: ignore[attr-defined]
    if isinstance(data, (list, tuple)) and builtins.any(
        isinstance(part, (Handle, list, tuple)) for part in data
    ):
        return [_plain(part) for part in data]
    return data


def _array_of(data: Any) -> NDArray[Any]:
    try:
        return np.asarray(data)
    except ValueError:
        raise ShapeError(
            "tensor: sequences of one level must have one length.",
            came="rows of different lengths",
            fix="pad them, or make one tensor for each row",
        ) from None


def on_cpu(device: Any) -> None:
    if device is not None:
        Device(device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return data as a tensor; tensors and arrays without a copy where the dtype allows."""
    on_cpu(device)
    if isinstance(data, Handle):
        kept: Tensor = data  # type: ignore[assignment]
        return kept if dtype is None else cast(kept, dt.of(dtype))
    if isinstance(data, np.ndarray):
        shared = from_numpy(data)
        return shared if dtype is None else cast(shared, dt.of(dtype))
    return tensor(data, dtype=dtype)


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """Return an object as a tensor; a copy only if needed, or if asked for."""
    if copy and isinstance(obj, np.ndarray):
        obj = obj.copy()
    made = as_tensor(obj, dtype, device)
    return made.clone() if copy and made is obj else made


def from_numpy(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares an array's memory: writing either is seen by the other.

    An array that is neither contiguous nor a permutation of a contiguous one, or may not be
    written, is copied.

    Raises:
        DTypeError: the array's dtype has no counterpart.
    """
    return shared(array, dt.from_numpy(array.dtype))


def shared(array: NDArray[Any], dtype: DType) -> Tensor:
    """Return a tensor of a dtype on an array's memory, or on a copy's where it must be one."""
    order = sorted(range(array.ndim), key=lambda d: -array.strides[d])
    plain = array.transpose(order)
    straight = plain.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    if not straight or not array.size:
        if dtype is not dt.bfloat16:
            return from_array(array)
        return adopt(allocator.copy_of(np.ascontiguousarray(array)), array.shape, dtype)
    base = adopt(allocator.Buffer.from_array(plain), plain.shape, dtype)
    if plain.shape == array.shape and order == list(range(array.ndim)):
        return base
    return permute(base, [order.index(d) for d in range(array.ndim)])


# -- of one value -------------------------------------------------------------------------------
def _constant(
    name: str, shape: Sequence[Any], value: Number, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    on_cpu(device)
    wanted = dt.default_float if dtype is None else dt.of(dtype)
    made = expand(constant(value, wanted), extents(name, shape))
    return requires_grad_(made) if requires_grad else made


def extents(name: str, args: Sequence[Any]) -> Shape:
    shape = shape_of(name, args)
    if builtins.any(n < 0 for n in shape):
        raise ShapeError(
            f"{name}: extents are not negative.", came=str(shape), fix="check the shape"
        )
    return shape


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros of a shape, float32 by default."""
    return _constant("zeros", size, 0, dtype, device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones of a shape, float32 by default."""
    return _constant("ones", size, 1, dtype, device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor to be written to; it holds zeros, so that every run is the same."""
    return _constant("empty", size, 0, dtype, device, requires_grad)


def full(
    size: Sequence[int] | int,
    fill_value: Number | Tensor,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return one value in a shape; by default of the value's dtype."""
    on_cpu(device)
    wanted = result_type(fill_value) if dtype is None else dt.of(dtype)
    if isinstance(fill_value, Handle):
        value: Tensor = cast(fill_value, wanted)
    else:
        value = stored("full", fill_value, wanted)
    made = expand(value, extents("full", (size,)))
    return requires_grad_(made) if requires_grad else made


def zeros_like(
    x: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return zeros of a tensor's shape and dtype."""
    return new_zeros(x, x.shape_tuple, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    x: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return ones of a tensor's shape and dtype."""
    return new_ones(x, x.shape_tuple, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(
    x: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of x's shape and dtype to be written to; it holds zeros."""
    return new_empty(x, x.shape_tuple, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(
    x: Tensor,
    fill_value: Number,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return one value in a tensor's shape and dtype."""
    shape = x.shape_tuple
    return new_full(
        x, shape, fill_value, dtype=dtype, device=device, requires_grad=requires_grad
    )  # fmt: skip


def new_zeros(
    x: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return zeros of a shape, in x's dtype by default."""
    return zeros(*size, dtype=dtype or x.element_type, device=device, requires_grad=requires_grad)


def new_ones(
    x: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return ones of a shape, in x's dtype by default."""
    return ones(*size, dtype=dtype or x.element_type, device=device, requires_grad=requires_grad)


def new_empty(
    x: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of a shape to be written to, in x's dtype by default; it holds zeros."""
    return empty(*size, dtype=dtype or x.element_type, device=device, requires_grad=requires_grad)


def new_full(
    x: Tensor,
    size: Sequence[int],
    fill_value: Number,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return one value in a shape, in x's dtype by default."""
    wanted = dtype or x.element_type
    return full(size, fill_value, dtype=wanted, device=device, requires_grad=requires_grad)


def new_tensor(
    x: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor with a copy of the data, in x's dtype by default."""
    wanted = dtype or x.element_type
    return tensor(data, dtype=wanted, device=device, requires_grad=requires_grad)


# -- of a rule ----------------------------------------------------------------------------------
def _counted(name: str, steps: int) -> int:
    """Return a number of elements.

    Raises:
        ArgumentError: it is negative.
    """
    if steps < 0:
        raise ArgumentError(
            f"{name}: the number of elements is not negative.",
            came=str(steps),
            fix="give 0 or more",
        )
    return steps


def _iota(length: int, dtype: DType) -> Tensor:
    made: Tensor = record(ops.IOTA, (), (length, dtype))
    return made


def _number(value: Any) -> Number:
    """Return a number, or the one element of a tensor."""
    return concrete(value, "arange()").item() if isinstance(value, Handle) else value  # type: ignore[arg-type,no-any-return]


def arange(
    start: Number | None = None,
    end: Number | None = None,
    step: Number = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return start, start + step, ... below end; int64 if all three are integers, else float32.

    Raises:
        ArgumentError: the step is 0, or leads away from the end.
        DTypeError: the dtype is bool.
    """
    on_cpu(device)
    if end is None:
        start, end = None, start
    start, end, step = (_number(v) for v in (0 if start is None else start, end, step))
    whole = builtins.all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    if step == 0 or (end - start) / step < 0:
        raise ArgumentError(
            "arange: the step must lead from start to end.",
            came=f"start={start}, end={end}, step={step}",
            fix="use a negative step to count down",
        )
    wanted = dt.of(dtype) if dtype is not None else dt.int64 if whole else dt.default_float
    if wanted is dt.bool_:
        raise DTypeError("arange: counts in numbers.", came="bool", fix="compare a range instead")
    length = math.ceil((end - start) / step)
    if not whole:
        made = cast(_iota(length, dt.float64) * float(step) + float(start), wanted)
    elif start == 0 and step == 1:
        made = cast(_iota(length, dt.int64), wanted)
    else:
        made = cast(_iota(length, dt.int64) * int(step) + int(start), wanted)
    return requires_grad_(made) if requires_grad else made


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return `steps` values evenly from start to end, both included.

    Worked out in float64 from the nearer end, so that both ends are exact.

    Raises:
        ArgumentError: the number of steps is negative.
    """
    on_cpu(device)
    wanted = dt.default_float if dtype is None else dt.of(dtype)
    count = _iota(_counted("linspace", steps), dt.float64)
    stride = (float(end) - float(start)) / builtins.max(steps - 1, 1)
    rising = count * stride + float(start)
    falling = (count - float(steps - 1)) * stride + float(end)
    made = cast(record(ops.WHERE, (count < steps / 2, rising, falling)), wanted)
    return requires_grad_(made) if requires_grad else made


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return base to the powers of linspace(start, end, steps)."""
    wanted = dt.default_float if dtype is None else dt.of(dtype)
    powers = linspace(start, end, steps, dtype=dt.float64, device=device)
    made = cast(float(base) ** powers, wanted)
    return requires_grad_(made) if requires_grad else made


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ones on the diagonal of an n by m matrix, zeros elsewhere.

    Raises:
        ArgumentError: n or m is negative.
    """
    on_cpu(device)
    wanted = dt.default_float if dtype is None else dt.of(dtype)
    rows, columns = _counted("eye", n), _counted("eye", n if m is None else m)
    row = record(ops.RESHAPE, (_iota(rows, dt.int64),), ((rows, 1),))
    made = cast(row == _iota(columns, dt.int64), wanted)
    return requires_grad_(made) if requires_grad else made
