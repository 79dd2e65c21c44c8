"""Functions written several times, for machines of one family, and the choice among them.

Code for a target with `choices` asks at run time which of them it meets. What it asks for shows
in no result: every way computes the same bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tenor.ir.loops import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.target import Target

__all__ = ["chosen", "ways_of", "widest"]


def ways_of(target: Target) -> tuple[Target, ...]:
    """Return the machines that code for a target may meet, the best first, what it promises last.

    They are numbered as `Function.asked` tells them.
    """
    return (*target.choices, replace(target, choices=()))


def widest(target: Target) -> Target:
    """Return the target with vectors as wide as those of the widest machine it may meet."""
    return replace(target, vector_bits=max(way.vector_bits for way in ways_of(target)))


def chosen(
    name: str, params: Sequence[tuple[str, str]], target: Target,
    write: Callable[[str, Target], Function], *, wider: bool = False,
) -> Function:  # fmt: skip
    """Return a function that hands its arguments to the one for the machine it meets.

    Args:
        name: Its name.
        params: Its parameters.
        target: What code is generated for.
        write: Returns the function of a name for one machine, with the same parameters.
        wider: Whether what counts is wider vectors: one function for all that have them; else
            one for each machine that multiplies bytes.
    """
    if wider:
        found = [(i, w) for i, w in enumerate(target.choices) if w.vector_bits > target.vector_bits]
        found, test = found[-1:], "sle"  # the last has what all of them have
    else:
        found = [(i, way) for i, way in enumerate(target.choices) if way.byte_dots]
        test = "eq"
    if not found:
        return write(name, target)
    f = Function(name, params)
    promised = write(f"{name}w{len(target.choices)}", replace(target, choices=()))
    met = f.asked()

    def hand_on(left: list[tuple[int, Target]]) -> None:
        if not left:
            f.call(promised, f.params)
            return
        number, way = left[0]
        made = write(f"{name}w{number}", way)
        made.target = way
        f.if_(f.compare(test, met, number), lambda: f.call(made, f.params),
              lambda: hand_on(left[1:]))  # fmt: skip

    hand_on(found)
    return f
