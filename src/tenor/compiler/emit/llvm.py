"""Print a loops Function as LLVM IR.

Structured control flow becomes basic blocks with phis. No fast-math flag is ever set: the bits of
a result must not depend on which operations share a kernel. The text is a function of the
Function alone, so that equal kernels have equal text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.emit.dots import byte_dots, pair_dots
from tenor.compiler.emit.numbers import arguments, computed, needs
from tenor.compiler.emit.processor import ASKED, processor
from tenor.compiler.emit.types import BYTES, SCALARS, literal, suffix, type_name
from tenor.compiler.emit.width import counts_in_words
from tenor.ir.loops import Value, element, lanes, vector
from tenor.ir.symbolic import Sym

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tenor.ir.loops import Block, Function, Instr
    from tenor.ir.target import Target

__all__ = ["emit", "emit_all"]

FLOAT_OPS: Final = {"add": "fadd", "sub": "fsub", "mul": "fmul", "fdiv": "fdiv", "frem": "frem"}
INTRINSICS: Final = {"smin": "smin", "smax": "smax", "umin": "umin", "umax": "umax"}
UNARY: Final = {"fabs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil",
                "trunc": "trunc", "roundeven": "roundeven", "ctpop": "ctpop"}  # fmt: skip
CASTS: Final = {"sext": "sext", "zext": "zext", "trunc_int": "trunc", "sitofp": "sitofp",
                "uitofp": "uitofp", "fpext": "fpext", "fptrunc": "fptrunc",
                "bitcast": "bitcast", "fptosi_inside": "fptosi"}  # fmt: skip


DIVISION: Final = """\
define internal {{ i64, i64 }} @{name}(i64 %a, i64 %b) noinline #0 {{
  %q = call i64 @{divide}(i64 %a, i64 %b)
  %p = mul i64 %q, %b
  %r = sub i64 %a, %p
  %x = insertvalue {{ i64, i64 }} poison, i64 %q, 0
  %y = insertvalue {{ i64, i64 }} %x, i64 %r, 1
  ret {{ i64, i64 }} %y
}}"""
"""ARM's division, which returns both results in registers."""


def emit(
    function: Function, symbol: str, target: Target, attributes: str = "",
    beside: Sequence[Function] = (), pairs: Sequence[tuple[str, str]] = (),
) -> str:  # fmt: skip
    """Return the function and all it calls as one LLVM module.

    Args:
        function: The entry.
        symbol: The exported name.
        target: What the text is for; its fma decides how `fma` is printed, its pointers how wide
            indices are.
        attributes: Further attributes of every function, as LLVM writes them.
        beside: Functions that LLVM calls by their names, for what the target lacks.
        pairs: Names of such that return a quotient and a remainder, and of the one among `beside`
            that gives the quotient.
    """
    return emit_all({symbol: function}, target, attributes, beside, pairs)


def emit_all(
    functions: Mapping[str, Function], target: Target, attributes: str = "",
    beside: Sequence[Function] = (), pairs: Sequence[tuple[str, str]] = (),
) -> str:  # fmt: skip
    """Return functions by the names they are exported under, and all they call, as one module."""
    module = Module(target, attributes)
    for routine in beside:
        module.define(routine, routine.name, Scope(routine.name), exported=False)
        module.symbols.clear()  # two that are equal have two names all the same
    module.bodies += [DIVISION.format(name=name, divide=divide) for name, divide in pairs]
    module.used = [*(f.name for f in beside), *(name for name, _ in pairs)]
    for symbol, function in functions.items():
        module.define(function, symbol, Scope(symbol), exported=True)
    return module.text()


class Scope:
    """Names of inner functions: a kernel has its own.

    Attributes:
        root: What their symbols begin with.
        names: The symbol of each.
        needs: The run-time numbers each is handed.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.names: dict[str, str] = {}
        self.needs: dict[str, list[Sym]] = {}


class Module:
    """Functions and declarations being printed; equal inner functions are printed once."""

    def __init__(self, target: Target, attributes: str = "") -> None:
        self.target = target
        self.attributes = attributes
        self.declarations: set[str] = set()
        self.bodies: list[str] = []
        self.streams = False
        self.symbols: dict[str, str] = {}
        self.in_words: set[Function] = set()
        self.used: list[str] = []
        self.asks = False
        self.groups = {target: 0}

    def text(self) -> str:
        """Return the module."""
        attributes = "\n".join(self.group(t, number) for t, number in self.groups.items())
        notes = ["!0 = !{i32 1}"] * self.streams
        kept = ", ".join(f"ptr @{name}" for name in self.used)
        used = f"@llvm.compiler.used = appending global [{len(self.used)} x ptr] [{kept}]"
        notes += [used + ', section "llvm.metadata"'] * bool(self.used)
        asked = processor(self.target) if self.asks else []
        return "\n".join([*sorted(self.declarations), *self.bodies, *asked, attributes, *notes, ""])

    def group(self, target: Target, number: int) -> str:
        """Return the attributes of functions for a target."""
        more = f" {self.attributes}" if self.attributes else ""
        if number:
            more = f' "target-features"="{target.features}"{more}'
        width = target.vector_bits
        return f'attributes #{number} = {{ nounwind "prefer-vector-width"="{width}"{more} }}'

    def define(
        self, function: Function, symbol: str, scope: Scope, *, exported: bool
    ) -> tuple[str, list[Sym]]:
        """Print a function, its callees first; return its symbol and the numbers it needs."""
        for name, callee in function.callees.items():
            if name not in scope.names:
                made = f"{scope.root}.{name}"
                inner = Scope(made) if function.calls_kernels else scope
                found = self.define(callee, made, inner, exported=False)
                scope.names[name], scope.needs[name] = found
        printer = Printer(self, scope, function, symbol, exported)
        if printer.words:
            self.in_words.add(function)
        text = printer.text()
        key = text.replace(f"@{symbol}(", "@(", 1)
        known = None if exported else self.symbols.setdefault(key, symbol)
        if known in (None, symbol):
            self.bodies.append(text)
        return known or symbol, printer.needs


class Printer:
    """One function being printed."""

    def __init__(
        self, module: Module, scope: Scope, function: Function, symbol: str, exported: bool
    ) -> None:
        self.module = module
        self.scope = scope
        self.function = function
        self.symbol = symbol
        self.exported = exported
        self.target = function.target or module.target
        self.lines: list[str] = []
        self.label = "entry"
        self.labels = 0
        self.extra = 0
        self.needs = needs(function, scope.needs)
        self.numbers = {repr(x): f"%n{i}" for i, x in enumerate(self.needs)}
        self.shaped: dict[str, list[str]] = {}
        self.words = not self.needs and counts_in_words(function, self.target)
        self.type = _narrow if self.words else type_name

    def text(self) -> str:
        """Return the definition."""
        function = self.function
        alias = " noalias" if function.noalias else ""
        cut = [
            p for p in function.params if self.exported and self.type(p.type) != type_name(p.type)
        ]
        params = ", ".join(
            f"{type_name(p.type) if self.exported else self.type(p.type)}"
            f"{alias if p.type == 'ptr' else ''} %v{p.number}{'.wide' if p in cut else ''}"
            for p in function.params
        )
        linkage = "" if self.exported else "internal "
        inline = "" if self.exported else "noinline "
        result = function.result
        kind = "void" if result is None else self.type(result.type)
        for p in cut:
            self.line(f"%v{p.number} = trunc {type_name(p.type)} %v{p.number}.wide to i32")
        self.block(function.body)
        self.line("ret void" if result is None else f"ret {self.typed(result)}")
        if self.exported:
            first = computed(self.needs, self.numbers, function)
        else:
            params = ", ".join([*([params] if params else []), *arguments(self.numbers.values())])
            first = []
        ahead = [*first, *(line for lines in self.shaped.values() for line in lines)]
        body = "\n".join([*(f"  {line}" for line in ahead), *self.lines])
        head = f"define {linkage}{kind} @{self.symbol}({params})"
        group = self.module.groups.setdefault(self.target, len(self.module.groups))
        return f"{head} {inline}#{group} {{\nentry:\n{body}\n}}"

    # -- pieces -------------------------------------------------------------------------------
    def kind(self, type_: str) -> str:
        """Return a type as it is printed: an index may be 32 bits wide."""
        return type_.replace("i64", "i32") if self.words else type_

    def line(self, text: str) -> None:
        """Append an instruction."""
        self.lines.append("  " + text)

    def name(self, value: Value) -> str:
        """Return how a value is written."""
        if value.const is None:
            return f"%v{value.number}"
        if isinstance(value.const, Sym):
            return self.number(value.const, value.type)
        scalar, count = element(self.kind(value.type)), lanes(value.type)
        one = literal(value.const, scalar)
        return one if count == 1 else f"splat ({SCALARS.get(scalar, scalar)} {one})"

    def number(self, number: Sym, type_: str) -> str:
        """Return a run-time number as a value of a type, made so at the function's entry."""
        known = self.numbers[repr(number)]
        scalar, count = element(type_), lanes(type_)
        if scalar == "i64" and count == 1:
            return known
        one, whole = f"{known}.{scalar}", f"{known}.{type_}"
        if scalar != "i64" and one not in self.shaped:
            kind = "sitofp" if scalar[0] in "fb" else "trunc"
            self.shaped[one] = [f"{one} = {kind} i64 {known} to {type_name(scalar)}"]
        if count > 1 and whole not in self.shaped:
            vector, zeros = type_name(type_), f"<{count} x i32> zeroinitializer"
            first = f"{type_name(scalar)} {known if scalar == 'i64' else one}"
            self.shaped[whole] = [
                f"{whole}.0 = insertelement {vector} poison, {first}, i64 0",
                f"{whole} = shufflevector {vector} {whole}.0, {vector} poison, {zeros}",
            ]
        return one if count == 1 else whole

    def typed(self, value: Value) -> str:
        """Return a value with its type."""
        if value.const is None:
            return f"{self.type(value.type)} %v{value.number}"
        return f"{self.type(value.type)} {self.name(value)}"

    def fresh(self) -> str:
        """Return a new name."""
        self.extra += 1
        return f"%t{self.extra}"

    def new_label(self, hint: str) -> str:
        """Return a new label."""
        self.labels += 1
        return f"{hint}{self.labels}"

    def start(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.label = label

    def declare(self, result: str, name: str, *args: str) -> None:
        """Declare an intrinsic."""
        self.module.declarations.add(f"declare {result} @{name}({', '.join(args)})")

    def block(self, block: Block) -> None:
        """Print a block's instructions."""
        for instr in block.instrs:
            printer = STATEMENTS.get(instr.op)
            if printer is not None:
                printer(self, instr)
            else:
                right = self.expression(instr)  # it may print lines of its own
                self.lines.append(f"  %v{instr.results[0].number} = {right}")

    # -- values -------------------------------------------------------------------------------
    def expression(self, instr: Instr) -> str:
        """Return the right-hand side of an instruction with one result."""
        op, args = instr.op, instr.args
        if op in VALUES:
            return VALUES[op](self, instr)
        if op in CASTS:
            come, go = self.kind(args[0].type), self.kind(instr.results[0].type)
            kind = "bitcast" if come == go else CASTS[op]
            return f"{kind} {self.typed(args[0])} to {type_name(go)}"
        if op in UNARY:
            return self.intrinsic(UNARY[op], args)
        if op in INTRINSICS:
            return self.intrinsic(INTRINSICS[op], args)
        if op in FLOAT_OPS and element(args[0].type)[0] in "fb":
            op = FLOAT_OPS[op]
        return f"{op} {self.typed(args[0])}, {self.name(args[1])}"

    def intrinsic(self, name: str, args: Sequence[Value]) -> str:
        """Return a call of an overloaded intrinsic whose operands have one type."""
        full, type_ = f"llvm.{name}.{suffix(self.kind(args[0].type))}", self.type(args[0].type)
        self.declare(type_, full, *[type_] * len(args))
        return f"call {type_} @{full}({', '.join(map(self.typed, args))})"

    def fma(self, instr: Instr) -> str:
        """Round once where the target can or the result depends on it; else multiply and add."""
        exact = "exact" in instr.attrs
        if not self.target.has_fma and exact and element(instr.args[0].type) == "f32":
            return self.wide_fma(instr)
        once = self.target.has_fma or exact
        return self.intrinsic("fma" if once else "fmuladd", instr.args)

    def wide_fma(self, instr: Instr) -> str:
        """Multiply and add in float64, where the product is exact."""
        kind = instr.results[0].type
        wide = type_name(vector("f64", lanes(kind)))
        a, b, c = (self.fresh() for _ in range(3))
        for name, value in zip((a, b, c), instr.args, strict=True):
            self.line(f"{name} = fpext {self.typed(value)} to {wide}")
        product, total = self.fresh(), self.fresh()
        self.line(f"{product} = fmul {wide} {a}, {b}")
        self.line(f"{total} = fadd {wide} {product}, {c}")
        return f"fptrunc {wide} {total} to {self.type(kind)}"

    def bits(self, instr: Instr) -> str:
        """Count leading or trailing zeros."""
        a = instr.args[0]
        full, type_ = f"llvm.{instr.op}.{suffix(self.kind(a.type))}", self.type(a.type)
        self.declare(type_, full, type_, "i1 immarg")
        return f"call {type_} @{full}({self.typed(a)}, i1 false)"

    def negate(self, instr: Instr) -> str:
        """Negate a float."""
        return f"fneg {self.typed(instr.args[0])}"

    def extreme(self, instr: Instr) -> str:
        """Choose the smaller or larger by an ordered comparison."""
        a, b = instr.args
        test = self.fresh()
        which = "olt" if instr.op == "fmin" else "ogt"
        self.line(f"{test} = fcmp {which} {self.typed(a)}, {self.name(b)}")
        flag = "i1" if lanes(a.type) == 1 else f"<{lanes(a.type)} x i1>"
        return f"select {flag} {test}, {self.typed(a)}, {self.typed(b)}"

    def compare(self, instr: Instr) -> str:
        """Compare two values."""
        a, b = instr.args
        kind = "fcmp" if element(a.type)[0] in "fb" else "icmp"
        return f"{kind} {instr.op} {self.typed(a)}, {self.name(b)}"

    def select(self, instr: Instr) -> str:
        """Choose by a condition."""
        return "select " + ", ".join(map(self.typed, instr.args))

    def saturating(self, instr: Instr) -> str:
        """Convert a float to an integer: the nearest in range, 0 for NaN."""
        a, result = instr.args[0], instr.results[0].type
        full = f"llvm.{instr.op}.sat.{suffix(self.kind(result))}.{suffix(self.kind(a.type))}"
        self.declare(self.type(result), full, self.type(a.type))
        return f"call {self.type(result)} @{full}({self.typed(a)})"

    def splat(self, instr: Instr) -> str:
        """Broadcast a scalar."""
        a, type_ = instr.args[0], instr.results[0].type
        one, vector = self.fresh(), self.type(type_)
        self.line(f"{one} = insertelement {vector} poison, {self.typed(a)}, i64 0")
        zeros = f"<{lanes(type_)} x i32> zeroinitializer"
        return f"shufflevector {vector} {one}, {vector} poison, {zeros}"

    def extract(self, instr: Instr) -> str:
        """Take a lane out."""
        return f"extractelement {self.typed(instr.args[0])}, {self.typed(instr.args[1])}"

    def insert(self, instr: Instr) -> str:
        """Put a lane in."""
        vector, scalar = instr.args
        return f"insertelement {self.typed(vector)}, {self.typed(scalar)}, i64 {instr.attrs[0]}"

    def shuffle(self, instr: Instr) -> str:
        """Pick lanes of two vectors."""
        a, b = instr.args
        picks = ", ".join(f"i32 {i}" for i in instr.attrs[0])
        count = len(instr.attrs[0])
        return f"shufflevector {self.typed(a)}, {self.typed(b)}, <{count} x i32> <{picks}>"

    def iota(self, instr: Instr) -> str:
        """Count lanes, as the sum of a constant vector and zero."""
        type_ = instr.results[0].type
        scalar, count = element(self.kind(type_)), lanes(type_)
        items = ", ".join(f"{scalar} {i}" for i in range(count))
        value = f"<{items}>" if count > 1 else "0"
        zero = "zeroinitializer" if count > 1 else "0"
        return f"add {self.type(type_)} {value}, {zero}"

    def gep(self, instr: Instr) -> str:
        """Step a pointer."""
        pointer, offset = instr.args
        elem = instr.attrs[0]
        elem = "i8" if elem == "i1" else SCALARS.get(elem, elem)
        return f"getelementptr {elem}, {self.typed(pointer)}, {self.typed(offset)}"

    def asked(self, _instr: Instr) -> str:
        """Ask which machine this is."""
        self.module.asks = True
        return f"call i32 @{ASKED}()"

    def load(self, instr: Instr) -> str:
        """Load, perhaps under a mask."""
        type_ = instr.results[0].type
        align = instr.attrs[0] or self.bytes(type_)
        if type_ == "i64" and self.words:
            return self.load_index(instr, align)
        if len(instr.args) == 1:
            return f"load {self.type(type_)}, {self.typed(instr.args[0])}, align {align}"
        pointer, mask = instr.args
        vector, flags = self.type(type_), self.type(mask.type)
        full = f"llvm.masked.load.{suffix(self.kind(type_))}.p0"
        self.declare(vector, full, "ptr", "i32 immarg", flags, vector)
        rest = f"i32 {align}, {self.typed(mask)}, {vector} zeroinitializer"
        return f"call {vector} @{full}({self.typed(pointer)}, {rest})"

    def load_index(self, instr: Instr, align: int) -> str:
        """Load an index, which is 64 bits wide in memory."""
        wide = self.fresh()
        self.line(f"{wide} = load i64, {self.typed(instr.args[0])}, align {align}")
        return f"trunc i64 {wide} to i32"

    # -- statements ---------------------------------------------------------------------------
    def bytes(self, type_: str) -> int:
        """Return the bytes of an element."""
        scalar = element(type_)
        return self.target.pointer_bytes if scalar == "ptr" else BYTES[scalar]

    def store(self, instr: Instr) -> None:
        """Store, perhaps under a mask."""
        value, pointer, *mask = instr.args
        align = instr.attrs[0] or self.bytes(value.type)
        if value.type == "i64" and self.words:
            wide = self.widened(value, "i64")
            self.line(f"store {wide}, {self.typed(pointer)}, align {align}")
            return
        if not mask:
            past = ", !nontemporal !0" if instr.attrs[1] else ""
            self.module.streams |= bool(past)
            self.line(f"store {self.typed(value)}, {self.typed(pointer)}, align {align}{past}")
            return
        vector, flags = self.type(value.type), self.type(mask[0].type)
        full = f"llvm.masked.store.{suffix(self.kind(value.type))}.p0"
        self.declare("void", full, vector, "ptr", "i32 immarg", flags)
        call = f"{self.typed(value)}, {self.typed(pointer)}, i32 {align}, {self.typed(mask[0])}"
        self.line(f"call void @{full}({call})")

    def widened(self, value: Value, type_: str) -> str:
        """Return an index with a width that is not this function's, and its type."""
        if value.const is not None:
            return f"{type_} {self.name(value)}"
        made, kind = self.fresh(), "trunc" if type_ == "i32" else "sext"
        self.line(f"{made} = {kind} {self.typed(value)} to {type_}")
        return f"{type_} {made}"

    def fence(self, _instr: Instr) -> None:
        """Order all memory accesses."""
        self.line("fence seq_cst")

    def prefetch(self, instr: Instr) -> None:
        """Ask for a cache line."""
        self.declare("void", "llvm.prefetch.p0", "ptr", "i32 immarg", "i32 immarg", "i32 immarg")
        write, near = instr.attrs
        place = self.typed(instr.args[0])
        locality = 3 if near else 2
        self.line(f"call void @llvm.prefetch.p0({place}, i32 {int(write)}, i32 {locality}, i32 1)")

    def call(self, instr: Instr) -> None:
        """Call another function of the module."""
        symbol = self.scope.names[instr.attrs[0]]
        given = [self.numbers[repr(x)] for x in self.scope.needs[instr.attrs[0]]]
        callee = self.function.callees[instr.attrs[0]]
        theirs = callee in self.module.in_words
        args = [*(self.argument(v, theirs) for v in instr.args), *arguments(given)]
        kind = self.type(instr.results[0].type) if instr.results else "void"
        made = f"{self.name(instr.results[0])} = " if instr.results else ""
        self.line(f"{made}call {kind} @{symbol}({', '.join(args)})")

    def argument(self, value: Value, words: bool) -> str:
        """Return an argument of a function that counts in words, or does not."""
        if words == self.words or element(value.type) != "i64":
            return self.typed(value)
        return self.widened(value, "i32" if words else "i64")

    def branch(self, label: str) -> None:
        """Jump."""
        self.line(f"br label %{label}")

    def for_(self, instr: Instr) -> None:
        """Print a counted loop; it is guarded unless its bounds say that it runs."""
        low, high, *carried = instr.args
        step, block = instr.attrs[0], instr.blocks[0]
        head, done = self.new_label("for"), self.new_label("done")
        bounds = low.const, high.const
        runs = all(isinstance(b, int) for b in bounds) and bounds[0] < bounds[1]  # type: ignore[operator]
        entry = self.label
        if runs:
            self.branch(head)
        else:
            test = self.fresh()
            self.line(f"{test} = icmp slt {self.typed(low)}, {self.name(high)}")
            self.line(f"br i1 {test}, label %{head}, label %{done}")
        self.start(head)
        index, *params = block.params
        slots = len(self.lines)
        self.lines += [""] * (1 + len(params))
        self.block(block)
        after, again = self.fresh(), self.fresh()
        by = self.name(Value("i64", const=step))
        self.line(f"{after} = add nsw {self.type('i64')} {self.name(index)}, {by}")
        self.line(f"{again} = icmp slt {self.type('i64')} {after}, {self.name(high)}")
        latch = self.label
        self.line(f"br i1 {again}, label %{head}, label %{done}")
        arms = [(index, low, after)]
        passed = zip(params, carried, block.yields, strict=True)
        arms += [(p, c, self.name(y)) for p, c, y in passed]
        for i, (param, first, later) in enumerate(arms):
            ways = f"[ {self.name(first)}, %{entry} ], [ {later}, %{latch} ]"
            phi = f"phi {self.type(param.type)} {ways}"
            self.lines[slots + i] = f"  {self.name(param)} = {phi}"
        self.start(done)
        for result, before, end in zip(instr.results, carried, block.yields, strict=True):
            routes = [] if runs else [f"[ {self.name(before)}, %{entry} ]"]
            routes.append(f"[ {self.name(end)}, %{latch} ]")
            self.line(f"{self.name(result)} = phi {self.type(result.type)} {', '.join(routes)}")

    def while_(self, instr: Instr) -> None:
        """Print a loop whose condition is computed before each round."""
        before, body = instr.blocks
        head, inside, done = self.new_label("while"), self.new_label("do"), self.new_label("done")
        entry = self.label
        self.branch(head)
        self.start(head)
        slots = len(self.lines)
        self.lines += [""] * len(before.params)
        self.block(before)
        self.line(f"br i1 {self.name(before.yields[0])}, label %{inside}, label %{done}")
        tested = self.label
        self.start(inside)
        for param, seen in zip(body.params, before.params, strict=True):
            way = f"[ {self.name(seen)}, %{tested} ]"
            self.line(f"{self.name(param)} = phi {self.type(param.type)} {way}")
        self.block(body)
        latch = self.label
        self.branch(head)
        arms = zip(before.params, instr.args, body.yields, strict=True)
        for i, (param, first, later) in enumerate(arms):
            phi = f"[ {self.name(first)}, %{entry} ], [ {self.name(later)}, %{latch} ]"
            self.lines[slots + i] = f"  {self.name(param)} = phi {self.type(param.type)} {phi}"
        self.start(done)
        for result, seen in zip(instr.results, before.params, strict=True):
            way = f"[ {self.name(seen)}, %{tested} ]"
            self.line(f"{self.name(result)} = phi {self.type(result.type)} {way}")

    def if_(self, instr: Instr) -> None:
        """Print two branches that meet again."""
        labels = [self.new_label("then"), self.new_label("else")]
        done = self.new_label("endif")
        self.line(f"br i1 {self.name(instr.args[0])}, label %{labels[0]}, label %{labels[1]}")
        ends = []
        for label, block in zip(labels, instr.blocks, strict=True):
            self.start(label)
            self.block(block)
            ends.append(self.label)
            self.branch(done)
        self.start(done)
        for result, *given in zip(instr.results, *(b.yields for b in instr.blocks), strict=True):
            arms = ", ".join(f"[ {self.name(v)}, %{e} ]" for v, e in zip(given, ends, strict=True))
            self.line(f"{self.name(result)} = phi {self.type(result.type)} {arms}")


def _narrow(type_: str) -> str:
    """Return LLVM's name of a type in a function that counts in words."""
    return type_name(type_.replace("i64", "i32"))


COMPARISONS: Final = [
    "eq",
    "ne",
    "slt",
    "sle",
    "sgt",
    "sge",
    "ult",
    "ule",
    "ugt",
    "uge",
    "oeq",
    "une",
    "olt",
    "ole",
    "ogt",
    "oge",
    "uno",
    "ord",
    "one",
]
VALUES: Final[dict[str, Callable[[Printer, Instr], str]]] = {
    "fma": Printer.fma, "ctlz": Printer.bits, "cttz": Printer.bits, "fneg": Printer.negate,
    "fmin": Printer.extreme, "fmax": Printer.extreme, "select": Printer.select,
    "fptosi": Printer.saturating, "fptoui": Printer.saturating, "splat": Printer.splat,
    "extract": Printer.extract, "insert": Printer.insert, "shuffle": Printer.shuffle,
    "iota": Printer.iota, "gep": Printer.gep, "load": Printer.load,
    "asked": Printer.asked,
    "byte_dots": byte_dots, "pair_dots": pair_dots,
    **dict.fromkeys(COMPARISONS, Printer.compare),
}  # fmt: skip
STATEMENTS: Final[dict[str, Callable[[Printer, Instr], None]]] = {
    "store": Printer.store, "fence": Printer.fence, "prefetch": Printer.prefetch,
    "call": Printer.call, "for": Printer.for_, "while": Printer.while_, "if": Printer.if_,
}  # fmt: skip
