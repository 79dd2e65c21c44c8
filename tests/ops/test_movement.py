"""Every function that says which element stands where, in every dtype, against PyTorch.

Values in every mode; and for those that give views: strides, and which writes are seen by whom.
"""

import warnings

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, AxisError, GradientError, IndexRangeError, ShapeError
from tenor.tensor import diagonals, joining, movement
from tests.ops.oracle import given
from tests.ops.rows import ALL, Row, Sample, backwards, problems


def use(name, m, x, *args, **options):
    """Call the function of that name, or the method where PyTorch has no function."""
    found = getattr(m, name, None)
    return found(x, *args, **options) if found else getattr(x, name)(*args, **options)


def plain(x):
    return x


def turned(x):
    return x.mT


def cut(x):
    return x[..., 1::2]


VIEWS = {"as it is": plain, "transposed": turned, "every other": cut, "backwards": backwards}


def before(shape, label):
    """Return the shape that a view gives this shape of."""
    if label == "transposed":
        return (*shape[:-2], shape[-1], shape[-2])
    return (*shape[:-1], shape[-1] * 2 + 1) if label == "every other" else shape


def forms(name, *uses, views=tuple(VIEWS)):
    """Return samples for uses (shape, args) or (shape, args, options), on views of each shape."""

    def samples(draw):
        for shape, args, *rest in uses:
            options = rest[0] if rest else {}
            for label in draw.some(views) if len(shape) >= 2 else ("as it is",):
                view = VIEWS[label]
                leaf = draw(before(shape, label))
                yield Sample(
                    f"{label}: {shape} {args} {options}",
                    (leaf,),
                    lambda m, x, v=view, a=args, o=options: use(name, m, v(x), *a, **o),
                )

    return samples


def joins(name, *uses):
    """Return samples for uses (shapes, args) of a function of several tensors."""

    def samples(draw):
        for shapes, args in uses:
            yield Sample(
                f"{shapes} {args}",
                tuple(draw(s) for s in shapes),
                lambda m, *xs, a=args: getattr(m, name)(list(xs), *a),
            )
            turned = [s for s in shapes if len(s) == 2]
            if len(turned) == len(shapes):
                yield Sample(
                    f"transposed {shapes} {args}",
                    tuple(draw(s[::-1]) for s in shapes),
                    lambda m, *xs, a=args: getattr(m, name)([x.mT for x in xs], *a),
                )

    return samples


def spread(name, *lists):
    """Return samples for a function whose tensors are arguments of their own."""

    def samples(draw):
        for shapes in lists:
            leaves = tuple(draw(s) for s in shapes)
            yield Sample(str(shapes), leaves, lambda m, *xs: getattr(m, name)(*xs))

    return samples


def like(name, *pairs):
    def samples(draw):
        for shape, other in pairs:
            leaves = draw(shape), draw(other)
            yield Sample(f"{shape} as {other}", leaves, lambda m, a, b: use(name, m, a, b))

    return samples


def several(*parts):
    return lambda draw: [sample for part in parts for sample in part(draw)]


def of_shape(*calls):
    """Return samples of functions of no tensor, whose dtype is always int64."""

    def samples(draw):
        for i, call in enumerate(calls):
            yield Sample(str(i), (), lambda m, call=call: call(m))

    return samples


def repeated(draw):
    counts = torch.tensor([2, 0, 3])
    for dim in (None, 0):
        shape = (3,) if dim is None else (3, 2)
        yield Sample(
            f"a tensor of counts, dim={dim}",
            (draw(shape), counts),
            lambda m, x, n, d=dim: m.repeat_interleave(x, n, d),
        )


def grids(draw):
    for indexing in ("ij", "xy"):
        for shapes in (((3,), (4,)), ((2,), (3,), (4,)), ((3,),), ((), (2,))):
            leaves = tuple(draw(s) for s in shapes)
            yield Sample(
                f"{indexing} {shapes}",
                leaves,
                lambda m, *xs, i=indexing: m.meshgrid(*xs, indexing=i),
            )


CHUNKS = (((7,), (3,)), ((7, 2), (3,)), ((4, 6), (2, 1)), ((2, 5), (7, 1)), ((0, 3), (2,)))
CAT = (
    (((2, 3), (4, 3)), (0,)),
    (((2, 3), (2, 5), (2, 1)), (1,)),
    (((2, 3), (2, 0)), (-1,)),
    (((0,), (2, 3)), (0,)),
    (((3,),), (0,)),
    (((2, 2, 3), (2, 1, 3)), (1,)),
    (((0,), (0,)), (0,)),
    (((2, 3), (2, 4)), (0,)),
    (((), ()), (0,)),
)
SHAPED = ((2, 3, 4), ())
ROWS = {
    "clone": Row(forms("clone", ((3, 4), ()), ((), ()), ((0, 2), ()))),
    "reshape": Row(forms("reshape", ((2, 6), ((3, 4),)), ((2, 6), ((-1,),)), ((2, 6), ((2, 3, -1),)),
                         ((), ((1, 1),)), ((0, 3), ((3, 0),)), ((1, 4), ((4,),)), ((2, 6), ((5, -1),)),
                         ((2, 6), ((-1, -1),)))),
    "view": Row(forms("view", ((2, 6), ((3, 4),)), ((2, 6), ((2, 2, 3),)), ((4, 1), ((-1,),)), ((2, 6), ((2, 6),)),
                      views=("as it is", "transposed", "every other"))),
    "flatten": Row(forms("flatten", ((2, 3, 4), ()), ((2, 3, 4), (1,)), ((2, 3, 4), (0, 1)), ((), ()), ((5,), ()),
                         ((2, 3), (1, 0)), ((0, 3), ()))),
    "ravel": Row(forms("ravel", ((2, 3), ()), ((), ()))),
    "unflatten": Row(forms("unflatten", ((2, 6), (1, (2, 3))), ((2, 6), (-1, (-1, 2))), ((4, 3), (0, (2, 2))),
                           ((2, 6), (1, (4, 2))))),
    "squeeze": Row(forms("squeeze", ((1, 3, 1), ()), ((1, 3, 1), (0,)), ((1, 3, 1), (1,)), ((1, 3, 1), ((0, 2),)),
                         ((), ()), ((1, 1), (-1,)), ((2, 1), (2,)))),
    "unsqueeze": Row(forms("unsqueeze", ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (-1,)), ((), (0,)), ((2,), (3,)))),
    "expand": Row(forms("expand", ((3, 1), (3, 4)), ((3, 1), (2, 3, 4)), ((1, 3), (-1, 3)), ((3,), (2, -1)), ((), (2,)),
                        ((2, 3), (2, 4)), ((3, 1), (3, 0)))),
    "broadcast_to": Row(forms("broadcast_to", ((3, 1), ((2, 3, 4),)), ((), ((2, 2),)))),
    "permute": Row(forms("permute", ((2, 3, 4), ((2, 0, 1),)), ((2, 3), ((-1, 0),)), ((), ((),)), ((2, 3), ((0, 0),)),
                         ((2, 3), ((0,),)), ((2, 3), ((0, 2),)))),
    "transpose": Row(forms("transpose", ((2, 3, 4), (0, 2)), ((2, 3), (-1, 0)), ((), (0, -1)), ((2, 3), (0, 2)))),
    "swapaxes": Row(forms("swapaxes", ((2, 3, 4), (0, 1)))),
    "swapdims": Row(forms("swapdims", ((2, 3, 4), (1, 2)))),
    "t": Row(forms("t", ((2, 3), ()), ((4,), ()), ((), ()), ((2, 3, 4), ()))),
    "movedim": Row(forms("movedim", ((2, 3, 4), (0, 2)), ((2, 3, 4), ((0, 1), (2, 0))), ((2, 3, 4), (-1, 0)),
                         ((2, 3), ((0, 1), (0,))), ((2, 3), ((0, 0), (0, 1))))),
    "moveaxis": Row(forms("moveaxis", ((2, 3, 4), (2, 0)))),
    "flip": Row(forms("flip", ((2, 5), ((0,),)), ((2, 5), ((0, 1),)), ((2, 5), ((-1,),)), ((), ((),)), ((0, 3), ((0,),)),
                      ((2, 3), ((0, 0),)))),
    "fliplr": Row(forms("fliplr", ((2, 3), ()), ((2, 3, 2), ()), ((3,), ()))),
    "flipud": Row(forms("flipud", ((2, 3), ()), ((3,), ()), ((), ()))),
    "rot90": Row(forms("rot90", ((2, 3), ()), ((2, 3), (2,)), ((2, 3), (3,)), ((2, 3), (-1,)), ((2, 3, 4), (1, (1, 2))),
                       ((2, 3), (4,)), ((2, 3), (1, (0, 0))), ((3,), ()))),
    "atleast_1d": Row(forms("atleast_1d", ((), ()), ((2,), ()), ((2, 3), ()))),
    "atleast_2d": Row(forms("atleast_2d", ((), ()), ((2,), ()), ((2, 3), ()))),
    "atleast_3d": Row(forms("atleast_3d", ((), ()), ((2,), ()), ((2, 3), ()), ((2, 3, 4), ()))),
    "view_as": Row(like("view_as", ((2, 6), (3, 4)), ((2, 6), (5,)))),
    "reshape_as": Row(like("reshape_as", ((2, 6), (3, 4)))),
    "expand_as": Row(like("expand_as", ((3, 1), (2, 3, 4)), ((3,), (4,)))),
    "broadcast_tensors": Row(spread("broadcast_tensors", ((3, 1), (4,)), ((), (2, 2)), ((2,), (3,)))),
    "narrow": Row(forms("narrow", ((5, 4), (0, 1, 3)), ((5, 4), (1, -2, 2)), ((5, 4), (0, 5, 0)), ((5, 4), (0, 3, 4)))),
    "select": Row(forms("select", ((5, 4), (0, 2)), ((5, 4), (1, -1)), ((4,), (0, 1)), ((5, 4), (0, 5)), ((), (0, 0)))),
    "split": Row(forms("split", ((7,), (3,)), ((7, 2), (2,)), ((4, 6), (4, 1)), ((4, 6), ([1, 0, 5], 1)),
                       ((4, 6), ([1, 2], 1)), ((0, 3), (2,)), ((4,), (0,)), ((4,), (-1,)))),
    "split_with_sizes": Row(forms("split_with_sizes", ((4, 6), ([1, 5], 1)), ((4, 6), ([4],)))),
    "chunk": Row(forms("chunk", *CHUNKS, ((4,), (0,)))),
    "tensor_split": Row(forms("tensor_split", ((7,), (3,)), ((7, 2), (3,)), ((4, 6), ((1, 4), 1)), ((4, 6), ((4, 1), 1)),
                              ((4,), ((2, 9),)), ((5,), ((-2,),)), ((2,), (4,)))),
    "unbind": Row(forms("unbind", ((3, 2), ()), ((3, 2), (1,)), ((3,), ()), ((2, 0), (0,)), ((0, 2), (0,)))),
    "unfold": Row(forms("unfold", ((7,), (0, 3, 1)), ((7,), (0, 3, 2)), ((4, 6), (1, 2, 3)), ((4, 6), (0, 4, 1)),
                        ((3,), (0, 4, 1)), ((3,), (0, 2, 0)))),
    "cat": Row(joins("cat", *CAT)), "concat": Row(joins("concat", *CAT[:2])),
    "concatenate": Row(joins("concatenate", *CAT[:2])),
    "stack": Row(joins("stack", (((2, 3), (2, 3)), (0,)), (((2, 3), (2, 3)), (-1,)), (((2, 3),), (1,)), (((), ()), (0,)),
                       (((2, 3), (3, 2)), (0,)), (((2, 0), (2, 0)), (1,)))),
    "hstack": Row(joins("hstack", (((2, 3), (2, 1)), ()), (((2,), (3,)), ()), (((), ()), ()))),
    "vstack": Row(joins("vstack", (((2, 3), (1, 3)), ()), (((3,), (3,)), ()), (((), ()), ()))),
    "row_stack": Row(joins("row_stack", (((3,), (3,)), ()))),
    "dstack": Row(joins("dstack", (((2, 3), (2, 3)), ()), (((3,), (3,)), ()), (((), ()), ()))),
    "column_stack": Row(joins("column_stack", (((3,), (3,)), ()), (((3,), (3, 2)), ()))),
    "hsplit": Row(forms("hsplit", ((4, 6), (3,)), ((6,), (2,)), ((4, 6), ((1, 4),)))),
    "vsplit": Row(forms("vsplit", ((4, 6), (2,)), ((4, 6), ((1, 3),)), ((4,), (2,)))),
    "dsplit": Row(forms("dsplit", ((2, 3, 4), (2,)), ((2, 3), (1,)))),
    "block_diag": Row(spread("block_diag", ((2, 3), (1, 2)), ((2,), ()), ((0, 2), (1, 1)), ((2, 2),))),
    "cartesian_prod": Row(spread("cartesian_prod", ((2,), (3,)), ((2,),), ((2,), (3,), (2,)))),
    "combinations": Row(forms("combinations", ((4,), ()), ((4,), (3,)), ((3,), (2, True)), ((2,), (3,)))),
    "repeat": Row(forms("repeat", ((2, 3), (2, 2)), ((2, 3), (2, 1, 2)), ((3,), (0,)), ((), (3,)), ((2, 3), (2,)))),
    "tile": Row(forms("tile", ((2, 3), ((2,),)), ((2, 3), ((2, 2),)), ((3,), ((2, 2),)), ((), ((2,),)))),
    "repeat_interleave": Row(several(repeated, forms("repeat_interleave", ((2, 3), (2,)), ((2, 3), (2, 1)), ((3,), (0, 0)),
                                                     ((), (3,))))),
    "meshgrid": Row(grids),
    "roll": Row(forms("roll", ((5,), (2,)), ((5,), (-7, 0)), ((3, 4), (1,)), ((3, 4), ((1, -1), (0, 1))),
                      ((3, 4), (2, 1)), ((0, 3), (1, 0)), ((3, 4), ((1, 2), (0,))))),
    "tril": Row(forms("tril", ((4, 5), ()), ((4, 5), (1,)), ((4, 5), (-2,)), ((2, 3, 3), ()), ((0, 3), ()), ((4, 2), (9,)))),
    "triu": Row(forms("triu", ((4, 5), ()), ((4, 5), (1,)), ((4, 5), (-2,)), ((2, 3, 3), ()))),
    "diag": Row(forms("diag", ((3,), ()), ((3,), (1,)), ((3, 4), ()), ((3, 4), (-1,)), ((3, 4), (2,)), ((2, 2, 2), ()))),
    "diagflat": Row(forms("diagflat", ((3,), ()), ((2, 2), (1,)))),
    "diagonal": Row(forms("diagonal", ((3, 4), ()), ((3, 4), (1,)), ((2, 3, 4), (0, 1, 2)), ((2, 3, 4), (-1, 2, 0)),
                          ((3, 4), (9,)))),
    "diag_embed": Row(forms("diag_embed", ((3,), ()), ((2, 3), (1,)), ((2, 3), (0, 0, 2)), ((2, 3), (-1, -1, -2)))),
    "tril_indices": Row(of_shape(lambda m: m.tril_indices(3, 4), lambda m: m.tril_indices(3, 4, -1)), dtypes=("int64",)),
    "triu_indices": Row(of_shape(lambda m: m.triu_indices(3, 4), lambda m: m.triu_indices(3, 3, 1)), dtypes=("int64",)),
}


def test_every_function_has_a_row():
    assert set(ROWS) == {*movement.__all__, *joining.__all__, *diagonals.__all__}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    if dtype not in ROWS[function].dtypes:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = problems(function, ROWS[function], dtype, count=count)
    assert not found, "\n".join(found[:12])
