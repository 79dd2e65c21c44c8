"""Macros: functions of many operations that cost one look-up when they are recorded again.

`softmax` records six operations. The second time it is called at the same position with the same
operands, the trie holds all six; a macro remembers where they end, and the trace jumps there.
"""

from __future__ import annotations

import functools
from math import copysign
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from tenor.engine import graft
from tenor.engine.handle import Handle
from tenor.engine.liveness import IN_A_NAME, getrefcount
from tenor.engine.trace import enter, local
from tenor.engine.trie import since
from tenor.errors import user_line
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from tenor.engine.trace import Trace
    from tenor.engine.trie import State

__all__ = ["macro", "written"]

P = ParamSpec("P")
R = TypeVar("R")


class Span(NamedTuple):
    """What a call recorded: where it ended, its numbers, its results, the indices it checks."""

    end: State
    scalars: list[Any]
    results: tuple[State, ...]
    single: bool
    checks: tuple[State, ...]


def macro(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function be recorded as one edge after the first time.

    The function must be pure: its results depend on its arguments alone, are new tensors (no
    views), and nothing is read, written in place or drawn at random inside.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if local.immediate:
            return function(*args, **kwargs)
        trace = local.trace
        parts: list[Any] = [function, trace.grad, local.lowered]
        for a in args:
            if isinstance(a, Handle):
                parts.append(a.state if a.within is trace else enter(trace, a))
            else:
                # 1, 1.0 and True are equal but mean different things.
                kind = type(a)
                parts.append(a)
                parts.append(kind)
                if kind is tuple or (kind is float and not a):
                    parts.append(exact(a))
        for name, a in kwargs.items():
            kind = type(a)
            if isinstance(a, Handle):
                parts.append((name, a.state if a.within is trace else enter(trace, a)))
            elif kind is tuple or (kind is float and not a):
                parts.append((name, a, kind, exact(a)))
            else:
                parts.append((name, a, kind))
        key = tuple(parts)
        start = trace.state
        try:
            span = start.macros.get(key)
        except TypeError:  # a list or an array is no key
            return function(*args, **kwargs)
        if span is None:
            span = _grafted(start, parts)
            if span is None:
                return _record(trace, start, parts, function, args, kwargs)  # type: ignore[no-any-return]
            start.macros[key] = span
        trace.state = span.end
        trace.scalars.extend(span.scalars)
        if span.checks:
            _here(span.checks)
        make, outs = local.make, trace.outs
        made = []
        for state in span.results:
            handle = make()
            handle.within = trace
            handle.state = state
            outs.append(handle)
            made.append(handle)
        return made[0] if span.single else tuple(made)  # type: ignore[return-value]

    return call


def _here(checks: tuple[State, ...]) -> None:
    """Let index checks be reported at the line that runs."""
    site = user_line()
    for state in checks:
        state.site = site


def exact(value: Any) -> Any:
    """Return what tells apart values that compare equal: the types in a nest, the sign of zero."""
    if isinstance(value, tuple):
        return tuple([(type(v), exact(v)) for v in value])
    if isinstance(value, float):
        return copysign(1.0, value)
    # A tensor in a nest is no key: it would be compared element by element, and kept for good.
    return [] if isinstance(value, Handle) else None


def _record(
    trace: Trace,
    start: State,
    parts: list[Any],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call the function, and remember the call if it did nothing a macro cannot repeat."""
    scalars, providers, owners = len(trace.scalars), len(trace.providers), len(trace.owners)
    rebound = _versions(trace)
    result = function(*args, **kwargs)
    results = (result,) if isinstance(result, Handle) else result
    pure = (
        local.trace is trace
        and not trace.done
        and len(trace.providers) == providers
        and len(trace.owners) == owners
        and _versions(trace) == rebound
        and type(results) is tuple
        and all(isinstance(h, Handle) and h.within is trace and h.base is None for h in results)
        and all(h.state.depth > start.depth for h in results)
        and not _crosses(start, trace.state)
        and _closed(trace, start, [*args, *kwargs.values()])
    )
    if pure:
        states = tuple([h.state for h in results])
        single = isinstance(result, Handle)
        checks = tuple([s for s in since(start, trace.state) if s.op is ops.WRAP_INDEX])
        span = Span(trace.state, trace.scalars[scalars:], states, single, checks)
        if len(start.macros) >= LIMIT:
            start.macros.clear()
        start.macros[tuple(parts)] = span
        general, given = graft.general(parts)
        graft.remember(general, given, start, trace.state, span)
    return result


def _grafted(start: State, parts: list[Any]) -> Span | None:
    """Return what a call records here, copied from where it was recorded before."""
    general, given = graft.general(parts)
    stretch = graft.find(general)
    moved = stretch and graft.graft(start, stretch, given)
    if not stretch or not moved:
        return None
    span: Span = stretch.what
    if len(start.macros) >= LIMIT:
        start.macros.clear()
    results = tuple([moved[s] for s in span.results])
    checks = tuple([moved[s] for s in span.checks])
    return Span(moved[span.end], span.scalars, results, span.single, checks)


LIMIT: Final = 256
"""Macros kept at one position: a number that is another at each call makes a new one each time."""


def _closed(trace: Trace, start: State, arguments: list[Any]) -> bool:
    """Tell whether what was recorded since reads nothing but the arguments."""
    given = {a.state for a in arguments if isinstance(a, Handle) and a.within is trace}
    return all(
        source.depth > start.depth or source in given
        for state in since(start, trace.state)
        for source in state.inputs
    )


def _versions(trace: Trace) -> list[tuple[int, int]]:
    """Return which tensors were written in place, and how often: what a pure call leaves alone."""
    return [(key, handle.version) for key, handle in trace.rebound.items()]


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
        parts = (name, trace.grad, *states)
        known = _grafted_writes(start, parts)
        if known is None:
            _record_writes(trace, start, (key, parts), tensors, procedure)
            return
        start.macros[key] = known
    trace.state = known.end
    trace.overwritten |= known.overwritten
    for state, at in known.variables:
        trace.variables[state] = tensors[at]
    for at, state, times in known.new:
        target = tensors[at]
        if states[at].op is ops.LEAF and trace.owners[states[at].leaves - 1] is target:
            trace.donors.setdefault(id(target), states[at])
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
    trace: Trace, start: State, keys: tuple[Any, Any], tensors: Sequence[Handle],
    procedure: Callable[[], object],
) -> None:  # fmt: skip
    counts = (len(trace.scalars), len(trace.providers), len(trace.owners))
    versions = [h.version for h in tensors]
    variables, overwritten = set(trace.variables), set(trace.overwritten)
    procedure()
    same = local.trace is trace and not trace.done
    if not same or counts != (len(trace.scalars), len(trace.providers), len(trace.owners)):
        return
    numbers = {id(h): i for i, h in enumerate(tensors)}
    made = {s: h for s, h in trace.variables.items() if s not in variables}
    if _crosses(start, trace.state) or any(id(h) not in numbers for h in made.values()):
        return
    new = [
        (i, h.state, h.version - before)
        for i, (h, before) in enumerate(zip(tensors, versions, strict=True))
        if h.version != before
    ]
    writes = Writes(
        trace.state,
        new,
        [(s, numbers[id(h)]) for s, h in made.items()],
        {s: depth for s, depth in trace.overwritten.items() if s not in overwritten},
    )
    key, parts = keys
    start.macros[key] = writes
    general, given = graft.general(parts)
    graft.remember(general, given, start, trace.state, writes)


def _grafted_writes(start: State, parts: tuple[Any, ...]) -> Writes | None:
    """Return what a procedure records here, copied from where it was recorded before."""
    general, given = graft.general(parts)
    stretch = graft.find(general)
    moved = stretch and graft.graft(start, stretch, given)
    if not stretch or not moved:
        return None
    writes: Writes = stretch.what
    if not writes.overwritten.keys() <= moved.keys():
        return None  # a view of theirs was, which is none of the operands
    deeper = start.depth - stretch.start.depth
    return Writes(
        moved[writes.end],
        [(at, moved[state], times) for at, state, times in writes.new],
        [(moved[state], at) for state, at in writes.variables],
        {moved[state]: depth + deeper for state, depth in writes.overwritten.items()},
    )


def _crosses(start: State, end: State) -> bool:
    """Tell whether a trace is run unasked somewhere in a stretch (see `State.boundary`)."""
    return any(state.boundary for state in since(start, end))
