"""Views and in-place writes over values that never change.

Underneath, every operation makes a new value. A tensor is a name for one; writing in place gives
the name a new value, and a view remembers how to be derived from its base, so that whichever of
them is written, the others see it. A value recorded before a write keeps reading the old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.trace import (
    FunctionCall,
    Trace,
    advance,
    local,
    record,
    refresh,
    refuse_detached,
    state_of,
)
from tenor.engine.trie import meta, path
from tenor.errors import GradientError
from tenor.ir import op as ops
from tenor.ir.dtype import bool_, int32
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.engine.handle import Handle
    from tenor.engine.trie import State
    from tenor.ir.node import Shape
    from tenor.ir.op import Op

    Chain = tuple[tuple[Op, tuple[Any, ...]], ...]

__all__ = ["excuse", "is_leaf", "leave_history", "record_view", "version_of", "write"]

_STALE = Trace(grad=True)
_STALE.done = True


def record_view(op: Op, source: Handle, attrs: tuple[Any, ...]) -> Any:
    """Record a movement op whose result shares storage with its source, as PyTorch's views do."""
    result = record(op, (source,), attrs)
    base = source.base
    chain: Chain = ((op, attrs),)
    if not local.trace.grad and source.needs_grad:
        chain = ((op, attrs), (ops.DETACH, ()))  # derived again later, it still has no gradient
    if base is None:
        base = source
        source.viewed = True
    else:
        chain = (*source.chain, *chain)
    result.base = base
    result.chain = chain
    result.seen = base.version
    local.trace.views[id(base)].append(result)
    return result


def write(target: Handle, value: Handle, since: int | None = None) -> None:
    """Give a tensor a new value of its own shape and dtype; views and bases see it.

    Args:
        target: What is written.
        value: Its new value.
        since: How deep the trace was before the value was computed. What was recorded since then
            may read the old value in its derivative; by default nothing may.

    Raises:
        GradientError: the target is a leaf that requires a gradient, or a view of one.
    """
    trace = local.trace
    owner = target if target.base is None else target.base
    detached = any(op is ops.DETACH for op, _ in target.chain)
    if trace.grad and owner.needs_grad and is_leaf(owner) and not detached:
        raise GradientError(
            "in-place: a leaf tensor that requires a gradient cannot be written while gradients "
            "are recorded.",
            came=f"a leaf of shape {owner.shape_tuple}",
            fix="write it under tn.no_grad(), or work on x.clone()",
        )
    if detached and target.chain[-1][0] is not ops.DETACH and value.needs_grad:
        refuse_detached(target)
    shared = owner.buffer is not None and owner.buffer.shared
    if since is None:
        since = trace.state.depth
    if target.base is None:
        _rebind(target, value, since)
    else:
        _write_view(target, target.base, value, since, detached)
    if owner.viewed:
        for view in local.trace.views.pop(id(owner), ()):
            if view is not target:
                _make_stale(view, since)
        if target is not owner and target.within is local.trace:
            local.trace.views[id(owner)].append(target)
    if shared or local.immediate:
        local.flush()


def excuse(target: Handle, value: Handle, serial: int, since: int) -> None:
    """Let what a value was computed from go on reading a tensor that it will be written to.

    `write` does that for what is pending; this is for what was run in between.

    Args:
        target: What is about to be written.
        value: Its new value.
        serial: The number of the trace in which computing the value began.
        since: How deep that trace was then.
    """
    waiting = [value.segment, *[h.segment for h in local.trace.variables.values()]]
    seen: set[int] = set()
    while waiting:
        segment = waiting.pop()
        if segment is None or id(segment) in seen or segment.serial < serial:
            continue
        seen.add(id(segment))
        waiting += [link[0] for link in segment.links.values()]
        for state, (holder, version) in list(segment.watched.items()):
            if holder() is target and version == version_of(target):
                del segment.watched[state]
                if segment.serial == serial:
                    segment.overwritten[state] = since


def _write_view(target: Handle, owner: Handle, value: Handle, since: int, detached: bool) -> None:
    if target.seen != owner.version:
        refresh(target)
    mode = local.trace.grad
    local.trace.grad = mode and not detached
    try:
        _rebind(owner, _put_back(owner, target.chain, value), since)
    finally:
        local.trace.grad = mode
    if detached or owner.needs_grad == value.needs_grad:
        _rebind(target, value, since)
        target.seen = owner.version
    else:
        _make_stale(target, since)


def _make_stale(view: Handle, since: int) -> None:
    """Have a view derived from its base again when it is next used."""
    trace = local.trace
    if view.within is trace:
        if view.state.requires_grad:
            refuse_detached(view)
        trace.overwritten[view.state] = since
        view.meta = _meta_of(view)
        view.within = _STALE
        trace.rebound.pop(id(view), None)


def _meta_of(handle: Handle) -> Any:
    state = handle.state
    return meta(state.shape, state.dtype, state.requires_grad)


def version_of(handle: Handle) -> int:
    """Return how often the handle's storage was written."""
    return handle.version if handle.base is None else handle.base.version


def is_leaf(handle: Handle) -> bool:
    """Tell whether no recorded operation made the tensor, as far as gradients go."""
    if handle.base is not None and handle.seen != handle.base.version:
        return not handle.needs_grad
    if handle.within is None or handle.within.done:
        return handle.segment is None
    state = handle.state
    if state.op is ops.LEAF:
        return handle.segment is None
    return state.op is ops.VARIABLE or not state.requires_grad


def _rebind(target: Handle, value: Handle, since: int) -> None:
    state = state_of(value)
    trace = local.trace
    if state.op is ops.LEAF:  # the tensor's leaf is another's: it is no leaf itself
        state = advance(trace, ops.RESHAPE, (state,), (state.shape,))
    if target.needs_grad and not state.requires_grad:
        state = _with_history(trace, target, state)
    if target.within is trace:
        trace.overwritten[target.state] = since
        if target.state.op is ops.LEAF and trace.owners[target.state.leaves - 1] is target:
            trace.donors.setdefault(id(target), target.state)
    elif target.within is not None and not target.within.done:
        target.within.rebound.pop(id(target), None)  # another thread has it no more
    elif target.buffer is not None and target.buffer.shared:
        trace.overwritten.update(dict.fromkeys(_entries(trace, target), since))
    leave_history(trace, target)
    target.within = trace
    target.state = state
    target.version += 1
    trace.rebound[id(target)] = target
    if target.hooks and state.requires_grad:
        trace.hooks[state] = target.hooks


def _with_history(trace: Trace, target: Handle, state: State) -> State:
    """Return a value without a gradient as one of a tensor that has one."""
    if is_leaf(target):
        # A parameter written under no_grad is still a parameter.
        state = advance(trace, ops.VARIABLE, (state,), ())
        trace.variables[state] = target
        return state
    before, mode = state_of(target), trace.grad
    trace.grad = True
    if mode:
        # Nothing of the old value is left, so what flows back to it is zeros.
        dims = len(state.shape)
        state = advance(trace, ops.SLICE_UPDATE, (before, state), ((0,) * dims, (1,) * dims))
    else:
        # Behind the tape's back: the gradient is the old value's, as in PyTorch.
        state = advance(trace, ops.FUNCTION, (state, before), (0,))
        trace.functions[state] = FunctionCall([state], lambda given, _: given)
    trace.grad = mode
    return state


def leave_history(trace: Trace, target: Handle) -> None:
    """Let a tensor go on without its history, which stays with what was computed from it."""
    hooks = target.hooks
    if hooks and not is_leaf(target):
        # They belong to the value it had; only what `retain_grad` put there goes with its name.
        target.hooks = [hook for hook in hooks if hasattr(hook, "stays")]
        hooks[:] = [hook for hook in hooks if not hasattr(hook, "stays")]
    if target.segment is None:
        return
    if target.within is trace and trace.variables.get(target.state) is target:
        ghost = trace.variables[target.state] = local.make()
        ghost.within, ghost.state = trace, target.state
        ghost.buffer, ghost.meta = target.buffer, target.meta
        ghost.segment, ghost.origin = target.segment, target.origin
    target.segment = target.origin = None


def _entries(trace: Trace, handle: Handle) -> list[State]:
    """Return the leaf states of a tensor that was entered afresh at each use."""
    leaves = [s for s in path(trace.state) if s.op is ops.LEAF]
    return [s for s, owner in zip(leaves, trace.owners, strict=True) if owner is handle]


def _put_back(base: Handle, view: Chain, value: Handle) -> Handle:
    """Return the base's value with `value` written where the view looks."""
    if not view:
        return value
    (op, attrs), rest = view[0], view[1:]
    if op is ops.EXPAND and rest and rest[0][0] is ops.SLICE:
        view = (*_sliced_first(base.shape_tuple, attrs[0], *rest[0][1]), *rest[1:])
        (op, attrs), rest = view[0], view[1:]
    inner = record(op, (base,), attrs) if rest else value
    return INVERSE[op.name](base, attrs, _put_back(inner, rest, value) if rest else value)


def _sliced_first(shape: Shape, wide: Shape, starts: Shape, sizes: Shape, steps: Shape) -> Chain:
    """Return a slice of an expanded tensor as what is left to expand of a slice."""
    head = len(wide) - len(shape)
    repeated = [n != m for n, m in zip(shape, wide[head:], strict=True)]
    inner = [
        tuple(one if again else n for again, n in zip(repeated, cut[head:], strict=True))
        for one, cut in ((0, starts), (1, sizes), (1, steps))
    ]
    back = ops.RESHAPE if size(inner[1]) == size(sizes) else ops.EXPAND
    return ((ops.SLICE, tuple(inner)), (back, (sizes,)))


def _inverse_reshape(base: Handle, _attrs: tuple[Any, ...], value: Handle) -> Handle:
    back: Handle = record(ops.RESHAPE, (value,), (base.shape_tuple,))
    return back


def _inverse_permute(_base: Handle, attrs: tuple[Any, ...], value: Handle) -> Handle:
    dims = attrs[0]
    back: Handle = record(ops.PERMUTE, (value,), (tuple(dims.index(i) for i in range(len(dims))),))
    return back


def _inverse_slice(base: Handle, attrs: tuple[Any, ...], value: Handle) -> Handle:
    starts, _, steps = attrs
    back: Handle = record(ops.SLICE_UPDATE, (base, value), (starts, steps))
    return back


def _inverse_expand(base: Handle, attrs: tuple[Any, ...], value: Handle) -> Handle:
    shape, wide = base.shape_tuple, attrs[0]
    head = len(wide) - len(shape)
    if any(n != m for n, m in zip(shape, wide[head:], strict=True)) or head:
        raise GradientError(
            "in-place: an expanded tensor has several elements in one place and cannot be written.",
            came=f"a view of shape {wide} on a base of shape {shape}",
            fix="write x.clone() instead",
        )
    return value


def _inverse_detach(_base: Handle, _attrs: tuple[Any, ...], value: Handle) -> Handle:
    inner: Handle = record(ops.DETACH, (value,)) if value.needs_grad else value
    return inner


def _inverse_unfold(base: Handle, attrs: tuple[Any, ...], value: Handle) -> Handle:
    dim, width, step, dilation = attrs
    if step < (width - 1) * dilation + 1:
        raise GradientError(
            "in-place: overlapping windows cannot be written.",
            came=f"a view made by unfold(), windows of {width} every {step}",
            fix="write x.clone() instead",
        )
    shape = base.shape_tuple
    ones = record(ops.EXPAND, (record(ops.CONST, (), (1, int32)),), (value.shape_tuple,))
    narrow = value.element_type is bool_
    folded = record(ops.CAST, (value,), (int32,)) if narrow else value
    folded, met = (
        record(ops.FOLD, (x,), (dim, shape[dim], step, dilation)) for x in (folded, ones)
    )
    folded = record(ops.CAST, (folded,), (bool_,)) if narrow else folded
    back: Handle = record(ops.WHERE, (record(ops.CAST, (met,), (bool_,)), folded, base))
    return back


INVERSE = {
    "reshape": _inverse_reshape,
    "permute": _inverse_permute,
    "slice": _inverse_slice,
    "expand": _inverse_expand,
    "unfold": _inverse_unfold,
    "detach": _inverse_detach,
}
"""How a value is written back through each kind of view."""
