"""An optimizer's step as one edge: nothing is done for a single tensor before the flush.

The gradients come from one replayed backward pass (`gradients`), the parameters are leaves of the
trace, and what is kept for them lies in memory. Then where the trace stands, and what the
parameters are there, tell all that the step records; it moves the trace and leaves the writes to
the flush, which gives the tensors their new values (`together`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any

from tenor.engine.liveness import IN_A_NAME, getrefcount
from tenor.engine.trace import local
from tenor.engine.trie import crosses, path
from tenor.engine.writes import Writes, apply
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tenor.engine.gradients import Gradients
    from tenor.engine.handle import Handle
    from tenor.engine.trace import Trace
    from tenor.engine.trie import Meta, State

__all__ = ["settle", "step"]


@dataclass(eq=False)
class Step:
    """A step that was recorded before.

    Attributes:
        writes: What it does to the parameters and, numbered after them, to what is kept.
        leaves: The leaf states of what is kept.
        metas: What that has to be.
        numbers: How many numbers it takes.
    """

    writes: Writes
    leaves: list[State]
    metas: list[Meta | None]
    numbers: int


def step(
    name: Hashable,
    params: list[Handle],
    kept: list[Handle],
    numbers: list[float],
    record: Callable[[], object],
) -> None:
    """Record a step that is flushed next, or take its edge.

    Args:
        name: What it does; equal names do the same to the same states.
        params: The parameters it reads and writes.
        kept: The other tensors it reads and writes, in the order in which it meets them.
        numbers: The numbers it records, first of all it does.
        record: Records it.
    """
    trace = local.trace
    key = _key(trace, name, params)
    if key is None:
        record()
        return
    known: Step | None = trace.state.macros.get(key)
    if known is not None and known.numbers == len(numbers) and _defer(trace, known, params, kept):
        trace.scalars.extend(numbers)
        return
    start, owners, scalars = trace.state, len(trace.owners), len(trace.scalars)
    tensors = [*params, *kept]
    versions = [h.version for h in tensors]
    variables, overwritten = set(trace.variables), set(trace.overwritten)
    record()
    if (
        local.trace is trace
        and trace.scalars[scalars:] == numbers
        and len(trace.owners) - owners == len(kept)
        and all(map(is_, trace.owners[owners:], kept))
        and not any(h.base is not None for h in kept)
        and not crosses(start, trace.state)
    ):
        _remember(trace, start, key, tensors, len(params), versions, variables, overwritten)


def _remember(
    trace: Trace,
    start: State,
    key: Any,
    tensors: list[Handle],
    count: int,
    versions: list[int],
    variables: set[State],
    overwritten: set[State],
) -> None:
    made = {s: h for s, h in trace.variables.items() if s not in variables}
    known = {id(h): i for i, h in enumerate(tensors)}
    if any(id(h) not in known for h in made.values()):
        return
    new = [
        (i, h.state, h.version - before)
        for i, (h, before) in enumerate(zip(tensors, versions, strict=True))
        if h.version != before
    ]
    writes = Writes(
        trace.state,
        new,
        [(s, known[id(h)]) for s, h in made.items()],
        {s: depth for s, depth in trace.overwritten.items() if s not in overwritten},
    )
    kept = tensors[count:]
    start.macros[key] = Step(
        writes,
        [s for s in path(trace.state)[start.depth :] if s.op is ops.LEAF],
        [h.meta for h in kept],
        trace.state.scalars - start.scalars,
    )


def _key(trace: Trace, name: Hashable, params: list[Handle]) -> Any:
    """Return what a step is known by; None where it has to be recorded tensor by tensor."""
    if trace.mode is True or local.pinning is not None or not trace.gradients or not params:
        return None
    found = trace.gradients[-1]
    if not all(map(is_, [p._grad for p in params], repeat(found))):
        return None
    if not all(map(is_, [p.within for p in params], repeat(trace))):
        return None
    return ("step", name, trace.mode, found.macro, tuple([p.state for p in params]))


def _defer(trace: Trace, known: Step, params: list[Handle], kept: list[Handle]) -> bool:
    """Move the trace over a step, its writes to be done later; False where it does not fit."""
    if not all(map(is_, [h.meta for h in kept], known.metas)) or not _concrete(kept):
        return False
    for h in params:
        if h.buffer.shared:
            return False
    buffers = []
    for h in kept:
        buffer = h.buffer
        if buffer.shared or h.base is not None:
            return False
        buffers.append(buffer)
    if _seen(trace, params, kept):
        return False
    trace.leaves += buffers
    trace.owners += kept
    for h, state in zip(kept, known.leaves):  # noqa: B905 - one for each, as there are metas
        h.within = trace  # as `enter` does: another thread must wait for its value
        h.state = state
    trace.state = known.writes.end
    trace.deferred.append((known.writes, [*params, *kept]))
    return True


def _concrete(kept: list[Handle]) -> bool:
    """Tell whether no tensor is pending anywhere."""
    traces = [h.within for h in kept]
    if traces and all(map(is_, traces, repeat(traces[0]))):
        traces = traces[:1]
    return all(t is None or t.done for t in traces)


def _seen(trace: Trace, params: list[Handle], kept: list[Handle]) -> bool:
    """Tell whether a view of one of the tensors is held by somebody."""
    for views in trace.views.values():
        for view in views:
            # The trace's lists of handles and of views hold it as well.
            if view.within is trace and getrefcount(view) > IN_A_NAME + 2:
                base = view.base
                if any(h is base for h in (*params, *kept)):
                    return True
    return False


def settle(trace: Trace, held: list[Gradients]) -> list[Handle]:
    """Make handles of gradients, and do what was deferred; return all these tensors."""
    handles: list[Handle] = []
    for found in held:
        for at, leaf in enumerate(found.macro.leaves):
            handle = found.handle(at)
            handles.append(handle)
            owner = trace.variables.get(leaf)
            if owner is not None and owner._grad is found:
                owner._grad = handle
    for writes, tensors in trace.deferred:
        apply(trace, writes, tensors)
        handles += [tensors[at] for at, _, _ in writes.new]
    trace.gradients.clear()
    trace.deferred.clear()
    return handles
