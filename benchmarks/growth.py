"""How costs grow: a step with batch, length, width and depth; recording with the number of
operations; compiling with the number of distinct kernels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from interleave import Plan, measure
from workloads.growing import SERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["measure_all"]

PEERS = ("tenor", "torch", "jax")
"""torch.compile would compile for half a minute at each of the 25 points."""

RECORDING = """
import json, sys, time, numpy as np
import {lib} as lib
lib.set_num_threads(1)
found = []
for count in {counts}:
    best = []
    for _ in range(5 if count <= 10_000 else 3):
        x = lib.ones(8, 8)
        with lib.no_grad():
            start = time.perf_counter()
            for _ in range(count // 4):
                x = ((x * 1.5) + 0.25).tanh() - 0.125
            recorded = time.perf_counter() - start
            x.numpy()
        best.append(recorded / count)
    found.append([count, sorted(best)[len(best) // 2]])
print(json.dumps(found))
"""
"""Seconds an operation takes to record, or, in PyTorch, to run on 64 numbers."""

COMPILING = """
import json, time, tempfile, os
os.environ["TENOR_CACHE_DIR"] = tempfile.mkdtemp()
import tenor as tn
tn.set_num_threads(1)
(tn.ones(3) + 1).tolist()
found = []
for count in {counts}:
    parts = [tn.ones(16 + count, 3 + i) for i in range(count)]
    start = time.perf_counter()
    total = [(p.exp() * 0.5).sum(1).tanh() for p in parts]
    total[0].tolist()
    found.append([count, time.perf_counter() - start])
print(json.dumps(found))
"""
"""Seconds a program of so many distinct kernels takes to compile and run, nothing cached."""


def measure_all(
    names: Sequence[str], folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return everything measured, and a figure for each."""
    found: dict[str, Any] = {}
    figures = []
    plan = Plan(tuple(p for p in PEERS if p in names), (1,), 3, 0.4, cold=False, folder=folder)
    for name, series in SERIES.items():
        lines: dict[str, list[list[float]]] = {p: [] for p in plan.peers}
        for size in series.sizes:
            result = measure(f"{name}={size}", 1, plan, say)
            for peer, timing in result.timings.items():
                if timing.rounds:
                    lines[peer].append([size, timing.median])
        found[name] = lines
        figures.append((f"A step's time against {series.axis}: {series.title}",
                        _plot(lines, series.axis, "seconds a step")))  # fmt: skip
    counts = [100, 1_000, 10_000, 100_000]
    say("recording")
    lines = {
        lib: _run(RECORDING.format(lib=lib, counts=counts))
        for lib in ("tenor", "torch") if lib in names
    }  # fmt: skip
    found["recording"] = lines
    figures.append(("An operation's overhead against the length of the trace",
                    _plot(lines, "operations", "seconds an operation")))  # fmt: skip
    say("compiling")
    lines = {"tenor": _run(COMPILING.format(counts=[1, 2, 4, 8, 16, 32, 64]))}
    found["compiling"] = lines
    figures.append(("Compiling against distinct kernels",
                    _plot(lines, "kernels", "seconds, nothing cached")))  # fmt: skip
    return found, figures


def _run(code: str) -> list[list[float]]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _plot(lines: dict[str, list[list[float]]], across: str, up: str) -> str:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for peer, points in lines.items():
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", ms=4, label=peer)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend()
    return report.svg_of(figure)
