"""Macros: functions of many operations that cost one look-up when they are recorded again.

`softmax` records six operations. The second time it is called at the same position with the same
operands, the trie holds all six; a macro remembers where they end, and the trace jumps there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from tenor.engine.handle import Handle
from tenor.engine.trace import enter, local

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.engine.trace import Trace
    from tenor.engine.trie import State

__all__ = ["macro"]

P = ParamSpec("P")
R = TypeVar("R")


class Span(NamedTuple):
    """What a call recorded: where it ended, its numbers, and what it returned."""

    end: State
    scalars: list[Any]
    results: tuple[State, ...]
    single: bool


def macro(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function be recorded as one edge after the first time.

    The function must be pure: its results depend on its arguments alone, are new tensors (no
    views), and nothing is read, written in place or drawn at random inside.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        trace = local.trace
        parts: list[Any] = [function, trace.grad]
        for a in args:
            if isinstance(a, Handle):
                parts.append(a.state if a.trace is trace else enter(trace, a))
            else:
                # 1, 1.0 and True are equal but mean different things.
                parts.append(a)
                parts.append(type(a))
        if kwargs:
            for name, a in kwargs.items():
                if isinstance(a, Handle):
                    a = a.state if a.trace is trace else enter(trace, a)
                parts.append((name, a, type(a)))
        key = tuple(parts)
        start = trace.state
        try:
            span = start.macros.get(key)
        except TypeError:
            return function(*args, **kwargs)
        if span is None:
            return _record(trace, start, key, function, args, kwargs)
        trace.state = span.end
        if span.scalars:
            trace.scalars.extend(span.scalars)
        make, outs = local.make, trace.outs
        made = []
        for state in span.results:
            handle = make()
            handle.trace = trace
            handle.state = state
            outs.append(handle)
            made.append(handle)
        return made[0] if span.single else tuple(made)  # type: ignore[return-value]

    return call


def _record(
    trace: Trace,
    start: State,
    key: Any,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call the function, and remember the call if it did nothing a macro cannot repeat."""
    scalars, providers, owners = len(trace.scalars), len(trace.providers), len(trace.owners)
    rebound = dict(trace.rebound)
    result = function(*args, **kwargs)
    results = (result,) if isinstance(result, Handle) else result
    pure = (
        local.trace is trace
        and not trace.done
        and len(trace.providers) == providers
        and len(trace.owners) == owners
        and trace.rebound == rebound
        and type(results) is tuple
        and all(isinstance(h, Handle) and h.trace is trace and h.base is None for h in results)
        and not _crosses(start, trace.state)
    )
    if pure:
        states = tuple([h.state for h in results])
        single = isinstance(result, Handle)
        start.macros[key] = Span(trace.state, trace.scalars[scalars:], states, single)
    return result


def _crosses(start: State, end: State) -> bool:
    """Tell whether a trace is run unasked somewhere in a stretch (see `State.boundary`)."""
    at: State | None = end
    while at is not None and at is not start:
        if at.boundary:
            return True
        at = at.parent
    return False
