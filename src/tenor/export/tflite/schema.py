"""The tables of the `.tflite` format, by field numbers: what the encoder and the writer look up.

The numbers are those of TensorFlow Lite's published schema, version 3 (`schema_v3.fbs`), and the
versions those its converter gives (`op_version.cc`): the lowest that knows what is asked for, so
that old runtimes keep working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from tenor.ir.dtype import DType

__all__ = ["ACTIVATION", "CODES", "FILE_ID", "OPTIONS", "PADDING", "TABLES", "TYPES", "version"]

FILE_ID: Final = b"TFL3"


def _fields(text: str) -> dict[str, tuple[int, str]]:
    """Return {field: (number, type)} from "field:type ...", numbered as they stand; "-" skips."""
    rows = (word.split(":") for word in text.split())
    return {row[0]: (i, row[1]) for i, row in enumerate(rows) if row[0] != "-"}


POOL: Final = (
    "padding:i8 stride_w:i32 stride_h:i32 filter_width:i32 filter_height:i32 activation:i8"
)
TABLES: Final = {
    name: _fields(text)
    for name, text in {
        "Model": "version:u32 operator_codes:[OperatorCode] subgraphs:[SubGraph] "
        "description:string buffers:[Buffer] - - signature_defs:[SignatureDef]",
        "OperatorCode": "deprecated_builtin_code:i8 - version:i32 builtin_code:i32",
        "SubGraph": "tensors:[Tensor] inputs:[i32] outputs:[i32] operators:[Operator] name:string",
        "Tensor": "shape:[i32] type:i8 buffer:u32 name:string quantization:Quantization - - - "
        "has_rank:bool",
        "Quantization": "- - scale:[f32] zero_point:[i64] - - dimension:i32",
        "Buffer": "data:bytes",
        "Operator": "opcode_index:u32 inputs:[i32] outputs:[i32] options_type:u8 options:union",
        "SignatureDef": "inputs:[TensorMap] outputs:[TensorMap] key:string - subgraph_index:u32",
        "TensorMap": "name:string tensor_index:u32",
        # Options of operators.
        "Conv2DOptions": "padding:i8 stride_w:i32 stride_h:i32 activation:i8 dilation_w:i32 "
        "dilation_h:i32",
        "Conv3DOptions": "padding:i8 stride_d:i32 stride_w:i32 stride_h:i32 activation:i8 "
        "dilation_d:i32 dilation_w:i32 dilation_h:i32",
        "DepthwiseConv2DOptions": "padding:i8 stride_w:i32 stride_h:i32 multiplier:i32 "
        "activation:i8 dilation_w:i32 dilation_h:i32",
        "TransposeConvOptions": "padding:i8 stride_w:i32 stride_h:i32 activation:i8",
        "Pool2DOptions": POOL,
        "FullyConnectedOptions": "activation:i8 - keep_num_dims:bool asymmetric:bool",
        "SoftmaxOptions": "beta:f32",
        "ConcatenationOptions": "axis:i32 activation:i8",
        "AddOptions": "activation:i8",
        "MulOptions": "activation:i8",
        "SubOptions": "activation:i8",
        "DivOptions": "activation:i8",
        "ReshapeOptions": "new_shape:[i32]",
        "BatchMatMulOptions": "adj_x:bool adj_y:bool",
        "GatherOptions": "axis:i32 batch_dims:i32",
        "ReducerOptions": "keep_dims:bool",
        "CastOptions": "in_type:i8 out_type:i8",
        "ArgMaxOptions": "output_type:i8",
        "ArgMinOptions": "output_type:i8",
        "StridedSliceOptions": "begin_mask:i32 end_mask:i32",
        "CumsumOptions": "exclusive:bool reverse:bool",
        "GeluOptions": "approximate:bool",
        "LeakyReluOptions": "alpha:f32",
    }.items()
}
"""Each table's fields: number and type. Lists are in brackets; capitals name tables."""

OPTIONS: Final = {
    "Conv2DOptions": 1, "DepthwiseConv2DOptions": 2, "Pool2DOptions": 5,
    "FullyConnectedOptions": 8, "SoftmaxOptions": 9, "ConcatenationOptions": 10, "AddOptions": 11,
    "ReshapeOptions": 17, "MulOptions": 21, "GatherOptions": 23, "ReducerOptions": 27,
    "SubOptions": 28, "DivOptions": 29, "StridedSliceOptions": 32, "CastOptions": 37,
    "ArgMaxOptions": 40, "TransposeConvOptions": 49, "ArgMinOptions": 57,
    "LeakyReluOptions": 75, "BatchMatMulOptions": 101, "CumsumOptions": 102,
    "Conv3DOptions": 106, "GeluOptions": 116,
}  # fmt: skip
"""The numbers of the union of options."""

CODES: Final[dict[str, tuple[int, str]]] = {
    "ADD": (0, "AddOptions"), "AVERAGE_POOL_2D": (1, "Pool2DOptions"),
    "CONCATENATION": (2, "ConcatenationOptions"), "CONV_2D": (3, "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": (4, "DepthwiseConv2DOptions"), "DEQUANTIZE": (6, ""), "FLOOR": (8, ""),
    "FULLY_CONNECTED": (9, "FullyConnectedOptions"), "LOGISTIC": (14, ""),
    "MAX_POOL_2D": (17, "Pool2DOptions"), "MUL": (18, "MulOptions"), "RELU": (19, ""),
    "RELU6": (21, ""), "RESHAPE": (22, "ReshapeOptions"), "SOFTMAX": (25, "SoftmaxOptions"),
    "TANH": (28, ""), "PAD": (34, ""), "GATHER": (36, "GatherOptions"), "TRANSPOSE": (39, ""),
    "MEAN": (40, "ReducerOptions"), "SUB": (41, "SubOptions"), "DIV": (42, "DivOptions"),
    "STRIDED_SLICE": (45, "StridedSliceOptions"), "EXP": (47, ""), "TOPK_V2": (48, ""),
    "LOG_SOFTMAX": (50, ""), "CAST": (53, "CastOptions"), "MAXIMUM": (55, ""),
    "ARG_MAX": (56, "ArgMaxOptions"), "MINIMUM": (57, ""), "LESS": (58, ""), "NEG": (59, ""),
    "PADV2": (60, ""), "LESS_EQUAL": (63, ""), "SLICE": (65, ""), "SIN": (66, ""),
    "TRANSPOSE_CONV": (67, "TransposeConvOptions"), "EQUAL": (71, ""), "NOT_EQUAL": (72, ""),
    "LOG": (73, ""), "SUM": (74, "ReducerOptions"), "SQRT": (75, ""), "RSQRT": (76, ""),
    "POW": (78, ""), "ARG_MIN": (79, "ArgMinOptions"), "REDUCE_PROD": (81, "ReducerOptions"),
    "REDUCE_MAX": (82, "ReducerOptions"), "LOGICAL_OR": (84, ""), "LOGICAL_AND": (86, ""),
    "LOGICAL_NOT": (87, ""), "REDUCE_MIN": (89, "ReducerOptions"), "FLOOR_DIV": (90, ""),
    "REDUCE_ANY": (91, "ReducerOptions"), "FLOOR_MOD": (95, ""),
    "LEAKY_RELU": (98, "LeakyReluOptions"), "ABS": (101, ""), "CEIL": (104, ""),
    "GATHER_ND": (107, ""), "COS": (108, ""), "ELU": (111, ""), "QUANTIZE": (114, ""),
    "ROUND": (116, ""), "HARD_SWISH": (117, ""), "SCATTER_ND": (122, ""), "SELECT_V2": (123, ""),
    "BATCH_MATMUL": (126, "BatchMatMulOptions"), "CUMSUM": (128, "CumsumOptions"),
    "BROADCAST_TO": (130, ""), "CONV_3D": (132, "Conv3DOptions"),
    "REDUCE_ALL": (140, "ReducerOptions"), "GELU": (150, "GeluOptions"), "SIGN": (158, ""),
    "BITWISE_XOR": (160, ""), "RIGHT_SHIFT": (161, ""),
}  # fmt: skip
"""Each operator's number, and the table of its options."""

TYPES: Final[dict[DType, int]] = {
    dt.float32: 0, dt.float16: 1, dt.int32: 2, dt.uint8: 3, dt.int64: 4, dt.bool_: 6,
    dt.int16: 7, dt.int8: 9, dt.uint32: 15,
}  # fmt: skip
"""The element types that are exported."""

PADDING: Final = {"SAME": 0, "VALID": 1}
ACTIVATION: Final = {"": 0, "relu": 1, "relu6": 3}

FIRST: Final = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "REDUCE_PROD": 1, "NEG": 1,
    "CUMSUM": 1, "SELECT_V2": 1, "SIGN": 1, "QUANTIZE": 1, "LEAKY_RELU": 1, "HARD_SWISH": 1,
    "ELU": 1, "GELU": 1, "GATHER_ND": 1, "SCATTER_ND": 1, "RESHAPE": 1, "BROADCAST_TO": 2,
    "CAST": 1, "LOGICAL_OR": 1, "RIGHT_SHIFT": 1, "BITWISE_XOR": 1, "FLOOR_MOD": 2, "FLOOR_DIV": 3,
}  # fmt: skip
"""The version that knows int8, where it is not 2."""
WIDE: Final = {"ADD": 4, "SUB": 4, "MUL": 5}
"""The version that knows int64."""
BOOLS: Final = {"GATHER": 3, "TRANSPOSE": 3, "STRIDED_SLICE": 3, "GATHER_ND": 5, "ARG_MAX": 3}
"""The version that knows bool."""
RANKS: Final = {
    "TRANSPOSE": 4, "STRIDED_SLICE": 4, "SLICE": 5, "PAD": 4, "PADV2": 4, "MAXIMUM": 3,
    "MINIMUM": 3, "SUB": 3, "DIV": 2,
}  # fmt: skip
"""The version that knows more than four dims."""


def version(name: str, dtype: DType, rank: int) -> int:
    """Return an operator's version for operands of a dtype and number of dims."""
    found = 2 if name == "BROADCAST_TO" else 1
    if dtype is dt.int8:
        found = FIRST.get(name, 2)
    elif dtype is dt.int64:
        found = WIDE.get(name, found)
    elif dtype is dt.bool_:
        found = BOOLS.get(name, found)
    elif dtype is dt.float32 and name == "FLOOR_DIV":
        found = 2
    elif dtype is dt.int32:
        found = {"ABS": 5, "SIGN": 2}.get(name, found)
    if name == "TRANSPOSE" and rank > 5:
        return 6
    return max(found, RANKS.get(name, 1)) if rank > 4 else found
