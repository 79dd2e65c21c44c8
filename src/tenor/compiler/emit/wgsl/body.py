"""A shader being written: its lines, what it calls, and what it is given."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from tenor.compiler.emit.wgsl.mathematics import needed
from tenor.ir.shader import Shader, cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tenor.ir.kernel import Buffer, Kernel
    from tenor.ir.shader import Wire

__all__ = ["THREADS", "Body", "every", "grid"]

THREADS: Final = 64
"""Invocations of a workgroup, where they share nothing."""
WIDEST: Final = 32768
"""Workgroups in a row: fewer than every device has, more rows where there are more."""


def grid(groups: int) -> tuple[int, int, int]:
    """Return so many workgroups, or a few more, as rows of them."""
    rows = -(-groups // WIDEST)
    return (groups, 1, 1) if rows <= 1 else (WIDEST, rows, 1)


def every(tests: Sequence[str]) -> str:
    """Return whether all of them hold.

    Not by `&&`, which is a branch each: a compiler takes minutes over some dozens in a loop.
    """
    return " & ".join(f"({test})" for test in tests) or "true"


class Body:
    """A shader's text in the making.

    Args:
        kernel: What is written.
        wires: Where each of its buffers is; None: it is no buffer but the register `x`.
        access: For each binding "read" or "write".
        status: The binding that notes indices out of range, and the number of each check by its
            code; None where nothing is checked.
    """

    def __init__(
        self, kernel: Kernel, wires: Sequence[Wire | None], access: Sequence[str],
        status: tuple[int, dict[int, int]] | None = None,
    ) -> None:  # fmt: skip
        self.kernel, self.wires, self.access, self.status = kernel, wires, tuple(access), status
        self.lines: list[str] = []
        self.declared: list[str] = []
        self.calls: set[str] = set()
        self.count = 0
        self.depth = 1

    # -- lines ------------------------------------------------------------------------------------
    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("  " * self.depth + text)

    def use(self, value: str) -> str:
        """Return an expression's text, and bring along what it calls."""
        self.calls.update(getattr(value, "calls", ()))
        return str(value)

    def let(self, value: str) -> str:
        """Name a value; return the name."""
        self.count += 1
        self.line(f"let v{self.count} = {self.use(value)};")
        return f"v{self.count}"

    def var(self, kind: str, value: str) -> str:
        """Name a value that will change; return the name."""
        self.count += 1
        self.line(f"var v{self.count}: {kind} = {self.use(value)};")
        return f"v{self.count}"

    @contextlib.contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write lines into a block."""
        self.line(f"{head} {{".lstrip())
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def loop(self, name: str, count: int | str, start: str = "0", step: str = "1") -> str:
        """Return the head of a loop over an index."""
        return f"for (var {name} = {start}; {name} < {count}; {name} += {step})"

    def shared(self, kind: str, count: int) -> str:
        """Declare memory a workgroup shares; return its name."""
        name = f"shared{sum('var<workgroup>' in d for d in self.declared)}"
        self.declared.append(f"var<workgroup> {name}: array<{kind}, {count}>;")
        return name

    def function(self, head: str, lines: Sequence[str], value: str) -> None:
        """Declare a function of the lines given and a value to return."""
        text = "".join(f"  {line}\n" for line in lines)
        self.declared.append(f"fn {head} {{\n{text}  return {self.use(value)};\n}}")

    def within(self, kernel: Kernel, wires: Sequence[Wire | None]) -> Body:
        """Return a body for another kernel's code, which is to become a function here."""
        return Body(kernel, wires, self.access, self.status)

    def define(self, head: str, inner: Body) -> None:
        """Declare a function of what was written into a body of its own."""
        self.calls |= inner.calls
        self.declared.append("\n".join([f"fn {head} {{", *inner.lines, "}"]))

    # -- memory -----------------------------------------------------------------------------------
    def buffer(self, number: int) -> Buffer:
        """Return a buffer of the kernel."""
        return self.kernel.buffers[number]

    def element(self, number: int, at: str) -> str:
        """Return the place of an element."""
        wire = self.wires[number]
        assert wire is not None, "a register is no element of a buffer"
        return f"b{wire.binding}[{at}]" if not wire.base else f"b{wire.binding}[{wire.base} + {at}]"

    def load(self, number: int, at: str) -> str:
        """Return an element of a buffer as a register."""
        wire, dtype = self.wires[number], self.buffer(number).dtype
        if wire is None:
            return "x"
        text, held = self.element(number, at), wire.cell
        if held != cell(dtype):
            text = f"bitcast<{cell(dtype)}>({text})"
        return f"({text} != 0u)" if dtype.kind == "bool" else text

    def store(self, number: int, at: str, value: str) -> None:
        """Write a register to an element of a buffer."""
        wire, dtype = self.wires[number], self.buffer(number).dtype
        assert wire is not None, "a register is only read"
        text, held = self.use(value), wire.cell
        if dtype.kind == "bool":
            text = f"select(0u, 1u, {text})"
        if held != cell(dtype):
            text = f"bitcast<{held}>({text})"
        self.line(f"{self.element(number, at)} = {text};")

    def note(self, code: int, value: str, bad: str) -> None:
        """Note an index out of range."""
        assert self.status is not None, "a kernel that checks an index has a status"
        binding, numbers = self.status
        word = 2 * numbers[code]
        with self.block(f"if ({bad})"):
            self.line(f"atomicStore(&b{binding}[{word + 1}], {value});")
            self.line(f"atomicStore(&b{binding}[{word}], 1);")

    # -- the whole --------------------------------------------------------------------------------
    def index(self, count: int, threads: int = THREADS) -> str:
        """Begin: name the invocation's number, and leave where there are no more than `count`."""
        across = WIDEST * threads
        self.line(f"let i = i32(id.x) + i32(id.y) * {across};")
        self.line(f"if (i >= {count}) {{ return; }}")
        return "i"

    def shader(self, threads: int = THREADS) -> Shader:
        """Return what was written."""
        cells = {wire.binding: wire.cell for wire in self.wires if wire is not None}
        if self.status is not None:
            cells[self.status[0]] = "atomic<i32>"
        head = [
            f"@group(0) @binding({n}) var<storage, {'read' if a == 'read' else 'read_write'}> "
            f"b{n}: array<{cells[n]}>;"
            for n, a in enumerate(self.access)
        ]
        entry = (
            f"@compute @workgroup_size({threads})\n"
            "fn main(@builtin(global_invocation_id) id: vec3<u32>, "
            "@builtin(local_invocation_index) thread: u32, "
            "@builtin(workgroup_id) group: vec3<u32>) {"
        )
        parts = [*head, *needed(self.calls), *self.declared, entry, *self.lines, "}"]
        return Shader("\n".join(parts) + "\n", self.access)
