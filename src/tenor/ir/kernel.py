"""A kernel: one launch on a device, as the scheduler describes it and the lowering reads it.

A kernel runs over a *domain* (a shape). Every access to a buffer is one affine function of the
domain's index, possibly guarded; what cannot be said so is stored in a buffer of its own first.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, cast
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from tenor.ir.dtype import DType
    from tenor.ir.node import Shape

__all__ = ["Affine", "Buffer", "Expr", "Guard", "Kernel", "Part", "Store", "ordered"]

_made: Final[WeakValueDictionary[Any, Expr]] = WeakValueDictionary()
_lock = threading.RLock()


def _after_fork() -> None:
    """Begin a child with a lock of its own: another thread's is never released."""
    global _lock  # noqa: PLW0603 - the process's one lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, slots=True)
class Affine:
    """offset + sum_d strides[d] * index[d], in elements."""

    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Guard:
    """low <= affine < high."""

    affine: Affine
    low: int
    high: int


class Expr:
    """A scalar expression at one index of the domain; equal expressions are one object.

    So expressions are compared by identity, however often they share their operands.

    ======== ============================== ==================================================
    op       attrs                          value
    ======== ============================== ==================================================
    load     (buffer, affine, guards,       buffer[affine + sum args[k] * strides[k]] where every
             strides)                       guard holds, else 0 (nothing is touched);
                                            args are int64 expressions, already in range
    scalar   (buffer,)                      the 8-byte run-time slot: float64 for float dtypes,
                                            int64 else; converted to the dtype
    const    (value,)                       the literal
    iota     (affine,)                      the affine itself, converted to the dtype
    inside   (guards,)                      bool: every guard holds
    random   (affine,)                      uint32 word number `affine` of Philox4x32-10;
                                            args: seed, offset (int64 scalars)
    reduced  (k,)                           result of the kernel's k-th reduction (after the loop)
    wrap_    (size, what, code)             args[0] in [0, size), negative ones first wrapped if
     index                                  what is "index"; one out of range sets the status
                                            word to code and gives 0
    <name>   the op's attrs                 an elementwise primitive of `tenor.ir.op` on args
    ======== ============================== ==================================================

    float16 and bfloat16 expressions are computed in float32 and rounded to the dtype after each
    operation, so that a fused kernel gives the bits the separate ones give.
    """

    __slots__ = ("__weakref__", "args", "attrs", "dtype", "op")

    op: str
    args: tuple[Expr, ...]
    attrs: tuple[Any, ...]
    dtype: DType

    def __new__(cls, op: str, args: tuple[Expr, ...], attrs: tuple[Any, ...], dtype: DType) -> Self:
        """Return the one expression of its kind."""
        # repr tells 0.0 from -0.0 and True from 1.
        key = (op, args, repr(attrs) if op == "const" else attrs, dtype)
        with _lock:
            made = _made.get(key)
            if made is None:
                made = object.__new__(cls)
                made.op, made.args, made.attrs, made.dtype = op, args, attrs, dtype
                _made[key] = made
        return cast("Self", made)

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, (*self.args, *self.attrs)))
        return f"{self.op}({inner}): {self.dtype.text}"


def ordered(roots: Iterable[Expr], known: Container[object] = ()) -> Iterator[Expr]:
    """Yield the expressions under roots once each, after their arguments; known ones are left out.

    However deep they are: a kernel's expression may be deeper than Python's stack.
    """
    seen: set[Expr] = set()
    for root in roots:
        pending = [(root, False)]
        while pending:
            expr, ready = pending.pop()
            if ready:
                yield expr
            elif expr not in seen and expr not in known:
                seen.add(expr)
                pending.append((expr, True))
                pending += [(arg, False) for arg in reversed(expr.args)]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A pointer argument of a kernel.

    Attributes:
        dtype: The element type.
        size: Elements of the value behind it.
        written: Whether the kernel writes there.
        start: The element of the value it points to; no part of what the kernel is, so kernels
            that touch other parts of a value are one.
        streamed: Whether it begins on a cache line, is large, and nothing reads it soon: it is
            written past the caches.
    """

    dtype: DType
    size: int
    written: bool = False
    start: int = field(default=0, compare=False)
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """buffer[affine] = expr, at each index of the domain (of the kept dims, after a reduction)."""

    buffer: int
    affine: Affine
    expr: Expr


@dataclass
class Kernel:
    """One launch.

    Attributes:
        kind: "map" (stores at every index), "reduce" (stores after reducing some dims), or the
            name of a template: "matmul", "matmul_int8", "conv", "conv_int8", "conv_input",
            "conv_weight", "fold", "put", "put_along", "cumsum", "argsort", "topk"; "rows": its
            parts, one after the other, for a few rows or columns at a time; or "channels": two
            convolutions, for a few channels at a time.
        domain: The index space. For "reduce" it includes the reduced dims.
        reduce_dims: Which dims of the domain are reduced; ascending.
        reductions: Pairs (op, expr): "sum", "prod", "max", "min", "argmax" or "argmin" over the
            reduced dims. Order of a sum is fixed by the domain alone: see `lower.reduce`.
        stores: What is written. An affine of a reduce kernel's store has stride 0 at reduced dims.
        buffers: The pointer arguments, in order.
        params: What a template needs to know besides; see the template.
        parts: The kernels of "rows" and "channels"; of a product or convolution the map that takes
            its elements.
    """

    kind: str
    domain: Shape
    buffers: list[Buffer]
    stores: list[Store] = field(default_factory=list)
    reduce_dims: tuple[int, ...] = ()
    reductions: list[tuple[str, Expr]] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    def expressions(self) -> Iterator[Expr]:
        """Yield everything that is stored or reduced, as `ordered` does."""
        return ordered([*(s.expr for s in self.stores), *(e for _, e in self.reductions)])


@dataclass(frozen=True)
class Part:
    """A kernel of several over the same rows.

    Attributes:
        kernel: The kernel.
        wires: For each of its buffers the number of the whole's; ~k: the k-th private one.
    """

    kernel: Kernel
    wires: tuple[int, ...]
