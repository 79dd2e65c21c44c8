"""`make bench`: Tenor beside PyTorch eager, interleaved in one run.

Prints, for each case, both medians, the ratio (PyTorch's time over Tenor's: above 1 Tenor is
faster) with its 10th and 90th percentile, and the ratio the project promises. Run it on an idle
machine. `python benchmarks/run.py matmul` runs the cases whose name holds a word.
"""

from __future__ import annotations

import sys

import torch
from cases import CASES, work_for
from peers import compare, machine
from rich.console import Console
from rich.table import Table
from startup import measure, median

import tenor as tn


def main(word: str = "") -> int:
    """Print the tables; return how many promises were not kept."""
    console = Console(width=120)
    console.print(f"{machine()}\ntenor {tn.__version__}, torch {torch.__version__} (eager)\n")
    table = Table(title="Steps and kernels")
    for name in ("case", "threads", "tenor", "torch", "ratio", "10 %-90 %", "promised"):
        table.add_column(name, justify="left" if name == "case" else "right", no_wrap=True)
    broken = 0
    for name, (_, threads, promised) in CASES.items():
        if word not in name:
            continue
        for count in threads:
            result = compare(*work_for(name, count))
            kept = promised is None or result.ratio >= promised
            broken += not kept
            table.add_row(
                name, str(count), _time(result.ours), _time(result.theirs),
                f"[{'green' if kept else 'red'}]{result.ratio:.2f}x[/]",
                f"{result.low:.2f}-{result.high:.2f}",
                "" if promised is None else f"{promised:.1f}x",
            )  # fmt: skip
    if table.row_count:
        console.print(table)
    if not word or word == "startup":
        broken += _startup(console)
    return broken


def _startup(console: Console) -> int:
    table = Table(title="Starting up")
    for name in ("what", "median", "min-max", "promised"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    broken = 0
    for what, seconds, promised in measure():
        kept = median(seconds) <= promised
        broken += not kept
        color = "green" if kept else "red"
        table.add_row(
            what, f"[{color}]{_time(median(seconds))}[/]",
            f"{_time(seconds[0])}-{_time(seconds[-1])}", _time(promised),
        )  # fmt: skip
    console.print(table)
    return broken


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    sys.exit(min(main(" ".join(sys.argv[1:])), 1))
