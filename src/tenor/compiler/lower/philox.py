"""Philox4x32-10, the counter-based generator behind every random number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.ir.loops import lanes, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.loops import Function, Value

__all__ = ["block", "philox"]

ROUNDS: Final = 10
MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)


def widened(f: Function, a: Value, factor: int) -> Value:
    """Return the 64-bit product of an unsigned 32-bit integer and a constant."""
    return f.mul(f.convert("zext", a, vector("i64", lanes(a.type))), factor)


def words(f: Function, a: Value) -> tuple[Value, Value]:
    """Return the low and high words of a 64-bit integer."""
    narrow = vector("i32", lanes(a.type))
    return f.convert("trunc_int", a, narrow), f.convert("trunc_int", f.op("lshr", a, 32), narrow)


def block(f: Function, key: Sequence[Value], counter: Sequence[Value]) -> list[Value]:
    """Return the four words of the block with a key of two words and a counter of four.

    Source:
        Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    key, x = list(key), list(counter)
    for turn in range(ROUNDS):
        if turn:
            key = [f.add(k, w - (1 << 32)) for k, w in zip(key, WEYL, strict=True)]
        low0, high0 = words(f, widened(f, x[0], MULTIPLIERS[0]))
        low1, high1 = words(f, widened(f, x[2], MULTIPLIERS[1]))
        x = [
            f.op("xor", f.op("xor", high1, x[1]), key[0]),
            low1,
            f.op("xor", f.op("xor", high0, x[3]), key[1]),
            low0,
        ]
    return x


def philox(f: Function, seed: Value, counter: Value) -> tuple[Value, Value, Value, Value]:
    """Return the four i32 words of the block with 128-bit counter (counter, 0) and key seed.

    Args:
        f: The function under construction.
        seed: An i64 scalar; its low word is the key's first.
        counter: An i64 scalar or vector; each lane is a block of its own.
    """
    low, high = words(f, counter)
    zero = f.const(0, low.type)
    key = words(f, f.splat(seed, lanes(counter.type)))
    a, b, c, d = block(f, key, (low, high, zero, zero))
    return a, b, c, d
