"""How types and literals of the loop IR are written in LLVM IR."""

from __future__ import annotations

import functools
import struct
from typing import Any, Final

from tenor.ir.loops import element, lanes

__all__ = ["BYTES", "SCALARS", "literal", "suffix", "type_name"]

SCALARS: Final = {"f32": "float", "f64": "double", "f16": "half", "bf16": "bfloat", "ptr": "ptr"}
BYTES: Final = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2, "i1": 1, "i8": 1, "i16": 2, "i32": 4,
                "i64": 8}  # fmt: skip


@functools.cache
def type_name(type_: str) -> str:
    """Return LLVM's name of a type."""
    scalar, count = element(type_), lanes(type_)
    name = SCALARS.get(scalar, scalar)
    return name if count == 1 else f"<{count} x {name}>"


@functools.cache
def suffix(type_: str) -> str:
    """Return the type's part of an intrinsic's name."""
    count = lanes(type_)
    return element(type_) if count == 1 else f"v{count}{element(type_)}"


def literal(value: Any, scalar: str) -> str:
    """Return a scalar literal."""
    if scalar in ("f32", "f64", "f16", "bf16"):
        return _float(float(value), scalar)
    if scalar == "i1":
        return "true" if value else "false"
    if scalar == "ptr":
        return "null"
    return str(int(value))


def _float(value: float, scalar: str) -> str:
    if scalar == "f16":
        return "0xH" + struct.pack(">e", value).hex().upper()
    if scalar == "bf16":
        return "0xR" + struct.pack(">f", value)[:2].hex().upper()
    if scalar == "f32":
        try:
            value = struct.unpack("f", struct.pack("f", value))[0]
        except OverflowError:
            value = float("inf") if value > 0 else float("-inf")
    return "0x" + struct.pack(">d", value).hex().upper()
