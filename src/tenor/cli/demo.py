"""`tenor demo`: one model's whole life, and what to try next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tenor.cli.console import missing, not_installed, out
from tenor.demo import live

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from tenor.demo import Outcome

__all__ = ["NEEDS", "demo"]

NEEDS: Final = ("serve", "tensorboard")
"""The extras that it uses."""


def demo(directory: Path, epochs: int | None) -> int:
    """Run the demo; 1 where anything that had to hold did not."""
    lacking = missing(NEEDS)
    if lacking:  # said now, not after the training
        not_installed(lacking)
        return 1
    outcome = live(directory, _say, epochs=epochs)
    out.print(_panel(outcome))
    for label, command in _commands(outcome) if outcome.ok else ():
        # Printed bare, so that a line can be copied whole from any terminal.
        out.print(f"\n{label}:", style="bold")
        out.print(f"  {command}", soft_wrap=True, markup=False)
    return 0 if outcome.ok else 1


def _say(line: str) -> None:
    style = "green" if line.startswith("ok") else "red" if line.startswith("FAILED") else "bold"
    out.print(Text(line if style == "bold" else f"   {line}", style=style), soft_wrap=True)


def _panel(outcome: Outcome) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if outcome.ok:
        rows = (
            ("accuracy", f"{outcome.accuracy:.2%} of images it has not seen"),
            ("training", f"{outcome.train_seconds:.1f} s"),
            ("everything", f"{outcome.seconds:.1f} s"),
            ("model", str(outcome.model)),
            ("event files", str(outcome.events)),
            ("page", str(outcome.web)),
            ("request", f"{outcome.request}, an image of a {outcome.digit}"),
            ("checks", f"{len(outcome.checks)} held"),
        )
        for row in rows:
            grid.add_row(row[0], Text(row[1]))
        return Panel(grid, title="tenor demo", title_align="left", border_style="green",
                     expand=False)  # fmt: skip
    for check in outcome.checks:
        if not check.held:
            grid.add_row("wanted", Text(check.what))
            grid.add_row("found", Text(check.found))
    head = Text("not everything held", style="bold")
    return Panel(Group(head, grid), title="tenor demo", title_align="left", border_style="red",
                 expand=False)  # fmt: skip


def _commands(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    paths = outcome.model, outcome.events, outcome.request, outcome.web
    model, events, request, web = (shlex.quote(str(path)) for path in paths)
    url = "http://127.0.0.1:8501/v1/models/digits:predict"
    return (
        ("Look at the training", f"tensorboard --logdir {events}"),
        ("Start the server again", f"tenor serve {model}"),
        (f"Ask it; the largest of the ten numbers should be number {outcome.digit}",
         f"curl -s {url} -d @{request}"),
        ("Draw digits in a browser, at http://127.0.0.1:8000",
         f"python3 -m http.server -b 127.0.0.1 -d {web} 8000"),
    )  # fmt: skip
