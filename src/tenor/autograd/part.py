"""Parts of a cotangent that are put together before they are written: pieces and products.

A weight that is used at every step of a recurrence gets a small product from each: together they
are one product over all steps. A value that was cut apart gets each piece's cotangent: together
they lie side by side, where zeros around each would have to be added up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tenor.ir.build import Builder
    from tenor.ir.node import Node, Shape

__all__ = ["Part", "Piece", "Product", "replaced", "total", "turned"]

SHORT: Final = 512
"""Longest sum that is put together with others: a longer one is a kernel's work by itself."""


class Piece(NamedTuple):
    """A cotangent that is `g` from index `starts` on, and zero elsewhere."""

    g: Node
    starts: tuple[int, ...]


class Product(NamedTuple):
    """A cotangent that is the sum over k of left[k, i] right[k, j].

    Attributes:
        left, right: Two matrices.
        dim: The dim of both that k counts along; where it is 1, left[i, k] right[j, k].
    """

    left: Node
    right: Node
    dim: int

    @property
    def depth(self) -> int:
        """How many products are added up for an element."""
        return self.left.shape[self.dim]


Part = Piece | Product


def turned(part: Part) -> Product | None:
    """Return the transpose of a product."""
    return Product(part.right, part.left, part.dim) if isinstance(part, Product) else None


def replaced(part: Part, other: Callable[[Node], Node]) -> Part:
    """Return a part with other nodes."""
    if isinstance(part, Piece):
        return Piece(other(part.g), part.starts)
    return Product(other(part.left), other(part.right), part.dim)


def total(b: Builder, parts: Sequence[Part], shape: Shape, *, leaf: bool) -> Iterator[Node]:
    """Yield what adds up to the parts, written down.

    What is put together follows from the parts alone, so the order of arithmetic is that of the
    program.

    Args:
        b: Where to write.
        parts: Pieces and products, in the order they arrived.
        shape: The cotangent's.
        leaf: Whether it is that of a leaf. Elsewhere sums along rows stay apart: they may be as
            cheap as what would be gained.
    """
    yield from _side_by_side(b, [p for p in parts if isinstance(p, Piece)], shape)
    groups: dict[object, list[Product]] = {}
    for number, part in enumerate(parts):
        if isinstance(part, Product):
            joins = part.depth <= SHORT and (leaf or part.dim == 0)
            key = (part.dim, part.left.dtype) if joins else number
            groups.setdefault(key, []).append(part)
    for group in groups.values():
        yield _product(b, group[::-1])  # arrived last to first


def _product(b: Builder, group: Sequence[Product]) -> Node:
    """Write products as one over everything that is added up."""
    dim = group[0].dim
    left, right = (b.concat(list(side), dim) for side in list(zip(*group, strict=True))[:2])
    return b.matmul(left, b.transpose(right)) if dim else b.matmul(b.transpose(left), right)


# -- pieces -------------------------------------------------------------------------------------
def _side_by_side(b: Builder, pieces: Sequence[Piece], shape: Shape) -> Iterator[Node]:
    """Yield disjoint pieces as one each, with zeros where there is none."""
    same: dict[tuple[tuple[int, ...], Shape], Piece] = {}
    for piece in pieces:
        key = (piece.starts, piece.g.shape)
        before = same.get(key)
        same[key] = piece if before is None else Piece(b.add(before.g, piece.g), piece.starts)
    by_dim: dict[object, list[Piece]] = {}
    for number, piece in enumerate(same.values()):
        dims = [d for d, n in enumerate(shape) if piece.g.shape[d] != n]
        by_dim.setdefault(dims[0] if len(dims) == 1 else (number,), []).append(piece)
    for dim, group in by_dim.items():
        if isinstance(dim, int):
            yield from (_row(b, row, dim, shape) for row in _disjoint(group, dim))
        else:
            yield _padded(b, group[0], shape)


def _disjoint(pieces: Iterable[Piece], dim: int) -> list[list[Piece]]:
    """Return pieces in as few rows as hold them without overlap, each in order."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: (p.starts[dim], p.g.shape[dim])):
        for row in rows:
            if row[-1].starts[dim] + row[-1].g.shape[dim] <= piece.starts[dim]:
                row.append(piece)
                break
        else:
            rows.append([piece])
    return rows


def _row(b: Builder, row: list[Piece], dim: int, shape: Shape) -> Node:
    """Write pieces along a dim, in order and disjoint."""
    if len(row) == 1:
        return _padded(b, row[0], shape)
    parts: list[Node] = []
    at = 0

    def gap(until: int) -> None:
        if until > at:
            size = (*shape[:dim], until - at, *shape[dim + 1 :])
            parts.append(b.zeros(size, row[0].g.dtype))

    for piece in row:
        gap(piece.starts[dim])
        parts.append(piece.g)
        at = piece.starts[dim] + piece.g.shape[dim]
    gap(shape[dim])
    return b.emit(ops.CONCAT, tuple(parts), (dim,))


def _padded(b: Builder, piece: Piece, shape: Shape) -> Node:
    ends = zip(shape, piece.starts, piece.g.shape, strict=True)
    return b.pad(piece.g, piece.starts, [n - start - count for n, start, count in ends])
