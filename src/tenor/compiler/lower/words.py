"""How a target multiplies bytes: neighbours of k share a word, and a lane adds a word's products.

A word is four bytes where the machine has, or may have, dot products of them, two 16-bit numbers
where it has those of pairs, and one 16-bit number elsewhere. Sums are exact, so all give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.ir.loops import lanes, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["Words", "words_of"]

MANY: Final = 16
"""Words of a vector from which on merging them by shifts is faster than by shuffles."""
HIGH: Final = 0x80808080 - 2**32
"""The highest bit of each byte: it turned, a signed byte is an unsigned one, larger by 128."""


@dataclass(frozen=True)
class Words:
    """Words of a target.

    Attributes:
        group: Numbers of a word.
        half: Whether they are 16 bits wide.
        shifted: Whether those of the first operand are shifted to be unsigned: 128 times the sum
            of the second operand's is to be taken off.
    """

    group: int
    half: bool
    shifted: bool

    @property
    def type(self) -> str:
        """The integer type a word is held as."""
        return f"i{8 * self.size}"

    @property
    def size(self) -> int:
        """Bytes of a word."""
        return self.group * (2 if self.half else 1)

    def word(self, f: Function, bytes_: Sequence[Value], *, first: bool) -> Value:
        """Return words of vectors of bytes, one for each number of a word.

        Args:
            f: The function being written.
            bytes_: "i8", or vectors of them.
            first: Whether they are of the first operand.
        """
        count = lanes(bytes_[0].type)
        if self.group == 1:
            return f.convert("sext", bytes_[0], vector(self.type, count))
        if count == 1 or (count >= MANY and not self.half):
            return self._merged(f, bytes_, first=first)
        pairs = [
            f.shuffle(a, b, [x for i in range(count) for x in (i, count + i)])
            for a, b in zip(bytes_[::2], bytes_[1::2], strict=True)
        ]
        if self.half:
            return self.line(f, pairs[0], first=first)
        halves = [f.convert("bitcast", x, vector("i16", count)) for x in pairs]
        low, high = halves
        whole = f.shuffle(low, high, [x for i in range(count) for x in (i, count + i)])
        return self.line(f, f.convert("bitcast", whole, vector("i8", 4 * count)), first=first)

    def line(self, f: Function, bytes_: Value, *, first: bool) -> Value:
        """Return words of the bytes of one vector, in the order they lie there."""
        count = lanes(bytes_.type) // self.group
        if self.half:
            bytes_ = f.convert("sext", bytes_, vector("i16", count * self.group))
        total = f.convert("bitcast", bytes_, vector(self.type, count))
        return f.op("xor", total, HIGH) if self.shifted and first else total

    def _merged(self, f: Function, bytes_: Sequence[Value], *, first: bool) -> Value:
        """Return words by shifts: of single bytes, and of so many that shuffles cross a lot."""
        kind = vector(self.type, lanes(bytes_[0].type))
        bits, total = 8 * self.size // self.group, f.const(0, kind)
        for at, x in enumerate(bytes_):
            wide = f.convert("sext" if self.half else "zext", x, kind)
            if self.half and at < self.group - 1:  # what the last one's sign fills is shifted out
                wide = f.op("and", wide, (1 << bits) - 1)
            moved = f.op("shl", wide, at * bits) if at else wide
            total = f.op("or", total, moved) if at else moved
        return f.op("xor", total, HIGH) if self.shifted and first else total

    def multiply(self, f: Function, a: Value, b: Value, c: Value) -> Value:
        """Return c + the sums of the words' products."""
        count = lanes(c.type)
        if self.group == 1:
            wide = vector("i32", count)
            return f.add(c, f.mul(f.convert("sext", a, wide), f.convert("sext", b, wide)))
        kind = vector("i16" if self.half else "i8", count * self.group)
        a, b = (f.convert("bitcast", x, kind) for x in (a, b))
        return f.pair_dots(a, b, c) if self.half else f.byte_dots(a, b, c)


SHIFTED: Final = Words(4, half=False, shifted=True)
ROWS: Final = {
    "vnni": SHIFTED, "asked": SHIFTED, "sdot": Words(4, half=False, shifted=False),
    "pairs": Words(2, half=True, shifted=False), "smlad": Words(4, half=False, shifted=False),
    "": Words(1, half=True, shifted=False),
}  # fmt: skip


def words_of(target: Target) -> Words:
    """Return the words of a target."""
    return ROWS[target.dots]
