"""Reading and writing by index: x[i], x[i] = v, masks.

An index expression is done in two steps. Integers, slices, None and Ellipsis make a view. Index
tensors and masks then pick from that view: the dims they index are brought together and merged
into one, and their indices into one linear index, so that a single TAKE or PUT remains.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.alias import record_view, write
from tenor.engine.handle import Handle
from tenor.engine.macro import viewing
from tenor.engine.trace import record, record_check
from tenor.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, TenorError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Shape, size
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.elementwise import where
from tenor.tensor.operands import (
    NUMBERS,
    broadcast_shapes,
    cast,
    expand,
    stored,
)
from tenor.tensor.reduction import fold, reshaped
from tenor.tensor.window import window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.tensor.tensor import Tensor

__all__ = ["index_put", "masked_scatter", "masked_select", "one_hot"]


@dataclass
class Plan:
    """An index expression, read.

    Attributes:
        starts, sizes, steps: The slice of each dim of the tensor.
        shape: The view's shape, after dims of integers went away and None put dims in.
        picks: Index tensors or masks by the view's dim they begin at.
    """

    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    picks: list[tuple[int, Tensor]] = field(default_factory=list)

    def whole(self, extent: int) -> None:
        """Take all of the next dim."""
        self.slice(0, extent, 1, keep=True)

    def slice(self, start: int, count: int, step: int, *, keep: bool) -> None:
        """Take a part of the next dim, and keep the dim or not."""
        self.starts.append(start)
        self.sizes.append(count)
        self.steps.append(step)
        if keep:
            self.shape.append(count)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, Handle)


def _is_mask(item: Any) -> bool:
    return isinstance(item, Handle) and item.element_type is dt.bool_


def _as_index(item: Any) -> Any:
    """Return an index item with sequences and arrays made tensors."""
    if isinstance(item, Handle):
        if item.element_type.kind == "float":
            raise DTypeError(
                "index: an index tensor must hold integers or bools.",
                came=item.element_type.name,
                fix="convert with .long(), or compare to get a mask",
            )
        return item
    if isinstance(item, (list, tuple, range)):
        return _from_sequence(item)
    if isinstance(item, (bool, np.bool_)):
        return from_array(np.array(bool(item)))
    if isinstance(item, np.ndarray):
        return _as_index(from_array(item.copy()))
    return item


def _from_sequence(item: Any) -> Tensor:
    if any(isinstance(part, Handle) for part in item):
        item = [concrete(p, "index").tolist() if _is_tensor(p) else p for p in item]
    array = _array_of(item)
    if array.size == 0:
        array = array.astype(np.int64)
    return _as_index(from_array(array))  # type: ignore[no-any-return]


def _items(index: Any, ndim: int) -> list[Any]:
    """Return the items of an index, the Ellipsis written out."""
    items = [_as_index(i) for i in index] if isinstance(index, tuple) else [_as_index(index)]
    used = 0
    for item in items:
        if item is not None and item is not Ellipsis:
            used += len(item.shape_tuple) if _is_mask(item) else 1
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if used > ndim or len(dots) > 1:
        raise IndexRangeError(
            f"index: takes {ndim} indices at most, and one Ellipsis.",
            came=f"{used} indices" if used > ndim else f"{len(dots)} times ...",
            fix="check the number of dims of the tensor",
        )
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * (ndim - used), *items[at + 1 :]]


def plan_of(index: Any, shape: Shape) -> Plan:
    """Read an index expression for a tensor of a shape.

    Raises:
        IndexRangeError: there are too many indices, or an integer is out of range.
        DTypeError: an index is neither an integer nor a bool.
    """
    plan, dim = Plan(), 0
    for item in _items(index, len(shape)):
        if item is None:
            plan.shape.append(1)
        elif isinstance(item, slice):
            start, stop, step = _bounds(item, shape[dim])
            count = len(range(start, stop, step))
            plan.slice(start if count else 0, count, step, keep=True)
            dim += 1
        elif isinstance(item, Handle):
            dim += _pick(plan, item, shape, dim)  # type: ignore[arg-type]
        else:
            plan.slice(_integer(item, shape[dim], dim), 1, 1, keep=False)
            dim += 1
    return plan


@functools.lru_cache(maxsize=1024)
def _integer_plan(index: int, shape: Shape) -> Plan:
    """Return the plan of one integer, which nobody changes."""
    return plan_of(index, shape)


def _pick(plan: Plan, item: Tensor, shape: Shape, dim: int) -> int:
    """Note an index tensor or mask; return how many dims it takes."""
    plan.picks.append((len(plan.shape), item))
    if not _is_mask(item):
        plan.whole(shape[dim])
        return 1
    covered = item.shape_tuple
    if covered != shape[dim : dim + len(covered)]:
        raise ShapeError(
            "index: a mask must have the shape of the dims it indexes.",
            came=[f"mask {covered}", f"dims {shape[dim : dim + len(covered)]} of {shape}"],
            fix="expand or slice the mask",
        )
    for extent in covered:
        plan.whole(extent)
    if not covered:
        plan.shape.append(1)  # a bool alone indexes a dim of one element put in for it
    return len(covered)


def _bounds(item: slice, extent: int) -> tuple[int, int, int]:
    """Return start, stop and step of a slice of an extent.

    Raises:
        DTypeError: one is no integer.
        ArgumentError: the step is 0.
    """
    try:
        return item.indices(extent)
    except TenorError:  # of a tensor as a bound
        raise
    except TypeError:
        kind: type[TenorError] = DTypeError
        rule = "the bounds of a slice must be integers or left out"
    except ValueError:
        kind, rule = ArgumentError, "the step of a slice must not be 0"
    raise kind(
        f"index: {rule}.",
        came=":".join("" if v is None else repr(v) for v in (item.start, item.stop, item.step)),
        fix="use // instead of /, or int(...)",
    )


def _integer(item: Any, extent: int, dim: int) -> int:
    try:
        index = operator.index(item)
    except TypeError:
        raise DTypeError(
            "index: expects integers, slices, None, ..., masks or integer tensors.",
            came=f"{type(item).__name__}: {item!r}",
            fix="use // instead of /, or int(...)",
        ) from None
    if not -extent <= index < extent:
        raise IndexRangeError(
            f"index: an index of dim {dim} must lie in [{-extent}, {extent}).",
            came=str(index),
            fix="check the index against the shape",
        )
    return index % extent


def basic(x: Tensor, plan: Plan, take: bool = True) -> Tensor:
    """Return the view that integers, slices and None make; x itself if they change nothing.

    Args:
        x: A tensor.
        plan: The index.
        take: Whether the view may be taken out of memory; not where it is only written.
    """
    shape = x.shape_tuple
    sizes, steps = tuple(plan.sizes), tuple(plan.steps)
    wanted = tuple(plan.shape)
    if sizes != shape or any(s != 1 for s in steps):
        cut = (tuple(plan.starts), sizes, steps)
        if take:
            return window(x, *cut, wanted)
        x = record_view(ops.SLICE, x, cut)
    return x if wanted == sizes else record_view(ops.RESHAPE, x, (wanted,))


@viewing
def get(x: Tensor, index: Any) -> Tensor:
    """Return x[index]: a view for integers and slices, a copy for index tensors and masks."""
    shape = x.shape_tuple
    plan = _integer_plan(index, shape) if type(index) is int else plan_of(index, shape)
    view = basic(x, plan)
    if not plan.picks:
        return record_view(ops.RESHAPE, x, (x.shape_tuple,)) if view is x else view
    return Picking(view, plan).read()


def put(x: Tensor, index: Any, value: Any) -> None:
    """Do x[index] = value; views of x and what x is a view of see it.

    Raises:
        ShapeError: the value does not broadcast to what is indexed.
    """
    plan = plan_of(index, x.shape_tuple)
    view = basic(x, plan, take=False)
    source = _source(value, view.element_type)
    if not plan.picks:
        write(view, _fill("index", source, view.shape_tuple))
        return
    mask = _only_mask(plan)
    if mask is not None:
        front = plan.picks[0][0]
        covered = len(mask.shape_tuple) or 1
        trailing = len(view.shape_tuple) - front - covered
        source = _squeezed(source, trailing + front)
        if len(source.shape_tuple) <= trailing:
            write(view, _masked(view, mask, source, trailing))
            return
    write(view, Picking(view, plan).written(source))


def index_put_(
    x: Tensor, indices: tuple[Tensor, ...], values: Any, accumulate: bool = False
) -> Tensor:
    """Do x[indices] = values, or add the values, one after another; return the tensor."""
    index = tuple(indices)
    if not accumulate:
        put(x, index, values)
        return x
    plan = plan_of(index, x.shape_tuple)
    view = basic(x, plan, take=False)
    write(view, Picking(view, plan).written(_source(values, view.element_type), "add"))
    return x


def index_put(
    x: Tensor, indices: tuple[Tensor, ...], values: Any, accumulate: bool = False
) -> Tensor:
    """Return x with values written, or added, at the indices."""
    copy: Tensor = record(ops.RESHAPE, (x,), (x.shape_tuple,))
    return index_put_(copy, indices, values, accumulate)


def _source(value: Any, dtype: dt.DType) -> Tensor:
    if isinstance(value, Handle):
        return cast(value, dtype)  # type: ignore[arg-type]
    if isinstance(value, NUMBERS):
        return stored("index", value, dtype)  # type: ignore[arg-type]
    return cast(from_array(_array_of(value)), dtype)


def _array_of(value: Any) -> NDArray[Any]:
    try:
        return np.array(value)
    except ValueError:
        raise ShapeError(
            "index: sequences of one level must have one length.",
            came=repr(value),
            fix="pad the shorter ones",
        ) from None


def _squeezed(source: Tensor, ndim: int) -> Tensor:
    """Return a source without leading dims of extent 1 beyond `ndim`."""
    shape = source.shape_tuple
    while len(shape) > ndim and shape[0] == 1:
        shape = shape[1:]
    return reshaped(source, shape)


def _fill(name: str, source: Tensor, shape: Shape) -> Tensor:
    """Return a source broadcast to the shape it is written to."""
    source = _squeezed(source, len(shape))
    if broadcast_shapes(name, source.shape_tuple, shape) != shape:
        raise ShapeError(
            f"{name}: the value must broadcast to the shape it is written to.",
            came=f"value {source.shape_tuple}, place {shape}",
            fix="reshape the value",
        )
    return expand(source, shape)


def _only_mask(plan: Plan) -> Tensor | None:
    """Return the mask where one mask is all that picks."""
    masks = [item for _, item in plan.picks if _is_mask(item)]
    return masks[0] if len(masks) == len(plan.picks) == 1 else None


def _masked(view: Tensor, mask: Tensor, source: Tensor, trailing: int) -> Tensor:
    """Return the view with one value, the same for every place the mask holds; nothing is run."""
    shape = view.shape_tuple
    condition = reshaped(mask, (mask.shape_tuple or (1,)) + (1,) * trailing)
    filler = source if not source.shape_tuple else _fill("index", source, shape)
    return where(expand(condition, shape), filler, view)  # type: ignore[no-any-return]


class Picking:
    """Index tensors at work on a view: one linear index over the dims they index, merged.

    Attributes:
        view: What is indexed.
        order: The view's dims, the indexed ones together.
        front: How many dims stand before the indexed ones in `order`.
        merged: The shape with the indexed dims made one.
        linear: The index into that dim.
    """

    def __init__(self, view: Tensor, plan: Plan) -> None:
        self.view = view
        shape = view.shape_tuple
        indices = _indices(plan, shape)
        dims = [dim for dim, _ in indices]
        # A tensor of no dims picks as an integer would: it says nothing about placement.
        spread = [dim for dim, i in indices if i.shape_tuple] or dims
        between = [d for d in range(spread[0], spread[-1] + 1) if d not in dims]
        self.front = 0 if between else sum(d not in dims for d in range(spread[0]))
        rest = [d for d in range(len(shape)) if d not in dims]
        self.order = (*rest[: self.front], *dims, *rest[self.front :])
        self.before = tuple(shape[d] for d in rest[: self.front])
        self.after = tuple(shape[d] for d in rest[self.front :])
        self.merged = (*self.before, size(shape[d] for d in dims), *self.after)
        self.linear = _linear(indices, shape)

    def _merge(self) -> Tensor:
        view = self.view
        if self.order != tuple(range(len(self.order))):
            view = record(ops.PERMUTE, (view,), (self.order,))
        return reshaped(view, self.merged)

    def read(self) -> Tensor:
        """Return what the indices pick."""
        made: Tensor = record(ops.TAKE, (self._merge(), self.linear), (self.front,))
        return made

    def written(self, source: Tensor, mode: str = "set") -> Tensor:
        """Return the view's value with a source written (or added) where the indices pick."""
        shape = (*self.before, *self.linear.shape_tuple, *self.after)
        filled = _fill("index", source, shape)
        whole = record(ops.PUT, (self._merge(), self.linear, filled), (self.front, mode))
        apart = reshaped(whole, tuple(self.view.shape_tuple[d] for d in self.order))
        if self.order == tuple(range(len(self.order))):
            return apart
        back = tuple(self.order.index(d) for d in range(len(self.order)))
        made: Tensor = record(ops.PERMUTE, (apart,), (back,))
        return made


def _indices(plan: Plan, shape: Shape) -> list[tuple[int, Tensor]]:
    """Return one int64 index tensor, in range, for each dim indexed; masks as positions."""
    found: list[tuple[int, Tensor]] = []
    for dim, item in plan.picks:
        if not _is_mask(item):
            found.append((dim, wrapped(item, shape[dim])))
            continue
        held = concrete(item, "a mask as an index")
        places = np.nonzero(np.atleast_1d(held))
        found += [(dim + i, from_array(p.astype(np.int64))) for i, p in enumerate(places)]
    return found


def _linear(indices: list[tuple[int, Tensor]], shape: Shape) -> Tensor:
    """Return sum(index * stride) over the indexed dims, taken as one row-major dim."""
    wide = broadcast_shapes("index", *[i.shape_tuple for _, i in indices])
    total, stride = None, 1
    for dim, index in reversed(indices):
        part = expand(index, wide) if index.shape_tuple else index
        part = part if stride == 1 else part * stride
        total = part if total is None else total + part
        stride *= shape[dim]
    assert total is not None
    return expand(total, wide)


def wrapped(index: Tensor, extent: int, what: str = "index") -> Tensor:
    """Return an int64 index in [0, extent); one out of range is an error when it is run.

    Args:
        index: Integers.
        extent: Of what they index.
        what: "index", where negative ones count from the end; "place" along a dim, "row" of a
            table or class "label", which do not.
    """
    if index.element_type.kind not in ("int", "uint"):
        raise DTypeError(
            "index: an index tensor must hold integers.",
            came=index.element_type.name,
            fix="convert with .long()",
        )
    made: Tensor = record_check(cast(index, dt.int64), extent, what)
    return made


# -- by mask ------------------------------------------------------------------------------------
def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """Return the elements where the mask holds, in one dim; both are broadcast first."""
    shape = broadcast_shapes("masked_select", x.shape_tuple, mask.shape_tuple)
    return get(reshaped(expand(x, shape), shape), expand(mask, shape))


def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Return x with the elements of source, in order, where the mask holds."""
    shape = x.shape_tuple
    held = reshaped(expand(mask, shape), (size(shape),))
    rank = record(ops.CUMSUM, (cast(held, dt.int64),), (0, False)) - 1
    # Places the mask leaves out may point anywhere in range.
    place = wrapped(where(held, rank, 0), source.numel())
    picked = record(ops.TAKE, (reshaped(source, (source.numel(),)), place), (0,))
    return where(reshaped(held, shape), reshaped(picked, shape), x)  # type: ignore[no-any-return]


def one_hot(x: Tensor, num_classes: int = -1) -> Tensor:
    """Return int64 rows with a 1 at each element's class: shape (*x.shape, num_classes).

    Args:
        x: Classes, integer, in [0, num_classes).
        num_classes: Their number; by default one more than the largest, which is read at once.

    Raises:
        IndexRangeError: a class is out of range; raised when the values are computed.
    """
    if num_classes < 0:
        num_classes = (
            int(concrete(fold(x, ops.MAX, "one_hot", None, False, "first"), "one_hot")) + 1
        )
    index = wrapped(x, num_classes, "place")
    classes = record(ops.IOTA, (), (num_classes, dt.int64))
    return cast(reshaped(index, (*x.shape_tuple, 1)) == classes, dt.int64)
