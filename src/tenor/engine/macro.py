"""Macros: functions of many operations that cost one look-up when they are recorded again.

`softmax` records six operations. The second time it is called at the same position with the same
operands, the trie holds all six; a macro remembers where they end, and the trace jumps there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from tenor.engine import graft, recorder
from tenor.engine.call import LIMIT, Call, Entry, exact, find, fixed, replay, take
from tenor.engine.handle import Handle
from tenor.engine.trace import enter, local
from tenor.engine.trie import State, crosses, since
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.engine.trace import Trace

__all__ = ["PLAIN", "closed", "keep", "macro", "versions", "viewing"]

P = ParamSpec("P")
R = TypeVar("R")
PLAIN: Final[dict[Any, Callable[..., Any]]] = {}
"""The function inside each macro: its calls may be found from further outside."""


def macro(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function be recorded as one edge after the first time.

    The function must be pure: its results depend on its arguments alone, are new tensors (no
    views), and nothing is read, written in place or drawn at random inside.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        trace = local.trace
        given = (*args, *kwargs.values()) if kwargs else args
        result = recorder.current(trace, function, given, kwargs)
        if result is None:  # the builtin leaves what is rare to Python
            result = replay(trace, function, given, kwargs)
        if result is not None:
            return result  # type: ignore[no-any-return]
        return _call(function, args, kwargs, given, views=False)  # type: ignore[no-any-return]

    PLAIN[call] = function
    return call


def viewing(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that makes views of its first argument, or copies, be recorded as one edge.

    What it does depends on its arguments alone, and on what the first is a view of and how.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        trace = local.trace
        given = (*args, *kwargs.values()) if kwargs else args
        result = recorder.current(trace, function, given, kwargs)
        if result is None:  # the builtin leaves what is rare to Python
            result = replay(trace, function, given, kwargs)
        if result is not None:
            return result  # type: ignore[no-any-return]
        x = args[0] if args else None
        # What lies in memory may be cut there and then, which is not recorded.
        if isinstance(x, Handle) and (x.within is trace or x.needs_grad):
            return _call(function, args, kwargs, given, views=True)  # type: ignore[no-any-return]
        return function(*args, **kwargs)

    PLAIN[call] = function
    return call


def _call(
    function: Callable[..., Any], args: Any, kwargs: Any, given: tuple[Any, ...], *, views: bool
) -> Any:
    """Call a function, and remember the call if it did nothing that an edge cannot repeat."""
    trace = local.trace
    plain = [a for a in given if not isinstance(a, Handle)]
    if local.immediate or not all(map(fixed, plain)):
        return function(*args, **kwargs)
    first = trace.state
    wanted = tuple([_entered(trace, a) if isinstance(a, Handle) else a for a in given])
    if any(isinstance(a, Handle) and a.within is not trace for a in given):
        return function(*args, **kwargs)  # a shared buffer is entered afresh at each use
    start = trace.state
    simple = start.depth - first.depth == sum([type(w) is Entry for w in wanted])
    known = find(trace, function, given, kwargs) if start is not first else None
    if known is not None:
        result = take(trace, known, given)
    else:
        result, known = _recorded(trace, function, args, kwargs, given, views=views)
    if known is not None and simple and start is not first and not crosses(first, start):
        keep(first, function, known.entering(wanted))
    return result


def _entered(trace: Trace, handle: Handle) -> State | Entry:
    """Return a tensor's state; an Entry if it had to be brought in as a leaf."""
    if handle.within is trace:
        return handle.state
    before = trace.state
    state = enter(trace, handle)
    plain = handle.within is trace and state.parent is before and state.op is ops.LEAF
    return Entry(state, handle.base is not None) if plain else state


def _recorded(
    trace: Trace,
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    given: tuple[Any, ...],
    *,
    views: bool,
) -> tuple[Any, Call | None]:
    """Call a function on tensors of the trace; return its result, and the call if it is pure."""
    start = trace.state
    numbers, providers, owners = len(trace.scalars), len(trace.providers), len(trace.owners)
    rebound = versions(trace)
    sources = [_source(given[0])] if views else []  # before it is viewed
    mode = trace.grad, trace.mode
    states = tuple([a.state if isinstance(a, Handle) else a for a in given])
    kind = None if views else graft.general(_parts(mode, function, states, kwargs))
    call = None if kind is None else _grafted(start, kind, states, tuple(kwargs), mode)
    if call is not None:
        keep(start, function, call)
        return take(trace, call, given), call
    result = function(*args, **kwargs)
    results = (result,) if isinstance(result, Handle) else result
    pure = (
        local.trace is trace
        and not trace.done
        and len(trace.providers) == providers
        and len(trace.owners) == owners
        and versions(trace) == rebound
        and type(results) is tuple
        and all(isinstance(h, Handle) and h.within is trace for h in results)
        and all(h.state.depth > start.depth for h in results)
        and (_views(given[0], results) if views else all(h.base is None for h in results))
        and not crosses(start, trace.state)
        and closed(trace, start, given)
    )
    if not pure:
        return result, None
    call = Call(states, tuple(kwargs), *mode, trace.state)
    call.scalars = trace.scalars[numbers:]
    call.results = tuple([h.state for h in results])
    call.single = isinstance(result, Handle)
    call.checks = tuple([s for s in since(start, trace.state) if s.op is ops.WRAP_INDEX])
    if views:
        call.source = sources[0]
        call.chains = tuple([None if h.base is None else h.chain for h in results])
    keep(start, function, call)
    if kind is not None:
        graft.remember(*kind, start, trace.state, call)
    return result, call


def _parts(
    mode: tuple[bool, Any], function: Callable[..., Any], states: tuple[Any, ...], names: Any
) -> list[Any]:
    """Return what says what a call records, but for where."""
    parts: list[Any] = [function, *mode, tuple(names)]
    for a in states:
        # 1, 1.0 and True are equal but mean different things.
        parts += [a] if isinstance(a, State) else [("", a, type(a), exact(a))]
    return parts


def _grafted(
    start: State, kind: tuple[Any, list[State]], states: tuple[Any, ...], names: tuple[str, ...],
    mode: tuple[bool, Any],
) -> Call | None:  # fmt: skip
    """Return a call as it is recorded here, copied from where it was recorded before."""
    general, given = kind
    stretch = graft.find(general)
    moved = stretch and graft.graft(start, stretch, given)
    if not stretch or not moved:
        return None
    known: Call = stretch.what
    call = Call(states, names, *mode, moved[known.end])
    call.scalars = known.scalars
    call.results = tuple([moved[s] for s in known.results])
    call.single = known.single
    call.checks = tuple([moved[s] for s in known.checks])
    return call


def keep(start: State, function: Any, call: Call) -> None:
    """Remember a call at a position, the newest first."""
    known = start.calls.get(function, ())
    start.calls[function] = (call, *known[: LIMIT - 1])


def _source(x: Handle) -> Any:
    return (None if x.base is None else x.base.shape_tuple), x.chain


def _views(x: Handle, results: tuple[Handle, ...]) -> bool:
    """Tell whether all results are new, or views of a tensor or of what that is a view of."""
    base = x if x.base is None else x.base
    return all(h.base is None or (h.base is base and h.seen == base.version) for h in results)


def closed(trace: Trace, start: State, arguments: tuple[Any, ...]) -> bool:
    """Tell whether what was recorded since reads nothing but the arguments."""
    given = {a.state for a in arguments if isinstance(a, Handle) and a.within is trace}
    return all(
        source.depth > start.depth or source in given
        for state in since(start, trace.state)
        for source in state.inputs
    )


def versions(trace: Trace) -> list[tuple[int, int]]:
    """Return which tensors were written in place, and how often: what a pure call leaves alone."""
    return [(key, handle.version) for key, handle in trace.rebound.items()]
