"""Graph to program: `compile()` and THE PASS LIST, nothing else.

In:     a Graph and a Target.
Out:    a Program: kernels as text in the target's language, and the order to launch them in.
Never:  runs anything or knows an address; every pass can be tested with no device.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler import assemble, simplify
from tenor.errors import ArgumentError
from tenor.ir.node import Graph
from tenor.ir.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.program import Program
    from tenor.ir.target import Target

__all__ = ["PASSES", "Pass", "Snapshot", "compile"]


@dataclass(frozen=True)
class Pass:
    """One pass: its name, what it does, and what is done instead when it is switched off.

    Attributes:
        name: The name to skip it by.
        run: From what the pass before left, and the target, to what this one leaves: a Graph up
            to `fuse`, an Assembly from there on.
        plain: Run instead when the pass is skipped; None where it may simply be left out.
        required: Whether it cannot be skipped.
    """

    name: str
    run: Callable[[Any, Target], Any]
    plain: Callable[[Any, Target], Any] | None = None
    required: bool = False


PASSES: Final = (
    Pass("strip", simplify.strip, required=True),
    Pass("collapse", simplify.collapse),
    Pass("turn", simplify.turn),
    Pass("merge", simplify.merge),
    Pass("join", simplify.join),
    Pass("pack", simplify.pack),
    Pass("split-reduce", simplify.split_reduce, required=True),
    Pass("dead", simplify.dead),
    Pass("distinct", simplify.distinct, required=True),
    Pass("fuse", assemble.fuse, plain=assemble.fuse_apart),
    Pass("rows", assemble.rows),
    Pass("finish", assemble.finish),
    Pass("epilogue", assemble.epilogue),
    Pass("prepare", assemble.prepare),
    Pass("channels", assemble.channels),
    Pass("arena", assemble.place, plain=assemble.place_apart),
    Pass("dedupe", assemble.dedupe, plain=assemble.separate),
    Pass("lower", assemble.lower, required=True),
    Pass("emit", assemble.emit, required=True),
)


@dataclass
class Snapshot:
    """What a pass left behind, for `explain` and for tests."""

    name: str
    seconds: float
    value: Any


def compile(
    graph: Graph,
    target: Target,
    *,
    skip: frozenset[str] = frozenset(),
    trace: list[Snapshot] | None = None,
    check: bool = False,
) -> Program:
    """Return the program that computes a graph on a target.

    Args:
        graph: What to compute.
        target: What to compute it on.
        skip: Names of passes to leave out; required ones are run all the same.
        trace: Filled with what each pass left behind.
        check: Whether to verify the graph after each graph pass.

    Raises:
        ArgumentError: a name is no pass's.
    """
    unknown = skip - {step.name for step in PASSES}
    if unknown:
        raise ArgumentError(
            "compile: skip must name passes.",
            came=", ".join(sorted(unknown)),
            fix="choose from " + ", ".join(s.name for s in PASSES if not s.required),
        )
    value: Any = graph
    for step in PASSES:
        run = step.plain if step.name in skip and not step.required else step.run
        if run is None:
            continue
        start = time.perf_counter()
        value = run(value, target)
        if check and isinstance(value, Graph):
            verify(value, "graph")
        if trace is not None:
            trace.append(Snapshot(step.name, time.perf_counter() - start, value))
    return value.program  # type: ignore[no-any-return]
