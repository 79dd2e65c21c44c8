"""`tn.autograd`: gradients by name, custom derivatives, and their proof by differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine import tape
from tenor.engine.handle import Handle
from tenor.engine.trace import FunctionCall, Linked, advance, handle_of, local, state_of
from tenor.engine.trie import path
from tenor.engine.walk import let_go
from tenor.errors import ArgumentError, DTypeError, GradientError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.creation import zeros
from tenor.tensor.gradient import check_cotangent
from tenor.tensor.modes import enable_grad, no_grad
from tenor.tensor.random import get_rng_state, set_rng_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tenor.tensor.tensor import Tensor

__all__ = ["Context", "Function", "backward", "checkpoint", "grad", "gradcheck", "gradgradcheck"]


# -- gradients by name --------------------------------------------------------------------------
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    *,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the sum of outputs with respect to each input.

    Args:
        outputs: Tensors of one element each, or any with `grad_outputs`.
        inputs: Tensors that the outputs depend on, leaves or not.
        grad_outputs: The gradient that flows into each output; 1 by default.
        retain_graph: Keep what is needed to ask again; by default only with create_graph.
        create_graph: Record the gradients, so that they can be differentiated themselves.
        only_inputs: Accepted for PyTorch's sake, where it may only be True as well.
        allow_unused: Give None for an input that no output depends on.
        materialize_grads: Give zeros for such an input.

    Raises:
        GradientError: an input is not used and neither is True, or it needs no gradient.
        ShapeError: a gradient does not fit its output.

    Example:
        >>> import tenor as tn
        >>> x = tn.tensor(3.0, requires_grad=True)
        >>> tn.autograd.grad(x**2, x)
        (tensor(6.),)
    """
    if not only_inputs or (materialize_grads and allow_unused is False):
        raise ArgumentError(
            "grad: gradients go to the inputs alone, and zeros are given or unused inputs refused.",
            came=f"only_inputs={only_inputs}, materialize_grads={materialize_grads}, "
            f"allow_unused={allow_unused}",
            fix="leave them out; backward() adds to every leaf's .grad",
        )
    roots, leaves = _listed(outputs), _listed(inputs)
    given: list[Any] = [None] * len(roots) if grad_outputs is None else _listed(grad_outputs)
    if len(given) != len(roots):
        raise ArgumentError(
            "grad: there must be one gradient for each output.",
            came=f"{len(given)} gradients for {len(roots)} outputs",
            fix="pass None where the gradient is 1",
        )
    for root, g in zip(roots, given, strict=True):
        check_cotangent(root, g)
    for leaf in leaves:
        if not leaf.needs_grad:
            raise GradientError(
                "grad: every input must require a gradient.",
                came=f"an input of shape {leaf.shape_tuple} with requires_grad=False",
                fix="call x.requires_grad_() before computing with it",
            )
    keep = create_graph if retain_graph is None else retain_graph
    found = tape.gradients(roots, leaves, given, keep, create_graph)
    if materialize_grads:
        found = [
            zeros(x.shape_tuple, dtype=x.dtype) if g is None else g
            for g, x in zip(found, leaves, strict=True)
        ]
    if not allow_unused and any(g is None for g in found):
        raise GradientError(
            "grad: an input was not used to compute the outputs.",
            came=f"input {found.index(None)}",
            fix="leave it out, or pass allow_unused=True to get None for it",
        )
    return tuple(found)  # type: ignore[arg-type]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of the sum of tensors to `.grad` of every leaf they depend on."""
    roots = _listed(tensors)
    given: list[Any] = [None] * len(roots) if grad_tensors is None else _listed(grad_tensors)
    keep = create_graph if retain_graph is None else retain_graph
    last = len(roots) - 1
    for i, (root, g) in enumerate(zip(roots, given, strict=True)):
        root.backward(g, retain_graph=keep or i < last, create_graph=create_graph)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, Handle) else list(value)


# -- custom derivatives -------------------------------------------------------------------------
class Context:
    """What a Function's forward leaves for its backward.

    Attributes:
        needs_input_grad: For each argument of forward, whether its gradient is wanted.
        kept: The tensors kept, and `versions` of them when they were.
        outputs: For each tensor kept that forward returned, the number of the output.
        linked: Gives an output with its history, while backward runs.
        released: Whether a backward pass has let the tensors kept go.
        plain: Outputs that no gradient flows into, by id.
        dirty: Arguments that forward writes in place and returns, by id.
        fill: Whether backward is given zeros where no gradient flows into an output.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.kept: tuple[Any, ...] = ()
        self.versions: tuple[int, ...] = ()
        self.outputs: dict[int, int] = {}
        self.linked: Linked | None = None
        self.released = False
        self.plain: set[int] = set()
        self.dirty: set[int] = set()
        self.fill = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward."""
        self.kept = tensors
        self.versions = tuple(0 if t is None else t._version for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors kept.

        Raises:
            GradientError: one was written in place since, or an earlier backward let them go.
        """
        if self.released:
            raise let_go()
        for kept, version in zip(self.kept, self.versions, strict=True):
            if kept is not None and kept._version != version:
                raise GradientError(
                    "saved_tensors: a tensor kept for backward was written in place afterwards.",
                    came=f"shape {kept.shape_tuple} at version {kept._version}, kept at {version}",
                    fix="keep x.clone(), or write to a copy",
                )
        if self.linked is None or not local.trace.grad:
            return self.kept
        outputs, linked = self.outputs, self.linked
        return tuple(
            linked(outputs[i], kept) if i in outputs else kept for i, kept in enumerate(self.kept)
        )

    def release(self) -> None:
        """Let the tensors kept go."""
        self.released, self.kept = bool(self.kept), ()

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say that forward writes these arguments in place and returns them."""
        self.dirty = {id(t) for t in tensors}

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say that no gradient flows into these outputs."""
        self.plain = {id(t) for t in outputs}

    def set_materialize_grads(self, value: bool) -> None:
        """Choose zeros (True) or None (False) where no gradient flows into an output."""
        self.fill = value


class Function:
    """An operation with a derivative of its own.

    Subclasses write two static methods: `forward(ctx, *args)` returns a tensor or a tuple of
    them; `backward(ctx, *grads)` returns a gradient, or None, for each argument of forward. Where
    there is a third, `setup_context(ctx, inputs, output)`, forward is not given the context.

    Example:
        >>> import tenor as tn
        >>> class Double(tn.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return 2 * x
        ...
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         return 2 * g
        >>> x = tn.tensor(1.0, requires_grad=True)
        >>> Double.apply(x).backward()
        >>> x.grad
        tensor(2.)
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
        """Leave what backward needs; a subclass that has it gives forward no context."""

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward; gradients will come from backward."""
        needs = tuple(isinstance(a, Handle) and a.needs_grad for a in args)
        ctx = Context(needs)
        recording = local.trace.grad and any(needs)
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args, **kwargs)
            else:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
        if not recording:
            return result
        outputs = (result,) if isinstance(result, Handle) else tuple(result)
        where = [i for i, a in enumerate(args) if isinstance(a, Handle)]
        numbers = {id(o): i for i, o in enumerate(outputs)}
        ctx.outputs = {i: numbers[id(t)] for i, t in enumerate(ctx.kept) if id(t) in numbers}

        def answer(given: list[Any], linked: Linked) -> list[Any]:
            grads = [
                zeros(o.shape_tuple, dtype=o.element_type) if g is None and ctx.fill else g
                for g, o in zip(given, shapes, strict=True)
            ]
            ctx.linked = linked
            try:
                found = cls.backward(ctx, *grads)
            finally:
                ctx.linked = None
            found = found if isinstance(found, tuple) else (found,)
            if len(found) < len(args):
                raise GradientError(
                    f"{cls.__name__}.backward: must return a gradient, or None, per argument.",
                    came=f"{len(found)} for {len(args)} arguments of forward",
                    fix="return None for arguments without a gradient",
                )
            name = f"{cls.__name__}.backward"
            return [_fitted(name, found[i], like) for i, like in zip(where, given_to, strict=True)]

        given_to = [_Like(args[i]) for i in where]
        made = _attach(outputs, [args[i] for i in where], answer, ctx.plain, ctx.release)
        shapes = [_Like(o) for o in outputs]
        for i, output in enumerate(outputs):
            if id(output) in ctx.dirty and output.within is made[i].within:
                output.state, made[i] = made[i].state, output
        return made[0] if isinstance(result, Handle) else tuple(made)


class _Like:
    """The shape and dtype of a tensor, without holding on to it."""

    def __init__(self, x: Handle) -> None:
        self.shape_tuple = x.shape_tuple
        self.element_type = x.element_type


def _fitted(name: str, g: Any, like: _Like) -> Any:
    """Return a gradient that a Function gave in its argument's shape and dtype.

    Raises:
        GradientError: it cannot be summed to that shape.
    """
    if g is None or like.element_type.kind != "float":
        return None
    shape, given = like.shape_tuple, g.shape_tuple
    lead = len(given) - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, given[lead:], strict=True)):
        raise GradientError(
            f"{name}: a gradient must have the shape of its argument, or one it broadcasts to.",
            came=[f"gradient {given}", f"argument {shape}"],
            fix="reduce it over the dims that forward broadcast",
        )
    if given != shape:
        repeated = [d for d, n in enumerate((1,) * lead + shape) if n != given[d] or d < lead]
        g = g.sum(repeated, keepdim=True).reshape(shape)
    return g if g.element_type is like.element_type else g.to(like.element_type)


def _attach(
    outputs: Sequence[Any],
    sources: Sequence[Any],
    answer: Callable[..., Any],
    plain: set[int],
    release: Callable[[], object] = lambda: None,
) -> list[Any]:
    """Return the outputs as results of one recorded Function of the sources."""
    inner = [state_of(x) for x in sources]
    values = [state_of(x) for x in outputs]
    inner = [state_of(x) for x in sources]  # entering an output may have derived a view again
    trace = local.trace
    states = []
    for i, (output, value) in enumerate(zip(outputs, values, strict=True)):
        grad_free = id(output) in plain or output.element_type.kind != "float"
        op, inputs = (ops.DETACH, (value,)) if grad_free else (ops.FUNCTION, (value, *inner))
        states.append(advance(trace, op, inputs, () if grad_free else (i,)))
    call = FunctionCall(states, answer, release)
    for state in states:
        if state.op is ops.FUNCTION:
            trace.functions[state] = call
    return [handle_of(state) for state in states]


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function without keeping its inner values; backward computes them again.

    Random numbers drawn inside are the same both times. `use_reentrant`, `preserve_rng_state` and
    `determinism_check` of PyTorch are accepted and change nothing.

    Args:
        function: Takes and returns tensors; what it closes over also gets gradients.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Reference:
        Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
    """
    for name in ("use_reentrant", "preserve_rng_state", "determinism_check"):
        kwargs.pop(name, None)
    if not local.trace.grad or local.immediate:  # where nothing is kept anyway
        return function(*args, **kwargs)
    if local.trace.state.boundary:
        local.flush()
    random_state = get_rng_state()
    for x in args:
        if isinstance(x, Handle):
            state_of(x)
    trace, start = local.trace, local.trace.state
    before, local.whole = local.whole, True
    try:
        with no_grad():
            result = function(*args, **kwargs)
    finally:
        local.whole = before
    outputs = (result,) if isinstance(result, Handle) else tuple(result)
    where = [i for i, a in enumerate(args) if isinstance(a, Handle)]
    if local.trace is not trace:
        raise GradientError(
            "checkpoint: the function reads a value, which ends the recording it is part of.",
            came=f"{getattr(function, '__name__', 'a function')} observes a tensor",
            fix="move print, item() and branches on values out of the function",
        )
    captured = _captured(trace, start.depth)

    def answer(given: list[Any], _linked: Linked) -> list[Any]:
        inner = list(args)
        linked = local.trace.grad  # the gradient is to be differentiated itself
        for i in where:
            # The barrier keeps what is computed again from being merged with the first time, and
            # has it wait for the gradient.
            apart = args[i] if linked else args[i].detach()  # first, as it may end the trace
            inputs = tuple(map(state_of, (apart, *(g for g in given if g is not None))))
            fresh: Any = handle_of(advance(local.trace, ops.BARRIER, inputs, ()))
            inner[i] = fresh if linked else fresh.requires_grad_(args[i].needs_grad)
        now = get_rng_state()
        set_rng_state(random_state)
        try:
            with enable_grad():
                again = function(*inner, **kwargs)
        finally:
            set_rng_state(now)
        again = (again,) if isinstance(again, Handle) else tuple(again)
        arrived = zip(again, given, strict=True)
        pairs = [(o, g) for o, g in arrived if g is not None and o.needs_grad]
        wanted = [x for x in (*[inner[i] for i in where], *captured) if x.needs_grad]
        outputs, grads = [o for o, _ in pairs], [g for _, g in pairs]
        found = iter(tape.gradients(outputs, wanted, grads, True, linked, stops=True))
        sources = (*[inner[i] for i in where], *captured)
        return [next(found) if x.needs_grad else None for x in sources]

    made = _attach(outputs, [*[args[i] for i in where], *captured], answer, set())
    return made[0] if isinstance(result, Handle) else tuple(made)


def _captured(trace: Any, depth: int) -> list[Handle]:
    """Return tensors from outside that a stretch of recording used and that need gradients.

    Arguments are among them: they may also have been found in another way.
    """
    found: dict[Any, Handle] = {}
    for state in path(trace.state)[depth:]:
        for source in state.inputs:
            outside = source.depth <= depth or source.op is ops.LEAF
            if outside and source.requires_grad and source not in found:
                owner = trace.variables.get(source)
                found[source] = handle_of(source) if owner is None else owner
    return list(found.values())


# -- proof by differences -----------------------------------------------------------------------
def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    r"""Compare recorded gradients with central differences.

    $J_{ij} \approx (f_i(x + \epsilon e_j) - f_i(x - \epsilon e_j)) / 2\epsilon$

    Args:
        func: Takes the inputs; returns a tensor or several.
        inputs: Arguments; those that require a gradient must be float64.
        eps: The step of the differences.
        atol: Absolute tolerance.
        rtol: Relative tolerance.
        raise_exception: Raise, rather than return False, where they differ.

    Raises:
        GradientError: they differ.
        DTypeError: an input is not precise enough.
    """
    args = _listed(inputs)
    wanted = [i for i, a in enumerate(args) if isinstance(a, Handle) and a.needs_grad]
    for i in wanted:
        if args[i].element_type is not dt.float64:
            raise DTypeError(
                "gradcheck: differences need float64.",
                came=f"input {i} of {args[i].element_type.name}",
                fix="make the inputs with dtype=tn.float64",
            )
    arrays = {i: np.array(concrete(args[i].detach(), "gradcheck")) for i in wanted}
    numeric = _differences(func, args, arrays, eps)
    recorded = _jacobian(func, args, wanted)
    for i in wanted:
        for k, (a, n) in enumerate(zip(recorded[i], numeric[i], strict=True)):
            if not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                if not raise_exception:
                    return False
                raise GradientError(
                    f"gradcheck: the gradient of output {k} with respect to input {i} is wrong.",
                    came=[f"recorded {a.tolist()}", f"by differences {n.tolist()}"],
                    fix="correct the backward rule, or move the input away from a kink",
                )
    return True


def _outputs(func: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    result = func(*args)
    outputs = [result] if isinstance(result, Handle) else list(result)
    return [o for o in outputs if isinstance(o, Handle) and o.element_type.kind == "float"]


def _differences(
    func: Callable[..., Any], args: list[Any], arrays: dict[int, NDArray[Any]], eps: float
) -> dict[int, list[NDArray[Any]]]:
    """Return, per input, a Jacobian (inputs, outputs) for each output, by central differences."""
    found: dict[int, list[NDArray[Any]]] = {}
    for i, array in arrays.items():
        rows: list[list[NDArray[Any]]] = []
        for at in np.ndindex(array.shape):
            sides = []
            for side in (eps, -eps):
                moved = array.copy()
                moved[at] += side
                trial = [*args[:i], from_array(moved).requires_grad_(), *args[i + 1 :]]
                sides.append([np.array(concrete(o, "gradcheck"), np.float64).ravel()
                              for o in _outputs(func, trial)])  # fmt: skip
            rows.append([(a - b) / (2 * eps) for a, b in zip(*sides, strict=True)])
        count = len(rows[0]) if rows else 0
        found[i] = [np.stack([row[k] for row in rows]) for k in range(count)]
    return found


def _jacobian(
    func: Callable[..., Any], args: list[Any], wanted: list[int]
) -> dict[int, list[NDArray[Any]]]:
    """Return the same Jacobians from recorded gradients, one output element at a time."""
    outputs = _outputs(func, args)
    found: dict[int, list[NDArray[Any]]] = {i: [] for i in wanted}
    for output in outputs:
        columns: dict[int, list[NDArray[Any]]] = {i: [] for i in wanted}
        for at in np.ndindex(output.shape_tuple):
            seed = np.zeros(output.shape_tuple, output.element_type.numpy)
            seed[at] = 1
            leaves = [args[i] for i in wanted]
            if output.needs_grad:
                grads = tape.gradients([output], leaves, [from_array(seed)], True, False)
            else:
                grads = [None] * len(wanted)
            for i, g in zip(wanted, grads, strict=True):
                size = args[i].numel()
                value = np.zeros(size) if g is None else np.array(concrete(g, "gradcheck"))  # type: ignore[arg-type]
                columns[i].append(value.ravel())
        for i in wanted:
            size = args[i].numel()
            stacked = np.stack(columns[i], axis=1) if columns[i] else np.zeros((size, 0))
            if size:
                found[i].append(stacked)
    return found


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    seed: int = 0,
) -> bool:
    """Compare gradients of gradients with central differences of gradients.

    Raises:
        GradientError: they differ.
    """
    args = _listed(inputs)
    wanted = [i for i, a in enumerate(args) if isinstance(a, Handle) and a.needs_grad]
    outputs = [o for o in _outputs(func, args) if o.needs_grad]
    numbers = np.random.default_rng(seed)
    seeds = [from_array(numbers.standard_normal(o.shape_tuple)).requires_grad_() for o in outputs]

    def first(*given: Any) -> list[Any]:
        xs, gs = given[: len(args)], given[len(args) :]
        made = [o for o in _outputs(func, xs) if o.needs_grad]
        if not made:
            return []
        found = tape.gradients(made, [xs[i] for i in wanted], list(gs), True, True)
        return [g for g in found if g is not None and g.needs_grad]

    return gradcheck(
        first, [*args, *seeds], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )
