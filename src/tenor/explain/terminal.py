"""A report in a terminal: a summary first, then one stage of one program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from tenor.explain.units import bytes_text, count_text, measured_text, seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from tenor.explain.record import Body, KernelCall, ProgramRecord, Report

__all__ = ["STAGES", "stage", "summary"]

WIDTH: Final = 8
"""Characters of the longest bar."""
LONGEST: Final = 56
"""Characters a line of the user's takes in a summary."""


def summary(report: Report) -> RenderableType:
    """Return the programs of a report, one row each."""
    every = report.programs
    head = Text.assemble(
        (report.script, "bold"), f" ran {len(every)} program{'s' * (len(every) != 1)} in ",
        f"{seconds_text(report.seconds)} on {report.target}",
    )  # fmt: skip
    parts: list[RenderableType] = [head]
    if report.skipped:
        parts.append(Text(f"passes switched off: {', '.join(report.skipped)}", style="yellow"))
    if not every:
        parts.append(Text("Nothing was computed: no tensor was looked at.", style="yellow"))
    else:
        parts.append(_programs(every))
    if report.failure:
        parts.append(Panel(Text(report.failure), title="the script failed", border_style="red"))
    return Group(*parts)


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def _programs(every: Sequence[ProgramRecord]) -> Table:
    table = _table()
    table.add_column("#", justify="right")
    table.add_column("lines, mostly", overflow="fold")
    for name in ("kernels", "ops", "moved", "compile", "run"):
        table.add_column(name, justify="right", no_wrap=True)
    for p in every:
        table.add_row(
            str(p.number), Text(_lines(p)), str(len(p.kernels)), count_text(p.flops),
            bytes_text(p.moved), seconds_text(p.compile_seconds), measured_text(p.seconds),
        )  # fmt: skip
    return table


def _lines(program: ProgramRecord) -> str:
    main = program.main_line
    note = " (unobserved)" if program.unobserved else ""
    if main is None:
        return note.strip()
    text = main.text if len(main.text) <= LONGEST else f"{main.text[: LONGEST - 3]}..."
    return f"{program.span}: {text}{note}"


# -- one program ------------------------------------------------------------------------------
def stage(program: ProgramRecord, name: str) -> RenderableType:
    """Return one stage of one program; `name` is one of STAGES."""
    title = Rule(f"program {program.number}: {name}", align="left")
    return Group(title, STAGES[name](program))


def _source(program: ProgramRecord) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("line", justify="right", style="dim")
    table.add_column("source", overflow="fold")
    table.add_column("recorded", style="cyan", overflow="fold")
    for line in program.lines:
        table.add_row(str(line.line), Text(line.text), Text(counted(line.operations)))
    return Group(_facts(program), table)


def _facts(program: ProgramRecord) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("in", Text(", ".join(program.inputs) or "nothing"))
    grid.add_row("out", Text(", ".join(program.outputs) or "nothing"))
    grid.add_row("nodes", f"{program.recorded_nodes} recorded, {program.nodes} left")
    grid.add_row("written in place", str(program.donated))
    grid.add_row("arena", bytes_text(program.arena))
    grid.add_row("code", bytes_text(program.code))
    return grid


def counted(operations: Sequence[tuple[str, int]]) -> str:
    """Return operations with how often each stands, e.g. `add, mul x3`."""
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in operations)


def _graph(program: ProgramRecord) -> RenderableType:
    return Group(
        Text("as recorded", style="bold"), Text(program.graph),
        Text("after the graph passes", style="bold"), Text(program.simplified),
    )  # fmt: skip


def _kernels(program: ProgramRecord) -> RenderableType:
    longest = max((k.seconds or 0.0 for k in program.kernels), default=0.0)
    table = _table()
    table.add_column("#", justify="right")
    table.add_column("fused", overflow="fold")
    table.add_column("line", overflow="fold")
    table.add_column("over", overflow="fold")
    for name in ("moved", "ops", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for k in program.kernels:
        table.add_row(
            str(k.number), Text(counted(k.operations) or "copy"), ", ".join(map(str, k.lines)),
            over(k), bytes_text(k.traffic.read + k.traffic.written), count_text(k.traffic.flops),
            measured_text(k.seconds), Text(_bar(k.seconds, longest), style="cyan"),
        )  # fmt: skip
    parts: list[RenderableType] = [table]
    for k in program.kernels:
        cost = (
            f"reads {bytes_text(k.traffic.read)}, writes {bytes_text(k.traffic.written)}, "
            f"{bytes_text(program.bodies[k.body - 1].size)} of code"
        )
        parts.append(Text.assemble((f"{k.number}  {k.label}", "bold"), (f"  {cost}", "dim")))
        parts.append(Text(_indented(k.formula)))
    return Group(*parts)


def over(kernel: KernelCall) -> str:
    """Return a kernel's index space, reduced dims in brackets, e.g. `32 x [128]`."""
    dims = [f"[{n}]" if d in kernel.reduce_dims else str(n) for d, n in enumerate(kernel.domain)]
    return " x ".join(dims) or "1"


def _bar(value: float | None, most: float) -> str:
    return "█" * max(1, round(WIDTH * value / most)) if value and most else ""


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _passes(program: ProgramRecord) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("pass")
    table.add_column("time", justify="right")
    table.add_column("left")
    for p in program.passes:
        table.add_row(p.name, seconds_text(p.seconds), p.left + (", skipped" if p.skipped else ""))
    table.add_row("llvm", seconds_text(sum(b.seconds for b in program.bodies)),
                  f"{bytes_text(program.code)} of machine code")  # fmt: skip
    return table


def _code(lexer: str, get: Callable[[Body], str]) -> Callable[[ProgramRecord], RenderableType]:
    def show(program: ProgramRecord) -> RenderableType:
        parts: list[RenderableType] = []
        for body in program.bodies:
            called = [str(k.number) for k in program.kernels if k.body == body.number]
            head = f"code {body.number}: {bytes_text(body.size)}, of kernel {', '.join(called)}"
            parts.append(Text(head, style="bold"))
            parts.append(Syntax(get(body), lexer, theme="ansi_dark", word_wrap=False))
        return Group(*parts)

    return show


STAGES: Final[dict[str, Callable[[ProgramRecord], RenderableType]]] = {
    "source": _source,
    "graph": _graph,
    "passes": _passes,
    "kernels": _kernels,
    "loops": _code("text", lambda body: body.loops),
    "ir": _code("llvm", lambda body: body.ir),
    "asm": _code("gas", lambda body: body.assembly),
}
"""Every stage of a program, in the order a computation goes through them."""
