"""The shape and dtype of each primitive's result, one row each; where bad operands are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError, AxisError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir.node import Shape, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.node import Node
    from tenor.ir.op import Op

__all__ = ["RULES", "broadcast", "infer"]

Result = tuple[Shape, "DType"]
Rule = "Callable[[str, Sequence[Node], tuple[Any, ...]], Result]"


def infer(op: Op, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    """Return the shape and dtype of `op(inputs, attrs)`.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: the op is not defined for the dtypes.
        AxisError: a dim is out of range.
    """
    if op.arity >= 0 and len(inputs) != op.arity:
        raise ArgumentError(f"{op.name}: takes {op.arity} inputs.", came=f"{len(inputs)}")
    return RULES[op.name](op.name, inputs, attrs)


def broadcast(a: Shape, b: Shape) -> Shape | None:
    """Return the shape two shapes broadcast to by NumPy's rules, or None."""
    if len(a) == len(b) and a == b:  # tuples compare extents before lengths, which asks too much
        return a
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    head = len(longer) - len(shorter)
    result = list(longer[:head])
    for x, y in zip(longer[head:], shorter, strict=True):
        if x != y and x != 1 and y != 1:
            return None
        result.append(y if x == 1 else x)
    return tuple(result)


def _axis(name: str, shape: Shape, dim: int) -> None:
    if not 0 <= dim < len(shape):
        raise AxisError(
            f"{name}: dim must lie in [{-len(shape)}, {len(shape)}).",
            came=f"dim {dim} for shape {shape}",
            fix="count the dims of the operand; negative dims count from the end",
        )


def _kinds(name: str, dtype: DType, kinds: str) -> None:
    if dtype.kind not in kinds.split():
        raise DTypeError(
            f"{name}: is defined for {kinds.replace(' ', ', ')} dtypes.",
            came=dtype.name,
            fix="convert with .to(dtype) first",
        )


# -- parameters and constants -----------------------------------------------------------------
def _leaf(_name: str, _inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return attrs[0], attrs[1]


def _scalar(_name: str, _inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return (), attrs[0]


def _const(_name: str, _inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return (), attrs[1]


def _iota(name: str, _inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    if attrs[0] < 0:
        raise ShapeError(f"{name}: length must not be negative.", came=str(attrs[0]))
    return (attrs[0],), attrs[1]


def _random_bits(_name: str, _inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return attrs[0], dt.uint32


# -- elementwise ------------------------------------------------------------------------------
def _same(name: str, inputs: Sequence[Node]) -> Result:
    """Return the shared shape (scalars give way) and dtype of elementwise operands."""
    first = inputs[0]
    shape, dtype = first.shape, first.dtype
    for other in inputs[1:]:
        if other.dtype is not dtype:
            raise DTypeError(
                f"{name}: operands must have one dtype.",
                came=[f"{x.dtype.name} of shape {x.shape}" for x in inputs],
                fix="convert one of them with .to()",
                operands=tuple(inputs),
            )
        if other.shape != shape:
            if shape == ():
                shape = other.shape
            elif other.shape != ():
                raise ShapeError(
                    f"{name}: operands must have one shape.",
                    came=[f"{x.dtype.name} of shape {x.shape}" for x in inputs],
                    fix="expand one of them",
                    operands=tuple(inputs),
                )
    return shape, dtype


def _elementwise(kinds: str) -> Callable[[str, Sequence[Node], tuple[Any, ...]], Result]:
    def rule(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
        shape, dtype = _same(name, inputs)
        _kinds(name, dtype, kinds)
        return shape, dtype

    return rule


def _compare(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    return _same(name, inputs)[0], dt.bool_


def _cast(_name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return inputs[0].shape, attrs[0]


def _quantize(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    (x,) = inputs
    if x.dtype is not dt.float32:
        raise DTypeError(f"{name}: takes float32.", came=x.dtype.name, operands=(x,),
                         fix="convert with .float()")  # fmt: skip
    return x.shape, dt.int8


def _where(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    condition = inputs[0]
    _kinds(f"{name} (condition)", condition.dtype, "bool")
    shape, dtype = _same(name, inputs[1:])
    if condition.shape != shape and condition.shape != ():
        if shape != ():
            raise ShapeError(
                f"{name}: condition and branches must have one shape.",
                came=[str(x.shape) for x in inputs],
                fix="expand the smaller ones",
            )
        shape = condition.shape
    return shape, dtype


# -- reductions -------------------------------------------------------------------------------
def _reduced(name: str, x: Node, dims: Sequence[int]) -> Shape:
    for dim in dims:
        _axis(name, x.shape, dim)
    return tuple(1 if i in dims else n for i, n in enumerate(x.shape))


def _reduce(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return _reduced(name, inputs[0], attrs[0]), inputs[0].dtype


def _extreme(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x = inputs[0]
    shape = _reduced(name, x, attrs[0])
    if any(x.shape[d] == 0 for d in attrs[0]):
        raise ShapeError(
            f"{name}: a reduction over no elements has no identity.",
            came=f"shape {x.shape}, dims {attrs[0]}",
            fix="check for an empty tensor first",
        )
    return shape, x.dtype


def _arg(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return _extreme(name, inputs, ((attrs[0],), "first"))[0], dt.int64


# -- movement ---------------------------------------------------------------------------------
def _reshape(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, shape = inputs[0], attrs[0]
    if size(x.shape) != size(shape):
        raise ShapeError(
            f"{name}: the new shape must hold as many elements as the old.",
            came=f"{x.shape} ({size(x.shape)} elements) to {shape} ({size(shape)})",
            fix="use -1 for one dim to have it worked out",
            operands=(x,),
        )
    return shape, x.dtype


def _expand(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, shape = inputs[0], attrs[0]
    if len(shape) < len(x.shape) or broadcast(x.shape, shape) != shape:
        raise ShapeError(
            f"{name}: only dims of extent 1 can be expanded.",
            came=f"{x.shape} to {shape}",
            fix="line the dims up with unsqueeze() or reshape()",
            operands=(x,),
        )
    return shape, x.dtype


def _permute(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, dims = inputs[0], attrs[0]
    if sorted(dims) != list(range(len(x.shape))):
        raise AxisError(
            f"{name}: dims must name each dim once.",
            came=f"{dims} for shape {x.shape}",
            fix=f"give a permutation of {tuple(range(len(x.shape)))}",
        )
    return tuple(x.shape[d] for d in dims), x.dtype


def _slice(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x = inputs[0]
    starts, sizes, steps = attrs
    for n, start, count, step in zip(x.shape, starts, sizes, steps, strict=True):
        last = start + (count - 1) * step
        if count < 0 or (count and not (0 <= start < n and 0 <= last < n)):
            raise ShapeError(
                f"{name}: the slice must lie inside the tensor.",
                came=f"start {start}, {count} elements, step {step} of a dim of extent {n}",
                fix="check the start and the length",
            )
    return tuple(sizes), x.dtype


def _pad(_name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x = inputs[0]
    low, high, _ = attrs
    return tuple(a + n + b for a, n, b in zip(low, x.shape, high, strict=True)), x.dtype


def windows(length: int, count: int, step: int, dilation: int) -> int:
    """Return how many windows fit into a length."""
    return max(0, (length - (count - 1) * dilation - 1) // step + 1)


def _unfold(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x = inputs[0]
    dim, count, step, dilation = attrs
    _axis(name, x.shape, dim)
    fit = windows(x.shape[dim], count, step, dilation)
    return (*x.shape[:dim], fit, *x.shape[dim + 1 :], count), x.dtype


def _fold(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x = inputs[0]
    dim, length, step, dilation = attrs
    if x.shape[dim] != windows(length, x.shape[-1], step, dilation):
        raise ShapeError(
            f"{name}: the windows do not fit the length.",
            came=f"{x.shape[dim]} windows of {x.shape[-1]} for length {length}",
        )
    return (*x.shape[:dim], length, *x.shape[dim + 1 : -1]), x.dtype


def _concat(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    dim = attrs[0]
    first = inputs[0]
    _axis(name, first.shape, dim)
    for other in inputs[1:]:
        if other.shape[:dim] + other.shape[dim + 1 :] != first.shape[:dim] + first.shape[dim + 1 :]:
            raise ShapeError(
                f"{name}: tensors must agree in every dim but dim {dim}.",
                came=[str(x.shape) for x in inputs],
                fix="bring the other dims to one extent first",
                operands=tuple(inputs),
            )
    total = sum(x.shape[dim] for x in inputs)
    return (*first.shape[:dim], total, *first.shape[dim + 1 :]), _same(name, inputs[:1])[1]


def _slice_update(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, value = inputs
    _slice(name, (x,), (attrs[0], value.shape, attrs[1]))
    return x.shape, _same(name, (x,))[1]


# -- index ------------------------------------------------------------------------------------
def _index_dtype(name: str, index: Node) -> None:
    if index.dtype is not dt.int64:
        raise DTypeError(f"{name}: the index must be int64.", came=index.dtype.name)


def _wrap_index(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    _index_dtype(name, inputs[0])
    return inputs[0].shape, dt.int64


def _take(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, index = inputs
    _index_dtype(name, index)
    _axis(name, x.shape, attrs[0])
    return (*x.shape[: attrs[0]], *index.shape, *x.shape[attrs[0] + 1 :]), x.dtype


def _fits_along(name: str, x: Node, index: Node, dim: int) -> None:
    _index_dtype(name, index)
    _axis(name, x.shape, dim)
    fits = len(x.shape) == len(index.shape) and all(
        d == dim or small <= big
        for d, (small, big) in enumerate(zip(index.shape, x.shape, strict=True))
    )
    if not fits:
        raise ShapeError(
            f"{name}: the index must have the tensor's dims and not exceed it off dim {dim}.",
            came=[f"tensor {x.shape}", f"index {index.shape}"],
            fix="expand or slice the index",
        )


def _take_along(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, index = inputs
    _fits_along(name, x, index, attrs[0])
    return index.shape, x.dtype


def _put(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, index, source = inputs
    wanted, _ = _take(name, (x, index), attrs[:1])
    if source.shape != wanted or source.dtype is not x.dtype:
        raise ShapeError(
            f"{name}: the source must have shape {wanted} and dtype {x.dtype.name}.",
            came=f"{source.shape} {source.dtype.name}",
            fix="index and source must agree",
        )
    return x.shape, x.dtype


def _put_along(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, index, source = inputs
    _fits_along(name, x, index, attrs[0])
    if source.shape != index.shape or source.dtype is not x.dtype:
        raise ShapeError(
            f"{name}: the source must have the index's shape and the tensor's dtype.",
            came=[f"index {index.shape}", f"source {source.shape} {source.dtype.name}"],
            fix="slice the source to the index's shape",
        )
    return x.shape, x.dtype


# -- contractions -----------------------------------------------------------------------------
def _matmul(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    a, b = inputs
    if (
        min(len(a.shape), len(b.shape)) < 2
        or a.shape[:-2] != b.shape[:-2]
        or a.shape[-1] != b.shape[-2]
    ):
        raise ShapeError(
            f"{name}: the last dim of a must equal the second-last dim of b.",
            came=[f"a: {a.shape}", f"b: {b.shape}"],
            fix="transpose or reshape one of them",
            operands=(a, b),
        )
    return (*a.shape[:-1], b.shape[-1]), _same(name, (a,))[1] if a.dtype is b.dtype else _mixed(
        name, a, b
    )


def _mixed(name: str, a: Node, b: Node) -> DType:
    raise DTypeError(
        f"{name}: operands must have one dtype.",
        came=[f"a: {a.dtype.name}", f"b: {b.dtype.name}"],
        fix="convert one of them with .to()",
        operands=(a, b),
    )


def _matmul_int8(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    a, b = inputs
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(
            f"{name}: expects a [M, K] and b [N, K].",
            came=[f"a: {a.shape}", f"b: {b.shape}"],
            fix="reshape a to rows, and transpose b",
            operands=(a, b),
        )
    if a.dtype not in (dt.uint8, dt.int8) or b.dtype is not dt.int8:
        raise DTypeError(
            f"{name}: a must be uint8 or int8, and b int8.",
            came=[f"a: {a.dtype.name}", f"b: {b.dtype.name}"],
            fix="convert them with .to()",
            operands=(a, b),
        )
    return (a.shape[0], b.shape[0]), dt.int32


WIDEST: Final = 2**31
"""Places of a padded image are counted in 32 bits."""


def conv_output(
    spatial: Sequence[int], kernel: Sequence[int], attrs: tuple[Any, ...]
) -> tuple[int, ...]:
    """Return the spatial extents of a convolution's output; attrs: stride, padding, dilation."""
    stride, padding, dilation = attrs[:3]
    return tuple(
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, k, s, (low, high), d in zip(spatial, kernel, stride, padding, dilation, strict=True)
    )


def _conv(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, w = inputs
    groups = attrs[3]
    if len(x.shape) != len(w.shape) or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ShapeError(
            f"{name}: the weight [O, C/groups, *K] must match the input [N, C, *S].",
            came=[f"input: {x.shape}", f"weight: {w.shape}", f"groups: {groups}"],
            fix="check the number of channels and the groups",
            operands=(x, w),
        )
    padded = [n + low + high for n, (low, high) in zip(x.shape[2:], attrs[1], strict=True)]
    if max(padded, default=0) >= WIDEST:
        raise ShapeError(
            f"{name}: a padded extent must stay below 2^31.",
            came=[f"input: {x.shape}", f"padding: {attrs[1]}"],
            fix="use less padding",
            operands=(x, w),
        )
    out = conv_output(x.shape[2:], w.shape[2:], attrs)
    if any(n <= 0 for n in out):
        raise ShapeError(
            f"{name}: the kernel does not fit into the padded input.",
            came=[f"input: {x.shape}", f"weight: {w.shape}", f"padding: {attrs[1]}"],
            fix="use a smaller kernel, less dilation or more padding",
            operands=(x, w),
        )
    return (x.shape[0], w.shape[0], *out), x.dtype if x.dtype is w.dtype else _mixed(name, x, w)


def _conv_int8(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    x, w = inputs
    if x.dtype is not dt.int8 or w.dtype is not dt.int8:
        raise DTypeError(
            f"{name}: input and weight must be int8.",
            came=[f"input: {x.dtype.name}", f"weight: {w.dtype.name}"],
            fix="quantize them first",
            operands=(x, w),
        )
    return _conv(name, inputs, attrs)[0], dt.int32


def _conv_gradient(_name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    return attrs[0], inputs[0].dtype


def _attention(name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    q, k, v = inputs[:3]
    fits = len(q.shape) == len(k.shape) == len(v.shape) == 4 and (
        q.shape[:2] == k.shape[:2] == v.shape[:2]
        and q.shape[3] == k.shape[3]
        and k.shape[2] == v.shape[2]
    )
    if not fits or 0 in (*k.shape[2:], v.shape[3]):
        raise ShapeError(
            f"{name}: expects q [N, H, T, D], k [N, H, S, D] and v [N, H, S, E], S, D, E above 0.",
            came=[f"q: {q.shape}", f"k: {k.shape}", f"v: {v.shape}"],
            fix="reshape what comes before to (batch, heads, time, features)",
            operands=tuple(inputs),
        )
    other = next((x for x in inputs if x.dtype is not q.dtype), None)
    if other is not None:
        _mixed(name, q, other)
    if q.dtype not in (dt.float32, dt.float64):
        raise DTypeError(
            f"{name}: takes float32 and float64.",
            came=q.dtype.name,
            fix="convert with .float()",
            operands=tuple(inputs),
        )
    _mask(name, inputs[3:], (*q.shape[:3], k.shape[2]))
    return (q.shape[0], q.shape[2], q.shape[1], v.shape[3]), q.dtype


def _mask(name: str, masks: Sequence[Node], scores: tuple[int, ...]) -> None:
    for mask in masks:
        fits = len(mask.shape) == 4 and mask.shape[3] == scores[3] and len(masks) == 1
        if not fits or any(m not in (1, n) for m, n in zip(mask.shape, scores, strict=True)):
            raise ShapeError(
                f"{name}: a mask must be [N or 1, H or 1, T or 1, S].",
                came=[f"mask: {mask.shape}", f"scores: {scores}"],
                fix="reshape the mask to four dims",
                operands=(mask,),
            )


def _attention_gradient(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    q, k, v, g, *mask = inputs
    wanted, dtype = _attention(name, (q, k, v, *mask), attrs)
    if g.dtype is not dtype:
        _mixed(name, q, g)
    if g.shape != wanted:
        raise ShapeError(
            f"{name}: g must have the shape of attention's result.",
            came=[f"g: {g.shape}", f"result: {wanted}"],
            fix="pass the cotangent [N, T, H, E]",
            operands=(g,),
        )
    return (size(q.shape) + size(k.shape) + size(v.shape),), dtype


# -- order and tape ---------------------------------------------------------------------------
def _cumsum(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    _axis(name, inputs[0].shape, attrs[0])
    return inputs[0].shape, inputs[0].dtype


def _argsort(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    _axis(name, inputs[0].shape, attrs[0])
    return inputs[0].shape, dt.int64


def _topk(name: str, inputs: Sequence[Node], attrs: tuple[Any, ...]) -> Result:
    dim, k, _ = attrs
    shape = inputs[0].shape
    _axis(name, shape, dim)
    if not 0 < k <= shape[dim]:
        raise ShapeError(
            f"{name}: k must lie in [1, {shape[dim]}].", came=str(k), fix="choose a smaller k"
        )
    return (*shape[:dim], k, *shape[dim + 1 :]), dt.int64


def _identity(_name: str, inputs: Sequence[Node], _attrs: tuple[Any, ...]) -> Result:
    return inputs[0].shape, inputs[0].dtype


_ANY = "float int uint bool"
_NUMBER = "float int uint"
_FLOAT = "float"
_BITS = "int uint bool"

RULES: Final[dict[str, Callable[[str, Sequence[Node], tuple[Any, ...]], Result]]] = {
    "leaf": _leaf, "scalar": _scalar, "const": _const, "iota": _iota, "random_bits": _random_bits,
    "neg": _elementwise(_NUMBER), "abs": _elementwise(_NUMBER), "sign": _elementwise(_NUMBER),
    "exp": _elementwise(_FLOAT), "expm1": _elementwise(_FLOAT), "log": _elementwise(_FLOAT),
    "log1p": _elementwise(_FLOAT), "sqrt": _elementwise(_FLOAT), "rsqrt": _elementwise(_FLOAT),
    "sin": _elementwise(_FLOAT), "cos": _elementwise(_FLOAT), "tanh": _elementwise(_FLOAT),
    "erf": _elementwise(_FLOAT), "sigmoid": _elementwise(_FLOAT), "floor": _elementwise(_FLOAT),
    "ceil": _elementwise(_FLOAT), "trunc": _elementwise(_FLOAT), "round": _elementwise(_FLOAT),
    "not": _elementwise(_BITS), "cast": _cast, "wrap_index": _wrap_index,
    "quantize": _quantize,
    "add": _elementwise(_ANY), "sub": _elementwise(_NUMBER), "mul": _elementwise(_ANY),
    "div": _elementwise(_FLOAT), "floordiv": _elementwise(_NUMBER), "mod": _elementwise(_NUMBER),
    "pow": _elementwise(_NUMBER), "maximum": _elementwise(_ANY), "minimum": _elementwise(_ANY),
    "eq": _compare, "ne": _compare, "lt": _compare, "le": _compare,
    "and": _elementwise(_BITS), "or": _elementwise(_BITS), "xor": _elementwise(_BITS),
    "shl": _elementwise("int uint"), "shr": _elementwise("int uint"), "where": _where,
    "sum": _reduce, "prod": _reduce, "max": _extreme, "min": _extreme,
    "argmax": _arg, "argmin": _arg,
    "reshape": _reshape, "expand": _expand, "permute": _permute, "slice": _slice, "pad": _pad,
    "unfold": _unfold, "fold": _fold, "concat": _concat, "slice_update": _slice_update,
    "take": _take, "take_along": _take_along, "put": _put, "put_along": _put_along,
    "matmul_int8": _matmul_int8, "conv_int8": _conv_int8,
    "matmul": _matmul, "conv": _conv, "conv_input": _conv_gradient, "conv_weight": _conv_gradient,
    "attention": _attention, "attention_gradient": _attention_gradient,
    "cumsum": _cumsum, "argsort": _argsort, "topk": _topk,
    "detach": _identity, "variable": _identity, "function": _identity, "barrier": _identity,
}  # fmt: skip
