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
    handle_of,
    local,
    record,
    refresh,
    state_of,
)
from tenor.engine.trie import meta
from tenor.errors import GradientError
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.engine.handle import Handle
    from tenor.ir.op import Op

__all__ = ["is_leaf", "record_view", "version_of", "write"]

_STALE = Trace(grad=True)
_STALE.done = True


def record_view(op: Op, source: Handle, attrs: tuple[Any, ...]) -> Any:
    """Record a movement op whose result shares storage with its source, as PyTorch's views do."""
    result = record(op, (source,), attrs)
    base = source.base
    if base is None:
        result.base = source
        result.chain = ((op, attrs),)
        source.viewed = True
        result.seen = source.version
    else:
        result.base = base
        result.chain = (*source.chain, (op, attrs))
        result.seen = base.version
    return result


def write(target: Handle, value: Handle) -> None:
    """Give a tensor a new value of its own shape and dtype; views and bases see it.

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
    shared = owner.buffer is not None and owner.buffer.shared
    if target.base is None:
        _rebind(target, value)
    else:
        if target.seen != target.base.version:
            refresh(target)
        whole = _put_back(target.base, target.chain, value)
        _rebind(target.base, whole)
        _rebind(target, value)
        target.seen = target.base.version
    if owner.viewed:
        for handle in local.trace.outs:
            if handle.base is owner and handle is not target:
                handle.trace = _STALE
                handle.meta = handle.meta or _meta_of(handle)
    if shared or local.immediate:
        local.flush()


def _meta_of(handle: Handle) -> Any:
    state = handle.state
    return meta(state.shape, state.dtype, state.requires_grad)


def version_of(handle: Handle) -> int:
    """Return how often the handle's storage was written."""
    return handle.version if handle.base is None else handle.base.version


def is_leaf(handle: Handle) -> bool:
    """Tell whether no recorded operation made the tensor, as far as gradients go."""
    if handle.trace is None or handle.trace.done:
        return handle.segment is None
    state = handle.state
    if state.op is ops.LEAF:
        return handle.segment is None
    return state.op is ops.VARIABLE or not state.requires_grad


def _rebind(target: Handle, value: Handle) -> None:
    state = state_of(value)
    trace = local.trace
    was_variable = target.needs_grad and is_leaf(target)
    if target.trace is trace:
        trace.overwritten.add(target.state)
        if target.state.op is ops.LEAF:
            trace.donors.setdefault(id(target), target.state)
    if was_variable and not state.requires_grad:
        # A parameter written under no_grad is still a parameter.
        state = advance(trace, ops.VARIABLE, (state,), ())
        trace.variables[state] = target
    target.trace = trace
    target.state = state
    target.version += 1
    target.segment = None
    trace.rebound[id(target)] = target


def _put_back(base: Handle, view: tuple[tuple[Op, tuple[Any, ...]], ...], value: Handle) -> Handle:
    """Return the base's value with `value` written where the view looks."""
    if not view:
        return value
    (op, attrs), rest = view[0], view[1:]
    inner = record(op, (base,), attrs) if rest else value
    return INVERSE[op.name](base, attrs, _put_back(inner, rest, value) if rest else value)


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


def _inverse_detach(base: Handle, _attrs: tuple[Any, ...], value: Handle) -> Handle:
    """Write behind the tape's back: the base keeps its history, as in PyTorch."""
    trace = local.trace
    inner = advance(trace, ops.DETACH, (state_of(value),), ())
    source = state_of(base)
    if source.requires_grad and not is_leaf(base) and trace.grad:
        inner = advance(trace, ops.FUNCTION, (inner, source), (0,))
        trace.functions[inner] = FunctionCall([inner], list)
    return handle_of(inner)


def _inverse_unfold(_base: Handle, _attrs: tuple[Any, ...], _value: Handle) -> Handle:
    raise GradientError(
        "in-place: overlapping windows cannot be written.",
        came="a view made by unfold()",
        fix="write x.clone() instead",
    )


INVERSE = {
    "reshape": _inverse_reshape,
    "permute": _inverse_permute,
    "slice": _inverse_slice,
    "expand": _inverse_expand,
    "unfold": _inverse_unfold,
    "detach": _inverse_detach,
}
"""How a value is written back through each kind of view."""
