"""What is known of dtypes: their names, their limits, and what they promote and cast to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.errors import DTypeError
from tenor.ir import dtype as dt
from tenor.ir.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tenor.tensor.operands import Number
from tenor.tensor.operands import result_type as promoted

if TYPE_CHECKING:
    import builtins

    from tenor.tensor.tensor import Tensor

__all__ = [
    "DType",
    "bfloat16",
    "bool",
    "bool_",
    "can_cast",
    "double",
    "dtype",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "half",
    "iinfo",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "long",
    "promote_types",
    "result_type",
    "short",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]  # fmt: skip


class finfo:  # noqa: N801 - PyTorch's name
    """The limits of a floating dtype.

    Args:
        dtype: A floating dtype; float32 by default.

    Attributes:
        bits: Bits an element takes.
        eps: The distance from 1 to the next number.
        max, min: The largest and the smallest finite number.
        tiny, smallest_normal: The smallest positive number held in full precision.
        resolution: The decimal precision.

    Raises:
        DTypeError: the dtype is not floating.

    Example:
        >>> import tenor as tn
        >>> tn.finfo(tn.float16).max
        65504.0
    """

    def __init__(self, dtype: Any = None) -> None:
        kind = dt.default_float if dtype is None else dt.of(dtype)
        if kind.kind != "float":
            raise DTypeError("finfo: is for floating dtypes.", came=kind.name, fix="use iinfo()")
        self.dtype = kind.name
        self.bits = 8 * kind.itemsize
        if kind is bfloat16:
            self.eps, self.max, self.tiny = 2.0**-7, (2 - 2.0**-7) * 2.0**127, 2.0**-126
            self.resolution = 0.01
        else:
            known = np.finfo(kind.numpy)
            self.eps, self.max = known.eps.item(), known.max.item()
            self.tiny, self.resolution = known.tiny.item(), 10.0**-known.precision
        self.min = -self.max
        self.smallest_normal = self.tiny

    def __repr__(self) -> str:
        shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        facts = ", ".join(f"{name}={getattr(self, name):g}" for name in shown)
        return f"finfo({facts}, dtype={self.dtype})"


class iinfo:  # noqa: N801 - PyTorch's name
    """The limits of an integer dtype.

    Args:
        dtype: An integer dtype.

    Attributes:
        bits: Bits an element takes.
        max, min: The largest and the smallest number.

    Raises:
        DTypeError: the dtype is not an integer one.
    """

    def __init__(self, dtype: Any) -> None:
        kind = dt.of(dtype)
        if not kind.is_integral:
            raise DTypeError("iinfo: is for integer dtypes.", came=kind.name, fix="use finfo()")
        known = np.iinfo(kind.numpy)
        self.dtype = kind.name
        self.bits, self.max, self.min = 8 * kind.itemsize, known.max, known.min

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def get_default_dtype() -> DType:
    """Return the dtype of floats for which none is given."""
    return dt.default_float


def promote_types(type1: DType, type2: DType) -> DType:
    """Return the smallest dtype that holds both.

    Raises:
        DTypeError: uint64 meets a signed integer.
    """
    return dt.promote(dt.of(type1), dt.of(type2))


def result_type(tensor1: Tensor | Number, tensor2: Tensor | Number) -> DType:
    """Return the dtype of arithmetic on two operands.

    Raises:
        DTypeError: no dtype holds both.
    """
    return promoted(tensor1, tensor2)


KINDS = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def can_cast(from_: DType, to: DType) -> builtins.bool:
    """Return whether a cast keeps the kind: no float to integer, nothing but bool to bool."""
    return KINDS[dt.of(from_).kind] <= KINDS[dt.of(to).kind]


# PyTorch's other names.
double, float, half = float64, float32, float16
long, int, short = int64, int32, int16
bool = bool_
dtype = DType
