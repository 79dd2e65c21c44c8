"""Sums of products of bytes and 16-bit numbers, by what a target has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.emit.types import suffix, type_name
from tenor.ir.loops import lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.compiler.emit.llvm import Printer
    from tenor.ir.loops import Instr, Value

__all__ = ["byte_dots", "pair_dots"]

PAIRS: Final = {
    ("x86_", 4): "llvm.x86.sse2.pmadd.wd", ("x86_", 8): "llvm.x86.avx2.pmadd.wd",
    ("x86_", 16): "llvm.x86.avx512.pmaddw.d.512", ("wasm", 4): "llvm.wasm.dot",
}  # fmt: skip
"""Triple's beginning and lanes of the sums -> the intrinsic that adds up pairs of products.

Never the overloaded partial.reduce.add: for wasm with relaxed SIMD LLVM 22 takes it for an
instruction whose second operand has seven bits.
"""


def byte_dots(p: Printer, instr: Instr) -> str:
    """Add products of four bytes each to 32-bit sums, by VNNI, sdot or smlad."""
    a, b, c = instr.args
    bytes_, sums = p.type(a.type), p.type(c.type)
    full = f"llvm.x86.avx512.vpdpbusd.{32 * lanes(c.type)}"
    if p.target.dots == "smlad":
        return _two_pairs(p, a, b, c)
    if p.target.dots == "sdot":
        full = f"llvm.aarch64.neon.sdot.{suffix(c.type)}.{suffix(a.type)}"
    p.declare(sums, full, sums, bytes_, bytes_)
    return f"call {sums} @{full}({p.typed(c)}, {p.typed(a)}, {p.typed(b)})"


def _two_pairs(p: Printer, a: Value, b: Value, c: Value) -> str:
    """Add products of four bytes by ARM's smlad: first bytes 0 and 2, then 1 and 3."""
    p.declare("i32", "llvm.arm.smlad", "i32", "i32", "i32")
    p.declare("i32", "llvm.arm.sxtb16", "i32")
    p.declare("i32", "llvm.fshr.i32", "i32", "i32", "i32")
    words = [p.fresh(), p.fresh()]
    for word, x in zip(words, (a, b), strict=True):
        p.line(f"{word} = bitcast {p.typed(x)} to i32")
    first = p.fresh()
    p.line(f"{first} = {_smlad(p, words, p.name(c))}")
    turned = [p.fresh(), p.fresh()]
    for to, word in zip(turned, words, strict=True):
        p.line(f"{to} = call i32 @llvm.fshr.i32(i32 {word}, i32 {word}, i32 8)")
    return _smlad(p, turned, first)


def _smlad(p: Printer, words: Sequence[str], total: str) -> str:
    """Return a call that adds the products of bytes 0 and 2 of two words."""
    wide = [p.fresh(), p.fresh()]
    for to, word in zip(wide, words, strict=True):
        p.line(f"{to} = call i32 @llvm.arm.sxtb16(i32 {word})")
    return f"call i32 @llvm.arm.smlad(i32 {wide[0]}, i32 {wide[1]}, i32 {total})"


def pair_dots(p: Printer, instr: Instr) -> str:
    """Add products of two 16-bit numbers each to 32-bit sums, by what the target has for it."""
    a, b, c = instr.args
    target, sums, halves = p.target, type_name(c.type), type_name(a.type)
    made, name = p.fresh(), PAIRS.get((target.triple[:4], lanes(c.type)))
    if name is not None and target.dots in ("pairs", "vnni"):
        p.declare(sums, name, halves, halves)
        p.line(f"{made} = call {sums} @{name}({p.typed(a)}, {p.typed(b)})")
    else:
        _pairs(p, made, a, b, sums)
    return f"add {sums} {made}, {p.name(c)}"


def _pairs(p: Printer, made: str, a: Value, b: Value, sums: str) -> None:
    """Write the sums of neighbours' products in plain instructions."""
    n = lanes(a.type)
    wide, parts = f"<{n} x i32>", [p.fresh() for _ in range(5)]
    for part, x in zip(parts, (a, b), strict=False):
        p.line(f"{part} = sext {p.typed(x)} to {wide}")
    p.line(f"{parts[2]} = mul {wide} {parts[0]}, {parts[1]}")
    for part, first in zip(parts[3:], (0, 1), strict=True):
        if n == 2:
            p.line(f"{part} = extractelement {wide} {parts[2]}, i64 {first}")
            continue
        picks = ", ".join(f"i32 {i}" for i in range(first, n, 2))
        p.line(f"{part} = shufflevector {wide} {parts[2]}, {wide} poison, "
                  f"<{n // 2} x i32> <{picks}>")  # fmt: skip
    p.line(f"{made} = add {sums} {parts[3]}, {parts[4]}")
