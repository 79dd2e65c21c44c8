"""The innermost loops of convolutions of bytes: a panel of channels meets all windows of a block.

Extents are arguments, so that layers share them; and where the target has choices, there is one
for each machine that may be met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.storage import repeat
from tenor.compiler.lower.ways import chosen, ways_of
from tenor.compiler.lower.words import words_of
from tenor.ir.loops import Function, lanes, vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.loops import Value
    from tenor.ir.target import Target

__all__ = ["SHORT", "Sweep", "widest"]

SHORT: Final = 4
"""Steps of k that are written out."""


def widest(target: Target) -> int:
    """Return the lanes of the widest vector of sums that code for a target uses."""
    return max(way.lanes(32) for way in ways_of(target))


@dataclass(frozen=True)
class Sweep:
    """The sums of a panel's channels over windows that lie side by side.

    Attributes:
        rows: Channels that are summed.
        every: Channels the panel holds.
        vectors: Vectors of windows of a tile.
        steady: Whether the words of a step are `step` words from those of the one before; else
            the table holds where each step's begin.
        steps: How many steps there are, where they are written out; 0: `k` says it.
        groups: Whether several groups follow one another.
        widened: Whether a panel of bytes is brought into pairs before it is used on a machine that
            multiplies pairs: one of a vector of words or more.
    """

    rows: int
    every: int
    vectors: int
    steady: bool
    steps: int
    groups: bool
    widened: bool

    @property
    def params(self) -> list[tuple[str, str]]:
        """What the function is given, by name and type.

        Words, panel, sums; the table, and room for a widened panel; places, which are rounded up
        to a pitch of whole vectors of every machine. Where several groups follow one another, how
        many, and how far apart they are, in bytes: their words, panels and sums.
        """
        pointers = ["x", "w", "c", *["table"] * (not self.steady), *["wide"] * self.widened]
        numbers = ["places", *["k"] * (not self.steps), *["step"] * self.steady]
        numbers += ["count", "x_far", "w_far", "c_far"] * self.groups
        return [*((name, "ptr") for name in pointers), *((name, "i64") for name in numbers)]

    def function(self, target: Target) -> Function:
        """Return the function that writes the sums."""
        marks = "s" * self.steady + "g" * self.groups + "w" * self.widened
        name = f"dots{self.rows}of{self.every}x{self.vectors}{marks}{self.steps or ''}"
        return chosen(
            name, self.params, target, lambda name, way: _Way(self, name, way, target).write()
        )


class _Way:
    """A sweep being written for one machine."""

    def __init__(self, sweep: Sweep, name: str, way: Target, target: Target) -> None:
        self.sweep, self.words, self.width = sweep, words_of(target), way.lanes(32)
        self.vectors, self.unit = sweep.vectors, widest(target)
        self.parted = way.dots == "pairs" and not self.words.half
        self.f = Function(name, sweep.params, noalias=True)
        self.given = dict(zip((n for n, _ in sweep.params), self.f.params, strict=True))
        above = self.f.add(self.given["places"], self.unit - 1)
        self.pitch = self.f.mul(self.f.op("udiv", above, self.unit), self.unit)

    def write(self) -> Function:
        """Return the function."""
        f, given = self.f, self.given
        if not self.sweep.groups:
            self._group(given["x"], given["w"], given["c"])
            return f

        def group(i: Value, _: list[Value]) -> None:
            self._group(*(f.gep(given[n], f.mul(i, given[f"{n}_far"]), "i8") for n in "xwc"))

        f.loop(0, given["count"], 1, group)
        return f

    def _group(self, x: Value, w: Value, c: Value) -> None:
        """Write the sums of a group."""
        f, sweep = self.f, self.sweep
        head = 4 * sweep.every if self.words.shifted else 0
        self.panel = f.gep(w, head, "i8")
        self.begun = [f.load("i32", w, r) if head else f.const(0, "i32") for r in range(sweep.rows)]
        if self.parted and sweep.widened:
            self._widen()
        places, across = self.given["places"], self.vectors * self.width
        exact = self.unit % across == 0  # what is written beyond the last window is in the pitch
        whole = self.pitch if exact else f.sub(places, f.op("urem", places, across))
        repeat(f, f.const(0, "i64"), whole, across, lambda p: self._tile(x, c, p, self.vectors))
        if not exact:
            repeat(f, whole, places, self.width, lambda p: self._tile(x, c, p, 1))

    def _widen(self) -> None:
        """Write the even bytes of a panel's words as pairs, and behind them the odd ones."""
        f, n = self.f, self.width
        wide, count = self.given["wide"], f.mul(self._k(), self.sweep.every)
        self.wide = (wide, f.gep(wide, count, "i32"))
        panel = self.panel

        def part(i: Value) -> None:
            x = f.load(vector("i32", n), panel, i)
            for to, pairs in zip(self.wide, self._pairs(x, signed=True), strict=True):
                f.store(pairs, to, i)

        repeat(f, f.const(0, "i64"), f.sub(count, n - 1), n, part)
        part(f.sub(count, n))

    def _pairs(self, words: Value, *, signed: bool) -> list[Value]:
        """Return the even bytes of words as pairs of 16-bit numbers in words, and the odd ones."""
        f, count = self.f, lanes(words.type)
        x = f.convert("bitcast", words, vector("i16", 2 * count))
        even = f.op("ashr", f.op("shl", x, 8), 8) if signed else f.op("and", x, 255)
        odd = f.op("ashr" if signed else "lshr", x, 8)
        return [f.convert("bitcast", pairs, words.type) for pairs in (even, odd)]

    def _k(self) -> Value:
        """Return how many steps there are."""
        steps = self.sweep.steps
        return self.f.const(steps, "i64") if steps else self.given["k"]

    def _tile(self, x: Value, c: Value, p: Value, vectors: int) -> None:
        """Write the sums of a few vectors of windows."""
        f, sweep, width = self.f, self.sweep, self.width
        kind = self.words.type
        x = f.gep(x, p, kind)
        held = [f.splat(start, width) for start in self.begun for _ in range(vectors)]

        def step(k: Value, held: list[Value]) -> list[Value]:
            if sweep.steady:
                at = f.mul(k, self.given["step"])
            else:
                at = f.convert("sext", f.load("i32", self.given["table"], k), "i64")
            from_ = f.gep(x, at, kind)
            columns = [f.load(vector(kind, width), from_, v * width) for v in range(vectors)]
            return self._added(k, columns, held)

        if sweep.steps:
            for k in range(sweep.steps):
                held = step(f.const(k, "i64"), held)
        else:
            held = f.loop(0, self._k(), 1, step, held)
        c = f.gep(c, p, "i32")
        for r in range(sweep.rows):
            row = f.gep(c, f.mul(self.pitch, r), "i32")
            for v in range(vectors):
                f.store(held[r * vectors + v], row, v * width)

    def _added(self, k: Value, columns: list[Value], held: list[Value]) -> list[Value]:
        """Return the sums with the products of a step added."""
        f, words = self.f, self.words
        at = f.mul(k, self.sweep.every)
        if not self.parted:
            return self._each(held, columns, lambda r: self._spread(self.panel, at, r),
                              lambda a, b, c: words.multiply(f, a, b, c))  # fmt: skip
        halves = zip(*(self._pairs(x, signed=False) for x in columns), strict=True)
        if self.sweep.widened:
            rows = [lambda r, base=base: self._spread(base, at, r) for base in self.wide]
        else:
            found = [self._pairs(self._spread(self.panel, at, r), signed=True)
                     for r in range(self.sweep.rows)]  # fmt: skip
            rows = [lambda r, half=half: found[r][half] for half in (0, 1)]
        for half, row in zip(halves, rows, strict=True):
            held = self._each(held, half, row, self._paired)
        return held

    def _each(
        self, held: list[Value], columns: Sequence[Value], row: Callable[[int], Value],
        multiply: Callable[[Value, Value, Value], Value],
    ) -> list[Value]:  # fmt: skip
        """Return the sums with the product of each column and each row added."""
        sums: list[Value] = []
        for r in range(self.sweep.rows):
            one = row(r)
            sums += [multiply(x, one, held[len(sums) + v]) for v, x in enumerate(columns)]
        return sums

    def _spread(self, base: Value, at: Value, row: int) -> Value:
        """Return a row's word in every lane."""
        f = self.f
        return f.splat(f.load(self.words.type, base, f.add(at, row)), self.width)

    def _paired(self, a: Value, b: Value, c: Value) -> Value:
        """Return the sums with the products of pairs added."""
        f, kind = self.f, vector("i16", 2 * self.width)
        return f.pair_dots(f.convert("bitcast", a, kind), f.convert("bitcast", b, kind), c)
