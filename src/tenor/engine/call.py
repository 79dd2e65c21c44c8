"""Calls that were recorded before, each known as one edge of the trie.

A call is found by where the trace stands and by what it was given: tensors by their states (or, of
those that the call brings into the trace, by what they are), everything else by value.
"""

from __future__ import annotations

from copy import copy
from itertools import repeat
from math import copysign
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from tenor.engine.handle import Handle
from tenor.engine.trace import Local
from tenor.engine.trie import Meta, State
from tenor.errors import user_line
from tenor.ir.dtype import DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenor.engine.trace import Trace
    from tenor.ir.node import Shape

__all__ = ["LIMIT", "Call", "Entry", "exact", "find", "fixed", "replay", "take"]

LIMIT: Final = 16
"""Calls of one function kept at one position: a number that is another each time makes new ones."""
FIXED: Final = (int, float, bool, str, type(None), type(...), DType, type, FunctionType)
"""Types of values that never change."""


class Entry:
    """A tensor that a call brings into the trace.

    Attributes:
        state: Its leaf state.
        meta: What it has to be.
        view: Whether it is a view, as its base is now.
    """

    __slots__ = ("meta", "state", "view")

    def __init__(self, state: State, view: bool = False) -> None:
        self.state = state
        self.meta: Meta = state.a
        self.view = view


class Call:
    """One call: what it was given, and what it recorded.

    Attributes:
        wanted: For each argument its State, an Entry, or its value.
        names: The names of those given by name.
        grad, mode: The grad mode, and the thread's.
        source: Of a function of views, the shape of what its first argument is a view of (None
            where it is none) and how it is derived from that; None of other functions.
        entries: (number, Entry) of each argument that is brought in.
        end: Where it ended.
        scalars: The numbers it recorded.
        results: The states of its results.
        chains: How each result is derived from what it is a view of; None where it is none.
        single: Whether the result is one tensor rather than a tuple.
        checks: The states of the indices it checks.
    """

    __slots__ = (
        "chains", "checks", "end", "entries", "grad", "mode", "names", "results", "scalars",
        "single", "source", "wanted",
    )  # fmt: skip

    def __init__(
        self, wanted: tuple[Any, ...], names: tuple[str, ...], grad: bool, mode: Any, end: State
    ) -> None:
        self.wanted = wanted
        self.names = names
        self.grad = grad
        self.mode = mode
        self.end = end
        self.entries = [(i, w) for i, w in enumerate(wanted) if type(w) is Entry]
        self.source: tuple[Shape | None, Any] | None = None
        self.scalars: list[Any] = []
        self.results: tuple[State, ...] = ()
        self.chains: tuple[Any, ...] = ()
        self.single = True
        self.checks: tuple[State, ...] = ()

    def entering(self, wanted: tuple[Any, ...]) -> Call:
        """Return the same call as it begins where some of its arguments are still to be entered."""
        made = copy(self)
        made.wanted = wanted
        made.entries = [(i, w) for i, w in enumerate(wanted) if type(w) is Entry]
        return made


def find(
    trace: Trace, function: Callable[..., Any], given: tuple[Any, ...], names: Iterable[str]
) -> Call | None:
    """Return the call of a function that was recorded here before on the same arguments."""
    mode, grad = trace.mode, trace.grad
    for call in trace.state.calls.get(function, ()):
        if call.mode is not mode or call.grad is not grad or len(call.wanted) != len(given):
            continue
        if (names or call.names) and call.names != tuple(names):
            continue
        try:
            for a, wanted in zip(given, call.wanted):  # noqa: B905 - they are of one length
                if a is wanted:
                    continue
                kind = type(wanted)
                if kind is State:
                    inside = a.within is trace
                    if (a.state if inside else _brought(call, given, a)) is not wanted:
                        break
                elif kind is Entry:
                    owner = a.within
                    if (
                        (owner is not None and not owner.done)
                        or a.meta is not wanted.meta
                        or (a.base is not None) is not wanted.view
                        or (wanted.view and a.seen != a.base.version)
                        or a.buffer.shared
                        or a.hooks
                    ):
                        break
                elif not same(a, wanted):
                    break
            else:
                if (call.source is None or _derived_so(given[0], call.source)) and (
                    len({id(given[i]) for i, _ in call.entries}) == len(call.entries)
                ):
                    return call  # type: ignore[no-any-return]
        except AttributeError:  # no tensor where one was
            continue
    return None


def _brought(call: Call, given: tuple[Any, ...], a: Handle) -> State | None:
    """Return the state of a tensor that an earlier argument brings into the trace."""
    for i, entry in call.entries:
        if given[i] is a:
            return entry.state
    return None


def _derived_so(x: Handle, source: tuple[Shape | None, Any]) -> bool:
    """Tell whether a tensor is a view of a shape, derived in a way; or no view."""
    shape, chain = source
    if x.base is None:
        return shape is None
    return shape is not None and (
        x.chain is chain or (x.chain == chain and x.base.shape_tuple == shape)
    )


def replay(
    trace: Trace, function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    """Take the edge of a call that was recorded here before; None where there is none.

    Args:
        trace: The thread's.
        function: What is called.
        given: All its arguments, those by name last.
        named: Those by name.
    """
    known = find(trace, function, given, named)
    return None if known is None else take(trace, known, given)


def take(trace: Trace, call: Call, given: tuple[Any, ...]) -> Any:
    """Move the trace over a call; return new handles on its results."""
    for at, entry in call.entries:
        handle = given[at]
        state = entry.state
        trace.leaves.append(handle.buffer)
        trace.owners.append(handle)
        handle.within = trace
        handle.state = state
        if entry.view:
            trace.views[id(handle.base)].append(handle)
        if state.requires_grad:
            trace.variables[state] = handle
    trace.state = call.end
    if call.scalars:
        trace.scalars.extend(call.scalars)
    if call.checks:
        site = user_line()
        for state in call.checks:
            state.site = site  # a bad index is reported at the line that runs
    outs, make = trace.outs, Local.make
    if call.single:
        handle = make()
        handle.within = trace
        handle.state = call.results[0]
        outs.append(handle)
        if call.source is not None:
            _derive(trace, handle, call.chains[0], given[0])
        return handle
    made = []
    for state, chain in zip(call.results, call.chains or repeat(None)):  # noqa: B905
        handle = make()
        handle.within = trace
        handle.state = state
        outs.append(handle)
        if chain is not None:
            _derive(trace, handle, chain, given[0])
        made.append(handle)
    return tuple(made)


def _derive(trace: Trace, handle: Handle, chain: Any, x: Handle) -> None:
    """Make a result a view of an argument, or of what that is a view of."""
    if chain is None:
        return
    base = x.base
    if base is None:
        base = x
        x.viewed = True
    handle.base = base
    handle.chain = chain
    handle.seen = base.version
    trace.views[id(base)].append(handle)


def same(a: Any, wanted: Any) -> bool:
    """Tell whether two values that are not one object mean the same: 1 and 1.0 do not."""
    kind = type(a)
    if kind is not type(wanted):
        return False
    if kind is int or kind is str:
        return a == wanted  # type: ignore[no-any-return]
    if kind is float:
        return a == wanted and (a != 0 or copysign(1.0, a) == copysign(1.0, wanted))
    if isinstance(a, tuple):
        return len(a) == len(wanted) and all(
            v is w or same(v, w) for v, w in zip(a, wanted, strict=True)
        )
    if kind is slice:
        return same((a.start, a.stop, a.step), (wanted.start, wanted.stop, wanted.step))
    return False


def fixed(value: Any) -> bool:
    """Tell whether a value that is no tensor stays what it is, so that a call is known by it."""
    if isinstance(value, tuple):
        return all(map(fixed, value))
    if isinstance(value, slice):
        return fixed((value.start, value.stop, value.step))
    return isinstance(value, FIXED)


def exact(value: Any) -> Any:
    """Return what tells apart values that compare equal: the types in a nest, the sign of zero."""
    if isinstance(value, tuple):
        return tuple([(type(v), exact(v)) for v in value])
    if isinstance(value, float):
        return copysign(1.0, value)
    # A tensor in a nest is no key: it would be compared element by element, and kept for good.
    return [] if isinstance(value, Handle) else None
