"""Rows of scores become attention's weights where they lie.

A row goes through sixteen lanes (eight of 8-byte elements) whatever the target's vectors are, and
its sum through four accumulators of those, which are joined in a tree: its bits follow from its
length alone. Scores nobody looks at become 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.exponential import exp_normal
from tenor.compiler.lower.storage import memory_type
from tenor.ir.loops import Value, lanes, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.ir.loops import Function

__all__ = ["Weights"]

ABREAST: Final = 4
"""Accumulators of a row's sum."""
LOWEST: Final = {"f32": -87.0, "f64": -708.0}
"""Where a weight is taken for 0, short of the numbers that are slow to compute with."""


class Weights:
    """Writes what happens to a row.

    Args:
        f: The function being written.
        dtype: float32 or float64.
        scale: What scores are multiplied by.
        causal: Whether row t has scores up to t only.
    """

    def __init__(self, f: Function, dtype: DType, scale: float, *, causal: bool) -> None:
        self.f, self.scale, self.causal = f, scale, causal
        self.scalar = memory_type(dtype)
        self.lanes = 64 // dtype.itemsize
        self.kind = vector(self.scalar, self.lanes)

    def exponentials(
        self, row: Value, t: Value, s: int, end: Value, mask: Value | None, *others: Value
    ) -> list[Value]:
        """Turn scores into e^(scale score - largest); return their sum, and that with others.

        Args:
            row: The scores of row t; there is room up to a whole number of lanes.
            t: The row's number.
            s: All keys.
            end: Up to where scores are; those beyond what row t looks at become 0.
            mask: What is added to the scaled scores, if anything.
            others: Rows; the sum of the products with each is returned as well.
        """
        f = self.f
        length, zero = self.length(t, s), f.const(0.0, self.kind)
        top = self.largest(row, length, mask)

        def kept(x: Value, keep: Value | None) -> Value:
            return x if keep is None else f.select(keep, x, zero)

        def step(at: Value, sums: list[Value], keep: Value | None) -> list[Value]:
            e = kept(self._raised(f.sub(self._score(row, at, mask, keep), top)), keep)
            f.store(e, row, at)
            met = [kept(f.mul(e, f.load(self.kind, other, at)), keep) for other in others]
            return [f.add(x, y) for x, y in zip(sums, [e, *met], strict=True)]

        def join(a: list[Value], b: list[Value]) -> list[Value]:
            return [f.add(x, y) for x, y in zip(a, b, strict=True)]

        return self.over(length, end, [zero] * (1 + len(others)), step, join)

    def _score(self, row: Value, at: Value, mask: Value | None, keep: Value | None) -> Value:
        """Return scaled scores, with the mask added."""
        f = self.f
        x = f.mul(f.load(self.kind, row, at), self.scale)
        return x if mask is None else f.add(x, f.load(self.kind, mask, at, mask=keep))

    def finish(self, row: Value, change: Value, share: Value, mean: Value, end: Value) -> None:
        """Turn exponentials e into weights p = share e, and w into scale p (w - mean)."""
        f = self.f
        share, mean = (f.splat(x, self.lanes) for x in (share, mean))

        def step(at: Value, _: list[Value]) -> None:
            p = f.mul(f.load(self.kind, row, at), share)
            w = f.sub(f.load(self.kind, change, at), mean)
            f.store(p, row, at)
            f.store(f.mul(f.mul(p, w), self.scale), change, at)

        f.loop(0, end, self.lanes, step)

    def length(self, t: Value, s: int) -> Value:
        """Return how many keys row t looks at."""
        f = self.f
        return f.op("smin", f.add(t, 1), f.const(s, "i64")) if self.causal else f.const(s, "i64")

    def largest(self, row: Value, length: Value, mask: Value | None) -> Value:
        """Return the largest score, in every lane; 0 where a mask leaves none."""
        f = self.f
        least = f.const(float("-inf"), self.kind)

        def step(at: Value, held: list[Value], keep: Value | None) -> list[Value]:
            x = self._score(row, at, mask, keep)
            return [f.op("fmax", held[0], x if keep is None else f.select(keep, x, least))]

        (top,) = self.over(length, length, [least], step,
                           lambda a, b: [f.op("fmax", a[0], b[0])])  # fmt: skip
        if mask is not None:
            top = f.select(f.compare("oeq", top, float("-inf")), f.const(0.0, top.type), top)
        return f.splat(top, self.lanes)

    def over(
        self, length: Value, end: Value, start: list[Value],
        step: Callable[[Value, list[Value], Value | None], list[Value]],
        join: Callable[[list[Value], list[Value]], list[Value]],
    ) -> list[Value]:  # fmt: skip
        """Run `step(place, held, lanes that count)` along a row; return what is held, joined.

        Args:
            length: The elements that count.
            end: Up to where steps are made.
            start: What each accumulator begins with.
            step: Takes a vector; the last argument is None where all of its lanes count.
            join: Joins what two accumulators, or halves of their lanes, hold.
        """
        f, n = self.f, self.lanes

        def several(i: Value, held: list[Value]) -> list[Value]:
            made: list[Value] = []
            for u in range(ABREAST):
                mine = held[u * len(start) : (u + 1) * len(start)]
                made += step(f.add(i, u * n), mine, None)
            return made

        def single(i: Value, held: list[Value]) -> list[Value]:
            return step(i, held, None)

        def tail(i: Value, held: list[Value]) -> list[Value]:
            lane = f.add(f.splat(i, n), f.iota(vector("i64", n)))
            return step(i, held, f.compare("slt", lane, f.splat(length, n)))

        many = f.sub(length, f.op("urem", length, ABREAST * n))
        full = f.sub(length, f.op("urem", length, n))
        held = f.loop(0, many, ABREAST * n, several, start * ABREAST)
        groups = [held[u * len(start) : (u + 1) * len(start)] for u in range(ABREAST)]
        groups[0] = f.loop(many, full, n, single, groups[0])
        groups[0] = f.loop(full, end, n, tail, groups[0])
        while len(groups) > 1:
            half = len(groups) // 2
            groups = [join(a, b) for a, b in zip(groups[:half], groups[half:], strict=True)]
        return self._together(groups[0], join)

    def _together(
        self, held: list[Value], join: Callable[[list[Value], list[Value]], list[Value]]
    ) -> list[Value]:
        """Join the lanes of what is held, halves by halves."""
        f = self.f
        while (count := lanes(held[0].type)) > 2:
            low, high = range(count // 2), range(count // 2, count)
            held = join([f.shuffle(x, x, low) for x in held], [f.shuffle(x, x, high) for x in held])
        return join([f.extract(x, 0) for x in held], [f.extract(x, 1) for x in held])

    def _raised(self, x: Value) -> Value:
        """Return e^x for x up to 0; 0 where it would hardly be a number."""
        f, lowest = self.f, LOWEST[self.scalar]
        e = exp_normal(f, f.op("fmax", lowest, x))
        return f.select(f.compare("olt", x, lowest), f.const(0.0, e.type), e)

    def share(self, total: Value, mask: Value | None) -> Value:
        """Return 1 / total; 0 where a mask left nothing to look at."""
        f = self.f
        share = f.op("fdiv", f.const(1.0, self.scalar), total)
        if mask is None:
            return share
        return f.select(f.compare("oeq", total, 0.0), f.const(0.0, self.scalar), share)
