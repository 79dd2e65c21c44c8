"""Dims, shapes and their spellings, made regular before anything is recorded."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, SupportsIndex, TypeVar, overload

from tenor.engine.macro import PLAIN
from tenor.errors import ArgumentError, AxisError, ShapeError
from tenor.ir.node import Shape, size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dims", "Size", "aliased", "axes", "axis", "shape_of", "solve"]

P = ParamSpec("P")
R = TypeVar("R")

Dims = int | Sequence[int] | None
"""One dim, several, or None for all."""

ALIASES = {"axis": "dim", "keepdims": "keepdim"}


class Size(tuple[int, ...]):
    """A shape: a tuple that knows how many elements it stands for."""

    __slots__ = ()

    def numel(self) -> int:
        """Return the number of elements."""
        return size(self)

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Size: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | Size:
        found = super().__getitem__(index)
        return Size(found) if isinstance(found, tuple) else found

    def __add__(self, other: tuple[Any, ...]) -> Size:
        return Size(super().__add__(other))


def aliased(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take NumPy's `axis` and `keepdims` for `dim` and `keepdim`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if kwargs:
            for numpy_name, name in ALIASES.items():
                if numpy_name in kwargs:
                    kwargs[name] = kwargs.pop(numpy_name)
        return function(*args, **kwargs)

    if function in PLAIN:
        PLAIN[call] = PLAIN[function]
    return call


def axis(name: str, dim: int, ndim: int) -> int:
    """Return a dim counted from the front.

    Raises:
        AxisError: it is outside [-ndim, ndim); a tensor of no dims takes 0 and -1, as in PyTorch.
    """
    extent = ndim or 1
    try:
        dim = operator.index(dim)
    except TypeError:
        raise ArgumentError(
            f"{name}: dim must be an integer.", came=repr(dim), fix="give a number such as 0 or -1"
        ) from None
    if not -extent <= dim < extent:
        raise AxisError(
            f"{name}: dim must lie in [{-extent}, {extent}).",
            came=f"dim {dim} for a tensor of {ndim} dims",
            fix="count the dims of the tensor; negative dims count from the end",
        )
    return dim + extent if dim < 0 else dim


def axes(name: str, dim: Dims, ndim: int) -> tuple[int, ...]:
    """Return dims counted from the front, ascending; None and () stand for all.

    Raises:
        AxisError: one is out of range.
        ArgumentError: one is named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, Sequence):
        if not dim:
            return tuple(range(ndim))
        found = sorted(axis(name, d, ndim) for d in dim)
        if len(set(found)) < len(found):
            raise ArgumentError(
                f"{name}: every dim may be named once.", came=f"dim={dim}", fix="drop the repeat"
            )
        return tuple(found) if ndim else ()
    return (axis(name, dim, ndim),) if ndim else axes(name, (), axis(name, dim, 0))


def shape_of(name: str, args: Sequence[Any]) -> Shape:
    """Return the shape that `f(2, 3)` or `f((2, 3))` means.

    Raises:
        ArgumentError: an extent is not an integer.
    """
    parts = args[0] if len(args) == 1 and isinstance(args[0], Sequence) else args
    try:
        return tuple([operator.index(n) for n in parts])
    except TypeError:
        raise ArgumentError(
            f"{name}: a shape is made of integers.",
            came=repr(tuple(parts)),
            fix="use // instead of /, or int(...)",
        ) from None


def solve(name: str, shape: Shape, count: int) -> Shape:
    """Return a shape with its one -1 worked out for a number of elements.

    Raises:
        ShapeError: nothing fits.
    """
    known = size(n for n in shape if n != -1)
    if shape.count(-1) > 1 or any(n < -1 for n in shape):
        raise ShapeError(
            f"{name}: extents are not negative; one may be -1, to be worked out.",
            came=str(shape),
            fix="leave one -1",
        )
    if -1 not in shape and known == count:
        return shape
    if -1 not in shape or known == 0 or count % known:
        raise ShapeError(
            f"{name}: the new shape must hold as many elements as the old.",
            came=f"{count} elements to shape {shape}",
            fix="make the product of the extents equal the number of elements",
        )
    return tuple(count // known if n == -1 else n for n in shape)
