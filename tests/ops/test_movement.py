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


def of_shape(*calls):
    """Return samples of functions of no tensor, whose dtype is always int64."""

    def samples(draw):
        for i, call in enumerate(calls):
            yield Sample(str(i), (), lambda m, call=call: call(m))

    return samples


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
    "reshape": Row(
        forms(
            "reshape",
            ((2, 6), ((3, 4),)),
            ((2, 6), ((-1,),)),
            ((2, 6), ((2, 3, -1),)),
            ((), ((1, 1),)),
            ((0, 3), ((3, 0),)),
            ((1, 4), ((4,),)),
            ((2, 6), ((5, -1),)),
            ((2, 6), ((-1, -1),)),
        )
    ),
    "view": Row(
        forms(
            "view",
            ((2, 6), ((3, 4),)),
            ((2, 6), ((2, 2, 3),)),
            ((4, 1), ((-1,),)),
            ((2, 6), ((2, 6),)),
            views=("as it is", "transposed", "every other"),
        )
    ),
    "flatten": Row(
        forms(
            "flatten",
            ((2, 3, 4), ()),
            ((2, 3, 4), (1,)),
            ((2, 3, 4), (0, 1)),
            ((), ()),
            ((5,), ()),
            ((2, 3), (1, 0)),
            ((0, 3), ()),
        )
    ),
    "ravel": Row(forms("ravel", ((2, 3), ()), ((), ()))),
    "unflatten": Row(
        forms(
            "unflatten",
            ((2, 6), (1, (2, 3))),
            ((2, 6), (-1, (-1, 2))),
            ((4, 3), (0, (2, 2))),
            ((2, 6), (1, (4, 2))),
        )
    ),
    "squeeze": Row(
        forms(
            "squeeze",
            ((1, 3, 1), ()),
            ((1, 3, 1), (0,)),
            ((1, 3, 1), (1,)),
            ((1, 3, 1), ((0, 2),)),
            ((), ()),
            ((1, 1), (-1,)),
            ((2, 1), (2,)),
        )
    ),
    "unsqueeze": Row(
        forms(
            "unsqueeze", ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (-1,)), ((), (0,)), ((2,), (3,))
        )
    ),
    "expand": Row(
        forms(
            "expand",
            ((3, 1), (3, 4)),
            ((3, 1), (2, 3, 4)),
            ((1, 3), (-1, 3)),
            ((3,), (2, -1)),
            ((), (2,)),
            ((2, 3), (2, 4)),
            ((3, 1), (3, 0)),
        )
    ),
    "broadcast_to": Row(forms("broadcast_to", ((3, 1), ((2, 3, 4),)), ((), ((2, 2),)))),
    "permute": Row(
        forms(
            "permute",
            ((2, 3, 4), ((2, 0, 1),)),
            ((2, 3), ((-1, 0),)),
            ((), ((),)),
            ((2, 3), ((0, 0),)),
            ((2, 3), ((0,),)),
            ((2, 3), ((0, 2),)),
        )
    ),
    "transpose": Row(
        forms("transpose", ((2, 3, 4), (0, 2)), ((2, 3), (-1, 0)), ((), (0, -1)), ((2, 3), (0, 2)))
    ),
    "swapaxes": Row(forms("swapaxes", ((2, 3, 4), (0, 1)))),
    "swapdims": Row(forms("swapdims", ((2, 3, 4), (1, 2)))),
    "t": Row(forms("t", ((2, 3), ()), ((4,), ()), ((), ()), ((2, 3, 4), ()))),
    "adjoint": Row(forms("adjoint", ((2, 3), ()), ((2, 3, 4), ()))),
    "movedim": Row(
        forms(
            "movedim",
            ((2, 3, 4), (0, 2)),
            ((2, 3, 4), ((0, 1), (2, 0))),
            ((2, 3, 4), (-1, 0)),
            ((2, 3), ((0, 1), (0,))),
            ((2, 3), ((0, 0), (0, 1))),
        )
    ),
    "moveaxis": Row(forms("moveaxis", ((2, 3, 4), (2, 0)))),
    "flip": Row(
        forms(
            "flip",
            ((2, 5), ((0,),)),
            ((2, 5), ((0, 1),)),
            ((2, 5), ((-1,),)),
            ((), ((),)),
            ((0, 3), ((0,),)),
            ((2, 3), ((0, 0),)),
        )
    ),
    "fliplr": Row(forms("fliplr", ((2, 3), ()), ((2, 3, 2), ()), ((3,), ()))),
    "flipud": Row(forms("flipud", ((2, 3), ()), ((3,), ()), ((), ()))),
    "rot90": Row(
        forms(
            "rot90",
            ((2, 3), ()),
            ((2, 3), (2,)),
            ((2, 3), (3,)),
            ((2, 3), (-1,)),
            ((2, 3, 4), (1, (1, 2))),
            ((2, 3), (4,)),
            ((2, 3), (1, (0, 0))),
            ((3,), ()),
        )
    ),
    "atleast_1d": Row(forms("atleast_1d", ((), ()), ((2,), ()), ((2, 3), ()))),
    "atleast_2d": Row(forms("atleast_2d", ((), ()), ((2,), ()), ((2, 3), ()))),
    "atleast_3d": Row(forms("atleast_3d", ((), ()), ((2,), ()), ((2, 3), ()), ((2, 3, 4), ()))),
    "view_as": Row(like("view_as", ((2, 6), (3, 4)), ((2, 6), (5,)))),
    "reshape_as": Row(like("reshape_as", ((2, 6), (3, 4)))),
    "expand_as": Row(like("expand_as", ((3, 1), (2, 3, 4)), ((3,), (4,)))),
    "broadcast_tensors": Row(
        spread("broadcast_tensors", ((3, 1), (4,)), ((), (2, 2)), ((2,), (3,)))
    ),
    "narrow": Row(
        forms(
            "narrow",
            ((5, 4), (0, 1, 3)),
            ((5, 4), (1, -2, 2)),
            ((5, 4), (0, 5, 0)),
            ((5, 4), (0, 3, 4)),
        )
    ),
    "select": Row(
        forms(
            "select",
            ((5, 4), (0, 2)),
            ((5, 4), (1, -1)),
            ((4,), (0, 1)),
            ((5, 4), (0, 5)),
            ((), (0, 0)),
        )
    ),
    "split": Row(
        forms(
            "split",
            ((7,), (3,)),
            ((7, 2), (2,)),
            ((4, 6), (4, 1)),
            ((4, 6), ([1, 0, 5], 1)),
            ((4, 6), ([1, 2], 1)),
            ((0, 3), (2,)),
            ((4,), (0,)),
            ((4,), (-1,)),
        )
    ),
    "split_with_sizes": Row(forms("split_with_sizes", ((4, 6), ([1, 5], 1)), ((4, 6), ([4],)))),
    "chunk": Row(forms("chunk", *CHUNKS, ((4,), (0,)))),
    "tensor_split": Row(
        forms(
            "tensor_split",
            ((7,), (3,)),
            ((7, 2), (3,)),
            ((4, 6), ((1, 4), 1)),
            ((4, 6), ((4, 1), 1)),
            ((4,), ((2, 9),)),
            ((5,), ((-2,),)),
            ((2,), (4,)),
        )
    ),
    "unbind": Row(
        forms("unbind", ((3, 2), ()), ((3, 2), (1,)), ((3,), ()), ((2, 0), (0,)), ((0, 2), (0,)))
    ),
    "unfold": Row(
        forms(
            "unfold",
            ((7,), (0, 3, 1)),
            ((7,), (0, 3, 2)),
            ((4, 6), (1, 2, 3)),
            ((4, 6), (0, 4, 1)),
            ((3,), (0, 4, 1)),
            ((3,), (0, 2, 0)),
        )
    ),
    "cat": Row(joins("cat", *CAT)),
    "concat": Row(joins("concat", *CAT[:2])),
    "concatenate": Row(joins("concatenate", *CAT[:2])),
    "stack": Row(
        joins(
            "stack",
            (((2, 3), (2, 3)), (0,)),
            (((2, 3), (2, 3)), (-1,)),
            (((2, 3),), (1,)),
            (((), ()), (0,)),
            (((2, 3), (3, 2)), (0,)),
            (((2, 0), (2, 0)), (1,)),
        )
    ),
    "hstack": Row(joins("hstack", (((2, 3), (2, 1)), ()), (((2,), (3,)), ()), (((), ()), ()))),
    "vstack": Row(joins("vstack", (((2, 3), (1, 3)), ()), (((3,), (3,)), ()), (((), ()), ()))),
    "row_stack": Row(joins("row_stack", (((3,), (3,)), ()))),
    "dstack": Row(joins("dstack", (((2, 3), (2, 3)), ()), (((3,), (3,)), ()), (((), ()), ()))),
    "column_stack": Row(joins("column_stack", (((3,), (3,)), ()), (((3,), (3, 2)), ()))),
    "hsplit": Row(forms("hsplit", ((4, 6), (3,)), ((6,), (2,)), ((4, 6), ((1, 4),)))),
    "vsplit": Row(forms("vsplit", ((4, 6), (2,)), ((4, 6), ((1, 3),)), ((4,), (2,)))),
    "dsplit": Row(forms("dsplit", ((2, 3, 4), (2,)), ((2, 3), (1,)))),
    "block_diag": Row(
        spread("block_diag", ((2, 3), (1, 2)), ((2,), ()), ((0, 2), (1, 1)), ((2, 2),))
    ),
    "cartesian_prod": Row(spread("cartesian_prod", ((2,), (3,)), ((2,),), ((2,), (3,), (2,)))),
    "combinations": Row(
        forms("combinations", ((4,), ()), ((4,), (3,)), ((3,), (2, True)), ((2,), (3,)))
    ),
    "repeat": Row(
        forms(
            "repeat",
            ((2, 3), (2, 2)),
            ((2, 3), (2, 1, 2)),
            ((3,), (0,)),
            ((), (3,)),
            ((2, 3), (2,)),
        )
    ),
    "tile": Row(
        forms("tile", ((2, 3), ((2,),)), ((2, 3), ((2, 2),)), ((3,), ((2, 2),)), ((), ((2,),)))
    ),
    "repeat_interleave": Row(
        forms("repeat_interleave", ((2, 3), (2,)), ((2, 3), (2, 1)), ((3,), (0, 0)), ((), (3,)))
    ),
    "meshgrid": Row(grids),
    "roll": Row(
        forms(
            "roll",
            ((5,), (2,)),
            ((5,), (-7, 0)),
            ((3, 4), (1,)),
            ((3, 4), ((1, -1), (0, 1))),
            ((3, 4), (2, 1)),
            ((0, 3), (1, 0)),
            ((3, 4), ((1, 2), (0,))),
        )
    ),
    "tril": Row(
        forms(
            "tril",
            ((4, 5), ()),
            ((4, 5), (1,)),
            ((4, 5), (-2,)),
            ((2, 3, 3), ()),
            ((0, 3), ()),
            ((4, 2), (9,)),
        )
    ),
    "triu": Row(forms("triu", ((4, 5), ()), ((4, 5), (1,)), ((4, 5), (-2,)), ((2, 3, 3), ()))),
    "diag": Row(
        forms(
            "diag",
            ((3,), ()),
            ((3,), (1,)),
            ((3, 4), ()),
            ((3, 4), (-1,)),
            ((3, 4), (2,)),
            ((2, 2, 2), ()),
        )
    ),
    "diagflat": Row(forms("diagflat", ((3,), ()), ((2, 2), (1,)))),
    "diagonal": Row(
        forms(
            "diagonal",
            ((3, 4), ()),
            ((3, 4), (1,)),
            ((2, 3, 4), (0, 1, 2)),
            ((2, 3, 4), (-1, 2, 0)),
            ((3, 4), (9,)),
        )
    ),
    "diag_embed": Row(
        forms("diag_embed", ((3,), ()), ((2, 3), (1,)), ((2, 3), (0, 0, 2)), ((2, 3), (-1, -1, -2)))
    ),
    "tril_indices": Row(
        of_shape(lambda m: m.tril_indices(3, 4), lambda m: m.tril_indices(3, 4, -1)),
        dtypes=("int64",),
    ),
    "triu_indices": Row(
        of_shape(lambda m: m.triu_indices(3, 4), lambda m: m.triu_indices(3, 3, 1)),
        dtypes=("int64",),
    ),
}


def test_every_function_has_a_row():
    every = {*movement.__all__, *joining.__all__, *diagonals.__all__}
    assert set(ROWS) == every - {"broadcast_shapes"}  # which has a test of its own


def test_broadcast_shapes():
    for shapes in ([(3,), (2, 1)], [(), (4,)], [(1, 5), 5], [()], [(2, 1, 3), (4, 1)]):
        assert tn.broadcast_shapes(*shapes) == tuple(torch.broadcast_shapes(*shapes))
    assert tn.broadcast_shapes((2, 1), (3,)).numel() == 6
    with pytest.raises(ShapeError, match="broadcast_shapes"):
        tn.broadcast_shapes((2,), (3,))


def test_transposes_by_attribute():
    x, y = tn.arange(6.0).reshape(2, 3), tn.arange(24.0).reshape(2, 3, 4)
    for found in (x.T, x.H, x.mT, x.mH, x.adjoint()):
        assert found.tolist() == x.t().tolist()
    assert y.mH.tolist() == y.mT.tolist()
    with pytest.raises(ShapeError):
        _ = y.H


def test_no_dims_cannot_be_cut():
    x = tn.tensor(1.0)
    for call in (x.unbind, lambda: x.split(1), lambda: x.chunk(1), lambda: x.narrow(0, 0, 1),
                 lambda: x.tensor_split(1)):  # fmt: skip
        with pytest.raises(AxisError, match="no dims"):
            call()


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    if dtype not in ROWS[function].dtypes:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = problems(function, ROWS[function], dtype, count=count)
    assert not found, "\n".join(found[:12])


# -- what a table does not say -----------------------------------------------------------------
LOOKING = {
    "view": lambda x: x.view(3, 4),
    "reshape": lambda x: x.reshape(4, 3),
    "reshape of a transpose": lambda x: x.mT.reshape(12),
    "reshape of parts": lambda x: x[:, :2].reshape(4),
    "flatten": lambda x: x.flatten(),
    "flatten of a part": lambda x: x[:1].flatten(),
    "ravel of a transpose": lambda x: x.mT.ravel(),
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "transpose": lambda x: x.transpose(0, 1),
    "T": lambda x: x.T,
    "permute": lambda x: x.view(2, 2, 3).permute(2, 0, 1),
    "movedim": lambda x: x.view(2, 2, 3).movedim(0, -1),
    "squeeze": lambda x: x[:1].squeeze(),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "narrow": lambda x: x.narrow(1, 1, 3),
    "select": lambda x: x.select(1, 2),
    "index": lambda x: x[1],
    "every other": lambda x: x[:, ::2],
    "None": lambda x: x[:, None, 1:],
    "Ellipsis": lambda x: x[..., -1],
    "split": lambda x: x.split(4, 1)[1],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "tensor_split": lambda x: x.tensor_split((1, 4), 1)[1],
    "unbind": lambda x: x.unbind(1)[3],
    "detach": lambda x: x.detach(),
    "diagonal": lambda x: x.diagonal(1),
    "chain": lambda x: x.mT[1::2].unsqueeze(0)[..., 1],
    "view of a view": lambda x: x.view(3, 4)[1:].view(-1)[2:6],
    "flip": lambda x: x.flip(0),
    "clone": lambda x: x.clone(),
    "contiguous of a transpose": lambda x: x.mT.contiguous(),
    "contiguous": lambda x: x.contiguous(),
    "roll": lambda x: x.roll(1, 0),
    "cat": lambda x: (torch if isinstance(x, torch.Tensor) else tn).cat([x]),
    "index of tensors": lambda x: x[[0, 1]],
    "mask": lambda x: x[x > 3],
    "expand": lambda x: x[:, :1].expand(2, 4),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "unfold with gaps": lambda x: x.unfold(1, 2, 3).unfold(0, 1, 1),
    "real copy of an expand": lambda x: x[:, :1].expand(2, 4).contiguous(),
}


def outcome(action):
    try:
        action()
    except (RuntimeError, tn.TenorError) as error:
        return type(error)
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stored", [False, True], ids=["recorded", "computed"])
@pytest.mark.parametrize("look", LOOKING)
def test_who_sees_whose_writes(look, stored):
    """Strides are PyTorch's; and what is written to a view or to its base is seen as there."""
    theirs = torch.arange(12.0).reshape(2, 6).clone()
    mine = given(theirs) if stored else tn.arange(12.0).reshape(2, 6).clone()
    p, q = LOOKING[look](theirs), LOOKING[look](mine)
    assert tuple(q.shape) == tuple(p.shape)
    if look not in ("clone", "contiguous of a transpose") or p.is_contiguous():
        apart = [d for d in range(p.ndim) if p.shape[d] != 1]  # a dim of one element has none
        assert [q.stride(d) for d in apart] == [p.stride(d) for d in apart]
        assert q.is_contiguous() == p.is_contiguous()
    refused = outcome(lambda: p.mul_(10)), outcome(lambda: q.mul_(10))
    assert (refused[0] is None) == (refused[1] is None)
    assert mine.tolist() == theirs.tolist()
    if refused[0] is None:
        assert q.tolist() == p.tolist()
    theirs[:, 1:] += 0.5
    mine[:, 1:] += 0.5
    if refused[0] is None:
        assert q.tolist() == p.tolist()
    theirs.zero_()
    mine.zero_()
    assert q.tolist() == p.tolist()
    assert mine.tolist() == theirs.tolist()


def test_windows_that_overlap_are_read_only():
    x = tn.arange(6.0)
    windows = x.unfold(0, 3, 1)
    with pytest.raises(GradientError, match="overlapping windows"):
        windows.zero_()
    x[2] = 9.0
    assert windows.tolist() == [[0.0, 1.0, 9.0], [1.0, 9.0, 3.0], [9.0, 3.0, 4.0], [3.0, 4.0, 5.0]]
    flags = tn.tensor([True] * 5)
    flags.unfold(0, 2, 2)[1] = False
    assert flags.tolist() == [True, True, False, False, True]


def test_backwards_is_a_view():
    x = tn.arange(5.0)
    y = x[::-1]
    y[0] = 9.0
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 9.0]
    x[0] = 7.0
    assert y.tolist() == [9.0, 3.0, 2.0, 1.0, 7.0]


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_repeats_counted_by_a_tensor(dim):
    x, counts = torch.arange(6.0).reshape(2, 3), {None: [1, 0, 2, 3, 0, 1], 0: [2, 1], 1: [0, 3, 1]}
    n = torch.tensor(counts[dim])
    got = tn.repeat_interleave(given(x), given(n), dim)
    assert got.tolist() == torch.repeat_interleave(x, n, dim).tolist()


def test_cat_promotes():
    for a, b in (
        ("float32", "int64"),
        ("bool", "uint8"),
        ("float16", "bfloat16"),
        ("int8", "int16"),
    ):
        want = torch.cat(
            [torch.ones(1, dtype=getattr(torch, a)), torch.ones(1, dtype=getattr(torch, b))]
        )
        got = tn.cat([tn.ones(1, dtype=getattr(tn, a)), tn.ones(1, dtype=getattr(tn, b))])
        assert got.dtype.name == str(want.dtype).split(".")[1]


def test_sizes_may_be_numpys_or_a_size():
    x = tn.arange(6)
    assert x.reshape(np.int64(2), 3).shape == x.reshape(tn.Size((2, 3))).shape == (2, 3)
    assert x.view([3, 2]).shape.numel() == 6
    with pytest.raises(ArgumentError, match="integers"):
        x.reshape(2.0, 3)


ERRORS = {
    "view": (lambda x: x.T.view(6), ShapeError, ("reshape()", "strides (1, 3)")),
    "reshape": (lambda x: x.reshape(4), ShapeError, ("6 elements", "(4,)")),
    "two unknown": (lambda x: x.reshape(-1, -1), ShapeError, ("one may be -1",)),
    "expand": (lambda x: x.expand(4, 3), ShapeError, ("(2, 3)", "(4, 3)", "repeat()")),
    "permute": (lambda x: x.permute(0, 0), (AxisError, ShapeError, ArgumentError), ("permute",)),
    "permute too few": (
        lambda x: x.permute(0),
        (AxisError, ShapeError, ArgumentError),
        ("permute",),
    ),
    "transpose": (lambda x: x.transpose(0, 2), AxisError, ("transpose", "[-2, 2)")),
    "t": (lambda x: x[None].t(), ShapeError, ("t:", "two dims")),
    "mT": (lambda x: x[0].mT, ShapeError, ("mT", "two dims")),
    "flatten": (lambda x: x.flatten(1, 0), AxisError, ("start_dim", "swap")),
    "flip": (lambda x: x.flip(0, 0), ArgumentError, ("flip", "once")),
    "squeeze": (lambda x: x.squeeze(5), AxisError, ("squeeze",)),
    "cat none": (lambda x: tn.cat([]), ArgumentError, ("cat", "at least one")),
    "cat": (lambda x: tn.cat([x, tn.ones(2, 4)]), ShapeError, ("(2, 3)", "(2, 4)")),
    "cat ranks": (lambda x: tn.cat([x, tn.ones(2)]), ShapeError, ("cat", "as many dims")),
    "stack": (lambda x: tn.stack([x, x.T]), ShapeError, ("stack", "(2, 3)", "(3, 2)")),
    "split": (lambda x: x.split([1, 1], 1), ShapeError, ("split", "[1, 1]", "extent 3")),
    "chunk": (lambda x: x.chunk(0), ArgumentError, ("chunk", "positive")),
    "narrow": (lambda x: x.narrow(0, 1, 2), IndexRangeError, ("narrow", "length 2")),
    "select": (lambda x: x.select(0, 2), IndexRangeError, ("select", "[-2, 2)")),
    "unfold": (lambda x: x.unfold(0, 3, 1), ShapeError, ("unfold", "extent 2")),
    "repeat": (lambda x: x.repeat(2), ShapeError, ("repeat", "tile()")),
    "roll": (lambda x: x.roll((1, 2), 0), ArgumentError, ("roll",)),
    "rot90": (lambda x: x.rot90(1, (0, 0)), ArgumentError, ("rot90", "different")),
    "movedim": (lambda x: x.movedim((0, 1), (0,)), ArgumentError, ("movedim",)),
    "meshgrid": (lambda x: tn.meshgrid(x[0], indexing="no"), ArgumentError, ("'ij' or 'xy'",)),
    "write an expand": (
        lambda x: x[:, :1].expand(2, 3).add_(1),
        GradientError,
        ("expanded", "clone()"),
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_wanted_what_came_and_what_to_do(case):
    call, kind, words = ERRORS[case]
    with pytest.raises(kind) as caught:
        call(tn.ones(2, 3))
    for word in words:
        assert word in str(caught.value)
    assert "fix:" in str(caught.value)
