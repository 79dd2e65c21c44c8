"""What a tensor knows of its gradient: whether it needs one, the one it has, hooks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from weakref import ref

from tenor.engine import tape
from tenor.engine.alias import is_leaf as made_by_nothing
from tenor.engine.alias import leave_history, record_view, write
from tenor.engine.gradients import grad_of, touch_grad
from tenor.engine.handle import Handle
from tenor.engine.macro import viewing
from tenor.engine.trace import advance, local, state_of
from tenor.engine.trie import meta
from tenor.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tenor.ir import op as ops
from tenor.tensor.operands import cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.tensor.tensor import Tensor

__all__ = [
    "RemovableHandle",
    "backward",
    "detach",
    "detach_",
    "is_leaf",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "requires_grad_",
    "retain_grad",
]

Hook = "Callable[[Tensor], Tensor | None]"


class RemovableHandle:
    """Takes a hook away again with `remove()`, or at the end of a `with` block."""

    ids = itertools.count()

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self.hooks = hooks
        self.hook = hook
        self.id = next(self.ids)

    def remove(self) -> None:
        """Take the hook away; a second time is no error."""
        self.hooks[:] = [h for h in self.hooks if h is not self.hook]

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def requires_grad_(x: Tensor, requires_grad: bool = True) -> Tensor:
    """Say whether a gradient is computed for a leaf; return the tensor.

    Raises:
        DTypeError: only floating tensors have gradients.
        GradientError: it was made by recorded operations, and its gradient is not up to it.
    """
    if requires_grad == x.needs_grad:
        return x
    if requires_grad and x.element_type.kind != "float":
        raise DTypeError(
            "requires_grad: only floating tensors have gradients.",
            came=x.element_type.name,
            fix="convert with .float() first",
        )
    if not requires_grad and not made_by_nothing(x):
        raise GradientError(
            "requires_grad: a computed tensor needs its gradient for what it was computed from.",
            came=f"a tensor of shape {x.shape_tuple} that is no leaf",
            fix="use x.detach()",
        )
    _mark(x, requires_grad)
    return x


def _mark(x: Tensor, requires_grad: bool) -> None:
    trace = local.trace
    if _settled(x):
        x.meta = meta(x.shape_tuple, x.element_type, requires_grad)
        x.within = None
        return
    op = ops.VARIABLE if requires_grad else ops.DETACH
    state = advance(trace, op, (state_of(x),), ())
    x.state = state
    if requires_grad:
        trace.variables[state] = x
        if x.hooks:
            trace.hooks[state] = x.hooks


def _settled(x: Tensor) -> bool:
    """Tell whether a value is stored, so that nothing recorded has to say what it is."""
    return x.within is None or x.within.done or (x.buffer is not None and x.state.op is ops.LEAF)


def get_requires_grad(x: Tensor) -> bool:
    """Whether a gradient is computed for the tensor."""
    return x.needs_grad


def set_requires_grad(x: Tensor, value: bool) -> None:
    """Say whether a gradient is computed for the tensor."""
    requires_grad_(x, value)


def is_leaf(x: Tensor) -> bool:
    """Whether no recorded operation made the tensor, so that `.grad` is kept for it."""
    return not x.needs_grad or made_by_nothing(x)


class GradientFunction:
    """What made a tensor, as far as gradients go: shown, and told from None."""

    def __init__(self, op: str) -> None:
        self.op = op

    def name(self) -> str:
        """Return the name, such as MulBackward0."""
        return "".join(part.capitalize() for part in self.op.split("_")) + "Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def grad_fn(x: Tensor) -> GradientFunction | None:
    """What made the tensor; None for a leaf."""
    if is_leaf(x):
        return None
    state = x.state if x.within is not None and not x.within.done else x.origin
    return GradientFunction("unknown" if state is None else state.op.name)


def get_grad(x: Tensor) -> Tensor | None:
    """The gradient that backward passes added up, or None."""
    if local.pinning is not None:
        touch_grad(x, read=True)
    return grad_of(x)  # type: ignore[no-any-return]


def set_grad(x: Tensor, value: Tensor | None) -> None:
    """Set or clear the gradient.

    Raises:
        ShapeError: it has another shape than the tensor.
        DTypeError: it has another dtype.
    """
    if value is not None and not isinstance(value, Handle):
        raise ArgumentError(
            "grad: must be a tensor or None.", came=type(value).__name__, fix="wrap it"
        )
    if value is not None and value.shape_tuple != x.shape_tuple:
        raise ShapeError(
            "grad: must have the tensor's shape.",
            came=[f"gradient {value.shape_tuple}", f"tensor {x.shape_tuple}"],
            fix="reshape it",
        )
    if value is not None and value.element_type is not x.element_type:
        raise DTypeError(
            "grad: must have the tensor's dtype.",
            came=[f"gradient {value.element_type.name}", f"tensor {x.element_type.name}"],
            fix="convert it with .to(x.dtype)",
        )
    if local.pinning is not None:
        touch_grad(x, read=False)
    x._grad = value


def backward(
    x: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[Tensor] | Tensor | None = None,
) -> None:
    """Add the gradient of x to `.grad` of every leaf it was computed from.

    Args:
        x: A tensor of one element, or any with `gradient`.
        gradient: The gradient that flows into x; 1 by default.
        retain_graph: Keep what is needed to call it again; by default only with create_graph.
        create_graph: Record the gradients' own gradients.
        inputs: Only these leaves.

    Raises:
        GradientError: x needs no gradient, or its graph was let go.
        ShapeError: x has several elements and no gradient is given, or one of another shape.
    """
    check_cotangent(x, gradient)
    if gradient is not None:
        gradient = cast(gradient, x.element_type)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        tape.backward(x, gradient, keep, create_graph)
        return
    leaves = [inputs] if isinstance(inputs, Handle) else list(inputs)
    found = tape.gradients([x], leaves, [gradient], keep, create_graph)
    for leaf, g in zip(leaves, found, strict=True):
        if g is not None:
            tape.accumulate(leaf, g, create_graph)


def check_cotangent(x: Tensor, gradient: Tensor | None) -> None:
    """Refuse a gradient that does not fit what it flows into."""
    shape = x.shape_tuple
    if gradient is None and x.numel() != 1:
        raise ShapeError(
            "backward: a gradient is understood only for a tensor of one element.",
            came=f"shape {shape}",
            fix="reduce it with .sum() or .mean(), or pass gradient=",
        )
    if gradient is not None and gradient.shape_tuple != shape:
        raise ShapeError(
            "backward: the gradient must have the tensor's shape.",
            came=[f"gradient {gradient.shape_tuple}", f"tensor {shape}"],
            fix="expand or reshape the gradient",
        )


@viewing
def detach(x: Tensor) -> Tensor:
    """Return a view without a gradient."""
    made: Tensor = record_view(ops.DETACH, x, ())
    return made


def detach_(x: Tensor) -> Tensor:
    """Cut the tensor off from what it was computed from; return it."""
    if x.needs_grad:
        leave_history(local.trace, x)
        _mark(x, requires_grad=False)
    return x


def retain_grad(x: Tensor) -> None:
    """Keep the gradient of a computed tensor in its `.grad`, as leaves do.

    It is the one that goes on from there: what other hooks make of it.

    Raises:
        GradientError: the tensor needs no gradient.
    """
    if x.needs_grad and (is_leaf(x) or any(hasattr(hook, "stays") for hook in x.hooks or ())):
        return

    holder = ref(x)

    def keep(g: Tensor) -> None:
        owner = holder()
        if owner is not None:  # else nobody is left to look
            before = grad_of(owner)
            owner._grad = g if before is None else before + g

    keep.stays = True  # type: ignore[attr-defined]
    register_hook(x, keep)


def register_hook(x: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call a function with the tensor's gradient; what it returns, if anything, replaces it.

    Raises:
        GradientError: the tensor needs no gradient.
    """
    if not x.needs_grad:
        raise GradientError(
            "register_hook: the tensor has no gradient.",
            came="requires_grad=False",
            fix="set requires_grad=True first",
        )
    if x.hooks is None:
        x.hooks = []
    # What `retain_grad` keeps is the gradient as every hook leaves it.
    last = next((i for i, h in enumerate(x.hooks) if hasattr(h, "stays")), len(x.hooks))
    x.hooks.insert(last, hook)
    if x.segment is not None:
        x.segment.hooks[x.origin] = x.hooks
    elif x.within is local.trace:
        x.within.hooks[x.state] = x.hooks
    return RemovableHandle(x.hooks, hook)


def register_post_accumulate_grad_hook(
    x: Tensor, hook: Callable[[Tensor], None]
) -> RemovableHandle:
    """Call a function with a leaf each time `backward` has added to its `.grad`.

    The function may use the gradient and forget it: an optimizer's step while backward goes on.

    Raises:
        GradientError: the tensor needs no gradient, or is no leaf.

    Example:
        >>> import tenor as tn
        >>> x = tn.ones(2, requires_grad=True)
        >>> handle = x.register_post_accumulate_grad_hook(lambda p: print(p.grad.tolist()))
        >>> (x * 3).sum().backward()
        [3.0, 3.0]
    """
    if not x.needs_grad or not is_leaf(x):
        raise GradientError(
            "register_post_accumulate_grad_hook: expects a leaf that requires a gradient.",
            came="a computed tensor" if x.needs_grad else "requires_grad=False",
            fix="use register_hook, or set requires_grad=True first",
        )
    if x.after is None:
        x.after = []
    x.after.append(hook)
    return RemovableHandle(x.after, hook)


def get_data(x: Tensor) -> Tensor:
    """The same values without a gradient; writing them writes the tensor."""
    return detach(x)


def set_data(x: Tensor, value: Tensor) -> None:
    """Replace the values, unseen by gradients.

    Raises:
        ShapeError: the shape or dtype differs.
    """
    if not isinstance(value, Handle):
        raise ArgumentError(
            "data: must be a tensor.", came=type(value).__name__, fix="make one with tn.tensor()"
        )
    if value.shape_tuple != x.shape_tuple or value.element_type is not x.element_type:
        raise ShapeError(
            "data: the new value must have the tensor's shape and dtype.",
            came=f"{value.shape_tuple} {value.element_type.name} for {x.shape_tuple} "
            f"{x.element_type.name}",
            fix="make a new tensor instead",
        )
    trace = local.trace
    before, trace.grad = trace.grad, False
    try:
        write(x, value.detach())
    finally:
        local.trace.grad = before
