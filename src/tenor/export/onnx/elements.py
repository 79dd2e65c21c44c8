"""Element types: their numbers in ONNX, which an operation is run in, and what stands in for one.

ONNX allows most operations in every dtype; ONNX Runtime has kernels for some. Where it has none,
a value is computed in another dtype (a carrier) and cast back. float16 and bfloat16 are computed
in float32 and rounded once, as Tenor does itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.ir.dtype import DType

__all__ = ["CODES", "carrier", "recast"]

CODES: Final = {
    dt.float32: 1, dt.uint8: 2, dt.int8: 3, dt.uint16: 4, dt.int16: 5, dt.int32: 6, dt.int64: 7,
    dt.bool_: 9, dt.float16: 10, dt.float64: 11, dt.uint32: 12, dt.uint64: 13, dt.bfloat16: 16,
}  # fmt: skip
"""The numbers of TensorProto.DataType."""

CARRIERS: Final = {
    dt.float16: (dt.float32,), dt.bfloat16: (dt.float32,),
    dt.bool_: (dt.uint8, dt.int32), dt.int8: (dt.int32, dt.int64), dt.uint8: (dt.int32, dt.int64),
    dt.int16: (dt.int32, dt.int64), dt.uint16: (dt.int32, dt.int64), dt.int32: (dt.int64,),
    dt.uint32: (dt.int64,), dt.uint64: (dt.int64,),
}  # fmt: skip
"""What may stand in for a dtype: it holds every value (of uint64: every bit); going back wraps."""

REAL: Final = "f64 f32"
NUMBERS: Final = "f64 f32 i64 i32 i16 i8 u64 u32 u16 u8"
WIDE: Final = "f64 f32 i64 i32"
TAKES: Final = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Abs", "Sign"), NUMBERS),
    **dict.fromkeys(("Less", "LessOrEqual"), NUMBERS),
    "Equal": f"{NUMBERS} b8",
    **dict.fromkeys(("Max", "Min"), f"{WIDE} i8 u64 u32 u8"),
    "Where": f"{WIDE} i8 u32 u8",
    "Neg": f"{WIDE} i16 i8",
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"), NUMBERS),
    "BitShift": "u64 u32 u16 u8",
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Tanh", "Sigmoid"), REAL),
    **dict.fromkeys(("Floor", "Ceil", "Round", "Pow", "IsNaN"), REAL),
    "Erf": "f32",
    **dict.fromkeys(("ReduceSum", "ReduceProd", "CumSum"), WIDE),
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ArgMax", "ArgMin"), f"{WIDE} i8 u8"),
    "Expand": f"{NUMBERS} b8 f16",
    "Pad": f"{WIDE} b8 i8 u64 u32 u8",
    "Range": f"{WIDE} i16",
    "TopK": f"{WIDE} i16 i8 u8",
    "ScatterAdd": WIDE,
    "MatMul": WIDE,
    **dict.fromkeys(("Gemm", "ReduceMean", "Softmax", "LogSoftmax", "LayerNormalization"), REAL),
    **dict.fromkeys(("MaxPool", "Relu", "Clip"), REAL),
    **dict.fromkeys(("Conv", "ConvTranspose", "Elu", "LeakyRelu", "Gelu", "Softplus"), "f32"),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "InstanceNormalization"), "f32"),
    "PRelu": REAL,
}  # fmt: skip
"""What ONNX Runtime's CPU kernels take (read from their registry); the others take everything."""


def carrier(kind: str, dtype: DType) -> DType | None:
    """Return the dtype an operation is run in; None where there is none."""
    takes = TAKES.get(kind)
    if takes is None or dtype.text in takes.split():
        return dtype
    return next((c for c in CARRIERS.get(dtype, ()) if c.text in takes.split()), None)


def recast(value: NDArray[Any], come: DType, go: DType) -> NDArray[Any]:
    """Return a stored value in another dtype; bfloat16 is held as uint16 bits."""
    plain = from_bfloat16(value) if come is dt.bfloat16 else value
    with np.errstate(all="ignore"):
        if go is dt.bfloat16:
            return to_bfloat16(np.asarray(plain, np.float32))
        return np.asarray(plain).astype(go.numpy)
