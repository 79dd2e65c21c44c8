"""What a value or a weight becomes when it is stored in eight bits and read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.ir import op as ops

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tenor.export.copying import Copy
    from tenor.export.quantize.record import Scheme
    from tenor.ir.node import Node

__all__ = ["real_weight", "rounded"]


def rounded(copy: Copy, node: Node, scheme: Scheme) -> Node:
    """Append what a value becomes when it is stored and read: clamp(round(x / s), ...) * s.

    The bounds are -128 and 127 less the zero point, so no addition is needed; the result is
    `scheme.real(scheme.stored(x))` bit for bit.
    """
    scale, zero = copy.number(float(scheme.scale)), int(scheme.zero_point)
    steps = copy.add(ops.ROUND, (copy.add(ops.DIV, (node, scale)),))
    steps = copy.add(ops.MAXIMUM, (steps, copy.number(-128 - zero)))
    steps = copy.add(ops.MINIMUM, (steps, copy.number(127 - zero)))
    return copy.add(ops.MUL, (steps, scale))


def real_weight(weight: NDArray[Any], scheme: Scheme) -> NDArray[np.float32]:
    """Return a weight as it is read after it was stored."""
    return scheme.real(scheme.stored(weight))
