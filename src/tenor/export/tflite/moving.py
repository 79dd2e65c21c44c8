"""Layers that move elements, look them up, reduce and order them, and products of two values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.tflite.job import FLOAT, MANY, NUMBERS, Job, Row
from tenor.export.tflite.pointwise import Maths
from tenor.export.tflite.schema import TYPES
from tenor.export.tflite.spatial import gathered
from tenor.export.tflite.writer import to_last
from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tenor.export.patterns import Layer
    from tenor.export.tflite.writer import Value

__all__ = ["MOVING"]

RANK: Final = 5
"""Dims up to which slices and pads work."""
BOTH: Final = (*NUMBERS, dt.bool_)
SCORE: Final = -1e30
"""Below every score of attention that is meant to be looked at."""


# -- movement -------------------------------------------------------------------------------------
def _reshape(job: Job) -> Value:
    """Reshape; what flattens a channels-last value is remembered for the product after it."""
    node, (before,) = job.node, job.layer.inputs
    forms = job.writer.held.get(before, {})
    flattens = job.rank == 2 and len(before.shape) > 2 and node.shape[0] == before.shape[0]
    if flattens and job.writer.only_last(before) and (True, job.eight) in forms:
        job.writer.flat[node] = forms[True, job.eight], before
    return job.writer.reshape(job.x(), node.shape)


def _expand(job: Job) -> Value:
    x = job.x()
    if x.shape == job.shape:
        return x
    return job.out("BROADCAST_TO", [x, job.writer.ints(job.shape)])


def _permute(job: Job) -> Value:
    (node,), dims = job.layer.inputs, job.attr("dims")
    if not job.writer.only_last(node):
        return job.writer.transpose(job.x(), dims)
    places = to_last(len(node.shape))
    x = job.writer.get(node, last=True, eight=job.eight)
    return job.writer.transpose(x, [places.index(d) for d in dims])


def _slice(job: Job) -> Value:
    x = job.x()
    starts, sizes, steps = (job.along(job.attr(key)) for key in ("starts", "sizes", "steps"))
    ints = job.writer.ints
    if len(sizes) > RANK:
        return _picked(job, x, starts, sizes, steps)
    if all(step == 1 for step in steps):
        return job.out("SLICE", [x, ints(starts), ints(sizes)])
    ends = [a + n * step for a, n, step in zip(starts, sizes, steps, strict=True)]
    mask = sum(1 << d for d, end in enumerate(ends) if end < 0)
    inputs = [x, ints(starts), ints([max(end, 0) for end in ends]), ints(steps)]
    return job.out("STRIDED_SLICE", inputs, begin_mask=0, end_mask=mask)


def _picked(
    job: Job, x: Value, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
) -> Value:
    """Slice dim by dim."""
    for d, (start, count, step) in enumerate(zip(starts, sizes, steps, strict=True)):
        if (start, count, step) != (0, x.shape[d], 1):
            places = job.writer.ints([start + i * step for i in range(count)])
            shape = (*x.shape[:d], count, *x.shape[d + 1 :])
            x = job.part("GATHER", [x, places], shape, axis=d, batch_dims=0)
    return x


def _pad(job: Job) -> Value:
    x, value = job.x(), job.attr("value")
    low, high = job.along(job.attr("low")), job.along(job.attr("high"))
    if job.rank > RANK:
        return _surrounded(job, x, low, high)
    every = np.array(list(zip(low, high, strict=True)), np.int32)
    pads = job.writer.constant(every, dt.int32)
    if value == 0:
        return job.out("PAD", [x, pads])
    return job.out("PADV2", [x, pads, job.writer.scalar(value, x.dtype)])


def _surrounded(job: Job, x: Value, low: Sequence[int], high: Sequence[int]) -> Value:
    """Pad dim by dim: constants are joined to it."""
    writer, value = job.writer, job.attr("value") if x.scheme is None else x.scheme.zero_point
    for d, counts in enumerate(zip(low, high, strict=True)):
        shapes = [(*x.shape[:d], n, *x.shape[d + 1 :]) for n in counts]
        parts = [
            writer.constant(np.full(s, value), x.dtype, x.scheme) if s[d] else None for s in shapes
        ]
        made = [part for part in (parts[0], x, parts[1]) if part is not None]
        if len(made) > 1:
            shape = (*x.shape[:d], sum(m.shape[d] for m in made), *x.shape[d + 1 :])
            x = job.part("CONCATENATION", made, shape, axis=d)
    return x


def _exact(layer: Layer) -> str:
    """Return how padding is done in eight bits: zero is the one number that is always held."""
    return "same" if layer.attrs["value"] == 0 else ""


def _concat(job: Job) -> Value:
    made = job.operands()
    if job.scheme is not None:
        made = [job.writer.rescaled(x, job.scheme) for x in made]
    return job.out("CONCATENATION", made, axis=job.dim(job.attr("dim")))


def _unfold(job: Job) -> Value:
    dim, size, step, dilation = (job.attr(key) for key in ("dim", "size", "step", "dilation"))
    wide = gathered(job.writer, job.x(), dim, size, step, dilation)
    order = (*range(dim + 1), *range(dim + 2, len(wide.shape)), dim + 1)
    return job.writer.transpose(wide, order)


def _fold(job: Job) -> Value:
    """Add window entries back: each place gathers what falls on it, or a zero, and sums."""
    x, dim = job.x(), job.attr("dim")
    rank = len(x.shape)
    x = job.writer.transpose(x, (*range(dim + 1), rank - 1, *range(dim + 1, rank - 1)))
    fit, size = x.shape[dim : dim + 2]
    x = job.writer.reshape(x, (*x.shape[:dim], fit * size, *x.shape[dim + 2 :]))
    places = _contributions(job, fit, size)
    zero = job.writer.constant(np.zeros((*x.shape[:dim], 1, *x.shape[dim + 1 :])), job.node.dtype)
    shape = (*x.shape[:dim], fit * size + 1, *x.shape[dim + 1 :])
    x = job.part("CONCATENATION", [x, zero], shape, axis=dim)
    wide = (*x.shape[:dim], *places.shape, *x.shape[dim + 1 :])
    index = job.writer.constant(places, dt.int32)
    x = job.part("GATHER", [x, index], wide, axis=dim, batch_dims=0)
    return job.out("SUM", [x, job.writer.ints([dim + 1])], keep_dims=False)


def _contributions(job: Job, fit: int, size: int) -> NDArray[np.int64]:
    """Return which window entries fall on each place, filled up with the place of the zero."""
    found: list[list[int]] = [[] for _ in range(job.attr("length"))]
    for w in range(fit):
        for k in range(size):
            found[w * job.attr("step") + k * job.attr("dilation")].append(w * size + k)
    most = max(1, *map(len, found))
    return np.array([row + [fit * size] * (most - len(row)) for row in found])


def _slice_update(job: Job) -> Value:
    """Write a part: of both tensors' elements one after another, pick each place's."""
    x, value = job.x(0), job.x(1)
    grid = np.arange(int(np.prod(x.shape))).reshape(x.shape)
    part = np.arange(int(np.prod(value.shape))).reshape(value.shape) + grid.size
    index = np.ix_(*(
        a + np.arange(n) * step
        for a, n, step in zip(job.attr("starts"), value.shape, job.attr("steps"), strict=True)
    ))  # fmt: skip
    grid[index] = part
    return _merged(job, x, value, grid)


def _merged(job: Job, x: Value, value: Value, places: NDArray[np.int64]) -> Value:
    """Return what stands at places of the elements of x and then those of value."""
    flat = [job.writer.reshape(v, (int(np.prod(v.shape)),)) for v in (x, value)]
    total = sum(v.shape[0] for v in flat)
    both = job.part("CONCATENATION", flat, (total,), axis=0)
    index = job.writer.constant(places.reshape(-1), dt.int32)
    picked = job.part("GATHER", [both, index], (places.size,), axis=0, batch_dims=0)
    return job.writer.reshape(picked, job.node.shape)


# -- indices --------------------------------------------------------------------------------------
def _take(job: Job) -> Value:
    table, index = job.layer.inputs
    places = job.writer.get(index)
    array = job.writer.known(table)
    options = {"axis": job.attr("dim"), "batch_dims": 0}
    if job.scheme is not None and array is not None:
        held = job.writer.constant(job.scheme.stored(array), dt.int8, job.scheme)
        return job.out("GATHER", [held, places], **options)
    return job.out("GATHER", [job.x(), places], **options)


def _coordinates(job: Job, index: Value, shape: Sequence[int], dim: int) -> Value:
    """Return the coordinates [*index.shape, rank] of what an index along a dim stands for."""
    rank = len(shape)
    parts = []
    for d in range(rank):
        if d == dim:
            parts.append(job.writer.reshape(index, (*index.shape, 1)))
            continue
        row = np.arange(index.shape[d]).reshape([-1 if k == d else 1 for k in range(rank)])
        every = np.broadcast_to(row, index.shape)[..., None]
        parts.append(job.writer.constant(every, index.dtype))
    return job.writer.op("CONCATENATION", parts, (*index.shape, rank), axis=rank)


def _take_along(job: Job) -> Value:
    x, index = job.x(), job.writer.get(job.layer.inputs[1])
    return job.out("GATHER_ND", [x, _coordinates(job, index, x.shape, job.attr("dim"))])


def _narrow(job: Job, index: Value) -> Value:
    """Return an index as int32, which scattering takes."""
    return job.writer.op("CAST", [index], index.shape, dt.int32, in_type=TYPES[index.dtype],
                         out_type=TYPES[dt.int32])  # fmt: skip


def _set(job: Job) -> Value | None:
    """Write what sets elements at indices that are known; None where elements are added."""
    if job.attr("mode") == "add":
        return None
    index = job.writer.known(job.layer.inputs[1])
    if index is None:
        raise job.refuse("a .tflite file sets nothing at indices that are computed.",
                         "use index_add, scatter_add, or where() with a mask")  # fmt: skip
    x, source, dim = job.x(0), job.x(2), job.attr("dim")
    grid = np.arange(int(np.prod(x.shape))).reshape(x.shape)
    part = grid.size + np.arange(int(np.prod(source.shape))).reshape(source.shape)
    if job.layer.kind == "put":
        rows = np.moveaxis(grid, dim, 0)
        lead = np.moveaxis(part, range(dim, dim + index.ndim), range(index.ndim))
        for i, row in zip(index.reshape(-1), lead.reshape(-1, *rows.shape[1:]), strict=True):
            rows[i] = row
    else:
        for at in np.ndindex(index.shape):
            grid[(*at[:dim], index[at], *at[dim + 1 :])] = part[at]
    return _merged(job, x, source, grid)


def _put(job: Job) -> Value:
    """Add rows at indices: they are scattered into zeros, which are added."""
    if (made := _set(job)) is not None:
        return made
    x, index, source = job.x(0), _narrow(job, job.writer.get(job.layer.inputs[1])), job.x(2)
    dim, rank = job.attr("dim"), len(index.shape)
    count = int(np.prod(index.shape))
    rest = (*x.shape[:dim], *x.shape[dim + 1 :])
    order = (*range(dim, dim + rank), *range(dim), *range(dim + rank, len(source.shape)))
    rows = job.writer.reshape(job.writer.transpose(source, order), (count, *rest))
    places = job.writer.reshape(index, (count, 1))
    shape = (x.shape[dim], *rest)
    made = job.writer.op("SCATTER_ND", [places, rows, job.writer.ints(shape)], shape, rows.dtype)
    back = (*range(1, dim + 1), 0, *range(dim + 1, len(x.shape)))
    return job.out("ADD", [x, job.writer.transpose(made, back)], activation="")


def _put_along(job: Job) -> Value:
    if (made := _set(job)) is not None:
        return made
    x, index, source = job.x(0), _narrow(job, job.writer.get(job.layer.inputs[1])), job.x(2)
    places = _coordinates(job, index, x.shape, job.attr("dim"))
    ints = job.writer.ints(x.shape)
    made = job.writer.op("SCATTER_ND", [places, source, ints], x.shape, source.dtype)
    return job.out("ADD", [x, made], activation="")


# -- reductions -----------------------------------------------------------------------------------
def _reduce(name: str, logical: str = "") -> Callable[[Job], Value]:
    """Return how a reduction is written; its result may lack the dims reduced."""

    def write(job: Job) -> Value:
        (node,) = job.layer.inputs
        last = job.writer.only_last(node)
        x = job.writer.get(node, last=last, eight=job.eight)
        rank, dims = len(node.shape), tuple(job.attr("dims"))
        order = to_last(rank) if last else tuple(range(rank))
        shape = tuple(1 if d in dims else node.shape[d] for d in order)
        dtype = dt.int8 if job.eight else node.dtype
        axes = job.writer.ints([order.index(d) for d in dims])
        made = job.writer.op(logical if logical and dtype is dt.bool_ else name, [x, axes], shape,
                             dtype, job.scheme, keep_dims=True)  # fmt: skip
        job.last = last and job.rank == rank
        if last and not job.last:
            made = job.writer.transpose(made, [order.index(d) for d in range(rank)])
        return made if job.last else job.writer.reshape(made, job.node.shape)

    return write


def _position(name: str) -> Callable[[Job], Value]:
    def write(job: Job) -> Value:
        x, dim = job.x(), job.attr("dim")
        shape = (*x.shape[:dim], *x.shape[dim + 1 :])
        made = job.writer.op(name, [x, job.writer.ints([dim])], shape, dt.int64,
                             output_type=TYPES[dt.int64])  # fmt: skip
        return job.writer.reshape(made, job.node.shape)

    return write


# -- order ----------------------------------------------------------------------------------------
def _cumsum(job: Job) -> Value:
    axis = job.writer.scalar(job.dim(job.attr("dim")), dt.int32)
    return job.out("CUMSUM", [job.x(), axis], exclusive=False, reverse=job.attr("reverse"))


def _sorted(job: Job) -> Value:
    """Return the positions of the first k in order: the largest of x, or of -x."""
    x, dim, rank = job.x(), job.attr("dim"), job.rank
    k = job.layer.attrs.get("k", x.shape[dim])
    order = (*(d for d in range(rank) if d != dim), dim)
    x = job.writer.transpose(x, order)
    if not job.attr("descending"):
        x = job.part("NEG", [x], x.shape)
    shape = (*x.shape[:-1], k)
    values = job.writer.tensor("values", shape, x.dtype)
    places = job.writer.tensor("places", shape, dt.int32)
    job.writer.emit("TOPK_V2", [x, job.writer.scalar(k, dt.int32)], [values, places])
    wide = job.writer.op("CAST", [places], shape, dt.int64, in_type=TYPES[dt.int32],
                         out_type=TYPES[dt.int64])  # fmt: skip
    return job.writer.transpose(wide, tuple(np.argsort(order).tolist()))


# -- contractions ---------------------------------------------------------------------------------
def _matmul(job: Job) -> Value:
    right, rank = job.layer.inputs[1], job.rank
    turned = (*range(rank - 2), rank - 1, rank - 2)
    if right.op is ops.PERMUTE and right.attr("dims") == turned:  # left out where nobody reads it
        b = job.writer.get(right.inputs[0], eight=job.eight)
        return job.out("BATCH_MATMUL", [job.x(0), b], adj_x=False, adj_y=True)
    return job.out("BATCH_MATMUL", [job.x(0), job.x(1)], adj_x=False, adj_y=False)


def _matmul_int8(job: Job) -> Value:
    """Multiply and add in int32, which has no rounding."""
    m, n, k = *job.node.shape, job.layer.inputs[0].shape[1]
    wide = [
        job.writer.op("CAST", [x], x.shape, dt.int32, in_type=TYPES[x.dtype],
                      out_type=TYPES[dt.int32])
        for x in (job.x(0), job.x(1))
    ]  # fmt: skip
    a, b = job.writer.reshape(wide[0], (m, 1, k)), job.writer.reshape(wide[1], (1, n, k))
    every = job.writer.op("MUL", [a, b], (m, n, k), activation="")
    return job.out("SUM", [every, job.writer.ints([2])], keep_dims=False)


def _attention(job: Job) -> Value:
    """softmax(scale q k^T + mask) v, in parts; a row with nothing to look at gives 0."""
    q, k, v = (job.x(i) for i in range(3))
    shape = (*q.shape[:3], k.shape[2])
    f = Maths(job, shape)
    scores = f("BATCH_MATMUL", q, k, adj_x=False, adj_y=True)
    scores = f("MUL", scores, job.attr("scale"))
    masked = len(job.layer.inputs) > 3
    if masked:
        scores = f("ADD", scores, job.x(3))
    if job.attr("causal"):
        hidden = np.triu(np.full(shape[2:], SCORE), 1).reshape(1, 1, *shape[2:])
        scores = f("ADD", scores, job.writer.constant(hidden, dt.float32))
    if masked:
        scores = f("MAXIMUM", scores, 2 * SCORE)
    shares = f("SOFTMAX", scores, beta=1.0)
    if masked:
        shares = f.where(f("LESS", scores, SCORE / 2), 0.0, shares)
    made = job.part("BATCH_MATMUL", [shares, v], (*shape[:3], v.shape[3]), adj_x=False, adj_y=False)
    return job.writer.transpose(made, (0, 2, 1, 3))


def _row(write: Callable[[Job], Value], dtypes: tuple[dt.DType, ...] = BOTH, eight: Any = "",
         layout: str = "plain") -> Row:  # fmt: skip
    return Row(write, dtypes, layout, eight)


MOVING: Final = {
    "reshape": _row(_reshape, MANY, "same"),
    "expand": _row(_expand, BOTH),
    "permute": _row(_permute, MANY, "same"),
    "slice": _row(_slice, BOTH, "same", "follow"),
    "pad": _row(_pad, NUMBERS, _exact, "follow"),
    "unfold": _row(_unfold, NUMBERS, "same"),
    "fold": _row(_fold, NUMBERS),
    "concat": _row(_concat, BOTH, "joint", "follow"),
    "slice_update": _row(_slice_update),
    "take": _row(_take, BOTH, "table"),
    "take_along": _row(_take_along),
    "put": _row(_put, NUMBERS),
    "put_along": _row(_put_along, NUMBERS),
    "sum": _row(_reduce("SUM", "REDUCE_ANY"), BOTH, "own"),
    "prod": _row(_reduce("REDUCE_PROD", "REDUCE_ALL"), BOTH),
    "max": _row(_reduce("REDUCE_MAX", "REDUCE_ANY"), BOTH, "same"),
    "min": _row(_reduce("REDUCE_MIN", "REDUCE_ALL"), BOTH, "same"),
    "mean": _row(_reduce("MEAN"), FLOAT, "own"),
    "max_over": _row(_reduce("REDUCE_MAX"), FLOAT, "same"),
    "argmax": _row(_position("ARG_MAX"), (dt.float32, dt.int32)),
    "argmin": _row(_position("ARG_MIN"), (dt.float32, dt.int32)),
    "cumsum": _row(_cumsum, NUMBERS, layout="follow"),
    "argsort": _row(_sorted, NUMBERS),
    "topk": _row(_sorted, NUMBERS),
    "matmul": _row(_matmul, FLOAT, "own"),
    "matmul_int8": _row(_matmul_int8, (dt.uint8, dt.int8)),
    "attention": _row(_attention, FLOAT),
}
"""Movement, indices, reductions, order and contractions."""
