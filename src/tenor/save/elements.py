"""Tensors' elements as files keep them, and back: bfloat16 is its 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.trace import refuse_observation
from tenor.errors import DTypeError
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.runtime.allocator import copy_of
from tenor.save.safetensors import Typed
from tenor.tensor import Tensor, tensor
from tenor.tensor.conversion import adopt, concrete

if TYPE_CHECKING:
    from tenor.ir.dtype import DType

__all__ = ["converted", "restored", "stored", "widened"]


def stored(value: Tensor) -> Typed:
    """Return a tensor's elements; where it owns its memory they are not copied."""
    refuse_observation("save()")
    dtype = value.element_type
    if value.materialize().base is None:
        return Typed(value.buffer.array(dtype.numpy, value.shape_tuple), dtype)
    array = concrete(value, "save()")
    return Typed(np.asarray(to_bfloat16(array)) if dtype is dt.bfloat16 else array, dtype)


def restored(value: Typed) -> Tensor:
    """Return a tensor with a copy of elements."""
    return adopt(copy_of(value.array), value.array.shape, value.dtype)


def widened(value: Typed) -> Any:
    """Return elements as numbers NumPy computes with; bfloat16 as float32, exactly."""
    return from_bfloat16(value.array) if value.dtype is dt.bfloat16 else value.array


def converted(value: Any, dtype: DType, what: str) -> Any:
    """Return what a caller gave as elements of a dtype, of the same kind or a wider one.

    Raises:
        DTypeError: It is of another kind, e.g. floats for integers.
    """
    if type(value) is np.ndarray and value.dtype == dtype.numpy and dtype is not dt.bfloat16:
        return value
    held = stored(value if isinstance(value, Tensor) else tensor(value))
    if held.dtype is dtype:
        return held.array
    numbers = widened(held)
    if dtype is dt.bfloat16 and held.dtype.kind == "float":
        return to_bfloat16(numbers)
    if dtype is dt.bfloat16 or not np.can_cast(numbers.dtype, dtype.numpy, "same_kind"):
        raise DTypeError(what, came=held.dtype.name, fix=f"convert it to {dtype.name}")
    return numbers.astype(dtype.numpy)
