"""`tenor benchmark`: what a saved model takes on machines, and how fast where they can be tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table

from tenor.cli.console import err, out
from tenor.cli.eight_bits import calibrated
from tenor.cli.predict import choose
from tenor.explain.units import bytes_text, seconds_text
from tenor.export.edge import benchmark as measured
from tenor.export.edge.targets import machinery
from tenor.save import load_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tenor.export.edge import Report

__all__ = ["benchmark"]

COLUMNS: Final = ("target", "code", "weights", "workspace (peak RAM)", "time", "how")
NOWHERE: Final = "not run here"
"""What is said of a machine that neither is this one nor has an emulator here."""


def benchmark(
    path: Path, targets: Sequence[str], *, int8: str | None = None, rows: str | None = None,
    signature: str | None = None, batch: int = 1,
) -> int:  # fmt: skip
    """Show what a model takes on each machine, as one table."""
    for name in targets:
        machinery(name)  # an unknown one is said before any is measured
    model = load_model(path)
    chosen = choose(model, signature).name
    found = calibrated(model, int8, signature=chosen, rows=rows) if int8 is not None else None
    reports = []
    with err.status("") as status:
        for name in targets:
            status.update(name)
            reports.append(
                measured(
                    model, name, signature=chosen, batch=batch,
                    quantization=found.quantization if found else None,
                )
            )  # fmt: skip
    out.print(_table(reports))
    if any(report.how == "emulated" for report in reports):
        out.print("An emulator's time says nothing about the machine's own speed.", style="dim")
    return 0


def _table(reports: Sequence[Report]) -> Table:
    """Return a row for each machine."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        sized = name not in ("target", "how")
        table.add_column(name, justify="right" if sized else "left", no_wrap=name == "target")
    for report in reports:
        sizes = map(bytes_text, (report.code, report.weights, report.workspace))
        time = "-" if report.seconds is None else seconds_text(report.seconds)
        table.add_row(report.target, *sizes, time, report.how or NOWHERE)
    return table
