"""Eight-bit values as ONNX has them: QuantizeLinear and DequantizeLinear around float operations.

A runtime that knows them fuses the pairs with the operation between into one on integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.export.onnx.match import Match
    from tenor.export.onnx.writer import Writer
    from tenor.export.quantize.record import Scheme
    from tenor.ir.node import Node

__all__ = ["bias", "scheme_of", "weight"]

MOVED: Final = (ops.RESHAPE, ops.PERMUTE, ops.SLICE)
"""Operations whose values are their operand's, and whose scheme is, where they have none."""
BIASED: Final = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1}
"""The operations with a bias, and the dim of their weight that is the output's channels."""


def scheme_of(
    node: Node, schemes: Mapping[Node, Scheme], matches: Mapping[Node, Match]
) -> Scheme | None:
    """Return how a value is held: its own scheme, or that of what it only moves."""
    while node not in schemes:
        match = matches.get(node)
        if match is not None and match.kind == "MaxPool":
            node = match.inputs[0]
        elif match is None and node.op in MOVED:
            node = node.inputs[0]
        else:
            return None
    return schemes[node]


def weight(w: Writer, name: str, value: NDArray[Any], scheme: Scheme) -> str:
    """Write a weight as int8, and what makes it real."""
    stored = w.constant(scheme.stored(value), dt.int8, f"{name}_int8")
    axis = {} if scheme.axis is None else {"axis": scheme.axis}
    return w.write("DequantizeLinear", [stored, *w.parameters(scheme)], dt.float32, **axis)


def bias(
    w: Writer, match: Match, schemes: Mapping[Node, Scheme], matches: Mapping[Node, Match],
    weights: Mapping[Node, NDArray[Any]],
) -> str | None:  # fmt: skip
    """Write a bias as int32 in units of input scale * weight scale; None where it stays float."""
    if match.kind not in BIASED or len(match.inputs) != 3:
        return None
    x, kernel, added = match.inputs
    of_x, of_kernel = scheme_of(x, schemes, matches), schemes.get(kernel)
    if added not in weights or of_x is None or of_kernel is None:
        return None
    value, axis = weights[added].reshape(-1), of_kernel.axis
    scale = (of_x.scale.reshape(()) * of_kernel.scale).astype(np.float32)
    scale = scale.reshape(() if axis is None else -1)
    if axis is not None and (axis != BIASED[match.kind] or scale.shape != value.shape):
        return None
    with np.errstate(all="ignore"):
        units = np.clip(np.rint(value / scale.astype(np.float64)), -(2**31), 2**31 - 1)
    stored = w.constant(units.astype(np.int32), dt.int32, "bias_int32")
    scales = w.constant(scale, dt.float32, "bias_scale")
    along = {} if axis is None else {"axis": 0}
    return w.write("DequantizeLinear", [stored, scales], dt.float32, **along)
