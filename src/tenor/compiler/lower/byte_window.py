"""Windows over an image of bytes: padded rows, and words of what neighbouring windows meet.

Words lie so that the same tap of neighbouring windows is a neighbour in memory, without a gap
from one row of windows to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.storage import repeat
from tenor.compiler.lower.window import flat, nested
from tenor.ir.loops import Function, Value, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.lower.words import Words

__all__ = ["Rows", "padded_rows", "pieces", "words_along", "words_of_taps"]

FAR: Final = 64
"""Bytes up to which the taps of a vector of words are picked out of one vector."""
CLOSE: Final = 4
"""Distance of neighbouring windows up to which what lies between them is loaded too."""


@dataclass(frozen=True)
class Rows:
    """The padded copy of a channel.

    Attributes:
        image: The image's extents.
        extents: The copy's.
        low: Where the image begins in it, for each dim.
        fill: What stands beyond the image.
    """

    image: tuple[int, ...]
    extents: tuple[int, ...]
    low: tuple[int, ...]
    fill: int


def pieces(count: int, width: int) -> list[tuple[int, int]]:
    """Return (start, length) of vectors that cover so many elements exactly, the last by overlap.

    Whole vectors are left out: they are a loop's.
    """
    if count >= width:
        return [(count - width, width)] if count % width else []
    length = 1 << (count.bit_length() - 1) if count else 0
    return [(at, length) for at in dict.fromkeys((0, count - length)) if length]


def covered(f: Function, count: int, width: int, step: Callable[[Value, int], None]) -> None:
    """Run `step(start, length)` for vectors that cover so many elements exactly, in order."""
    whole = count // width * width
    if whole:
        f.loop(0, whole, width, lambda i, _: step(i, width))
    for start, length in pieces(count, width):
        step(f.const(start, "i64"), length)


def padded_rows(name: str, rows: Rows, width: int) -> Function:
    """Return the function (from, to, first) that copies a channel, padded.

    `first` is the position of the first dim the copy begins at. All of it is filled before the
    image's rows are written, by vectors of `width` bytes: the last may reach beyond it.
    """
    f = Function(name, [("from", "ptr"), ("to", "ptr"), ("first", "i64")])
    from_, to, first = f.params
    *outer, length = rows.extents
    low, extent = rows.low[-1], rows.image[-1]
    inside = max(0, min(extent, length - low))
    if rows.extents != rows.image or any(rows.low):
        x, whole = f.const(rows.fill, vector("i8", width)), prod(rows.extents)
        _whole(f, whole, width, lambda i: f.store(x, to, i))

    def row(index: list[Value]) -> None:
        target = f.gep(to, f.add(f.mul(flat(f, index, outer), length), low), "i8")
        met = [f.sub(i, before) for i, before in zip(index, rows.low, strict=False)]
        met[0] = f.add(met[0], first)
        good: Value = f.const(1, "i1")
        for at, n in zip(met, rows.image, strict=False):
            good = f.op("and", good, f.compare("ult", at, n))

        def copy() -> None:
            source = f.gep(from_, f.mul(flat(f, met, rows.image[:-1]), extent), "i8")
            covered(f, inside, width, lambda i, n: f.store(
                f.load(vector("i8", n), source, i), target, i))  # fmt: skip

        f.if_(good, copy)

    nested(f, outer, row)
    return f


def words_along(
    f: Function, words: Words, to: Value, sources: list[Value], count: int, step: int, width: int,
    *, exact: bool,
) -> None:  # fmt: skip
    """Write a row of words, made of as many rows of bytes as a word has numbers.

    Args:
        f: The function being written.
        words: How bytes are grouped.
        to: Where the words go.
        sources: Where the rows of bytes begin.
        count: Words of the row.
        step: Bytes from one word's to the next's.
        width: Lanes of a vector.
        exact: Whether nothing may be read or written beyond the row.
    """
    width = width if step <= CLOSE else 1

    def part(i: Value, n: int) -> None:
        at = f.mul(i, step)
        read = [f.load(vector("i8", n * step if n > 1 else 1), x, at) for x in sources]
        if step > 1 and n > 1:
            read = [f.shuffle(x, x, range(0, n * step, step)) for x in read]
        f.store(words.word(f, read, first=True), to, i)

    if exact:
        covered(f, count, width, part)
    else:
        _whole(f, count, width, lambda i: part(i, width))


def words_of_taps(
    f: Function, words: Words, to: Value, source: Value, count: int, step: int, dilation: int,
    width: int,
) -> None:  # fmt: skip
    """Write a row of words of neighbouring taps: bytes of one row, `dilation` apart.

    Vectors are read and written whole.
    """
    picks = [i * step + e * dilation for i in range(width) for e in range(words.group)]
    room = 1 << picks[-1].bit_length()
    if width == 1 or room > FAR:
        rows = [f.gep(source, e * dilation, "i8") for e in range(words.group)]
        words_along(f, words, to, rows, count, step, width, exact=False)
        return

    def part(i: Value) -> None:
        x = f.load(vector("i8", room), source, f.mul(i, step))
        f.store(words.line(f, f.shuffle(x, x, picks), first=True), to, i)

    _whole(f, count, width, part)


def _whole(f: Function, count: int, width: int, part: Callable[[Value], None]) -> None:
    last = -(-count // width) * width
    repeat(f, f.const(0, "i64"), f.const(last, "i64"), width, part)
