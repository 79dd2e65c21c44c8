"""Backward: walk what was recorded in reverse and record the derivative's operations.

The tape is the recorded path itself. Where a flush cut a path in two, the older part stands as a
`Segment` with the values its derivative will ask for. A whole backward pass over one trace is
remembered as one edge (a macro), so that the next step costs one dictionary look-up.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tenor.autograd.vjp import VJP
from tenor.engine.alias import is_leaf, version_of, write
from tenor.engine.trace import (
    FunctionCall,
    Trace,
    advance,
    handle_of,
    local,
    record,
    state_of,
    touch_grad,
)
from tenor.engine.trie import State, meta, path
from tenor.errors import GradientError
from tenor.ir import op as ops
from tenor.ir.build import Builder, GraphBuilder

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable, Sequence

    from tenor.engine.handle import Handle
    from tenor.ir.node import Node
    from tenor.ir.op import Op

__all__ = [
    "FunctionCall",
    "Segment",
    "TraceBuilder",
    "backward",
    "gradients",
    "let_go",
    "needed_values",
]


class TraceBuilder(Builder):
    """Writes a rule's operations onto the current trace."""

    def emit(self, op: Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...] = ()) -> Node:
        """Record one operation and return its state."""
        return advance(local.trace, op, inputs, attrs)  # type: ignore[arg-type]


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
        for state in [s for s in self.saved if not _fixed(s) and self.readers[s] <= self.spent]:
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


def _overwritten(state: State) -> GradientError:
    return GradientError(
        f"backward: a value of shape {state.shape} that {state.op.name} needs was written in place "
        "after it was used.",
        came=f"the tensor made by {state.op.name}",
        fix="write to a copy (x = x + 1 instead of x += 1), or write after backward()",
        where=state.site,
    )


def _fixed(state: State) -> bool:
    """Tell whether a value is a number of the program: it is not let go, as there is nothing to."""
    return not state.inputs and state.op is not ops.LEAF


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
        """Tell whether input i requires a gradient."""
        return self.node.inputs[i].requires_grad


class Walk:
    """One reverse walk over one stretch of recorded operations."""

    def __init__(self, builder: Builder, states: list[State]) -> None:
        self.builder = builder
        self.states = states
        self.cotangents: dict[State, State] = {}

    def value(self, node: State, state: State) -> Node:
        """Return a forward value where the derivative is being recorded."""
        raise NotImplementedError

    def arrive(self, state: State, g: State) -> State | None:
        """See a cotangent arrive whole; return it, perhaps changed, or None to go no further."""
        raise NotImplementedError

    def add(self, state: State, g: Node) -> None:
        """Add to a state's cotangent."""
        before = self.cotangents.get(state)
        self.cotangents[state] = g if before is None else self.builder.add(before, g)  # type: ignore[assignment]

    def run(self) -> None:
        """Walk from the last state to the first."""
        for state in reversed(self.states):
            g = self.cotangents.get(state)
            if state.op is ops.FUNCTION and self.function(state):
                continue
            if g is None or not state.requires_grad:
                continue
            g = self.arrive(state, g)
            if g is None or state.op is ops.LEAF or state.op is ops.VARIABLE:
                continue
            rule = VJP[state.op.name]
            if rule is None:
                continue
            for source, part in zip(state.inputs, rule(Tape(self, state, g)), strict=True):
                if part is not None and source.requires_grad:
                    self.add(source, part)

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
        self.readers[state].add(node)
        assert isinstance(self.builder, GraphBuilder)
        return self.builder.leaf(state.shape, state.dtype)

    def arrive(self, state: State, g: State) -> State | None:  # noqa: ARG002
        """Go on everywhere."""
        return g

    def function(self, state: State) -> bool:
        """Pass a function's cotangent on to each of its inputs."""
        if self.cotangents.get(state) is not None:
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


class RecordingWalk(Walk):
    """A walk whose rules record on the current trace.

    Its source is the trace being recorded, whose values are states there, or a segment, whose
    saved values come back as leaves. A hook that looks at a value ends the trace under the walk;
    the trace's segment then takes its place.
    """

    def __init__(self, source: Trace | Segment, end: State, sweep: Sweep) -> None:
        super().__init__(TraceBuilder(), path(end))
        self.source = source
        self.segment = source if isinstance(source, Segment) else None
        self.sweep = sweep
        self.read: set[State] = set()
        self.calls: dict[int, dict[int, Handle]] = defaultdict(dict)
        self.answered: list[FunctionCall] = []
        self.entered: dict[State, Handle] = {}

    # -- forward values -------------------------------------------------------------------------
    def value(self, node: State, state: State) -> Node:
        """Return a forward value on the current trace, unless it was written over or let go."""
        if self.segment is not None:
            return self._saved(self.segment, node, state)
        if _fixed(state):
            return state
        trace = self.source
        assert isinstance(trace, Trace)
        self.read.add(node)
        self.sweep.values.add(state)
        if node.depth <= trace.overwritten.get(state, 0):
            raise _overwritten(state)
        if node in trace.freed:
            raise let_go()
        return state

    def _saved(self, segment: Segment, node: State, state: State) -> Node:
        if not _fixed(state):
            if node in segment.spent:
                raise let_go()
            self.read.add(node)
        if node.depth <= segment.overwritten.get(state, 0):
            raise _overwritten(state)
        found = segment.variables.get(state)
        if found is not None:
            owner, version = found
            if owner.version != version:
                raise _overwritten(state)
            return state_of(owner)
        handle = self.entered.get(state)
        if handle is None:
            ref, seen = segment.watched.get(state, (None, 0))
            holder = ref() if ref is not None else None
            if holder is not None and version_of(holder) != seen:
                raise _overwritten(state)
            handle = self.entered[state] = local.make()
            handle.trace = None
            handle.buffer = segment.saved[state]
            linked = state.requires_grad and self.sweep.create_graph
            handle.meta = meta(state.shape, state.dtype, linked)
            if linked:
                handle.segment, handle.origin = segment, state
        return state_of(handle)

    # -- cotangents -----------------------------------------------------------------------------
    def arrive(self, state: State, g: State) -> State | None:
        """Run the tensor's hooks, or hand a leaf its gradient, or carry it to an older segment."""
        segment = self.segment
        if segment is not None:
            owner = segment.variables.get(state, (None,))[0]
            link: Any = segment.links.get(state)
            hooks = segment.hooks.get(state)
        else:
            owner = self.source.variables.get(state)  # type: ignore[assignment]
            link = None
            if owner is not None and owner.segment is not None:
                link = (owner.segment, owner.origin)
            hooks = self.source.hooks.get(state)
        if link:
            self.sweep.carry(link[0], link[1], g)
        elif owner is not None:
            self.sweep.deliver(owner, g)
        elif hooks:
            for hook in tuple(hooks):
                g = self.sweep.passed(hook, g)
            self.cotangents[state] = g
        return g

    def spent(self) -> set[State]:
        """Return the states walked whose derivative read a value, or leads to one that did."""
        found = set(self.read)
        for state in self.states:
            if state in self.cotangents and not found.isdisjoint(state.inputs):
                found.add(state)
        return found

    def function(self, state: State) -> bool:
        """Collect the outputs' cotangents; at the first output ask for the inputs'."""
        call = (self.segment or self.source).functions.get(state)
        if call is None:
            return True
        g = self.cotangents.get(state)
        if g is not None:
            g = self.arrive(state, g)
        got = self.calls[id(call)]
        if g is not None:
            got[state.attrs[0]] = handle_of(g)
        first = next(s for s in call.outputs if s.op is ops.FUNCTION)
        if state is first and got:
            given = [got.get(i) for i in range(len(call.outputs))]
            self.answered.append(call)
            answers = self.sweep.ask(
                call.backward, given, lambda i, value: self.output(call.outputs[i], value)
            )
            for source, answer in zip(state.inputs[1:], answers, strict=True):
                if answer is not None and source.requires_grad:
                    self.add(source, state_of(answer))
        return True

    def output(self, state: State, value: Handle) -> Handle:
        """Return an output of a custom Function with its history."""
        if self.segment is None:
            return handle_of(state)
        linked: Handle = local.make()
        linked.trace, linked.buffer = None, value.buffer
        linked.meta = meta(state.shape, state.dtype, state.requires_grad)
        linked.segment, linked.origin = self.segment, state
        return linked


class Sweep:
    """One backward pass over the current trace and every segment it leads to.

    Attributes:
        pending: Cotangents that wait for their stretch to be walked.
        leaves: What arrived at each leaf.
        values: The forward values read from the current trace.
        walks: The walks made, by stretch.
    """

    def __init__(self, roots: Sequence[Handle], create_graph: bool) -> None:
        self.roots = roots
        self.create_graph = create_graph
        self.trace = local.trace
        self.pending: dict[Any, dict[State, list[State]]] = {}
        self.leaves: dict[int, tuple[Handle, State]] = {}
        self.values: set[State] = set()
        self.walks: dict[Any, RecordingWalk] = {}

    def seed(self, root: Handle, g: State) -> None:
        """Start from a tensor with a cotangent."""
        source, state = self.locate(root)
        self.pending.setdefault(source, {}).setdefault(state, []).append(g)

    def locate(self, handle: Handle) -> tuple[Any, State]:
        """Return the stretch a tensor was recorded in, and its state there."""
        if handle.segment is None:
            return self.trace, state_of(handle)
        if handle.segment is FREED:
            raise let_go()
        assert handle.origin is not None
        return handle.segment, handle.origin

    def carry(self, segment: Segment, origin: State, g: State) -> None:
        """Carry a gradient on into the segment its tensor came from."""
        if segment is FREED:
            raise let_go()
        self.pending.setdefault(segment, {}).setdefault(origin, []).append(g)

    def deliver(self, owner: Handle, g: State) -> None:
        """Give a leaf its gradient."""
        before = self.leaves.get(id(owner))
        if before is not None:
            g = TraceBuilder().add(before[1], g)  # type: ignore[assignment]
        self.leaves[id(owner)] = (owner, g)

    def run(self, end: State) -> None:
        """Walk the newest stretch first, until nothing is left to walk."""
        try:
            self._walk_all(end)
            for key, (owner, g) in list(self.leaves.items()):
                for hook in tuple(owner.hooks or ()):
                    g = self.passed(hook, self.leaves[key][1])
                    self.leaves[key] = (owner, g)
        finally:
            for walk in self.walks.values():
                del walk.sweep  # no cycle: handles only it holds would look alive until collected

    def _walk_all(self, end: State) -> None:
        while self.pending:
            source = max(self.pending, key=lambda s: s.serial)
            if source is not self.trace:
                local.repeatable = False  # its values are those of this once
            seeds = self.pending.pop(source)
            walk = RecordingWalk(source, end if source is self.trace else source.end, self)
            for state, parts in seeds.items():
                for part in parts:
                    walk.add(state, part)
            self.walks[source] = walk
            walk.run()

    def passed(self, hook: Callable[[Handle], Handle | None], g: State) -> State:
        """Return a gradient as a hook leaves it."""
        given = handle_of(g)
        changed = self.ask(hook, given)
        return state_of(given if changed is None else changed)

    def ask(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call the user's code, which may look at values and so end the trace."""
        trace = local.trace
        kept = [{s: handle_of(g) for s, g in w.cotangents.items()} for w in self.walks.values()]
        waiting = [
            (parts, [handle_of(g) for g in parts])
            for seeds in self.pending.values()
            for parts in seeds.values()
        ]
        arrived = {key: (owner, handle_of(g)) for key, (owner, g) in self.leaves.items()}
        answer = function(*given)
        if local.trace is not trace:
            self._move(trace)
            for walk, handles in zip(self.walks.values(), kept, strict=True):
                walk.cotangents = {s: state_of(h) for s, h in handles.items()}
            for parts, held in waiting:
                parts[:] = [state_of(h) for h in held]
            self.leaves = {key: (owner, state_of(h)) for key, (owner, h) in arrived.items()}
        return answer

    def _move(self, before: Trace) -> None:
        """Go on in a new trace; the old one lives on as the segment of the roots it held."""
        self.trace = local.trace
        segment = next(
            (r.segment for r in self.roots if r.segment and r.segment.serial == before.serial), None
        )
        walk = self.walks.get(before)
        if walk is not None and segment is not None:
            walk.segment = segment
            self.walks = {segment if k is before else k: w for k, w in self.walks.items()}

    def free(self) -> None:
        """Let go what the pass has read."""
        for source, walk in self.walks.items():
            for call in walk.answered:
                call.release()
            if isinstance(source, Trace):
                source.freed |= walk.spent()
            else:
                source.spend(walk.spent())


@dataclass
class Macro:
    """A backward pass known as one edge: where it ends and which leaves got which gradients."""

    end: State
    gradients: list[tuple[State, State]]
    freed: frozenset[State]
    values: frozenset[State]


def backward(root: Handle, grad: Handle | None, retain_graph: bool, create_graph: bool) -> None:
    """Add the gradient of a tensor to `.grad` of every leaf it depends on."""
    trace = local.trace
    if (
        root.trace is trace
        and grad is None
        and not (create_graph or trace.hooks or trace.functions)
    ):
        macro = trace.state.macros.get(("backward", root.state))
        if macro is not None and _replay(trace, macro, retain_graph):
            return
    start = trace.state
    sweep = _sweep([root], [grad], create_graph)
    simple = start is not trace.state and len(sweep.walks) == 1 and trace in sweep.walks
    simple = simple and not any(owner.hooks for owner, _ in sweep.leaves.values())
    if not retain_graph:
        sweep.free()
    if simple and grad is None and not (create_graph or trace.hooks or trace.functions):
        _remember(trace, start, root, sweep)
    arrived = [(owner, _answer(g, create_graph)) for owner, g in sweep.leaves.values()]
    for owner, fresh in arrived:
        accumulate(owner, fresh, create_graph)


def _remember(trace: Trace, start: State, root: Handle, sweep: Sweep) -> None:
    by_owner = {id(owner): state for state, owner in trace.variables.items()}
    if root.trace is not trace or trace.state.leaves != start.leaves:
        return
    walk = sweep.walks[trace]
    start.macros["backward", root.state] = Macro(
        trace.state,
        [(by_owner[id(owner)], g) for owner, g in sweep.leaves.values()],
        frozenset(walk.spent()),
        frozenset(sweep.values),
    )


def _replay(trace: Trace, macro: Macro, retain_graph: bool) -> bool:
    """Take a macro's edge; False where this trace needs the long way (and its errors)."""
    owners = [trace.variables.get(leaf) for leaf, _ in macro.gradients]
    if (
        any(o is None or o.segment is not None or o.hooks for o in owners)
        or not trace.overwritten.keys().isdisjoint(macro.values)
        or not trace.freed.isdisjoint(macro.freed)
    ):
        return False
    trace.state = macro.end
    if not retain_graph:
        trace.freed |= macro.freed
    arrived = [handle_of(g) for _, g in macro.gradients]
    for owner, fresh in zip(owners, arrived, strict=True):
        assert owner is not None
        if owner._grad is None and local.pinning is None:
            owner._grad = fresh
        else:
            accumulate(owner, fresh, create_graph=False)
    return True


def _sweep(roots: Sequence[Handle], grads: Sequence[Handle | None], create_graph: bool) -> Sweep:
    for root in roots:
        if not root.needs_grad:
            raise GradientError(
                "backward: the tensor does not depend on anything that requires a gradient.",
                came=f"a tensor of shape {root.shape_tuple} with requires_grad=False",
                fix="set requires_grad=True on an input, and do not compute under tn.no_grad()",
            )
    sweep = Sweep(roots, create_graph)
    trace = sweep.trace
    for root in roots:
        sweep.locate(root)
    end = trace.state
    mode = trace.grad
    builder = TraceBuilder()
    trace.grad = create_graph
    try:
        for root, grad in zip(roots, grads, strict=True):
            if grad is None:
                seed: Any = builder.full(root.shape_tuple, 1, root.element_type)
            else:
                seed = state_of(grad)
            sweep.seed(root, seed)
        sweep.run(end)
    finally:
        local.trace.grad = mode
    return sweep


def accumulate(owner: Handle, fresh: Handle, create_graph: bool) -> None:
    """Add a gradient to a leaf's `.grad`."""
    touch_grad(owner, read=True)
    before = owner._grad
    if before is None:
        owner._grad = fresh
    elif create_graph:
        owner._grad = record(ops.ADD, (before, fresh))
    else:
        trace = local.trace
        mode, trace.grad = trace.grad, False
        try:
            write(before, record(ops.ADD, (before, fresh)))
        finally:
            local.trace.grad = mode


def _answer(g: State, create_graph: bool) -> Handle:
    """Return a handle on a gradient; one that is somebody's leaf stays linked to that leaf."""
    trace = local.trace
    if g.requires_grad and g.op in (ops.LEAF, ops.VARIABLE):
        mode, trace.grad = trace.grad, create_graph
        g = advance(trace, ops.RESHAPE, (g,), (g.shape,))
        trace.grad = mode
    return handle_of(g)


def gradients(
    outputs: Sequence[Handle],
    inputs: Sequence[Handle],
    grads: Sequence[Handle | None],
    retain_graph: bool,
    create_graph: bool,
) -> list[Handle | None]:
    """Return the gradients of outputs with respect to inputs; None where there is no path."""
    for handle in inputs:
        if is_leaf(handle):
            state_of(handle)
    sweep = _sweep(outputs, grads, create_graph)
    found: list[Handle | None] = []
    for handle in inputs:
        entry = sweep.leaves.get(id(handle))
        if entry is not None:
            found.append(_answer(entry[1], create_graph))
            continue
        source, state = sweep.locate(handle)
        walk = sweep.walks.get(source)
        g = walk.cotangents.get(state) if walk is not None else None
        found.append(None if g is None else _answer(g, create_graph))
    if not retain_graph:
        sweep.free()
    return found
