"""A report as one HTML page that needs nothing besides itself."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from tenor.explain.chart import chart
from tenor.explain.terminal import counted, over
from tenor.explain.units import bytes_text, count_text, measured_text, seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenor.explain.record import Body, KernelCall, ProgramRecord, Report

__all__ = ["page"]

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself refuses to fetch anything for the page."""


def page(report: Report) -> str:
    """Return the report as HTML: programs at the left, a tab for every stage.

    Without JavaScript everything stands one below the other.
    """
    here = files("tenor.explain")
    style = here.joinpath("page.css").read_text("utf-8")
    script = here.joinpath("page.js").read_text("utf-8")
    seen: dict[str, tuple[int, int]] = {}
    programs = "".join(_program(p, seen) for p in report.programs)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        f"<title>{escape(report.script)}, explained by Tenor</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n{_nav(report)}\n"
        f"<main>\n{_overview(report)}{programs}</main>\n<script>\n{script}</script>\n"
        "</body>\n</html>\n"
    )


# -- pieces -----------------------------------------------------------------------------------
def _nav(report: Report) -> str:
    rows = [
        f'<a href="#p{p.number}"><b>{p.number}</b> {_where(p)}'
        f"<small>{_plural(len(p.kernels), 'kernel')}, {_time(p.seconds)}</small></a>"
        for p in report.programs
    ]
    return (
        '<nav aria-label="Programs"><p class="brand">tenor explain</p>'
        f'<a href="#overview">Overview<small>{escape(report.script)}</small></a>'
        f"{''.join(rows)}</nav>"
    )


def _where(program: ProgramRecord) -> str:
    main = program.main_line
    if main is None:
        return "program"
    return f"<code>{escape(main.text)}</code>" if main.text else f"line {main.line}"


def _overview(report: Report) -> str:
    every = report.programs
    heads = ("", "lines", "mostly", "nodes", "kernels", "arithmetic", "moved", "arena", "code",
             "compile", "run")  # fmt: skip
    rows = [
        (
            f'<a href="#p{p.number}">{p.number}</a>', p.span, _where(p),
            f"{p.recorded_nodes} → {p.nodes}", str(len(p.kernels)), count_text(p.flops),
            bytes_text(p.moved), bytes_text(p.arena), bytes_text(p.code),
            seconds_text(p.compile_seconds), _time(p.seconds),
        )
        for p in every
    ]  # fmt: skip
    facts = (
        f"{_plural(len(every), 'program')} in {seconds_text(report.seconds)}, on {report.target}"
    )
    skipped = ", ".join(report.skipped)
    return "".join(
        (
            '<section class="program" id="overview"><h1>',
            escape(report.script),
            f'</h1><p class="facts">{escape(facts)}</p>',
            f"<p>Passes switched off: {escape(skipped)}.</p>" if skipped else "",
            _failure(report),
            _table(heads, rows, right=(0, 1, *range(3, 11)))
            if rows
            else "<p>Nothing was computed.</p>",
            '<p class="note">Arithmetic counts an elementwise operation as one and a multiply-add '
            "as two. Moved is what the kernels read and write at least. Run is the sum of the "
            "kernels' times, each run alone on zeros; compile is all passes and LLVM, without the "
            "cache.</p></section>",
        )
    )


def _failure(report: Report) -> str:
    if not report.failure:
        return ""
    return f'<div class="failure"><b>The script failed</b><pre>{escape(report.failure)}</pre></div>'


def _program(program: ProgramRecord, seen: dict[str, tuple[int, int]]) -> str:
    number = program.number
    tabs = "".join(
        f'<a href="#p{number}-{key}" data-stage="{key}">{title}</a>'
        for key, (title, _) in STAGES.items()
    )
    bodies = {
        key: _codes(program, key, seen) if show is None else show(program)
        for key, (_, show) in STAGES.items()
    }
    for body in program.bodies:
        seen.setdefault(body.symbol, (number, body.number))
    panels = "".join(
        f'<div class="stage" id="p{number}-{key}" data-stage="{key}">'
        f"<h3>{STAGES[key][0]}</h3>{html}</div>"
        for key, html in bodies.items()
    )
    note = (
        '<p class="note">The script never looked at these; they were computed at its end.</p>'
        if program.unobserved
        else ""
    )
    return (
        f'<section class="program" id="p{number}"><h2>Program {number}</h2>{note}{_facts(program)}'
        f'<div class="tabs" role="navigation" aria-label="Stages">{tabs}</div>{panels}</section>'
    )


def _facts(program: ProgramRecord) -> str:
    pairs = (
        ("in", ", ".join(program.inputs) or "nothing"),
        ("out", ", ".join(program.outputs) or "nothing"),
        ("run-time numbers", str(program.scalars)),
        ("written in place", str(program.donated)),
        ("arena", bytes_text(program.arena)),
        ("arithmetic", count_text(program.flops)),
        ("moved", bytes_text(program.moved)),
        ("code", bytes_text(program.code)),
    )
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>'


# -- stages -----------------------------------------------------------------------------------
def _source(program: ProgramRecord) -> str:
    rows = [
        (f"<span title='{escape(s.file)}'>{s.line}</span>", f"<code>{escape(s.text)}</code>",
         escape(counted(s.operations)))
        for s in program.lines
    ]  # fmt: skip
    return _table(("line", "source", "recorded"), rows, right=(0,))


def _graph(program: ProgramRecord) -> str:
    return (
        f"<h4>As recorded, {_plural(program.recorded_nodes, 'node')}</h4>{_pre(program.graph)}"
        f"<h4>After the graph passes, {_plural(program.nodes, 'node')}</h4>"
        f"{_pre(program.simplified)}"
    )


def _passes(program: ProgramRecord) -> str:
    rows = [
        (escape(p.name), seconds_text(p.seconds), escape(p.left), "skipped" if p.skipped else "")
        for p in program.passes
    ]
    llvm = sum(b.seconds for b in program.bodies)
    rows.append(("llvm", seconds_text(llvm), f"{bytes_text(program.code)} of machine code", ""))
    return _table(("pass", "time", "left", ""), rows, right=(1,))


KERNEL_NUMBERS: Final = ("read", "written", "arithmetic", "code", "threads", "time")


def _kernels(program: ProgramRecord) -> str:
    heads = ("", "fused", "line", "over", *KERNEL_NUMBERS)
    rows = [
        (
            f'<a href="#p{program.number}-k{k.number}">{k.number}</a>',
            escape(counted(k.operations)) or "copy",
            ", ".join(map(str, k.lines)), escape(over(k)),
            bytes_text(k.traffic.read), bytes_text(k.traffic.written), count_text(k.traffic.flops),
            bytes_text(program.bodies[k.body - 1].size),
            f"≤ {k.tiles}", _time(k.seconds),
        )
        for k in program.kernels
    ]  # fmt: skip
    details = "".join(_kernel(program, k) for k in program.kernels)
    table = _table(heads, rows, right=(0, *range(4, 10)))
    return f'<div class="wide">{chart(program.kernels)}</div>{table}{details}'


def _kernel(program: ProgramRecord, kernel: KernelCall) -> str:
    rows = [
        (f"<code>{escape(o.name)}</code>", f"<code>{escape(o.type)}</code>", bytes_text(o.nbytes),
         "written" if o.written else "read", escape(o.place))
        for o in kernel.operands
    ]  # fmt: skip
    kind = f"{escape(kernel.kind)}{_of_lines(kernel)}, code {kernel.body}"
    return (
        f'<article id="p{program.number}-k{kernel.number}"><h4>{kernel.number} '
        f"{escape(kernel.label)} <small>{kind}</small></h4>"
        f"{_pre(kernel.formula)}"
        f"{_table(('buffer', 'type', 'size', '', 'lies in'), rows, right=(2,))}</article>"
    )


def _of_lines(kernel: KernelCall) -> str:
    return f", line {', '.join(map(str, kernel.lines))}" if kernel.lines else ""


CODES: Final[dict[str, Callable[[Body], str]]] = {
    "loops": lambda body: body.loops,
    "ir": lambda body: body.ir,
    "asm": lambda body: body.assembly,
}


def _codes(program: ProgramRecord, key: str, seen: dict[str, tuple[int, int]]) -> str:
    """Return the code of every distinct kernel; one shown for an earlier program is linked."""
    parts = []
    for body in program.bodies:
        called = ", ".join(str(k.number) for k in program.kernels if k.body == body.number)
        head = (
            f"code {body.number}, of kernel {called} <small>{bytes_text(body.size)}, LLVM took "
            f"{seconds_text(body.seconds)}, {escape(body.symbol)}</small>"
        )
        if body.symbol in seen:
            number, there = seen[body.symbol]
            link = f'<a href="#p{number}-{key}-{there}">program {number}, code {there}</a>'
            parts.append(f'<p class="same">{head}: the same as {link}.</p>')
            continue
        opened = " open" if body.number == 1 else ""
        parts.append(
            f'<details id="p{program.number}-{key}-{body.number}"{opened}>'
            f"<summary>{head}</summary>{_pre(CODES[key](body))}</details>"
        )
    return "".join(parts)


STAGES: Final[dict[str, tuple[str, Callable[[ProgramRecord], str] | None]]] = {
    "kernels": ("Kernels", _kernels),
    "source": ("Source", _source),
    "graph": ("Graph", _graph),
    "passes": ("Passes", _passes),
    "loops": ("Loops", None),
    "ir": ("LLVM IR", None),
    "asm": ("Assembly", None),
}


# -- HTML -------------------------------------------------------------------------------------
def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]], right: Iterable[int] = ()) -> str:
    """Return a table; cells are HTML, the columns `right` are numbers."""
    numbers = set(right)

    def cells(tag: str, values: Iterable[str]) -> str:
        made = (
            f"<{tag}{' class=n' if at in numbers else ''}>{value}</{tag}>"
            for at, value in enumerate(values)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(cells("td", row) for row in rows)
    return (
        f'<div class="wide"><table><thead>{cells("th", heads)}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _pre(text: str) -> str:
    return f"<pre>{escape(text.rstrip())}</pre>"


def _time(seconds: float | None) -> str:
    return escape(measured_text(seconds))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
