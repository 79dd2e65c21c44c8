"""Map kernels: every element of the domain on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.element import COST
from tenor.compiler.lower.evaluate import Evaluator, expr_cost
from tenor.compiler.lower.frame import GRAIN, ahead_of, begin, is_large, over_rows, over_vectors
from tenor.compiler.lower.index import simplify
from tenor.compiler.lower.transpose import blocks, plan
from tenor.ir.kernel import ordered
from tenor.ir.loops import Value
from tenor.ir.node import size
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Affine, Expr, Kernel
    from tenor.ir.target import Target

__all__ = ["lower_map", "lower_run", "runs"]

LONG_ROW: Final = 1 << 15
SPLIT: Final = 1 << 13
FAR: Final = 20
"""What a load at an index that is itself loaded costs more, in bytes moved."""
LONG_TILE: Final = 200_000
"""Operations of a tile of rows, where it can be halved; the same on every machine."""

LONG_CHAIN: Final = 12
"""Instructions from which on a vector waits for itself."""
WRITTEN: Final = 64
"""Instructions up to which they are written out for two vectors, and written past the caches."""


def runs(kernel: Kernel, target: Target) -> bool:
    """Tell whether `lower_run` is as good as `lower_map`: nothing is read across the rows."""
    kernel = simplify(kernel)
    e, *_ = begin(kernel, target)
    return plan(kernel, target.lanes(32) * abreast(kernel, e.apart, target)) is None


def lower_run(kernel: Kernel, target: Target) -> Lowered:
    """Lower a map kernel so that a tile is an element, and a range of them lies within one row.

    A row is one of the last dim after neighbouring dims were merged (`simplify`).
    """
    kernel = simplify(kernel)
    e, low, high = begin(kernel, target)
    e.ahead = None  # what it reads was written just now
    *outer, n = kernel.domain
    weight = _weight(kernel)
    total = size(kernel.domain)
    cost = total * weight // (2 * target.lanes(32)) + total // 8
    e.width = target.lanes(32) * abreast(kernel, e.apart, target)
    unroll = _widen(e, n, _unroll(weight))
    if not outer:
        over_vectors(e, 0, low, high, unroll, 1, lambda: _store_all(e, kernel))
        return Lowered(e.f, total, 0, cost, span=1)
    f, last = e.f, len(outer)
    number = f.op("udiv", low, n)
    start = f.sub(low, f.mul(number, n))
    end = f.add(start, f.sub(high, low))

    def row(_unit: Value) -> None:
        over_vectors(e, last, start, end, unroll, 2, lambda: _store_all(e, kernel))

    over_rows(e, number, f.add(number, 1), range(last), outer, 1, size(outer), row)
    return Lowered(f, total, 0, cost, span=1)


def _loads(kernel: Kernel) -> list[Expr]:
    return [x for x in kernel.expressions() if x.op == "load"]


def _weight(kernel: Kernel) -> int:
    seen: set[Expr] = set()
    return sum(expr_cost(s.expr, seen) + 1 for s in kernel.stores)


def _unroll(weight: int) -> int:
    return 4 if weight <= 6 else 2 if weight <= 16 else 1


def _widen(e: Evaluator, n: int, unroll: int) -> int:
    """Fit the vector to rows of n; return how often to unroll."""
    if n < e.width:
        e.width = max(1, 1 << (n - 1).bit_length())
    while unroll > 1 and n < e.width * unroll:
        unroll //= 2
    return unroll


def lower_map(kernel: Kernel, target: Target) -> Lowered:
    """Lower a map kernel.

    One contiguous run: a tile is an element, the range says how many, and the code is the same
    for every length; a range begins at a multiple of 64 where something is streamed. More dims: a
    tile is some rows; a long row is cut.
    """
    kernel = simplify(kernel)
    e, low, high = begin(kernel, target)
    made = _written(kernel, target, e, low, high)
    if e.streams:
        e.f.fence()
    return made


def _written(kernel: Kernel, target: Target, e: Evaluator, low: Value, high: Value) -> Lowered:
    total = size(kernel.domain)
    weight = _weight(kernel)
    # What computes for longer does not wait for memory; what picks rows needs its queues to read.
    e.even = weight <= WRITTEN and not any(x.args for x in _loads(kernel))
    if "ahead" not in kernel.params:
        e.ahead = _ahead(e, kernel, weight)
    e.width = target.lanes(32)
    cost = total * weight // (2 * e.width) + total * _moving(kernel) // 32
    if total == 0:
        return Lowered(e.f, 0)
    if len(kernel.domain) == 0:
        e.width = 1
        e.f.loop(low, high, 1, lambda _i, _c: _store_all(e, kernel))
        return Lowered(e.f, 1, 0, weight)
    e.width *= abreast(kernel, e.apart, target)
    turn = plan(kernel, e.width)
    if turn is not None:
        tiles, scratch = blocks(e, kernel, turn, low, high, lambda: _store_all(e, kernel))
        return Lowered(e.f, tiles, scratch, cost)
    unroll = _unroll(weight)
    if len(kernel.domain) == 1:
        over_vectors(e, 0, low, high, unroll, 1, lambda: _store_all(e, kernel))
        return Lowered(e.f, total, 0, cost, span=1)
    tiles, span = _rows(e, kernel, low, high, unroll, total * weight)
    return Lowered(e.f, tiles, 0, cost, span)


def _ahead(e: Evaluator, kernel: Kernel, weight: int) -> Callable[[int, Affine], int] | None:
    """Return how far ahead elements are asked for, if a vector takes long.

    Runs of any length share their code, so large ones do not have their own.
    """
    if weight <= LONG_CHAIN * len(kernel.stores):
        return None
    if len(kernel.domain) > 1:
        return e.ahead
    return lambda number, _: ahead_of(kernel.buffers[number])


def _moving(kernel: Kernel) -> int:
    """Return 32 times the nanoseconds an element's way from and to memory takes, roughly."""
    loads = _loads(kernel)
    places = [*(x.attrs[0] for x in loads), *(s.buffer for s in kernel.stores)]
    moved: list[int] = [kernel.buffers[number].dtype.itemsize for number in places]
    return sum(moved) + FAR * sum(1 for x in loads if x.args)


def abreast(kernel: Kernel, apart: frozenset[str], target: Target) -> int:
    """Return how many vectors go side by side, as one that is wider than the machine's.

    In a long chain each operation waits for the one before; others fill the wait. Elements that do
    not lie side by side would be loaded one by one, so there it is one vector; rows that would
    leave much of their last vector empty are taken narrower.
    """
    used = list(kernel.expressions())
    if any(e.op == "random" for e in used) or target.lanes(32) == 1:
        return 1
    own, called = (
        sum(COST.get(e.op, 1) for e in used if (e.op in apart) is c) for c in (False, True)
    )
    long = any(COST.get(e.op, 1) > LONG_CHAIN for e in used)
    if own > (WRITTEN if long and not apart else 2 * called):
        return 1  # it would be as many times the code, and the time to compile it
    loads = _loads(kernel)
    affines = [*(s.affine for s in kernel.stores), *(e.attrs[1] for e in loads)]
    if any(e.args for e in loads) or any(a.strides[-1] not in (0, 1) for a in affines):
        return 1
    count = 4 if apart and target.registers >= 32 else 2
    if len(kernel.domain) > 1:
        while count > 1 and -kernel.domain[-1] % (count * target.lanes(32)) * 8 > kernel.domain[-1]:
            count //= 2
    return count


def _store_all(e: Evaluator, kernel: Kernel) -> None:
    for store in kernel.stores:
        e.store(store.buffer, store.affine, store.expr)


def _rows(
    e: Evaluator, kernel: Kernel, low: Value, high: Value, unroll: int, work: int
) -> tuple[int, int]:
    """Write the loops over rows; return the number of tiles, and the span of each."""
    f = e.f
    *outer, n = kernel.domain
    last = len(outer)
    unroll = _widen(e, n, unroll)
    cuts = -(-n // SPLIT) if n >= LONG_ROW else 1
    rows = size(outer) * cuts
    per_tile = max(1, GRAIN // min(n, SPLIT))
    while per_tile % 2 == 0 and work * per_tile > LONG_TILE * rows:
        per_tile //= 2  # few rows of much work: more tiles, so that every thread has some
    dims, extents = list(range(last)), list(outer)
    if cuts > 1:
        dims, extents = [*dims, -1], [*extents, cuts]

    def row(_unit: Value) -> None:
        start: Value = Value("i64", const=0)
        end: Value = Value("i64", const=n)
        if cuts > 1:
            start = f.mul(e.axes.pop(-1).index, SPLIT)
            end = f.op("smin", f.add(start, SPLIT), n)
        over_vectors(e, last, start, end, unroll, 2, lambda: _store_all(e, kernel))

    far = _far(e, kernel) if cuts == 1 else []

    def ask() -> None:
        for load in far:
            e.ask(load, n)

    over_rows(e, low, high, dims, extents, per_tile, rows, row, ask if far else None)
    return -(-rows // per_tile), per_tile * n if cuts == 1 else 0


def _far(e: Evaluator, kernel: Kernel) -> list[Expr]:
    """Return the loads of runs of a large array, each at an index that a row has."""
    last = len(kernel.domain) - 1

    def varies(x: Expr) -> bool:
        return any(a.strides[last] for part in ordered([x]) for a in e.affines(part))

    return [
        x
        for x in _loads(kernel)
        if x.args and not x.attrs[2] and x.attrs[1].strides[last] == 1
        and is_large(kernel.buffers[x.attrs[0]]) and not any(map(varies, x.args))
    ]  # fmt: skip
