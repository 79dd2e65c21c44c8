"""What a run found: tables in the terminal, one JSON file, one page that needs no network."""

from __future__ import annotations

import html
import io
import json
import math
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave import geometric_mean
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interleave import Result, Timing

__all__ = ["machine", "page", "promises", "table", "write_json"]

PROMISED = {"training": (1.0, 1.3), "inference": (0.9, 1.1), "kernel": (0.9, None)}
"""Kind: the least ratio to the best peer of any row, and of the geometric mean."""
KINDS = {"training": "Training steps", "inference": "Answers", "kernel": "Kernels alone"}


def machine() -> dict[str, str]:
    """Return the processor, the system and the versions of what was compared."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [x for x in info.read_text().splitlines() if "model name" in x]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    found = {"processor": f"{name}, {os.cpu_count()} cores",
             "system": f"{platform.system()} {platform.release()}, "
                       f"Python {platform.python_version()}"}  # fmt: skip
    for package in ("tenor", "torch", "jax", "onnxruntime", "numpy", "llvmlite"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def seconds(value: float | None) -> str:
    """Return a time as people read it."""
    if value is None or math.isnan(value):
        return ""
    if value < 1e-3:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.1f} s"


def megabytes(count: int) -> str:
    """Return bytes in MB."""
    return f"{count / 1e6:.0f}" if count else ""


def _ratio(timing: Timing) -> str:
    if timing.fault or math.isnan(timing.ratio):
        return "-"
    return f"{timing.ratio:.2f} ({timing.low:.2f}-{timing.high:.2f})"


def table(results: Sequence[Result], kind: str, threads: int) -> Table:
    """Return one kind's rows at a thread count; ratios are a peer's time over Tenor's."""
    chosen = [r for r in results if r.kind == kind and r.threads == threads]
    peers = list(dict.fromkeys(n for r in chosen for n in r.timings if n != "tenor"))
    made = Table(title=f"{KINDS[kind]}, {threads} thread{'s' * (threads > 1)}")
    made.add_column("row", no_wrap=True)
    for name in ("tenor", *peers, "best peer"):
        made.add_column(name, justify="right", no_wrap=True)
    more = ("cold", "cached", "peak MB", "launches") if kind != "kernel" else ("rate",)
    for name in more:
        made.add_column(name, justify="right", no_wrap=True)
    for r in chosen:
        made.add_row(*_cells(r, peers, kind))
    least, mean = PROMISED[kind]
    found = geometric_mean([r.best for r in chosen if not r.void and r.row[0] != "S"])
    wanted = f", {mean:.1f} promised" if mean else ""
    made.caption = (
        f"a peer's time over Tenor's, median (10th-90th percentile of the rounds); above 1 Tenor "
        f"is ahead. Geometric mean to the best peer: {found:.2f}{wanted}; {least:.1f} for each row."
    )
    return made


def _cells(r: Result, peers: Sequence[str], kind: str) -> list[str]:
    ours = r.timings["tenor"]
    least = PROMISED[kind][0]
    color = "red" if r.void or not r.best >= least else "green"
    cells = [f"{r.row} {r.title}", seconds(ours.median)]
    cells += [_ratio(r.timings[p]) if p in r.timings else "" for p in peers]
    cells.append(f"[{color}]{'void' if r.void else f'{r.best:.2f}'}[/]")
    if kind == "kernel":
        return [*cells, rate(r)]
    return [*cells, seconds(ours.cold), seconds(ours.warm), megabytes(ours.peak),
            str(ours.counts.get("launches", ""))]  # fmt: skip


def rate(r: Result) -> str:
    """Return flops a second where a kernel computes much for its bytes, else bytes a second."""
    ours = r.timings["tenor"].median
    if math.isnan(ours):
        return ""
    if r.flops > 8 * r.bytes:
        return f"{r.flops / ours / 1e9:.0f} GF/s"
    return f"{r.bytes / ours / 1e9:.1f} GB/s"


def promises(results: Sequence[Result]) -> list[str]:
    """Return a line for each promise that was not kept."""
    broken = []
    for r in results:
        least = PROMISED[r.kind][0]
        if r.void:
            broken.append(f"{r.row}, {r.threads} thread(s): void ({r.void})")
        elif r.best < least:
            broken.append(f"{r.row}, {r.threads} thread(s): {r.best:.2f} of the best peer")
    return broken


def write_json(path: Path, results: Sequence[Result], more: dict[str, Any]) -> None:
    """Write everything measured."""
    content = {"machine": machine(), "results": [asdict(r) for r in results], **more}
    path.write_text(json.dumps(content, indent=1))


STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #fbfbf9; --line: #d8dcdf;
  --good: #0b7a4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8eb; --paper: #14181c; --line: #343b42;
  --good: #58c896; --bad: #ff8a80; } figure { background: #fbfbf9; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { font-weight: 600; letter-spacing: -0.01em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
td:first-child, th:first-child { text-align: left; white-space: normal; min-width: 18rem; }
small { opacity: 0.65; } .good { color: var(--good); } .bad { color: var(--bad); }
figure { margin: 1rem 0; padding: 0.5rem; border-radius: 6px; overflow-x: auto; }
.wide { overflow-x: auto; }
"""


def page(path: Path, results: Sequence[Result], figures: Sequence[tuple[str, str]] = ()) -> None:
    """Write the page: a table and a chart for each kind and thread count, then more figures.

    Args:
        figures: (title, SVG text) of further plots.
    """
    about = "".join(f"<br>{html.escape(k)}: {html.escape(v)}" for k, v in machine().items())
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Tenor: benchmarks</title>"
             f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
             f"<h1>Tenor beside its peers</h1><p><small>A peer's time over Tenor's, interleaved in "
             f"one run: above 1 Tenor is ahead.{about}</small></p>"]  # fmt: skip
    for kind, title in KINDS.items():
        for threads in sorted({r.threads for r in results if r.kind == kind}):
            chosen = [r for r in results if r.kind == kind and r.threads == threads]
            parts.append(f"<h2>{title}, {threads} thread{'s' * (threads > 1)}</h2>")
            parts.append(f"<figure>{_bars(chosen)}</figure><div class=wide>")
            parts.append(_html_table(chosen, kind) + "</div>")
    parts += [f"<h2>{html.escape(t)}</h2><figure>{svg}</figure>" for t, svg in figures]
    path.write_text("\n".join(parts))


def _html_table(chosen: Sequence[Result], kind: str) -> str:
    peers = list(dict.fromkeys(n for r in chosen for n in r.timings if n != "tenor"))
    head = ["row", "tenor", *peers, "best peer"]
    head += (
        ["rate"]
        if kind == "kernel"
        else ["first step cold", "cached", "peak MB", *(f"{p}: MB" for p in peers), "launches"]
    )
    rows = []
    for r in chosen:
        ours, least = r.timings["tenor"], PROMISED[kind][0]
        cells = [f"<b>{r.row}</b> {html.escape(r.title)}", seconds(ours.median)]
        for p in peers:
            t = r.timings.get(p)
            cells.append("" if t is None else f"<span title='{html.escape(t.fault)}'>"
                         f"{seconds(t.median)} <small>{_ratio(t)}</small></span>")  # fmt: skip
        good = not r.void and r.best >= least
        cells.append(f"<b class={'good' if good else 'bad'}>"
                     f"{html.escape(r.void) or f'{r.best:.2f}'}</b>")  # fmt: skip
        if kind == "kernel":
            cells.append(rate(r))
        else:
            cells += [seconds(ours.cold), seconds(ours.warm), megabytes(ours.peak)]
            cells += [megabytes(r.timings[p].peak) if p in r.timings else "" for p in peers]
            cells.append(str(ours.counts.get("launches", "")))
        rows.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells))
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}{''.join(rows)}</table>"


def _bars(chosen: Sequence[Result]) -> str:
    """Return a chart of each peer's ratio with its spread, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    peers = list(dict.fromkeys(n for r in chosen for n in r.timings if n != "tenor"))
    figure, axes = plt.subplots(figsize=(11, 0.8 + 0.32 * len(chosen)))
    for j, peer in enumerate(peers):
        found = [(i, r.timings[peer]) for i, r in enumerate(chosen) if peer in r.timings]
        found = [(i, t) for i, t in found if t.rounds]
        at = [i + 0.16 * (j - (len(peers) - 1) / 2) for i, _ in found]
        middle = [t.ratio for _, t in found]
        spread = [[max(0, t.ratio - t.low) for _, t in found],
                  [max(0, t.high - t.ratio) for _, t in found]]  # fmt: skip
        axes.errorbar(middle, at, xerr=spread, fmt="o", ms=4, lw=1, label=peer)
    axes.axvline(1, color="#888", lw=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(chosen)), [f"{r.row}  {r.title}" for r in chosen], fontsize=8)
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xlabel("times Tenor's time (log)")
    axes.legend(fontsize=8, loc="best")
    return svg_of(figure)


def svg_of(figure: Any) -> str:
    """Return a figure as an SVG element, and close it."""
    from matplotlib import pyplot as plt

    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight")
    plt.close(figure)
    return text.getvalue().split("?>", 1)[-1].split('.dtd">', 1)[-1]
