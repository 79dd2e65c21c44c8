"""`tenor explain`: a script, and everything it became."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.cli.console import err, out
from tenor.errors import ArgumentError
from tenor.explain import STAGES, explain_script, page, summary
from tenor.explain import stage as stage_of
from tenor.save import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tenor.explain import ProgramRecord, Report

__all__ = ["explain"]

FIRST = ("source", "kernels")
"""What is shown of a program when no stage is asked for."""


def explain(
    script: Path,
    arguments: Sequence[str],
    *,
    html: Path | None,
    stage: str | None,
    program: int | None,
    measure: bool,
) -> int:
    """Run a script and show it; return the script's own exit status."""
    if stage is not None and stage not in STAGES:
        raise ArgumentError(
            "explain: --stage names a stage.", came=repr(stage), fix=f"one of {', '.join(STAGES)}"
        )
    if html is not None:  # before the script runs, which may take long and go elsewhere
        html = html.absolute()
        if not html.parent.is_dir():
            raise ArgumentError(
                "explain: --html names a file in a directory that is there.",
                came=str(html),
                fix=f"make {html.parent} first",
            )
    report = explain_script(script, arguments, measure=measure)
    chosen = _chosen(report, program)
    if stage is None:
        out.print(summary(report))
    for record in chosen if stage or program else chosen[:1] if len(chosen) == 1 else []:
        for name in [stage] if stage else FIRST:
            out.print(stage_of(record, name))
    if stage is None and program is None and len(chosen) > 1:
        err.print("--program N shows one of them, --stage graph|kernels|loops|ir|asm a stage")
    if html is not None:
        replace_file(html, [page(report).encode()])
        err.print(f"wrote {html}")
    return report.status


def _chosen(report: Report, program: int | None) -> list[ProgramRecord]:
    if program is None:
        return report.programs
    if program > len(report.programs):
        raise ArgumentError(
            "explain: --program is the number of a program that ran.",
            came=f"{program}; the script ran {len(report.programs)}",
            fix="leave it out to see all of them",
        )
    return [report.programs[program - 1]]
