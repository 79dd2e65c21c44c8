"""Print a loops Function as one C99 file.

A vector is as many scalars as it has lanes. Integers are unsigned, as C leaves signed overflow
undefined; "i64" in a function of indices only is `intptr_t`. Nothing is called but functions of
the file itself and, for what C has in math.h, that.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.emit.c_routines import HEAD, ROUTINES, saturating
from tenor.compiler.emit.width import indices_only
from tenor.ir.loops import element, lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tenor.ir.loops import Block, Function, Instr, Value

__all__ = ["emit"]

TYPES: Final = {"f32": "float", "f64": "double", "f16": "uint16_t", "bf16": "uint16_t",
                "i1": "int", "i8": "uint8_t", "i16": "uint16_t", "i32": "uint32_t",
                "i64": "uint64_t", "ptr": "t_byte *"}  # fmt: skip
SIGNED: Final = {"i1": "int", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t"}
SIZES: Final = {"f32": "4", "f64": "8", "f16": "2", "bf16": "2", "i1": "1", "i8": "1", "i16": "2",
                "i32": "4", "i64": "8", "ptr": "(intptr_t)sizeof(t_byte *)"}  # fmt: skip
SIGNS: Final = {"add": "+", "sub": "-", "mul": "*", "fdiv": "/", "and": "&", "or": "|", "xor": "^",
                "udiv": "/", "urem": "%", "sdiv": "/", "srem": "%"}  # fmt: skip
TESTS: Final = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
ORDERED: Final = {"oeq": "{} == {}", "une": "{} != {}", "olt": "{} < {}", "ole": "{} <= {}",
                  "ogt": "{} > {}", "oge": "{} >= {}", "uno": "{0} != {0} || {1} != {1}",
                  "ugt": "!({} <= {})", "uge": "!({} < {})", "ult": "!({} >= {})",
                  "ule": "!({} > {})", "ord": "{0} == {0} && {1} == {1}",
                  "one": "{0} < {1} || {0} > {1}"}  # fmt: skip
SILENT: Final = ("fence", "prefetch")
"""Instructions that change no result."""


def emit(function: Function, symbol: str, signature: str, arguments: Sequence[str]) -> str:
    """Return the function and all it calls as one C99 file.

    Args:
        function: The entry; it has no run-time numbers.
        symbol: What the entry is called inside the file.
        signature: The declaration of the one function others see.
        arguments: What that function hands to the entry, whose result it returns.
    """
    file = _File()
    file.define(function, symbol, {}, symbol)
    given = ", ".join(arguments)
    outer = f"{signature} {{\n    return (int32_t){symbol}({given});\n}}"
    return "\n".join([*file.head(), *file.bodies, outer, ""])


class _File:
    """Functions being printed; equal inner ones are printed once."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.routines: dict[str, str] = {}
        self.symbols: dict[str, str] = {}
        self.math = False

    def head(self) -> list[str]:
        """Return what stands before the functions."""
        include = ["#include <math.h>"] if self.math else []
        return ["#include <stdint.h>", *include, HEAD, *self.routines.values()]

    def routine(self, name: str, text: str = "") -> str:
        """Return the name of a function that stands at the top of the file."""
        self.routines.setdefault(name, text or ROUTINES[name])
        return name

    def define(self, function: Function, symbol: str, names: dict[str, str], root: str) -> str:
        """Print a function, its callees first; return its symbol."""
        for name, callee in function.callees.items():
            if name not in names:
                made = re.sub(r"\W", "_", f"{root}_{name}")
                inner = {} if function.calls_kernels else names
                names[name] = self.define(callee, made, inner, made if inner is not names else root)
        text = _Printer(self, function, symbol, names).text()
        key = text.replace(f"{symbol}(", "(", 1)
        known = self.symbols.setdefault(key, symbol)
        if known == symbol:
            self.bodies.append(text)
        return known


class _Printer:
    """One function being printed."""

    def __init__(self, file: _File, function: Function, symbol: str, names: dict[str, str]) -> None:
        self.file, self.function, self.symbol, self.callees = file, function, symbol, names
        self.index = indices_only(function)
        self.known: dict[int, list[str]] = {}
        self.uses: dict[int, int] = {}
        self.lines: list[str] = []
        self.depth = 1
        self.extra = 0
        if function.result is not None:
            self._use(function.result)
        self._count(function.body)

    def text(self) -> str:
        """Return the definition."""
        f = self.function
        for p in f.params:
            self.known[p.number] = self._names(p)
        self._block(f.body)
        if f.result is not None:
            given = self.each(f.result)
            made = f"({self.returned(f.result.type)}){{{{{', '.join(given)}}}}}"
            self.line(f"return {given[0] if len(given) == 1 else made};")
        params = [self.declared(p.type, n) for p in f.params for n in self.known[p.number]]
        unused = [n for p in f.params if not self.uses.get(p.number) for n in self.known[p.number]]
        head = [f"    (void){name};" for name in unused]
        kind = "void" if f.result is None else self.returned(f.result.type)
        listed = ", ".join(params) or "void"
        return "\n".join([f"static {kind} {self.symbol}({listed}) {{", *head, *self.lines, "}"])

    # -- uses ---------------------------------------------------------------------------------
    def _use(self, value: Value) -> None:
        if value.const is None:
            self.uses[value.number] = self.uses.get(value.number, 0) + 1

    def _count(self, block: Block, results: Sequence[Value] | None = None) -> None:
        """Count the uses of every value, from the last instruction to the first.

        Of what a block of an `if` yields, only that counts whose result is used.
        """
        for i, value in enumerate(block.yields):
            if results is None or self.uses.get(results[i].number):
                self._use(value)
        for instr in reversed(block.instrs):
            if self._needed(instr):
                for inner in reversed(instr.blocks):
                    self._count(inner, instr.results if instr.op == "if" else None)
                for value in instr.args:
                    self._use(value)

    def _needed(self, instr: Instr) -> bool:
        if instr.op in SILENT:
            return False
        alone = instr.op in ("store", "call", "for", "while", "if")
        return alone or any(self.uses.get(r.number) for r in instr.results)

    # -- pieces -------------------------------------------------------------------------------
    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("    " * self.depth + text)

    def type(self, type_: str) -> str:
        """Return C's name of a scalar type."""
        scalar = element(type_)
        return "intptr_t" if scalar == "i64" and self.index else TYPES[scalar]

    def signed(self, type_: str) -> str:
        """Return C's name of the signed integer of a type's width."""
        scalar = element(type_)
        return "intptr_t" if scalar == "i64" and self.index else SIGNED[scalar]

    def unsigned(self, type_: str) -> str:
        """Return C's name of the unsigned integer of a type's width."""
        scalar = element(type_)
        return "uintptr_t" if scalar == "i64" and self.index else TYPES[scalar]

    def returned(self, type_: str) -> str:
        """Return the type of a function's result; a vector is a struct of its lanes."""
        count = lanes(type_)
        if count == 1:
            return self.type(type_)
        kind = self.type(type_)
        name = f"t_{kind}_{count}"
        return self.file.routine(name, f"typedef struct {{ {kind} lane[{count}]; }} {name};")

    def declared(self, type_: str, name: str) -> str:
        """Return a declaration."""
        kind = self.type(type_)
        return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"

    def _names(self, value: Value) -> list[str]:
        count = lanes(value.type)
        stem = f"v{value.number}"
        return [stem] if count == 1 else [f"{stem}_{i}" for i in range(count)]

    def fresh(self) -> str:
        """Return a new name."""
        self.extra += 1
        return f"t{self.extra}"

    def each(self, value: Value) -> list[str]:
        """Return how each lane of a value is written."""
        if value.const is None:
            return self.known[value.number]
        return [self.literal(value.const, element(value.type))] * lanes(value.type)

    def literal(self, value: Any, scalar: str) -> str:
        """Return a literal."""
        assert isinstance(value, (int, float, bool)), "a size that is not known"
        if scalar in ("f32", "f64"):
            return self._float(float(value), scalar)
        if scalar in ("f16", "bf16"):
            raw = struct.pack("<e", value) if scalar == "f16" else struct.pack("<f", value)[2:]
            return str(int.from_bytes(raw, "little"))
        if scalar == "i1":
            return str(int(bool(value)))
        if scalar == "ptr":
            return "0"
        if scalar == "i64" and self.index:
            return str(int(value)) if value >= 0 else f"({int(value)})"
        bits = int(scalar[1:])
        return f"{int(value) % (1 << bits)}" + {64: "ull", 32: "u"}.get(bits, "u")

    def _float(self, value: float, scalar: str) -> str:
        if scalar == "f32" and math.isfinite(value):
            try:
                value = struct.unpack("f", struct.pack("f", value))[0]
            except OverflowError:
                value = math.copysign(math.inf, value)
        if not math.isfinite(value):
            self.file.math = True
            name = "NAN" if math.isnan(value) else "INFINITY"
            return f"(-{name})" if value < 0 else name
        text = f"{value:.9g}" if scalar == "f32" else repr(value)
        text += "" if set(text) & set(".e") else ".0"
        text += "f" if scalar == "f32" else ""
        return f"({text})" if text[0] == "-" else text

    # -- blocks -------------------------------------------------------------------------------
    def _block(self, block: Block) -> None:
        for instr in block.instrs:
            if not self._needed(instr):
                continue
            statement = STATEMENTS.get(instr.op)
            if statement is not None:
                statement(self, instr)
                continue
            result = instr.results[0]
            made = VALUES[instr.op](self, instr) if instr.op in VALUES else self._lanewise(instr)
            if instr.op in RENAMED:
                self.known[result.number] = made
                continue
            names = self.known[result.number] = self._names(result)
            for name, text in zip(names, made, strict=True):
                kind = (
                    "t_byte *const" if result.type == "ptr" else f"const {self.type(result.type)}"
                )
                self.line(f"{kind} {name} = {text};")

    def _lanewise(self, instr: Instr) -> list[str]:
        """Return a value whose lanes are made of the operands' lanes."""
        row = LANES[instr.op]
        parts = zip(*map(self.each, instr.args), strict=True)
        return [row(self, instr, *part) for part in parts]

    # -- arithmetic ---------------------------------------------------------------------------
    def binary(self, instr: Instr, a: str, b: str) -> str:
        """Combine two numbers."""
        type_, op = instr.args[0].type, instr.op
        scalar = element(type_)
        if scalar[0] == "f" or (scalar == "i64" and self.index and op in ("add", "sub", "mul")):
            return f"{a} {SIGNS[op]} {b}"
        if scalar == "i1":
            sign = {"add": "^", "sub": "^", "mul": "&"}.get(op) or SIGNS[op]
            return f"{a} {sign} {b}"
        kind = self.signed(type_) if op in ("sdiv", "srem") else self.unsigned(type_)
        if kind in ("uint8_t", "uint16_t"):
            kind = "uint32_t"
        return f"({self.type(type_)})(({kind}){a} {SIGNS[op]} ({kind}){b})"

    def shift(self, instr: Instr, a: str, b: str) -> str:
        """Shift an integer."""
        type_ = instr.args[0].type
        kind = self.signed(type_) if instr.op == "ashr" else self.unsigned(type_)
        if instr.op == "shl" and kind in ("uint8_t", "uint16_t"):
            kind = "uint32_t"
        sign = "<<" if instr.op == "shl" else ">>"
        return f"({self.type(type_)})(({kind}){a} {sign} {b})"

    def extreme(self, instr: Instr, a: str, b: str) -> str:
        """Choose the smaller or larger."""
        type_, op = instr.args[0].type, instr.op
        sign = "<" if op.endswith("min") else ">"
        if element(type_)[0] == "f":
            return f"{a} {sign} {b} ? {a} : {b}"
        for value, other in ((instr.args[0], b), (instr.args[1], a)):
            if self._neutral(op, value):
                return other  # compilers warn of a comparison whose outcome they know
        kind = self.signed(type_) if op[0] == "s" else self.unsigned(type_)
        return f"({kind}){a} {sign} ({kind}){b} ? {a} : {b}"

    def _neutral(self, op: str, value: Value) -> bool:
        """Tell whether a literal is the last that an extreme chooses."""
        if not isinstance(value.const, int):
            return False
        bits = int(element(value.type)[1:])
        ends = {"smin": (1 << (bits - 1)) - 1, "smax": -(1 << (bits - 1)), "umin": -1, "umax": 0}
        return (value.const - ends[op]) % (1 << bits) == 0

    def remainder(self, instr: Instr, a: str, b: str) -> str:
        """Return what C's fmod does."""
        return self._called("fmod", instr.args[0].type, a, b)

    def fma(self, instr: Instr, a: str, b: str, c: str) -> str:
        """Multiply and add; rounded once where the result depends on it."""
        if "exact" in instr.attrs:
            return self._called("fma", instr.args[0].type, a, b, c)
        return f"{a} * {b} + {c}"

    def dots(self, instr: Instr) -> list[str]:
        """Add products of neighbours, two 16-bit numbers or four bytes, to 32-bit sums."""
        a, b, sums = map(self.each, instr.args)
        near = len(a) // len(sums)
        narrow = f"int{element(instr.args[0].type)[1:]}_t"
        made = []
        for i, total in enumerate(sums):
            parts = [
                f"(uint32_t)((int32_t)({narrow}){x} * (int32_t)({narrow}){y})"
                for x, y in zip(a, b, strict=True)
            ][i * near : (i + 1) * near]
            kind = self.type(instr.args[2].type)
            made.append(f"({kind})({' + '.join([f'(uint32_t){total}', *parts])})")
        return made

    def negate(self, _instr: Instr, a: str) -> str:
        """Negate a float."""
        return f"-{a}"

    def compare(self, instr: Instr, a: str, b: str) -> str:
        """Compare two values."""
        type_, op = instr.args[0].type, instr.op
        if element(type_)[0] == "f":
            return ORDERED[op].format(a, b)
        if element(type_) in ("ptr", "i1") or op in ("eq", "ne"):
            return f"{a} {TESTS[op[-2:]]} {b}"
        kind = self.signed(type_) if op[0] == "s" else self.unsigned(type_)
        return f"({kind}){a} {TESTS[op[1:]]} ({kind}){b}"

    def _called(self, name: str, type_: str, *args: str) -> str:
        """Return a call of a function of math.h."""
        self.file.math = True
        return f"{name}{'f' if element(type_) == 'f32' else ''}({', '.join(args)})"

    def rounding(self, instr: Instr, a: str) -> str:
        """Apply a function that math.h has."""
        name = {"roundeven": "rint"}.get(instr.op, instr.op)
        return self._called(name, instr.args[0].type, a)

    def bits(self, instr: Instr, a: str) -> str:
        """Count bits."""
        width = element(instr.args[0].type)[1:]
        name = self.file.routine(instr.op)
        return f"({self.type(instr.args[0].type)}){name}({a}, {width})"

    # -- conversions --------------------------------------------------------------------------
    def _regrouped(self, given: list[str], come: str, go: str) -> list[str]:
        """Return integers taken apart into narrower ones, or put together, the first lowest."""
        narrow, wide = sorted((come, go), key=lambda t: int(element(t)[1:]))
        size, ratio = int(element(narrow)[1:]), lanes(narrow) // lanes(wide)
        small, large = f"uint{size}_t", f"uint{size * ratio}_t"
        kind = self.type(go)
        if wide == come:
            return [
                f"({kind})(({large}){given[i // ratio]} >> {size * (i % ratio)})"
                for i in range(lanes(go))
            ]
        parts = [
            f"({large})(({large})({small}){x} << {size * (i % ratio)})" for i, x in enumerate(given)
        ]
        rows = (parts[i : i + ratio] for i in range(0, len(parts), ratio))
        return [f"({kind})({' | '.join(row)})" for row in rows]

    def resized(self, instr: Instr, a: str) -> str:
        """Widen or narrow an integer."""
        come, go = instr.args[0].type, instr.results[0].type
        if element(go) == "i1":
            return f"(int)({a} & 1)"
        if instr.op == "sext":
            one = f"-{a}" if element(come) == "i1" else f"({self.signed(come)}){a}"
            return f"({self.type(go)})({self.signed(go)}){one}"
        return f"({self.type(go)})({self.unsigned(come)}){a}"

    def to_float(self, instr: Instr, a: str) -> str:
        """Convert an integer to a float."""
        come, go = instr.args[0].type, instr.results[0].type
        sign = self.signed(come) if instr.op == "sitofp" else self.unsigned(come)
        one = f"-{a}" if element(come) == "i1" and instr.op == "sitofp" else f"({sign}){a}"
        return f"({self.type(go)}){one}"

    def to_integer(self, instr: Instr, a: str) -> str:
        """Convert a float to the nearest integer in range; NaN gives 0."""
        come, go = element(instr.args[0].type), element(instr.results[0].type)
        unsigned = instr.op == "fptoui"
        name, text = saturating(TYPES[come], SIGNED[go], int(go[1:]), unsigned=unsigned)
        return f"({self.type(go)}){self.file.routine(name, text)}({a})"

    def truncated(self, instr: Instr, a: str) -> str:
        """Convert a float that is in range."""
        go = instr.results[0].type
        return f"({self.type(go)})({self.signed(go)}){a}"

    def refloated(self, instr: Instr, a: str) -> str:
        """Convert between floats; float16 is held as its bits."""
        come, go = element(instr.args[0].type), element(instr.results[0].type)
        if come == "f16":
            inner = f"{self.file.routine('float_of_half')}({a})"
            return inner if go == "f32" else f"({TYPES[go]}){inner}"
        if go == "f16":
            return f"{self.file.routine('half_of_float')}((float){a})"
        return f"({TYPES[go]}){a}"

    def bitcast(self, instr: Instr) -> list[str]:
        """Take the bits of lanes as lanes of another type."""
        come, go = instr.args[0].type, instr.results[0].type
        given = self.each(instr.args[0])
        if lanes(come) != lanes(go):
            if element(come) != "i1":
                return self._regrouped(given, come, go)
            assert lanes(go) == 1, "flags become one number"
            kind = self.type(go)
            return [" | ".join(f"({kind})(({kind}){x} << {i})" for i, x in enumerate(given))]
        floats = [element(t) in ("f32", "f64") for t in (come, go)]
        if floats[0] == floats[1]:
            return [f"({self.type(go)}){x}" for x in given]
        width = {"f32": "float", "f64": "double"}[element(come if floats[0] else go)]
        name = self.file.routine(f"bits_of_{width}" if floats[0] else f"{width}_of_bits")
        return [f"{name}({x})" for x in given]

    def select(self, instr: Instr) -> list[str]:
        """Choose by a condition."""
        condition, a, b = map(self.each, instr.args)
        if len(condition) < len(a):
            condition = condition * len(a)
        return [f"{c} ? {x} : {y}" for c, x, y in zip(condition, a, b, strict=True)]

    # -- lanes --------------------------------------------------------------------------------
    def splat(self, instr: Instr) -> list[str]:
        """Repeat a scalar."""
        return self.each(instr.args[0]) * lanes(instr.results[0].type)

    def extract(self, instr: Instr) -> list[str]:
        """Take a lane out."""
        vector, lane = instr.args
        names = self.each(vector)
        if lane.const is not None:
            return [names[int(lane.const)]]
        at, text = self.each(lane)[0], names[-1]
        for i, name in reversed([*enumerate(names[:-1])]):
            text = f"({at} == {i} ? {name} : {text})"
        held = self.fresh()
        kind = self.declared(instr.results[0].type, held)
        self.line(f"const {kind} = {text};")
        return [held]

    def insert(self, instr: Instr) -> list[str]:
        """Put a lane in."""
        names = list(self.each(instr.args[0]))
        names[instr.attrs[0]] = self.each(instr.args[1])[0]
        return names

    def shuffle(self, instr: Instr) -> list[str]:
        """Pick lanes of two vectors."""
        names = [*self.each(instr.args[0]), *self.each(instr.args[1])]
        return [names[i] for i in instr.attrs[0]]

    def iota(self, instr: Instr) -> list[str]:
        """Count lanes."""
        type_ = instr.results[0].type
        return [self.literal(i, element(type_)) for i in range(lanes(type_))]

    # -- memory -------------------------------------------------------------------------------
    def gep(self, instr: Instr) -> list[str]:
        """Step a pointer."""
        pointer, offset = instr.args
        at = self.each(offset)[0]
        if not (self.index or offset.const is not None):
            at = f"(intptr_t){at}"
        size = SIZES[instr.attrs[0]]
        return [f"{self.each(pointer)[0]} + {at}" + (f" * {size}" if size != "1" else "")]

    def _place(self, pointer: str, type_: str, lane: int) -> str:
        scalar = element(type_)
        at = pointer if lane == 0 else f"({pointer} + {lane} * {SIZES[scalar]})"
        return f"*(t_{'i8' if scalar == 'i1' else scalar} *){at}"

    def load(self, instr: Instr) -> list[str]:
        """Load, perhaps under a mask."""
        type_, (pointer, *mask) = instr.results[0].type, instr.args
        at, count = self.each(pointer)[0], lanes(type_)
        read = [self._place(at, type_, i) for i in range(count)]
        if element(type_) == "i64" and self.index:
            read = [f"(intptr_t){x}" for x in read]
        if not mask:
            return read
        zero = self.literal(0, element(type_))
        return [f"{m} ? {x} : {zero}" for m, x in zip(self.each(mask[0]), read, strict=True)]

    def store(self, instr: Instr) -> None:
        """Store, perhaps under a mask."""
        value, pointer, *mask = instr.args
        at, given = self.each(pointer)[0], self.each(value)
        for i, x in enumerate(given):
            when = f"if ({self.each(mask[0])[i]}) " if mask else ""
            one = f"(uint64_t){x}" if element(value.type) == "i64" and self.index else x
            self.line(f"{when}{self._place(at, value.type, i)} = {one};")

    # -- control ------------------------------------------------------------------------------
    def call(self, instr: Instr) -> None:
        """Call another function of the file."""
        callee = self.function.callees[instr.attrs[0]]
        args = []
        for value, param in zip(instr.args, callee.params, strict=True):
            theirs = "intptr_t" if indices_only(callee) else "uint64_t"
            cast = (
                f"({theirs})" if element(value.type) == "i64" and theirs != self.type("i64") else ""
            )
            assert lanes(param.type) == lanes(value.type)
            args += [cast + x for x in self.each(value)]
        text = f"{self.callees[instr.attrs[0]]}({', '.join(args)})"
        if not instr.results:
            self.line(f"{text};")
            return
        result = instr.results[0]
        names = self.known[result.number] = self._names(result)
        if len(names) > 1:
            whole = self.fresh()
            self.known[result.number] = [f"{whole}.lane[{i}]" for i in range(len(names))]
            names = [whole]
        self.line(f"const {self.returned(result.type)} {names[0]} = {text};")

    def _carry(
        self, params: Sequence[Value], given: Sequence[Value], after: Sequence[Value]
    ) -> None:
        """Declare what a loop carries; what it leaves behind has the same names."""
        for param, first, last in zip(params, given, after, strict=True):
            names = self.known[param.number] = self.known[last.number] = self._names(param)
            for name, x in zip(names, self.each(first), strict=True):
                self.line(f"{self.declared(param.type, name)} = {x};")
            if not self.uses.get(param.number) and not self.uses.get(last.number):
                self.lines += ["    " * self.depth + f"(void){name};" for name in names]

    def _pass_on(self, params: Sequence[Value], values: Sequence[Value]) -> None:
        """Assign what the next round gets, all at once."""
        to = [n for p in params for n in self.known[p.number]]
        come = [x for v in values for x in self.each(v)]
        types = [p.type for p in params for _ in self.known[p.number]]
        changed = {n for n, x in zip(to, come, strict=True) if n != x}
        for i, (x, type_) in enumerate(zip(come, types, strict=True)):
            if x in changed and x in to[:i]:
                held = self.fresh()
                self.line(f"{self.declared(type_, held)} = {x};")
                come[i] = held
        # What was held above was read before anything is written below.
        for name, x in zip(to, come, strict=True):
            if name != x:
                self.line(f"{name} = {x};")

    def _inside(self, block: Block) -> Iterator[None]:
        self.depth += 1
        self._block(block)
        yield
        self.depth -= 1

    def for_(self, instr: Instr) -> None:
        """Print a counted loop."""
        low, high, *carried = instr.args
        step, block = instr.attrs[0], instr.blocks[0]
        index, *params = block.params
        self._carry(params, carried, instr.results)
        name = self._names(index)[0]
        self.known[index.number] = [name]
        first, last = self.each(low)[0], self.each(high)[0]
        kind = self.type("i64")
        test = f"{name} < {last}" if self.index else f"(int64_t){name} < (int64_t){last}"
        self.line(f"for ({kind} {name} = {first}; {test}; {name} += {step}) {{")
        for _ in self._inside(block):
            self._pass_on(params, block.yields)
        self.line("}")

    def while_(self, instr: Instr) -> None:
        """Print a loop whose condition is computed before each round."""
        before, body = instr.blocks
        self._carry(before.params, instr.args, instr.results)
        for seen, param in zip(before.params, body.params, strict=True):
            self.known[param.number] = self.known[seen.number]
        self.line("for (;;) {")
        self.depth += 1
        self._block(before)
        self.line(f"if (!{self.each(before.yields[0])[0]}) break;")
        self._block(body)
        self._pass_on(before.params, body.yields)
        self.depth -= 1
        self.line("}")

    def if_(self, instr: Instr) -> None:
        """Print two branches."""
        used = [bool(self.uses.get(r.number)) for r in instr.results]
        for result in (r for r, u in zip(instr.results, used, strict=True) if u):
            for name in self.known.setdefault(result.number, self._names(result)):
                self.line(f"{self.declared(result.type, name)};")
        self.line(f"if ({self.each(instr.args[0])[0]}) {{")
        for number, block in enumerate(instr.blocks):
            if number and not (block.instrs or block.yields):
                break
            if number:
                self.line("} else {")
            for _ in self._inside(block):
                for result, value, use in zip(instr.results, block.yields, used, strict=True):
                    if not use:
                        continue
                    for name, x in zip(self.known[result.number], self.each(value), strict=True):
                        self.line(f"{name} = {x};")
        self.line("}")


LANES: Final[dict[str, Callable[..., str]]] = {
    **dict.fromkeys(("add", "sub", "mul", "fdiv", "and", "or", "xor", "udiv", "urem", "sdiv",
                     "srem"), _Printer.binary),
    **dict.fromkeys(("shl", "lshr", "ashr"), _Printer.shift),
    **dict.fromkeys(("fmin", "fmax", "smin", "smax", "umin", "umax"), _Printer.extreme),
    **dict.fromkeys(("sqrt", "floor", "ceil", "trunc", "roundeven", "fabs"), _Printer.rounding),
    **dict.fromkeys(("ctlz", "cttz", "ctpop"), _Printer.bits),
    **dict.fromkeys(("sext", "zext", "trunc_int"), _Printer.resized),
    **dict.fromkeys(("sitofp", "uitofp"), _Printer.to_float),
    **dict.fromkeys(("fptosi", "fptoui"), _Printer.to_integer),
    **dict.fromkeys(("fpext", "fptrunc"), _Printer.refloated),
    **dict.fromkeys(("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge", *ORDERED),
                    _Printer.compare),
    "fptosi_inside": _Printer.truncated, "frem": _Printer.remainder, "fma": _Printer.fma,
    "fneg": _Printer.negate,
}  # fmt: skip
"""What is done lane by lane."""
VALUES: Final[dict[str, Callable[[_Printer, Instr], list[str]]]] = {
    "bitcast": _Printer.bitcast, "select": _Printer.select, "splat": _Printer.splat,
    "extract": _Printer.extract, "insert": _Printer.insert, "shuffle": _Printer.shuffle,
    "iota": _Printer.iota, "gep": _Printer.gep, "load": _Printer.load,
    "pair_dots": _Printer.dots,
}  # fmt: skip
RENAMED: Final = ("splat", "extract", "insert", "shuffle", "iota")
"""Instructions whose lanes are others' lanes: nothing is written for them."""
STATEMENTS: Final[dict[str, Callable[[_Printer, Instr], None]]] = {
    "store": _Printer.store, "call": _Printer.call, "for": _Printer.for_,
    "while": _Printer.while_, "if": _Printer.if_,
}  # fmt: skip
