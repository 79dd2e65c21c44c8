"""What pass tests share: graphs written as text, and a compile that stops where it is told."""

from __future__ import annotations

from textwrap import dedent

from tenor.compiler import PASSES, compile
from tenor.ir.target import Target
from tenor.ir.text import parse, to_text
from tenor.ir.verify import verify

TARGET = Target.x86_64_avx2()


def graph(body):
    """Return the graph whose lines these are."""
    lines = "\n".join("  " + line for line in dedent(body).strip().splitlines())
    return parse(f"graph {{\n{lines}\n}}\n")


def written(result):
    """Return a graph's lines, having verified it."""
    verify(result, "graph")
    inner = to_text(result).strip().splitlines()[1:-1]
    return "\n".join(line.strip() for line in inner)


def lines(body):
    """Return text as `written` gives it."""
    return dedent(body).strip()


def after(name, start, skip=()):
    """Return what is left after the pass of that name."""
    trace = []
    compile(start, TARGET, skip=frozenset(skip), trace=trace, check=True)
    found = [step.value for step in trace if step.name == name]
    assert len(found) == 1, f"{name} left {len(found)} snapshots"
    return found[0]


def names():
    """Return the names of the passes, in order."""
    return [step.name for step in PASSES]
