"""The trie of everything recorded before: a position in it is the hash of a trace.

A trace walks the trie. Where it takes an edge that was taken before, shapes, dtypes, gradients'
needs, the user's line and the compiled plans are already known; three pointer comparisons are all
the work. A new edge is inferred and checked once, so errors are raised at the user's own line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenor.config import config
from tenor.errors import user_line
from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Node, Shape, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenor.ir.dtype import DType
    from tenor.ir.op import Op

__all__ = [
    "Meta", "State", "alike", "counts", "crosses", "forget_plans", "full", "meta", "new_root",
    "path", "since", "step", "stretches",
]  # fmt: skip


FUSED: Final = 8
"""Elementwise results for each that is stored, about: the others pass in registers."""


class Meta:
    """What a concrete tensor is, interned: equal metas are one object.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
        requires_grad: Whether gradients flow into it.
    """

    __slots__ = ("dtype", "nbytes", "requires_grad", "shape")

    def __init__(self, shape: Shape, dtype: DType, requires_grad: bool) -> None:
        self.shape = shape
        self.dtype = dtype
        self.requires_grad = requires_grad
        self.nbytes = size(shape) * dtype.itemsize


_METAS: Final[dict[tuple[Shape, DType, bool], Meta]] = {}


def meta(shape: Shape, dtype: DType, requires_grad: bool = False) -> Meta:
    """Return the one Meta of a shape, dtype and gradient flag."""
    key = (shape, dtype, requires_grad)
    found = _METAS.get(key)
    if found is None:
        found = _METAS.setdefault(key, Meta(shape, dtype, requires_grad))
    return found


class State(Node):
    """A position in the trie: the value recorded there, and where traces went next.

    Attributes:
        a, b: The first two inputs again, for the recorder's quick test; a leaf's `a` is its Meta.
        grad: The grad mode it was recorded under.
        requires_grad: Whether the value needs a gradient.
        parent, depth: The position before it, and how far from the root it is.
        leaves, scalars: How many run-time tensors and numbers the path holds up to here.
        last, next: The edge taken last time, and all edges.
        pending_bytes: About the bytes of memory that the values since the root stand for.
        boundary: Whether a trace that comes here is run at once (see `periodic`).
        calls: Calls known as one edge, by function, the newest first.
        macros: Other stretches known as one edge, e.g. a whole backward pass.
        plans: Compiled plans by live set.
    """

    __slots__ = (
        "a", "b", "boundary", "calls", "depth", "grad", "last", "leaves", "macros", "next",
        "parent", "pending_bytes", "plans", "requires_grad", "scalars",
    )  # fmt: skip

    inputs: tuple[State, ...]
    a: Any
    b: Any
    last: State | None
    next: dict[Any, State]
    parent: State | None
    calls: dict[Any, tuple[Any, ...]]
    macros: dict[Any, Any]
    plans: dict[Any, Any]
    grad: bool
    requires_grad: bool
    boundary: bool
    depth: int
    leaves: int
    scalars: int
    pending_bytes: int

    def __init__(
        self, op: Op, inputs: tuple[State, ...], attrs: tuple[Any, ...], shape: Shape, dtype: DType
    ) -> None:
        super().__init__(op, inputs, attrs, shape, dtype)
        self.a = inputs[0] if inputs else None
        self.b = inputs[1] if len(inputs) > 1 else None
        self.last = None
        self.next = {}
        self.calls = {}
        self.macros = {}
        self.plans = {}
        self.boundary = False


def new_root() -> State:
    """Return the root of an empty trie."""
    from_nothing = ops.Op("root", "tape", 0, "", "where every trace begins")
    root = State(from_nothing, (), (), (), _NO_DTYPE)
    root.grad = True
    root.requires_grad = False
    root.parent = None
    root.depth = root.leaves = root.scalars = root.pending_bytes = 0
    root.site = None
    return root


_NO_DTYPE: Any = None

counts: Final = {"plans": 0, "flushes": 0}
"""How many plans were built and traces run; tests gate on these."""

made: Final = {"states": 0, "plans": 0}
"""How many states and plans the trie holds; too many, and it is begun again."""


stretches: Final[dict[Any, Any]] = {}
"""Stretches of paths that may be copied to other positions; see `engine.graft`."""


def full() -> bool:
    """Tell whether the trie has grown too large."""
    return made["states"] > config.max_states or made["plans"] > config.max_plans


def forget_plans(root: State) -> None:
    """Let go of every plan of a trie: what its states lead to would live until it is collected."""
    made.update(states=0, plans=0)
    stretches.clear()
    waiting = [root]
    while waiting:
        state = waiting.pop()
        state.plans.clear()
        waiting.extend(list(state.next.values()))


def step(
    at: State,
    op: Op,
    inputs: tuple[State, ...],
    attrs: tuple[Any, ...],
    grad: bool,
    extra: Any = None,
) -> State:
    """Return the position one operation after `at`, made if it was never there.

    Args:
        at: Where the trace stands.
        op: The operation.
        inputs: Positions of its operands.
        attrs: Its attributes.
        grad: The grad mode.
        extra: For a leaf, its Meta.
    """
    key = (op, inputs, attrs, grad, extra)
    found = at.next.get(key)
    if found is None:
        found = _extend(at, op, inputs, attrs, grad, extra)
        found = at.next.setdefault(key, found)
    at.last = found
    return found


def _extend(
    at: State, op: Op, inputs: tuple[State, ...], attrs: tuple[Any, ...], grad: bool, extra: Any
) -> State:
    shape, dtype = infer(op, inputs, attrs)
    state = State(op, inputs, attrs, shape, dtype)
    if op is ops.LEAF:
        state.a = extra
        state.requires_grad = extra.requires_grad
    elif op is ops.VARIABLE:
        state.requires_grad = True
    elif op is ops.DETACH:
        state.requires_grad = False
    else:
        floating = dtype.kind == "float"
        state.requires_grad = grad and floating and any(i.requires_grad for i in inputs)
    _place(state, at, grad, user_line())
    return state


def alike(at: State, like: State, inputs: tuple[State, ...], site: tuple[str, int] | None) -> State:
    """Return the position after `at` for an operation recorded elsewhere on operands like these.

    Args:
        at: Where the trace stands.
        like: The operation there; no leaf.
        inputs: The operands: of the same shapes and dtypes, and with the same need of a gradient.
        site: The user's line.
    """
    key = (like.op, inputs, like.attrs, like.grad, None)
    found = at.next.get(key)
    if found is None:
        state = State(like.op, inputs, like.attrs, like.shape, like.dtype)
        state.requires_grad = like.requires_grad
        _place(state, at, like.grad, site)
        found = at.next.setdefault(key, state)
    at.last = found
    return found


def _place(state: State, at: State, grad: bool, site: tuple[str, int] | None) -> None:
    """Set what a state has from where it stands."""
    made["states"] += 1
    state.grad = grad
    state.parent = at
    state.depth = at.depth + 1
    state.leaves = at.leaves + (state.op is ops.LEAF)
    state.scalars = at.scalars + (state.op is ops.SCALAR)
    nbytes = size(state.shape) * state.dtype.itemsize
    state.pending_bytes = at.pending_bytes + _weight(state.op, nbytes)
    state.site = site
    state.boundary = (
        state.depth >= config.max_pending_ops
        or state.pending_bytes >= config.max_pending_bytes
        or (state.depth >= 512 and state.depth & (state.depth - 1) == 0 and periodic(state))
    )


def _weight(op: Op, nbytes: int) -> int:
    """Return about how many bytes of memory a value will take: most never get any."""
    if op.family in ("movement", "constant", "tape"):
        return 0
    return nbytes // FUSED if op.family == "elementwise" else nbytes


def path(state: State) -> list[State]:
    """Return the states from the first after the root to `state`."""
    states = []
    at: State | None = state
    while at is not None and at.parent is not None:
        states.append(at)
        at = at.parent
    states.reverse()
    return states


def since(start: State, end: State) -> Iterator[State]:
    """Walk from `end` back to the first state after `start`."""
    at: State | None = end
    while at is not None and at is not start:
        yield at
        at = at.parent


def crosses(start: State, end: State) -> bool:
    """Tell whether a trace is run unasked somewhere in a stretch (see `State.boundary`)."""
    return any(state.boundary for state in since(start, end))


def periodic(state: State, repeats: int = 16) -> bool:
    """Tell whether a path ends in many repeats of one body: a loop nobody looks at.

    Such a trace is run here rather than grown; the next begins at the same point of the body, so
    one plan serves all of them. A recurrence that is to be differentiated is run whole: cut apart,
    everything its derivative reads would have to be stored.
    """
    states = path(state)
    tail = [(s.op, s.attrs, s.shape) for s in states]
    for period in range(1, len(tail) // repeats + 1):
        body = tail[-period:]
        if all(tail[-period * (k + 1) : -period * k] == body for k in range(1, repeats)):
            return state.depth >= LONG or not carries_gradient(states, period)
    return False


LONG: Final = 1 << 13
"""Operations after which a recurrence is cut apart even so: it would take long to compile."""


def carries_gradient(states: list[State], period: int) -> bool:
    """Tell whether a gradient flows from one repeat into the next: a recurrence.

    No new leaf may be made inside: a loop that updates parameters is one of training steps.
    """
    body, before = states[-period:], set(states[-2 * period : -period])
    if any(s.op is ops.VARIABLE for s in body):
        return False
    return any(
        s.requires_grad and any(i in before and i.requires_grad for i in s.inputs) for s in body
    )
