"""The element types, and PyTorch's promotion rules."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tenor.errors import DTypeError

__all__ = [
    "ALIASES", "ALL", "FLOATS", "INTS", "DType", "bfloat16", "bool_", "default_float", "float16",
    "float32", "float64", "from_numpy", "int8", "int16", "int32", "int64", "of", "promote",
    "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


class DType:
    """An element type: its name, kind and size.

    Attributes:
        name: PyTorch's name, e.g. "float32".
        text: The name in IR text, e.g. "f32".
        kind: "float", "int" (signed), "uint" or "bool".
        itemsize: Bytes an element takes in memory.
        numpy: The NumPy dtype that holds it; bfloat16, which NumPy lacks, is held as uint16 bits.
        compute: The dtype arithmetic is done in: float32 for float16 and bfloat16, else itself.
    """

    __slots__ = ("compute", "itemsize", "kind", "name", "numpy", "text")

    def __init__(self, name: str, text: str, kind: str, numpy: str) -> None:
        self.name = name
        self.text = text
        self.kind = kind
        self.numpy = np.dtype(numpy)
        self.itemsize = self.numpy.itemsize
        self.compute: DType = self

    def __repr__(self) -> str:
        return f"tenor.{self.name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return of, (self.name,)

    @property
    def is_floating_point(self) -> bool:
        """Whether values are floating-point numbers."""
        return self.kind == "float"

    @property
    def is_integral(self) -> bool:
        """Whether values are integers, bool left out."""
        return self.kind in ("int", "uint")

    @property
    def is_signed(self) -> bool:
        """Whether values can be negative."""
        return self.kind in ("int", "float")


float64: Final = DType("float64", "f64", "float", "float64")
float32: Final = DType("float32", "f32", "float", "float32")
float16: Final = DType("float16", "f16", "float", "float16")
bfloat16: Final = DType("bfloat16", "bf16", "float", "uint16")
int64: Final = DType("int64", "i64", "int", "int64")
int32: Final = DType("int32", "i32", "int", "int32")
int16: Final = DType("int16", "i16", "int", "int16")
int8: Final = DType("int8", "i8", "int", "int8")
uint64: Final = DType("uint64", "u64", "uint", "uint64")
uint32: Final = DType("uint32", "u32", "uint", "uint32")
uint16: Final = DType("uint16", "u16", "uint", "uint16")
uint8: Final = DType("uint8", "u8", "uint", "uint8")
bool_: Final = DType("bool", "b8", "bool", "bool")
float16.compute = bfloat16.compute = float32

default_float: Final = float32
FLOATS: Final = (float64, float32, float16, bfloat16)
INTS: Final = (int64, int32, int16, int8, uint64, uint32, uint16, uint8)
ALL: Final = (*FLOATS, *INTS, bool_)
ALIASES: Final = {"double": float64, "float": float32, "half": float16, "long": int64,
                  "int": int32, "short": int16}  # fmt: skip
BY_NAME: Final = {d.name: d for d in ALL} | {d.text: d for d in ALL} | ALIASES
BY_NUMPY: Final = {d.numpy: d for d in ALL if d is not bfloat16}


def of(name: object) -> DType:
    """Return the dtype a name, Python type, NumPy dtype or DType stands for."""
    if isinstance(name, DType):
        return name
    if isinstance(name, str) and name in BY_NAME:
        return BY_NAME[name]
    if name is float:  # as in PyTorch and NumPy, though literals are of the default dtype
        return float64
    if name is int:
        return int64
    if name is bool:
        return bool_
    try:
        return from_numpy(np.dtype(name))  # type: ignore[call-overload]
    except TypeError:
        raise DTypeError(
            "dtype: expected a Tenor dtype, its name, or a NumPy dtype.",
            came=repr(name),
            fix=f"use one of {', '.join(d.name for d in ALL)}",
        ) from None


def from_numpy(dtype: np.dtype[Any]) -> DType:
    """Return the dtype of a NumPy array's elements."""
    found = BY_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        raise DTypeError(
            "dtype: this NumPy dtype has no Tenor counterpart.",
            came=str(dtype),
            fix=f"convert with .astype(); Tenor holds {', '.join(d.name for d in ALL)}",
        )
    return found


RANK: Final = {bool_: 0, uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 3, int32: 3,
               uint64: 4, int64: 4, float16: 5, bfloat16: 5, float32: 6, float64: 7}  # fmt: skip
NEXT_SIGNED: Final = {1: int16, 2: int32, 3: int64}


def promote(a: DType, b: DType) -> DType:
    """Return the smallest dtype that holds both, by PyTorch's rules.

    bool < integers < floats. Two integers of different sign promote to the next wider signed
    one; float16 with bfloat16 promotes to float32. uint64 with a signed integer promotes to
    float32 in PyTorch's table by way of an error; here it is an error as well.

    Raises:
        DTypeError: uint64 meets a signed integer.

    Source:
        https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
    """
    if a is b:
        return a
    low, high = sorted((a, b), key=RANK.__getitem__)
    if {a, b} == {float16, bfloat16}:
        return float32
    if high.kind == "float" or low.kind == "bool" or low.kind == high.kind:
        return high
    if high.kind == "int" and RANK[low] < RANK[high]:
        return high
    if RANK[high] == 4:
        raise DTypeError(
            "promotion: no integer dtype holds both uint64 and a signed integer.",
            came=f"{a.name} and {b.name}",
            fix="convert one of them with .to()",
        )
    return NEXT_SIGNED[RANK[high]]
