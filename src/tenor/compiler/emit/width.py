"""How wide a function's indices are: half of 64 bits where a pointer is 32 bits wide.

The loops count in "i64". On a machine of 32 bits each such step takes two or three instructions,
though nothing that is indexed there has 2^31 elements. So a function whose "i64" values are all
indices is printed with 32-bit ones. Where one may be data, it is printed as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.ir.loops import element

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenor.ir.loops import Block, Function, Instr
    from tenor.ir.target import Target

__all__ = ["counts_in_words", "indices_only"]

LIMIT: Final = 1 << 31
DATA: Final = ("bitcast", "fptosi", "fptoui", "fptosi_inside")
"""Instructions whose 64-bit results are no indices."""


def counts_in_words(function: Function, target: Target) -> bool:
    """Tell whether a function's "i64" values are printed as 32-bit numbers."""
    return target.pointer_bytes == 4 and indices_only(function)


def indices_only(function: Function) -> bool:
    """Tell whether all "i64" values of a function are known to be indices."""
    return not function.wide and not any(map(_is_data, _instructions(function.body)))


def _instructions(block: Block) -> Iterator[Instr]:
    for instr in block.instrs:
        yield instr
        for inner in instr.blocks:
            yield from _instructions(inner)


def _is_data(instr: Instr) -> bool:
    """Tell whether an instruction makes, takes, reads or writes a number that is no index."""
    makes = any(element(v.type) == "i64" for v in instr.results)
    takes = [v for v in instr.args if element(v.type) == "i64"]
    if any(isinstance(v.const, int) and not -LIMIT <= v.const < LIMIT for v in takes):
        return True
    if instr.op == "load":
        return makes and "index" not in instr.attrs
    if instr.op == "store":
        return element(instr.args[0].type) == "i64" and "index" not in instr.attrs
    if instr.op == "bitcast":
        return makes or bool(takes)
    if instr.op == "zext":
        return makes and element(instr.args[0].type) == "i32"
    return makes and instr.op in DATA
