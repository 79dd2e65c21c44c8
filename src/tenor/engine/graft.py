"""Grafts: a stretch recorded at one position of the trie is copied to another.

Where a function is called on other operands of the same shapes, or at another position because
something before it had another size, what it records is known: the same operations, shapes, and
needs of gradients. Copying them costs a fraction of running the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.engine.trie import State, alike, since, stretches
from tenor.errors import user_line
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find", "general", "graft", "remember"]

KEPT: Final = 8192
"""Stretches remembered before all are forgotten."""


class Stretch(NamedTuple):
    """What was recorded once.

    Attributes:
        states: The states, in order.
        start: The position before them.
        given: The operands' states.
        what: What else is known of it.
    """

    states: list[State]
    start: State
    given: list[State]
    what: Any


def general(parts: Iterable[Any]) -> tuple[Any, list[State]]:
    """Return what calls that record alike have in common, and the states of the operands.

    Of a state that is its shape, dtype and need of a gradient, and which operand it is again.
    """
    places: dict[State, int] = {}
    key: list[Any] = []
    for part in parts:
        name, state = part if type(part) is tuple and len(part) == 2 else (None, part)
        if isinstance(state, State):
            place = places.setdefault(state, len(places))
            key.append((name, place, state.shape, state.dtype, state.requires_grad))
        else:
            key.append(part)
    return tuple(key), list(places)


def remember(key: Any, given: list[State], start: State, end: State, what: Any) -> None:
    """Remember what was recorded between two positions."""
    if len(stretches) >= KEPT:
        stretches.clear()
    states = list(since(start, end))[::-1]
    if all(s.op is not ops.LEAF for s in states):
        stretches[key] = Stretch(states, start, given, what)


def find(key: Any) -> Stretch | None:
    """Return a stretch recorded for such a call, if there is one."""
    return stretches.get(key)


def graft(at: State, stretch: Stretch, given: list[State]) -> dict[State, State] | None:
    """Copy a stretch to a position; return where each state went, operands included.

    None where a trace would have to be run on the way, or reads what it was not given.
    """
    moved = dict(zip(stretch.given, given, strict=True))
    site = user_line()
    for state in stretch.states:
        inputs = tuple([moved.get(i) for i in state.inputs])
        if None in inputs:
            return None
        at = alike(at, state, inputs, site)  # type: ignore[arg-type]
        if at.boundary:
            return None
        moved[state] = at
    return moved
