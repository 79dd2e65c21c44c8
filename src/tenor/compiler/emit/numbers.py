"""Run-time numbers: which a function needs, and how the entry works them out.

A literal of the loops may be a `Sym`. The entry loads the symbols it is made of from its table of
arguments, works out each number once, and hands inner functions those they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.ir.symbolic import Sym

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tenor.ir.loops import Block, Function
    from tenor.ir.symbolic import Atom

__all__ = ["arguments", "computed", "needs"]


def needs(function: Function, callees: dict[str, list[Sym]]) -> list[Sym]:
    """Return the run-time numbers a function and those it calls are written with."""
    found: dict[str, Sym] = {}
    for number in _literals(function.body):
        found.setdefault(repr(number), number)
    for name in function.callees:
        for number in callees[name]:
            found.setdefault(repr(number), number)
    return list(found.values())


def _literals(block: Block) -> Iterator[Sym]:
    for instr in block.instrs:
        for value in instr.args:
            if type(value.const) is Sym:
                yield value.const
        if instr.op == "for" and type(instr.attrs[0]) is Sym:
            yield instr.attrs[0]
        for inner in instr.blocks:
            yield from _literals(inner)
    for value in block.yields:
        if isinstance(value.const, Sym):
            yield value.const


def arguments(names: Iterable[str]) -> list[str]:
    """Return numbers as they stand among parameters."""
    return [f"i64 {name}" for name in names]


def computed(numbers: list[Sym], names: dict[str, str], function: Function) -> list[str]:
    """Return the instructions that work numbers out from the symbols in the entry's arguments."""
    write = _Writer(function)
    for number in numbers:
        write.polynomial(number, names[repr(number)])
    return write.lines


class _Writer:
    """The instructions being written, and the atoms that are known."""

    def __init__(self, function: Function) -> None:
        self.table, self.first = f"%v{function.params[0].number}", function.numbers
        self.lines: list[str] = []
        self.known: dict[Atom, str] = {}
        self.count = 0

    def fresh(self, text: str) -> str:
        """Append an instruction; return the name of its value."""
        self.count += 1
        self.lines.append(f"%c{self.count} = {text}")
        return f"%c{self.count}"

    def polynomial(self, number: Sym, name: str) -> None:
        """Append what works a number out, under a name."""
        total = "0"
        for monomial, factor in number.terms:
            value = str(factor)
            for atom in monomial:
                value = self.fresh(f"mul i64 {value}, {self.atom(atom)}")
            total = self.fresh(f"add i64 {total}, {value}")
        self.lines.append(f"{name} = add i64 {total}, 0")

    def operand(self, x: Sym | int) -> str:
        """Return a number as an operand."""
        if not isinstance(x, Sym):
            return str(x)
        self.count += 1
        name = f"%p{self.count}"
        self.polynomial(x, name)
        return name

    def atom(self, atom: Atom) -> str:
        """Return the name of an atom's value."""
        found = self.known.get(atom)
        if found is None:
            found = self.known[atom] = (
                self._loaded(atom) if atom.kind in "su" else self._floor(atom)
            )
        return found

    def _loaded(self, atom: Atom) -> str:
        place = self.fresh(f"getelementptr i64, ptr {self.table}, i64 {self.first + atom.order}")
        return self.fresh(f"load i64, ptr {place}, align 8")

    def _floor(self, atom: Atom) -> str:
        """Divide, rounding down; a divisor is positive."""
        assert atom.kind == "q", "a function of sizes is worked out before the kernel runs"
        top, bottom = map(self.operand, atom.args)
        if atom.low is not None:
            return self.fresh(f"udiv i64 {top}, {bottom}")
        quotient = self.fresh(f"sdiv i64 {top}, {bottom}")
        rest = self.fresh(f"srem i64 {top}, {bottom}")
        negative = self.fresh(f"icmp slt i64 {rest}, 0")
        return self.fresh(f"add i64 {quotient}, {self._extended(negative)}")

    def _extended(self, flag: str) -> str:
        return self.fresh(f"sext i1 {flag} to i64")
