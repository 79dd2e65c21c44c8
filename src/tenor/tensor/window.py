"""Slices and joins of tensors that lie in memory: taken at once, and no part of a program.

A recorded slice says in the program where it begins: the loop `for i in ...: step(x[i : i + 32])`
would be another program, compiled anew, at every turn; so would `x = cat([x, step(x[-32:])])`, at
every length. What lies in memory is therefore cut and joined there and then, and the program only
sees a leaf of a shape. That costs a copy: large ones are recorded as long as they stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine.alias import record_view
from tenor.engine.trace import local
from tenor.ir import op as ops
from tenor.ir.node import Shape, size
from tenor.runtime import allocator
from tenor.tensor.conversion import LOOKS, adopt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.tensor.tensor import Tensor

__all__ = ["in_memory", "joined", "stacked", "window"]

SMALL: Final = 1 << 20
"""Bytes up to which tensors in memory are always cut and joined there."""

KINDS: Final = 64
"""Sizes of large slices of one tensor that are recorded where they begin at one place."""


GROWING: Final = 3
"""Extents of the first part after which a join with what is pending is done in memory."""

FORMS: Final = 1024
_extents: Final[dict[Any, set[Any]]] = {}


def in_memory(x: Tensor) -> bool:
    """Tell whether x is computed, is no part of the trace, and no gradient flows through it."""
    if local.pinning is not None or local.immediate or (x.within is not None and not x.within.done):
        return False
    return not x.needs_grad and (x.base is None or x.seen == x.base.version)


def window(x: Tensor, starts: Shape, sizes: Shape, steps: Shape, shape: Shape) -> Tensor:
    """Return the view of x that a slice makes, reshaped; recorded or taken."""
    cut = (ops.SLICE, (starts, sizes, steps))
    chain = (cut,) if shape == sizes else (cut, (ops.RESHAPE, (shape,)))
    if in_memory(x) and _is_taken(x, starts, sizes, steps):
        return _taken(x, chain, shape)
    for op, attrs in chain:
        x = record_view(op, x, attrs)
    return x


def joined(parts: list[Tensor], dim: int) -> Tensor | None:
    """Return tensors one after another along a dim, if they can be joined in memory; else None.

    Args:
        parts: Of one dtype and number of dims.
        dim: The dim that grows.
    """
    first = parts[0].shape_tuple
    rest = [x.shape_tuple[:dim] + x.shape_tuple[dim + 1 :] for x in parts]
    shape = (*first[:dim], sum(x.shape_tuple[dim] for x in parts), *first[dim + 1 :])
    dtype = parts[0].element_type
    if size(shape) * dtype.itemsize > SMALL or any(r != rest[0] for r in rest):
        return None
    held = [in_memory(x) for x in parts]
    if not all(held):
        if not _grows(parts, held, dim):
            return None
        local.flush()
        if not all(map(in_memory, parts)):
            return None
    array = np.concatenate([_elements(x) for x in parts], dim)
    return adopt(allocator.copy_of(array), shape, dtype)


def stacked(parts: list[Tensor], dim: int) -> Tensor | None:
    """Return tensors of one shape along a new dim, if they are small and all in memory."""
    first = parts[0]
    shape, dtype = first.shape_tuple, first.element_type
    if len(parts) * size(shape) * dtype.itemsize > SMALL or not all(map(in_memory, parts)):
        return None
    if any(x.element_type is not dtype for x in parts):
        return None
    array = np.stack([_elements(x) for x in parts], dim)
    return adopt(allocator.copy_of(array), array.shape, dtype)


def _grows(parts: list[Tensor], held: list[bool], dim: int) -> bool:
    """Tell whether this is a join like earlier ones but for the extent of its first part.

    Such is `x = cat([x, new])` in a loop: everything that reads x has a new shape at every turn.
    The join ends the trace, so that it is in no plan. Where nothing lies in memory yet, only
    integers are looked at, as they are positions and tokens; a network may well join its values.
    """
    if local.pinning is not None or local.immediate or any(x.needs_grad for x in parts):
        return False
    if not held[0] and parts[0].element_type.kind != "int":
        return False
    form = (dim, parts[0].element_type, *[x.shape_tuple for x in parts[1:]])
    known = _extents.setdefault(form, set())
    if len(known) < GROWING:
        known.add(parts[0].shape_tuple[dim])
    if len(_extents) > FORMS:
        del _extents[next(iter(_extents))]
    return len(known) >= GROWING


def _is_taken(x: Tensor, starts: Shape, sizes: Shape, steps: Shape) -> bool:
    if size(sizes) * x.element_type.itemsize <= SMALL:
        return True
    seen: dict[Any, Shape] = x.__dict__.setdefault("sliced", {})
    return len(seen) > KINDS or seen.setdefault((sizes, steps), starts) != starts


def _taken(x: Tensor, chain: Any, shape: Shape) -> Tensor:
    array = _looked(_elements(x), chain)
    made = adopt(allocator.copy_of(np.ascontiguousarray(array)), shape, x.element_type)
    if x.base is None:
        made.base, made.chain = x, chain
    else:
        made.base, made.chain = x.base, (*x.chain, *chain)
    made.base.viewed = True
    made.seen = made.base.version
    return made


def _elements(x: Tensor) -> NDArray[Any]:
    """Return the elements of a tensor in memory, as whoever shares it wrote them last."""
    base = x.base
    if base is not None and base.buffer is not None and base.buffer.shared:
        whole = base.buffer.array(base.element_type.numpy, base.shape_tuple)
        return _looked(whole, x.chain)
    found: NDArray[Any] = x.buffer.array(x.element_type.numpy, x.shape_tuple)
    return found


def _looked(array: NDArray[Any], chain: Any) -> NDArray[Any]:
    for op, attrs in chain:
        array = LOOKS[op.name](array, *attrs)
    return array
