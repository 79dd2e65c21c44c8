"""`make bench`: Tenor beside PyTorch, torch.compile, JAX and ONNX Runtime, interleaved in one run.

    python benchmarks/run.py                     every row, one and two threads
    python benchmarks/run.py T I --threads 1     the rows whose names begin with T or I
    python benchmarks/run.py K --peers torch     kernels, beside PyTorch alone
    python benchmarks/run.py startup growth      what a new process waits for; growth in size
    python benchmarks/run.py lowbits checkpoint  bf16 and int8; memory against time
    python benchmarks/run.py lengths             text of another length in every batch

Run it on an idle machine. It writes results.json and results.html to the folder of `--out`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import catalogue
import checkpointing
import click
import growth
import lengths
import lowbits
import peaks
import report
import startup
from interleave import Plan, measure
from peers import PEERS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from interleave import Result

SECTIONS = ("startup", "lowbits", "checkpoint", "lengths", "growth")


def _numbers(context: object, parameter: object, value: str) -> tuple[int, ...]:  # noqa: ARG001
    return tuple(int(n) for n in value.split(","))


def _names(context: object, parameter: object, value: str) -> tuple[str, ...]:  # noqa: ARG001
    names = tuple(value.split(","))
    unknown = [n for n in names if n not in PEERS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(PEERS)}")
    return ("tenor", *(n for n in names if n != "tenor"))


@click.command(help=__doc__)
@click.argument("rows", nargs=-1)
@click.option("--threads", default="1,2", callback=_numbers, help="thread counts")
@click.option("--peers", "names", default=",".join(PEERS), callback=_names, help="who is compared")
@click.option("--rounds", default=9, help="turns each peer gets")
@click.option("--seconds", default=0.6, help="length of a turn")
@click.option(
    "--cold/--no-cold", default=True, help="time a first step twice: nothing cached, then cached"
)
@click.option("--out", default="benchmarks/results", type=click.Path(path_type=Path))
def main(
    rows: tuple[str, ...], threads: tuple[int, ...], names: tuple[str, ...], rounds: int,
    seconds: float, cold: bool, out: Path,
) -> None:  # fmt: skip
    console = Console(width=max(160, Console().width))
    console.print("\n".join(f"{k}: {v}" for k, v in report.machine().items()))
    chosen = catalogue.matching([r for r in rows if r not in SECTIONS] or ([""] * (not rows)))
    sections = [s for s in SECTIONS if s in rows or not rows]
    results: list[Result] = []
    figures: list[tuple[str, str]] = []
    more: dict[str, object] = {}
    out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        report.write_json(out / "results.json", results, more)
        report.page(out / "results.html", results, figures)

    for count in threads:
        most = more[f"peaks, {count} threads"] = vars(peaks.measure(count))
        console.print(
            f"{count} thread(s) at most: {most['flops'] / 1e9:.0f} GF/s between registers, "
            f"{most['read'] / 1e9:.1f} GB/s read, {most['moved'] / 1e9:.1f} GB/s of z = x + y"
        )

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Progress(
            BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.description}"), console=console, transient=True,
        ) as progress,
    ):  # fmt: skip
        task = progress.add_task("", total=len(chosen) * len(threads))
        for count in threads:
            plan = Plan(names, threads, rounds, seconds, cold and count == threads[0], Path(folder))
            for name in chosen:
                result = measure(
                    name, count, plan, lambda what: progress.update(task, description=what)
                )
                results.append(result)
                progress.advance(task)
                save()
        if "growth" in sections:
            say = lambda what: progress.update(task, description=what)  # noqa: E731
            more["growth"], figures = growth.measure_all(names, Path(folder), say)
    for kind in report.KINDS:
        for count in threads:
            if any(r.kind == kind and r.threads == count for r in results):
                console.print(report.table(results, kind, count))
    broken = report.promises(results)
    if "startup" in sections:
        found = startup.measure()
        more["startup"] = [[what, times, promised] for what, times, promised in found]
        console.print(startup.table(found))
        broken += [w for w, times, promised in found if startup.median(times) > promised]
    if "lowbits" in sections:
        rows_found = lowbits.measure()
        more["lowbits"] = [vars(r) for r in rows_found]
        console.print(lowbits.table(rows_found))
    if "checkpoint" in sections:
        traded = checkpointing.measure()
        more["checkpoint"] = traded
        console.print(checkpointing.table(traded))
    if "lengths" in sections:
        varied = lengths.measure()
        more["lengths"] = varied
        console.print(lengths.table(varied))
    save()
    console.print(f"written: {out / 'results.json'}, {out / 'results.html'}")
    for line in broken:
        console.print(f"[red]below what is promised[/]: {line}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
