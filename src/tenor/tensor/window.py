"""Slices: of a value still to be computed they are recorded, of one in memory they are taken.

A recorded slice says in the program where it begins: the loop `for i in ...: step(x[i : i + 32])`
would be another program, compiled anew, at every turn. A slice of a tensor that lies in memory is
therefore taken at once, as a view with its bytes already there, and the program only sees a leaf of
its shape. Taking bytes costs a copy, so large slices are recorded as long as they stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine.alias import record_view
from tenor.engine.trace import local
from tenor.engine.trie import meta
from tenor.ir import op as ops
from tenor.ir.node import Shape, size
from tenor.runtime import allocator
from tenor.tensor.conversion import LOOKS, adopt

if TYPE_CHECKING:
    from tenor.tensor.tensor import Tensor

__all__ = ["window"]

SMALL: Final = 1 << 20
"""Bytes up to which a slice of a tensor in memory is always taken."""

KINDS: Final = 64
"""Sizes of large slices of one tensor that are recorded where they begin at one place."""


def window(x: Tensor, starts: Shape, sizes: Shape, steps: Shape, shape: Shape) -> Tensor:
    """Return the view of x that a slice makes, reshaped; recorded or taken."""
    cut = (ops.SLICE, (starts, sizes, steps))
    chain = (cut,) if shape == sizes else (cut, (ops.RESHAPE, (shape,)))
    if _lies_in_memory(x) and _is_taken(x, starts, sizes, steps):
        return _taken(x, chain, shape)
    for op, attrs in chain:
        x = record_view(op, x, attrs)
    return x


def _lies_in_memory(x: Tensor) -> bool:
    """Tell whether x is computed, is no part of the trace, and no gradient flows through it."""
    if local.pinning is not None or local.immediate or (x.trace is not None and not x.trace.done):
        return False
    return not x.needs_grad and (x.base is None or x.seen == x.base.version)


def _is_taken(x: Tensor, starts: Shape, sizes: Shape, steps: Shape) -> bool:
    if size(sizes) * x.element_type.itemsize <= SMALL:
        return True
    seen: dict[Any, Shape] = x.__dict__.setdefault("sliced", {})
    return len(seen) > KINDS or seen.setdefault((sizes, steps), starts) != starts


def _taken(x: Tensor, chain: Any, shape: Shape) -> Tensor:
    array = x.buffer.array(x.element_type.numpy, x.shape_tuple)
    for op, attrs in chain:
        array = LOOKS[op.name](array, *attrs)
    made = adopt(allocator.copy_of(np.ascontiguousarray(array)), shape, x.element_type)
    made.meta = meta(shape, x.element_type)
    if x.base is None:
        made.base, made.chain = x, chain
    else:
        made.base, made.chain = x.base, (*x.chain, *chain)
    made.base.viewed = True
    made.seen = made.base.version
    return made
