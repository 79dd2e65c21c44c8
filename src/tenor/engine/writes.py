"""Procedures that write tensors in place, such as an optimizer's step, each known as one edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tenor.engine.liveness import IN_A_NAME, getrefcount
from tenor.engine.trace import enter, local
from tenor.engine.trie import crosses
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from tenor.engine.handle import Handle
    from tenor.engine.trace import Trace
    from tenor.engine.trie import State

__all__ = ["Writes", "apply", "written"]


class Writes(NamedTuple):
    """What a recorded procedure did: its end, and for each tensor written its new state.

    Attributes:
        end: Where it ended.
        new: (number of the tensor, its last state, how often it was written).
        variables: (state, number of the tensor) of every new leaf state on the way.
        overwritten: The states that were written over, as in `Trace`.
    """

    end: State
    new: list[tuple[int, State, int]]
    variables: list[tuple[State, int]]
    overwritten: dict[State, int]


def written(name: Hashable, tensors: Sequence[Handle], procedure: Callable[[], object]) -> None:
    """Run a procedure that writes tensors in place, as one edge after the first time.

    Args:
        name: What it does; equal names do the same to the same states.
        tensors: Every tensor it reads or writes.
        procedure: Does it. Nothing else is read, written or drawn at random inside.
    """
    trace = local.trace
    states = tuple([h.state if h.within is trace else enter(trace, h) for h in tensors])
    start = trace.state
    key = ("written", name, states)
    if local.immediate or not _alone(trace, tensors):
        procedure()
        return
    known: Writes | None = start.macros.get(key)
    if known is None:
        _record_writes(trace, start, key, tensors, procedure)
        return
    trace.state = known.end
    apply(trace, known, tensors)


def apply(trace: Trace, known: Writes, tensors: Sequence[Handle]) -> None:
    """Give tensors the new states of a recorded procedure."""
    trace.overwritten |= known.overwritten
    for state, at in known.variables:
        trace.variables[state] = tensors[at]
    for at, state, times in known.new:
        target = tensors[at]
        before = target.state
        if before.op is ops.LEAF and trace.owners[before.leaves - 1] is target:
            trace.donors.setdefault(id(target), before)
        target.state = state
        target.version += times
        target.segment = None
        trace.rebound[id(target)] = target


def _alone(trace: Trace, tensors: Sequence[Handle]) -> bool:
    """Tell whether nobody else sees a write: no live view, no base, no NumPy array."""
    for h in tensors:
        if h.base is not None or (h.buffer is not None and h.buffer.shared):
            return False
    if not any(h.viewed for h in tensors):
        return True
    for h in tensors:
        for view in trace.views.get(id(h), ()):
            # The trace's lists of handles and of views hold it as well.
            if view.within is trace and getrefcount(view) > IN_A_NAME + 2:
                return False
    return True


def _record_writes(
    trace: Trace, start: State, key: Any, tensors: Sequence[Handle], procedure: Callable[[], object]
) -> None:
    counts = (len(trace.scalars), len(trace.providers), len(trace.owners))
    versions = [h.version for h in tensors]
    variables, overwritten = set(trace.variables), set(trace.overwritten)
    procedure()
    same = local.trace is trace and not trace.done
    if not same or counts != (len(trace.scalars), len(trace.providers), len(trace.owners)):
        return
    numbers = {id(h): i for i, h in enumerate(tensors)}
    made = {s: h for s, h in trace.variables.items() if s not in variables}
    if crosses(start, trace.state) or any(id(h) not in numbers for h in made.values()):
        return
    new = [
        (i, h.state, h.version - before)
        for i, (h, before) in enumerate(zip(tensors, versions, strict=True))
        if h.version != before
    ]
    start.macros[key] = Writes(
        trace.state,
        new,
        [(s, numbers[id(h)]) for s, h in made.items()],
        {s: depth for s, depth in trace.overwritten.items() if s not in overwritten},
    )
