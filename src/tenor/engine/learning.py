"""Learning the edge of a module's call from the call itself; see `engine.edge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.engine.call import Call, Entry, fixed, same
from tenor.engine.handle import Handle
from tenor.engine.macro import closed, keep, versions
from tenor.engine.trace import local
from tenor.engine.trie import made, since
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.engine.edge import Edge, Token
    from tenor.engine.trace import Trace
    from tenor.engine.trie import State

__all__ = ["HOPELESS", "Before", "before", "learn", "worth_it"]

HOPELESS: Final = 16
"""Calls in a row that no edge can repeat, after which nobody tries."""


class Before(NamedTuple):
    """A trace before a call."""

    trace: Trace
    state: State
    scalars: int
    providers: int
    owners: int
    functions: int
    written: list[tuple[int, int]]
    made: int


def before() -> Before:
    """Note where the thread's trace stands."""
    trace = local.trace
    return Before(
        trace, trace.state, len(trace.scalars), len(trace.providers), len(trace.owners),
        len(trace.functions), versions(trace), made["states"],
    )  # fmt: skip


def worth_it(args: tuple[Any, ...], at: Before) -> bool:
    """Tell whether a call may be found again: its path, and what it was given, by the trace."""
    return (
        made["states"] == at.made  # a path may never come again
        and local.pinning is None
        and all(a.within is at.trace for a in args if isinstance(a, Handle))
    )


def learn(
    edge: Edge, tensors: Sequence[Handle], args: tuple[Any, ...], result: Any, at: Before
) -> None:
    """Remember a call that was recorded, if its edge can repeat it.

    Args:
        edge: The module's.
        tensors: All tensors of the tree, in its own order.
        args: What it was given.
        result: What it returned.
        at: The trace before.
    """
    token = edge.token
    call = _call(token, tensors, args, result, at)
    known = at.state.calls.get(token, ())
    if call is None or any(_alike(k, call) for k in known):  # the builtin did not take it
        token.failures += 1
        return
    token.failures = 0
    edge.read(tensors)
    keep(at.state, token, call)


def _alike(a: Call, b: Call) -> bool:
    """Tell whether two calls at one position are found by the same."""
    return a.end is b.end and all(
        v is w
        or (type(v) is type(w) is Entry and v.state is w.state and v.view is w.view)
        or same(v, w)
        for v, w in zip(a.wanted, b.wanted, strict=True)
    )


def _call(
    token: Token, tensors: Sequence[Handle], args: tuple[Any, ...], result: Any, at: Before
) -> Call | None:
    """Return a call as an edge; None where it did what an edge does not do."""
    trace, start = at.trace, at.state
    results = (result,) if isinstance(result, Handle) else result
    if not (
        local.trace is trace
        and not trace.done
        and not local.immediate
        and len(trace.providers) == at.providers
        and len(trace.functions) == at.functions
        and versions(trace) == at.written
        and type(results) is tuple
        and all(isinstance(h, Handle) and h.within is trace for h in results)
        and all(h.base is None and h.state.depth > start.depth for h in results)
        and all(isinstance(a, Handle) or fixed(a) for a in args)
        and not any(s.boundary or s.op is ops.WRAP_INDEX for s in since(start, trace.state))
    ):
        return None  # a check would have to be told of the line that runs
    entered = _entered(token, tensors, at)
    if entered is None:
        return None
    assert token.order is not None
    read = [*args, *[tensors[i] for i in token.order]]
    if any(isinstance(h, Handle) and h.within is not trace for h in read):
        return None
    wanted: list[Any] = []
    last = start.depth
    for a in read:
        if not isinstance(a, Handle):
            wanted.append(a)
        elif id(a) in entered:
            if a.state.depth <= last or entered.pop(id(a)) is not a.state:
                return None  # entered in another order, or twice
            last = a.state.depth
            wanted.append(Entry(a.state, a.base is not None))
        else:
            wanted.append(a.state)
    if entered or not closed(trace, start, tuple(read)):
        return None
    call = Call(tuple(wanted), (), trace.grad, trace.mode, trace.state)
    call.scalars = trace.scalars[at.scalars :]
    call.results = tuple([h.state for h in results])
    call.single = isinstance(result, Handle)
    return call


def _entered(token: Token, tensors: Sequence[Handle], at: Before) -> dict[int, State] | None:
    """Return the leaves that a call brought in; note in which order it reads the tree's tensors."""
    trace = at.trace
    leaves = [s for s in since(at.state, trace.state) if s.op is ops.LEAF][::-1]
    owners = trace.owners[at.owners :]
    if len(leaves) != len(owners):
        return None
    entered = {id(h): s for h, s in zip(owners, leaves, strict=True)}
    if len(entered) != len(owners):
        return None
    numbers = {id(h): i for i, h in enumerate(tensors)}
    if token.order is None:
        known = {id(h) for h in owners}
        if any(h.within is trace and id(h) not in known for h in tensors):
            return None  # nobody knows whether it was read
        token.order = [numbers[id(h)] for h in owners if id(h) in numbers]
    return entered
