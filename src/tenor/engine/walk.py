"""The tape is the recorded path itself: a walk over it in reverse, whatever it does on the way.

Where a flush cut a path in two, the older part stands as a `Segment` with the values its derivative
will ask for. A dry walk finds out which these are; `engine.tape` records the derivative.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tenor.autograd.part import Piece, Product, total, turned
from tenor.autograd.vjp import VJP
from tenor.engine.trie import State, path
from tenor.errors import GradientError
from tenor.ir import op as ops
from tenor.ir.build import Builder, GraphBuilder

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable

    from tenor.autograd.part import Part
    from tenor.engine.handle import Handle
    from tenor.engine.trace import FunctionCall
    from tenor.ir.node import Node

__all__ = ["FREED", "Segment", "Walk", "fixed", "let_go", "needed_values", "origin"]


@dataclass(eq=False)
class Segment:
    """A stretch of trace that was run before its gradient was asked for.

    Attributes:
        serial: The number of its trace.
        end: Its last state.
        saved: The values its derivative reads, by state.
        readers: The states whose derivative reads each of them.
        variables: Its leaves that require a gradient, with their version when it was run.
        links: Where its other inputs that require a gradient were computed.
        functions, hooks, overwritten: As in `Trace`.
        spent: States whose values an earlier backward pass let go.
        watched: Who holds a saved value under a name, and its version when it was run.
    """

    serial: int
    end: State
    saved: dict[State, Any]
    readers: dict[State, set[State]]
    variables: dict[State, tuple[Handle, int]]
    links: dict[State, tuple[Segment, State]]
    functions: dict[State, FunctionCall]
    hooks: dict[State, list[Callable[[Any], Any]]]
    overwritten: dict[State, int] = field(default_factory=dict)
    spent: set[State] = field(default_factory=set)
    watched: dict[State, tuple[weakref.ref[Handle], int]] = field(default_factory=dict)

    def spend(self, walked: set[State]) -> None:
        """Let values go that only states a backward pass went over read."""
        self.spent |= walked
        for state in [s for s in self.saved if not fixed(s) and self.readers[s] <= self.spent]:
            del self.saved[state]


FREED: Final[Any] = Segment(0, None, {}, {}, {}, {}, {}, {})  # type: ignore[arg-type]
"""The segment of tensors whose history a backward pass has let go."""


def let_go() -> GradientError:
    """Return the error of a second backward pass."""
    return GradientError(
        "backward: the values this gradient needs were let go by an earlier backward pass.",
        came="a second backward through the same graph",
        fix="call backward(retain_graph=True) the first time",
    )


def fixed(state: State) -> bool:
    """Tell whether a value is a number of the program: it is not let go, as there is nothing to."""
    return not state.inputs and state.op is not ops.LEAF


ENDS: Final = (ops.LEAF, ops.VARIABLE)
"""Where a gradient goes no further."""


MOVED: Final = (ops.PERMUTE, ops.EXPAND, ops.RESHAPE)
"""What is derived again from its source rather than kept: it holds no more than that."""


def origin(state: State) -> State:
    """Return the value that a moved one is derived from."""
    while state.op in MOVED:
        state = state.inputs[0]
    return state


class Tape:
    """What a vjp rule sees of one recorded operation (see `tenor.autograd.vjp`)."""

    def __init__(self, walk: Walk, node: State, g: State) -> None:
        self.walk = walk
        self.b: Builder = walk.builder
        self.node = node
        self.g = g

    def x(self, i: int) -> Node:
        """Return the value of input i."""
        return self.walk.value(self.node, self.node.inputs[i])

    def y(self) -> Node:
        """Return the value of the output."""
        return self.walk.value(self.node, self.node)

    def needs(self, i: int) -> bool:
        """Tell whether input i's gradient is asked for."""
        return self.walk.wants(self.node.inputs[i])


class Walk:
    """One reverse walk over one stretch of recorded operations.

    Attributes:
        cotangents: What has arrived at each state.
        parts: What has arrived and is not written yet; empty where it was, or was passed on.
        wanted: The states whose cotangent leads to one that is asked for; None if all do.
    """

    def __init__(self, builder: Builder, states: list[State]) -> None:
        self.builder = builder
        self.states = states
        self.cotangents: dict[State, State] = {}
        self.parts: dict[State, list[Part]] = {}
        self.wanted: set[State] | None = None

    def value(self, node: State, state: State) -> Node:
        """Return a forward value where the derivative is being recorded."""
        raise NotImplementedError

    def arrive(self, state: State, g: State) -> State | None:
        """See a cotangent arrive whole; return it, perhaps changed, or None to go no further."""
        raise NotImplementedError

    def add(self, state: State, g: Node | Part) -> None:
        """Add to a state's cotangent."""
        if isinstance(g, Piece | Product):
            self.parts.setdefault(state, []).append(g)
            return
        before = self.cotangents.get(state)
        self.cotangents[state] = g if before is None else self.builder.add(before, g)  # type: ignore[assignment]

    def whole(self, state: State) -> State | None:
        """Return all that has arrived at a state, written down."""
        parts = self.parts.get(state)
        if parts:
            self.parts[state] = []
            for g in total(self.builder, parts, state.shape, leaf=state.op in ENDS):
                self.add(state, g)
        return self.cotangents.get(state)

    def watched(self, state: State) -> bool:
        """Tell whether anybody looks at a state's cotangent."""
        raise NotImplementedError

    def passed_on(self, state: State) -> bool:
        """Hand products on to what a matrix is the transpose of; False if there is more to do."""
        parts = self.parts.get(state)
        if not parts or state in self.cotangents or state.op is not ops.PERMUTE:
            return False
        on = [turned(part) for part in parts]
        if None in on or state.attrs[0] != (1, 0) or self.watched(state):
            return False
        self.parts[state] = []
        if self.wants(state.inputs[0]):
            for part in on:
                self.add(state.inputs[0], part)  # type: ignore[arg-type]
        return True

    def run(self) -> None:
        """Walk from the last state to the first."""
        for state in reversed(self.states):
            if state.op is ops.FUNCTION and self.function(state):
                continue
            if not state.requires_grad or self.passed_on(state):
                continue
            g = self.whole(state)
            if g is None:
                continue
            g = self.arrive(state, g)
            if g is None or state.op in ENDS:
                continue
            rule = VJP[state.op.name]
            if rule is None or not any(map(self.wants, state.inputs)):
                continue
            for source, part in zip(state.inputs, rule(Tape(self, state, g)), strict=True):
                if part is not None and self.wants(source):
                    self.add(source, part)

    def wants(self, state: State) -> bool:
        """Tell whether a state's cotangent leads to one that is asked for."""
        return state.requires_grad and (self.wanted is None or state in self.wanted)

    def function(self, state: State) -> bool:
        """Let a custom Function answer for its outputs; False if this is none of its outputs."""
        raise NotImplementedError


class DryWalk(Walk):
    """Finds out which forward values a derivative reads, without recording anything."""

    def __init__(self, states: list[State]) -> None:
        super().__init__(GraphBuilder(), states)
        self.readers: dict[State, set[State]] = defaultdict(set)

    def value(self, node: State, state: State) -> Node:
        """Note the value and stand a parameter in for it."""
        self.readers[origin(state)].add(node)
        assert isinstance(self.builder, GraphBuilder)
        return self.builder.leaf(state.shape, state.dtype)

    def arrive(self, state: State, g: State) -> State | None:  # noqa: ARG002
        """Go on everywhere."""
        return g

    def watched(self, state: State) -> bool:  # noqa: ARG002
        """Look at nothing."""
        return False

    def function(self, state: State) -> bool:
        """Pass a function's cotangent on to each of its inputs."""
        if self.whole(state) is not None:
            assert isinstance(self.builder, GraphBuilder)
            for source in state.inputs[1:]:
                if source.requires_grad:
                    self.add(source, self.builder.leaf(source.shape, source.dtype))
        return True


def needed_values(end: State, outputs: Iterable[State]) -> dict[State, set[State]]:
    """Return the states whose values a backward pass from these outputs would read, and for what.

    A value is read for the derivative of some other states.
    """
    walk = DryWalk(path(end))
    assert isinstance(walk.builder, GraphBuilder)
    for output in outputs:
        walk.add(output, walk.builder.leaf(output.shape, output.dtype))
    walk.run()
    return dict(walk.readers)
