"""Radix sort of a line: keys and places are dealt out by one byte of the key after the other.

Dealing keeps the order of equal bytes, so after the highest byte all are in order, and equal keys
stand as they stood. A key of up to 32 bits and its place are one 64-bit word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.ir.loops import vector

if TYPE_CHECKING:
    from tenor.ir.loops import Function, Value

__all__ = ["Radix"]

BUCKETS: Final = 256
"""Values of a byte. The ends of as many runs are written to in turn: the first cache holds them."""
WORD: Final = 32
"""Bits of a place that stands in a word with its key."""
ABREAST: Final = 4
"""Counters set to 0 at a time."""


class Radix:
    """The sorting of a line in scratch memory, being written.

    In scratch: counters of each pass's bytes and, for each pass, how many have the commonest one;
    two arrays of words, between which they are dealt; two of places where those stand apart.

    Attributes:
        f: The function it is written in.
        key, place: The types of a key and of a place.
        length: Elements of a line.
        size: The bytes of scratch.
        cost: Rough nanoseconds of a line.
    """

    def __init__(self, f: Function, itemsize: int, length: int, scratch: Value) -> None:
        self.f, self.passes, self.length = f, itemsize, length
        self.key, self.place = f"i{8 * itemsize}", "i32" if length < 1 << 31 else "i64"
        self.together = itemsize <= 4 and self.place == "i32"
        self.stride = -(-length // 8) * 8
        first, arrays = 8 * (self.passes * BUCKETS + 8), 16 * self.stride
        self.counts, self.words = scratch, f.gep(scratch, first, "i8")
        self.keys = f.gep(self.words, self.stride, "i64")  # until they are words
        self.apart = f.gep(self.words, 2 * self.stride, "i64")
        self.size = first + (arrays if self.together else 2 * arrays)
        self.cost = (3 + 2 * self.passes) * length

    def put(self, key: Value, at: Value) -> None:
        """Put the keys of neighbouring elements in, from one on."""
        lowest = -(1 << (8 * self.passes - 1))
        self.f.store(self.f.op("xor", key, lowest), self.keys, at)

    def sort(self) -> Value:
        """Sort; return where the sorted elements begin."""
        f = self.f
        none = f.const(0, vector("i64", ABREAST))
        f.loop(0, self.passes * BUCKETS, ABREAST, lambda i, _: f.store(none, self.counts, i))
        f.loop(0, self.length, 1, lambda i, _: self._count(i))
        f.loop(0, BUCKETS, 1, self._bucket, [f.const(0, "i64")] * (2 * self.passes))
        halves = [f.const(0, "i64"), f.const(self.stride, "i64")]
        return f.loop(0, self.passes, 1, self._pass, halves)[0]

    def places(self, at: Value, count: int) -> Value:
        """Return the places of neighbouring sorted elements."""
        f, kind = self.f, vector("i64", count)
        if self.together:
            return f.op("and", f.load(kind, self.words, at), (1 << WORD) - 1)
        return f.convert("zext", f.load(vector(self.place, count), self.apart, at), kind)

    def _count(self, i: Value) -> None:
        """Make the word of an element, and count its bytes."""
        f = self.f
        key = f.convert("zext", f.load(self.key, self.keys, i), "i64")
        for number in range(self.passes):
            byte = f.op("and", f.op("lshr", key, 8 * number), BUCKETS - 1)
            at = f.add(byte, number * BUCKETS)
            f.store(f.add(f.load("i64", self.counts, at), 1), self.counts, at)
        if self.together:
            f.store(f.op("or", f.op("shl", key, WORD), i), self.words, i)
        else:
            f.store(key, self.words, i)
            f.store(f.convert("trunc_int", i, self.place), self.apart, i)

    def _bucket(self, byte: Value, held: list[Value]) -> list[Value]:
        """Turn the counts of a byte into where its run begins, in each pass."""
        f = self.f
        sums, most = held[: self.passes], held[self.passes :]
        for number in range(self.passes):
            at = f.add(byte, number * BUCKETS)
            count = f.load("i64", self.counts, at)
            f.store(sums[number], self.counts, at)
            sums[number] = f.add(sums[number], count)
            most[number] = f.op("smax", most[number], count)
            f.store(most[number], self.counts, self.passes * BUCKETS + number)
        return [*sums, *most]

    def _pass(self, number: Value, halves: list[Value]) -> list[Value]:
        """Deal the words out by one byte, unless all have the same."""
        f = self.f
        source, target = halves
        table = f.gep(self.counts, f.mul(number, BUCKETS), "i64")
        shift = f.add(f.mul(number, 8), WORD if self.together else 0)

        def deal(i: Value, _: list[Value]) -> None:
            i = f.add(source, i)
            word = f.load("i64", self.words, i)
            byte = f.op("and", f.op("lshr", word, shift), BUCKETS - 1)
            at = f.load("i64", table, byte)
            f.store(f.add(at, 1), table, byte)
            at = f.add(target, at)
            f.store(word, self.words, at)
            if not self.together:
                f.store(f.load(self.place, self.apart, i), self.apart, at)

        def all_of_them() -> list[Value]:
            f.loop(0, self.length, 1, deal)
            return [target, source]

        most = f.load("i64", self.counts, f.add(number, self.passes * BUCKETS))
        return f.if_(f.compare("slt", most, self.length), all_of_them, lambda: [source, target])
