"""Movement as index arithmetic: which element of a source an index of the domain looks at.

Every movement op turns the affine coordinates of its result into affine coordinates of its
source. Where that is impossible (a reshape that merges what a stride has torn apart) the source
is stored in a buffer of its own, and an address there is affine again.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tenor.ir.kernel import Affine, Guard
from tenor.ir.node import Node, Shape, size
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Coords", "NotAffine", "identity", "linear", "push", "strides_of"]

Coords = tuple[Affine, ...]
T = TypeVar("T")


class NotAffine(Exception):  # noqa: N818 - not an error: it asks for a node to be stored
    """The node's source must be stored for the access to be affine."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.node = node


def _remembered(function: Callable[[Shape], T]) -> Callable[[Shape], T]:
    """Remember what a function gives for shapes that are known: of others it may ask questions."""
    cached = functools.lru_cache(4096)(function)

    @functools.wraps(function)
    def call(shape: Shape) -> T:
        return function(shape) if any(map(free, shape)) else cached(shape)

    return call


@_remembered
def strides_of(shape: Shape) -> tuple[int, ...]:
    """Return row-major strides."""
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    return tuple(strides)


@_remembered
def identity(shape: Shape) -> Coords:
    """Return coordinates that are the domain's own index; dims of extent 1 stand still."""
    rank = len(shape)
    return tuple(
        Affine(tuple(int(i == d and shape[d] != 1) for i in range(rank))) for d in range(rank)
    )


def linear(coords: Sequence[Affine], shape: Shape, rank: int) -> Affine:
    """Return the row-major address of coordinates in a contiguous buffer of a shape."""
    return combine(coords, strides_of(shape), rank)


def combine(coords: Sequence[Affine], factors: Sequence[int], rank: int) -> Affine:
    """Return sum_d factors[d] * coords[d]."""
    strides = [0] * rank
    offset = 0
    for affine, factor in zip(coords, factors, strict=True):
        offset += factor * affine.offset
        for i, s in enumerate(affine.strides):
            if s:
                strides[i] += factor * s
    return Affine(tuple(strides), offset)


def shifted(affine: Affine, scale: int, offset: int) -> Affine:
    """Return scale * affine + offset."""
    if scale == 1 and offset == 0:
        return affine
    return Affine(tuple(scale * s for s in affine.strides), scale * affine.offset + offset)


@dataclass(frozen=True)
class Moved:
    """Coordinates in a movement op's source, and the guards that became necessary."""

    coords: Coords
    guards: tuple[Guard, ...] = ()


def push(node: Node, coords: Coords, rank: int) -> Moved:
    """Return where a movement op's result at `coords` lies in its source.

    Raises:
        NotAffine: no affine coordinates say it.
    """
    return _PUSH[node.op.name](node, coords, rank)


def _expand(node: Node, coords: Coords, rank: int) -> Moved:
    source = node.inputs[0].shape
    still = Affine((0,) * rank)
    kept = coords[len(coords) - len(source) :]
    return Moved(tuple(still if n == 1 else c for n, c in zip(source, kept, strict=True)))


def _permute(node: Node, coords: Coords, rank: int) -> Moved:  # noqa: ARG001 - table signature
    moved = [coords[0]] * len(coords)
    for i, d in enumerate(node.attrs[0]):
        moved[d] = coords[i]
    return Moved(tuple(moved))


def _slice(node: Node, coords: Coords, rank: int) -> Moved:  # noqa: ARG001
    starts, _, steps = node.attrs
    return Moved(tuple(shifted(c, k, s) for c, s, k in zip(coords, starts, steps, strict=True)))


def _pad(node: Node, coords: Coords, rank: int) -> Moved:  # noqa: ARG001
    low, high, _ = node.attrs
    moved, guards = [], []
    for c, before, after, n in zip(coords, low, high, node.inputs[0].shape, strict=True):
        inner = shifted(c, 1, -before)
        moved.append(inner)
        if before or after:
            guards.append(Guard(inner, 0, n))
    return Moved(tuple(moved), tuple(guards))


def _unfold(node: Node, coords: Coords, rank: int) -> Moved:
    dim, _, step, dilation = node.attrs
    window = combine((coords[dim], coords[-1]), (step, dilation), rank)
    return Moved((*coords[:dim], window, *coords[dim + 1 : -1]))


def _reshape(node: Node, coords: Coords, rank: int) -> Moved:
    source = node.inputs[0]
    old, new = source.shape, node.shape
    still = Affine((0,) * rank)
    if size(new) == 0:
        return Moved((still,) * len(old))
    moved: list[Affine] = []
    i = j = 0
    while i < len(old) or j < len(new):
        group_old, group_new, i, j = _group(old, new, i, j)
        wide = [d for d in group_old if old[d] != 1]
        address = combine(
            [coords[d] for d in group_new], strides_of(tuple(new[d] for d in group_new)), rank
        )
        if len(wide) > 1:
            parts = _split([old[d] for d in wide], [(coords[d], new[d]) for d in group_new], rank)
            if parts is None:
                raise NotAffine(source)
            found = dict(zip(wide, parts, strict=True))
        else:
            found = dict.fromkeys(wide, address)
        moved += [found.get(d, still) for d in group_old]
    return Moved(tuple(moved))


def _group(old: Shape, new: Shape, i: int, j: int) -> tuple[range, range, int, int]:
    """Return the next runs of old and new dims that hold as many elements as each other."""
    a, b = i, j
    left = right = 1
    if i < len(old):
        left, i = old[i], i + 1
    if j < len(new):
        right, j = new[j], j + 1
    while left != right:
        if left < right:
            left, i = left * old[i], i + 1
        else:
            right, j = right * new[j], j + 1
    if i < len(old) and j == len(new):
        i = len(old)
    if j < len(new) and i == len(old):
        j = len(new)
    return range(a, i), range(b, j), i, j


def _split(extents: list[int], coords: list[tuple[Affine, int]], rank: int) -> list[Affine] | None:
    """Split grouped coordinates over the old dims, where old dims are products of new ones."""
    parts: list[Affine] = []
    k = 0
    for extent in extents:
        run: list[tuple[Affine, int]] = []
        held = 1
        while held < extent and k < len(coords):
            run.append(coords[k])
            held *= coords[k][1]
            k += 1
        if held != extent:
            return None
        parts.append(combine([c for c, _ in run], strides_of(tuple(n for _, n in run)), rank))
    return parts if all(n == 1 for _, n in coords[k:]) else None


_PUSH = {
    "expand": _expand,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "unfold": _unfold,
    "reshape": _reshape,
}
