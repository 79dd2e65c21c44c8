"""Reading and writing by index against PyTorch: a table of functions, and random indices."""

import random

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, TenorError
from tenor.tensor import indexing, scattering
from tests.ops.oracle import agree, given
from tests.ops.rows import ALL, FLOATS, MODES, Row, Sample, problems, reference


# -- functions ----------------------------------------------------------------------------------
def places(draw, shape, extent, *, once=False):
    """Return indices into a dim, each once along dim 0 where asked."""
    if once:
        return torch.tensor(draw.random.permutation(extent)[: shape[0]])
    return torch.tensor(draw.random.integers(0, extent, shape))


ALONG = (  # shape, dim, shape of the index
    ((5,), 0, (3,)),
    ((4, 3), 0, (2, 3)),
    ((4, 3), 1, (4, 7)),
    ((4, 3), -1, (2, 2)),
    ((2, 3, 4), 1, (2, 5, 4)),
    ((), 0, ()),
    ((4, 3), 0, (0, 3)),
)


def along(call, *, views=True):
    """Return samples of `call(m, x, dim, index)`, the index negative at times."""

    def samples(draw):
        for shape, dim, picked in ALONG:
            index = places(draw, picked, shape[dim] if shape else 1)
            x = draw(shape)
            yield Sample(
                f"{shape} {dim} {picked}", (x, index), lambda m, x, i, d=dim: call(m, x, d, i)
            )
        if views:
            index = places(draw, (5, 2), 4)
            yield Sample("views", (draw((4, 5)), index), lambda m, x, i: call(m, x.mT, 1, i.mT.mT))

    return samples


def spread(name, *, domain="any", **options):
    """Return samples of scatter and its kin: the index counts x, the source has its shape.

    Every place is written once unless what is written there is added up.
    """

    def samples(draw):
        for shape, dim in (
            ((5,), 0),
            ((4, 3), 0),
            ((4, 3), 1),
            ((2, 3, 4), -1),
            ((), 0),
            ((0,), 0),
        ):
            extent = shape[dim] if shape else 1
            order = (
                np.argsort(draw.random.random(shape or (1,)), dim) if extent else np.zeros(shape)
            )
            index = torch.tensor(order.reshape(shape).astype(np.int64))
            leaves = draw(shape), index, draw(shape, domain)
            yield Sample(
                f"{shape} {dim}",
                leaves,
                lambda m, x, i, s, d=dim: getattr(m, name)(x, d, i, s, **options),
            )
        leaves = draw((4, 3)), torch.tensor([[1, 2, 0], [3, 0, 1]]), draw((3, 3), domain)
        yield Sample("shorter", leaves, lambda m, x, i, s: getattr(m, name)(x, 0, i, s, **options))
        adds = name == "scatter_add" or "reduce" in options
        if adds:
            leaves = draw((3, 4)), places(draw, (3, 4), 3), draw((3, 4), domain)
            yield Sample(
                "equal ones", leaves, lambda m, x, i, s: getattr(m, name)(x, 0, i, s, **options)
            )

    return samples


def scattered_value(draw):
    index = torch.tensor([[1, 0, 2]])
    yield Sample("a number", (draw((4, 3)), index), lambda m, x, i: m.scatter(x, 0, i, 1))
    yield Sample("value=", (draw((4, 3)), index), lambda m, x, i: m.scatter(x, 0, i, value=1))


def rows_of(name, **options):
    """Return samples of index_add and index_copy."""

    def samples(draw):
        for shape, dim, count in (
            ((5,), 0, 3),
            ((4, 3), 0, 2),
            ((4, 3), 1, 3),
            ((2, 5, 3), 1, 4),
            ((), 0, 1),
        ):
            extent = shape[dim] if shape else 1
            index = places(draw, (count,), extent, once=name == "index_copy")
            wide = (*shape[:dim], count, *shape[dim + 1 :]) if shape else ()
            leaves = draw(shape), index, draw(wide)
            yield Sample(
                f"{shape} {dim}",
                leaves,
                lambda m, x, i, s, d=dim: getattr(m, name)(x, d, i, s, **options),
            )

    return samples


def filled(draw):
    for shape, dim in (((5,), 0), ((4, 3), 1), ((4, 3), -2), ((), 0)):
        index = places(draw, (2,), shape[dim] if shape else 1)
        leaves = draw(shape), index
        yield Sample(f"{shape} {dim}", leaves, lambda m, x, i, d=dim: m.index_fill(x, d, i, 1))
    leaves = draw((4, 3)), torch.tensor([0, 2]), draw(())
    yield Sample("a tensor", leaves, lambda m, x, i, v: m.index_fill(x, 0, i, v))


def selected(draw):
    for shape, dim in (((5,), 0), ((4, 3), 1), ((2, 3, 4), -2), ((4, 0), 0), ((), 0)):
        index = places(draw, (6,), shape[dim] if shape else 1)
        leaves = draw(shape), index
        yield Sample(f"{shape} {dim}", leaves, lambda m, x, i, d=dim: m.index_select(x, d, i))
        yield Sample(
            f"int32 {shape} {dim}",
            (leaves[0], index.int()),
            lambda m, x, i, d=dim: m.index_select(x, d, i),
        )
    leaves = draw((4, 3)), torch.tensor(2)
    yield Sample("no dims", leaves, lambda m, x, i: m.index_select(x, 0, i))


def taken(draw):
    for shape, index in (((5,), (3,)), ((4, 3), (2, 2)), ((4, 3), ()), ((), (2,)), ((4, 3), (0,))):
        leaves = draw(shape), places(draw, index, int(np.prod(shape)))
        yield Sample(f"{shape} {index}", leaves, lambda m, x, i: m.take(x, i))
    leaves = draw((4, 3)), torch.tensor([-1, 0, -12])
    yield Sample("negative", leaves, lambda m, x, i: m.take(x, i))


def taken_along(draw):
    yield from along(lambda m, x, d, i: m.take_along_dim(x, i, d) if x.ndim else x, views=False)(
        draw
    )
    leaves = draw((4, 3)), torch.tensor([[1, 0, 2, 1]])
    yield Sample("broadcast", leaves, lambda m, x, i: m.take_along_dim(x, i, 1))
    yield Sample(
        "flat", (draw((4, 3)), torch.tensor([[7, 0]])), lambda m, x, i: m.take_along_dim(x, i)
    )


def masks(call, *, source=False, hidden=False):
    def samples(draw):
        for shape, mask in (
            ((3, 5), (3, 5)),
            ((3, 5), (5,)),
            ((4,), (4,)),
            ((), ()),
            ((0, 3), (3,)),
        ):
            flags = torch.tensor(draw.random.integers(0, 2, mask).astype(bool))
            extra = (draw((40,)),) if source else ()
            yield Sample(f"{shape} {mask}", (draw(shape), flags, *extra), call)

    return samples


def put_many(draw):
    i, j = torch.tensor([0, 2]), torch.tensor([1, 1])
    leaves = draw((3, 4)), i, j, draw((2,))
    yield Sample("two", leaves, lambda m, x, i, j, v: m.index_put(x, (i, j), v))
    leaves = draw((3, 4)), i, draw((2, 4))
    yield Sample("one", leaves, lambda m, x, i, v: m.index_put(x, (i,), v))
    same = torch.tensor([1, 1])
    leaves = draw((3, 4)), same, draw((2, 4))
    yield Sample("added", leaves, lambda m, x, i, v: m.index_put(x, (i,), v, accumulate=True))


def classes(draw):
    index = torch.tensor([[0, 2], [1, 1]])
    hot = lambda m: m.one_hot if m is tn else torch.nn.functional.one_hot  # noqa: E731
    yield Sample("4", (index,), lambda m, i: hot(m)(i, 4))
    yield Sample("a vector", (index[0],), lambda m, i: hot(m)(i, 3))
    yield Sample("none", (index[:0],), lambda m, i: hot(m)(i, 3))


NUMBERS = tuple(d for d in ALL if d != "bool")
ROWS = {
    "gather": Row(along(lambda m, x, d, i: m.gather(x, d, i))),
    "take": Row(taken),
    "take_along_dim": Row(taken_along),
    "index_select": Row(selected),
    "scatter": Row(
        lambda draw: [
            *spread("scatter")(draw),
            *scattered_value(draw),
            *(spread("scatter", reduce="add")(draw) if draw.name != "bool" else ()),
        ]
    ),
    "scatter_add": Row(spread("scatter_add"), dtypes=NUMBERS),
    "scatter_reduce": Row(
        lambda draw: [
            s
            for how in ("sum", "prod", "amax", "amin", "mean")
            for s in spread("scatter_reduce", reduce=how, domain="nonzero")(draw)
        ],
        dtypes=("float64", "float32", "int64", "int32"),
    ),
    "index_add": Row(
        lambda draw: [*rows_of("index_add")(draw), *rows_of("index_add", alpha=2)(draw)],
        dtypes=NUMBERS,
    ),
    "index_copy": Row(rows_of("index_copy")),
    "index_fill": Row(filled),
    "index_put": Row(put_many),
    "masked_scatter": Row(masks(lambda m, x, c, s: m.masked_scatter(x, c, s), source=True)),
    "masked_select": Row(masks(lambda m, x, c: m.masked_select(x, c))),
    "one_hot": Row(classes, dtypes=("int64",)),
}
READS = ("masked_select",)
"""Functions whose result's shape depends on values, which a compiled function refuses."""


def test_every_function_has_a_row():
    assert set(ROWS) == {*indexing.__all__, *scattering.__all__}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    if dtype not in ROWS[function].dtypes:
        return
    modes = tuple(m for m in MODES if m != "compiled") if function in READS else MODES
    found = problems(function, ROWS[function], dtype, modes, count=count)
    assert not found, "\n".join(found[:12])


# -- random indices -----------------------------------------------------------------------------
class Chooser:
    """Draws index expressions, as lists of items that both libraries can be given.

    An item is an int, a slice (its step may be negative), None, Ellipsis, an integer array or a
    bool array. PyTorch has no negative steps: it is given the flipped tensor and the slice turned.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)

    def shape(self):
        return tuple(self.random.choice((1, 2, 3, 4, 5)) for _ in range(self.random.randint(1, 4)))

    def items(self, shape, kinds=("int", "slice", "slice", "whole", "array", "mask")):
        """Return index items for a tensor of a shape."""
        items, dim, masked = [], 0, False
        wide = self.random.choice(((3,), (2, 1), (), (1, 2), (1,)))
        stop = self.random.randint(0, len(shape))
        while dim < stop:
            kind = self.random.choice(kinds)
            extent = shape[dim]
            if self.random.random() < 0.15:
                items.append(None)
            if kind == "mask" and not masked:
                masked = True
                depth = self.random.choice((1, 1, 2)) if dim + 2 <= stop else 1
                flags = self.numbers.integers(0, 2, shape[dim : dim + depth]).astype(bool)
                items.append(flags)
                # Beside a mask only arrays of one element fit whatever it holds.
                wide = ()
                dim += depth
                continue
            if kind == "array" or kind == "mask":
                picked = () if masked else wide
                items.append(self.numbers.integers(-extent, extent, picked))
            elif kind == "int" and extent:
                items.append(self.random.randrange(-extent, extent))
            elif kind == "slice":
                items.append(self.cut(extent))
            else:
                items.append(slice(None))
            dim += 1
        if masked:
            arrays = [i for i in items if isinstance(i, np.ndarray) and i.dtype != bool]
            for array in arrays:
                array.resize((), refcheck=False)
        if stop < len(shape) and self.random.random() < 0.4:
            items.append(Ellipsis)
            tail = shape[stop + 1 :] if self.random.random() < 0.5 else ()
            items += [self.cut(extent) for extent in tail]
        return items

    def cut(self, extent):
        ends = [None, *range(-extent - 1, extent + 2)]
        start, stop = self.random.choice(ends), self.random.choice(ends)
        return slice(start, stop, self.random.choice((None, 1, 1, 2, 3, -1, -2)))


def theirs(items, shape):
    """Return the dims to flip, and the index for PyTorch."""
    flips, index, dim = [], [], 0
    used = sum(
        i.ndim
        if isinstance(i, np.ndarray) and i.dtype == bool
        else i is not None and i is not Ellipsis
        for i in items
    )
    for item in items:
        if item is Ellipsis:
            index.append(item)
            dim += len(shape) - used
            continue
        if isinstance(item, slice) and (item.step or 1) < 0:
            n = shape[dim]
            chosen = range(*item.indices(n))
            flips.append(dim)
            first = n - 1 - chosen[0] if len(chosen) else 0
            last = n - 1 - chosen[-1] + 1 if len(chosen) else 0
            item = slice(first, last, -item.step)
        dim += (
            item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else item is not None
        )
        index.append(torch.tensor(item) if isinstance(item, np.ndarray) else item)
    return flips, tuple(index)


def mine(items, chooser):
    """Return the index for Tenor; arrays as tensors, lists or NumPy arrays."""
    index = []
    for item in items:
        if isinstance(item, np.ndarray):
            form = chooser.random.choice(("tensor", "array", "list" if item.ndim else "tensor"))
            item = {"tensor": tn.tensor, "array": np.array, "list": lambda a: a.tolist()}[form](
                item
            )
        index.append(item)
    if len(index) == 1 and not isinstance(index[0], list):
        return index[0]
    return tuple(index)


def trial(seed):
    """Return a chooser, PyTorch's and Tenor's tensor, and an index for both."""
    chooser = Chooser(seed)
    shape = chooser.shape()
    x = torch.tensor(chooser.numbers.normal(size=shape)).float()
    items = chooser.items(shape)
    flips, index = theirs(items, shape)
    return chooser, x, items, flips, index


@pytest.mark.parametrize("block", range(10))
def test_random_reads(block, count):
    for seed in range(block * 40, block * 40 + 40):
        chooser, x, items, flips, index = trial(seed)
        try:
            want = x.flip(flips)[index]
        except IndexError:
            with pytest.raises(TenorError):
                given(x)[mine(items, chooser)].tolist()
            continue
        got = given(x)[mine(items, chooser)]
        assert tuple(got.shape) == tuple(want.shape), (seed, tuple(x.shape), items)
        assert np.array_equal(got.numpy(), want.numpy()), (seed, tuple(x.shape), items)
        count("indexing", "random reads and writes")


def value_for(chooser, shape):
    """Return a value that broadcasts to a shape: a number, or a tensor with some extents 1."""
    if chooser.random.random() < 0.3:
        return chooser.random.choice((2.5, -1, True))
    extents = [n if chooser.random.random() < 0.7 else 1 for n in shape]
    extents = extents[chooser.random.randint(0, len(extents)) :]
    return torch.tensor(chooser.numbers.normal(size=extents)).float()


@pytest.mark.parametrize("block", range(10))
def test_random_writes(block, count):
    for seed in range(1000 + block * 40, 1000 + block * 40 + 40):
        chooser, x, items, flips, index = trial(seed)
        turned = x.flip(flips)
        try:
            shape = turned[index].shape
        except IndexError:
            continue
        arrays = [i for i in items if isinstance(i, np.ndarray) and i.dtype != bool]
        value = value_for(chooser, shape)
        y = given(x)
        other = given(value) if isinstance(value, torch.Tensor) else value
        place = mine(items, chooser)
        if chooser.random.random() < 0.5 or arrays:
            # Where indices repeat, PyTorch leaves open which value stays: one value for all.
            value = 7.5 if arrays else value
            other = 7.5 if arrays else other
            turned[index] = value
            y[place] = other
        else:
            turned[index] += value
            y[place] += other
        want = turned.flip(flips)
        assert np.array_equal(y.numpy(), want.numpy()), (seed, tuple(x.shape), items, value)
        count("indexing", "random reads and writes")


def test_random_reads_by_the_interpreter_and_at_once(count):
    for seed in range(120):
        chooser, x, items, flips, index = trial(seed)
        try:
            want = x.flip(flips)[index].numpy()
        except IndexError:
            continue
        y = given(x)
        place = mine(items, chooser)
        with reference():
            assert np.array_equal(y[place].numpy(), want), (seed, items)
        with tn.immediate():
            assert np.array_equal(y[place].numpy(), want), (seed, items)
        count("indexing", "random reads and writes", 2)


def test_random_chains_of_views_and_writes(count):
    """Views of views, written through at random: base and every view agree with PyTorch's."""
    for seed in range(60):
        chooser = Chooser(5000 + seed)
        shape = tuple(chooser.random.choice((2, 3, 4, 6)) for _ in range(2))
        a = [torch.tensor(chooser.numbers.normal(size=shape)).float()]
        b = [given(a[0])]
        for _ in range(6):
            i = chooser.random.randrange(len(a))
            kind = chooser.random.choice(("view", "view", "write", "fill", "add", "T"))
            if kind == "view" and a[i].ndim:
                items = chooser.items(a[i].shape, kinds=("int", "slice", "whole"))
                items = [
                    slice(s.start, s.stop, abs(s.step)) if isinstance(s, slice) and s.step else s
                    for s in items
                ]
                a.append(a[i][tuple(items)])
                b.append(b[i][tuple(items)])
            elif kind == "T":
                a.append(a[i].mT if a[i].ndim > 1 else a[i].view(-1))
                b.append(b[i].mT if b[i].ndim > 1 else b[i].view(-1))
            elif kind == "fill":
                a[i].fill_(seed)
                b[i].fill_(seed)
            elif kind == "add":
                a[i].add_(1.5)
                b[i].add_(1.5)
            elif a[i].ndim and a[i].shape[0]:
                a[i][-1] *= -2
                b[i][-1] *= -2
            if chooser.random.random() < 0.2:
                b[0].tolist()
        for p, q in zip(a, b, strict=True):
            assert q.tolist() == p.tolist(), seed
            assert q.is_contiguous() == p.is_contiguous(), seed
        count("indexing", "random reads and writes")


# -- what random indices do not say ------------------------------------------------------------
def test_reads_of_integers_and_slices_are_views_the_others_copies():
    for index, shares in (
        (1, True),
        (slice(0, 2), True),
        ((0, 1), True),
        (None, True),
        (..., True),
        ([0, 1], False),
        (tn.tensor([0, 1]), False),
        (tn.tensor([True, False, True]), False),
    ):
        x = tn.arange(6.0).reshape(3, 2).clone()
        y = x[index]
        y.zero_()
        assert (x.sum().item() != 15.0) == shares


def test_integers_beside_index_tensors_take_their_dim_away_first():
    """PyTorch's rule, not NumPy's: x[0, :, index] keeps the place of the index."""
    x = torch.arange(60.0).reshape(3, 4, 5)
    i = torch.tensor([0, 2])
    agree(given(x)[0, :, given(i)], x[0, :, i])
    agree(given(x)[given(i), :, given(i)], x[i, :, i])
    agree(given(x)[:, given(i), given(i)], x[:, i, i])
    agree(given(x)[given(i), 1], x[i, 1])
    agree(given(x)[..., given(i)], x[..., i])
    agree(given(x)[given(i), None, 1:], x[i, None, 1:])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_dtypes_of_indices(dtype):
    x = tn.arange(5.0)
    index = tn.tensor([4, 0], dtype=getattr(tn, dtype))
    assert x[index].tolist() == [4.0, 0.0]
    assert x.index_select(0, index).tolist() == [4.0, 0.0]
    x[index] = -1.0
    assert x.tolist() == [-1.0, 1.0, 2.0, 3.0, -1.0]


def test_bools_as_indices():
    x = torch.arange(6.0).reshape(2, 3)
    for flag in (True, False):
        agree(given(x)[flag], x[flag])
        agree(given(x)[tn.tensor(flag)], x[torch.tensor(flag)])
    y, z = given(x), x.clone()
    y[y > 2], z[z > 2] = 0.0, 0.0
    agree(y, z)
    y[tn.tensor([True, False])], z[torch.tensor([True, False])] = (
        tn.tensor([7.0, 8.0, 9.0]),
        torch.tensor([7.0, 8.0, 9.0]),
    )
    agree(y, z)
    y[y == 8.0] += 1
    z[z == 8.0] += 1
    agree(y, z)
    y[:, tn.tensor([True, False, True])] = tn.tensor([[1.0, 2.0], [3.0, 4.0]])
    z[:, torch.tensor([True, False, True])] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    agree(y, z)


@pytest.mark.parametrize("dtype", ALL)
def test_writes_convert_to_the_tensors_dtype(dtype):
    x, y = (lib.zeros(4, dtype=getattr(lib, dtype)) for lib in (tn, torch))
    x[1], y[1] = 1, 1
    if dtype != "bool":
        x[2:], y[2:] = tn.tensor([3, 4]), torch.tensor([3, 4])
    if dtype in FLOATS:
        x[0], y[0] = tn.tensor(2.5, dtype=tn.float64), torch.tensor(2.5, dtype=torch.float64)
    agree(x, y)
    x[x > 0] = 0
    assert x.tolist() == [0] * 4


def test_the_last_of_equal_places_stays():
    """Where PyTorch leaves it open, the order is row-major, always."""
    x = tn.zeros(3)
    x[tn.tensor([1, 1, 1])] = tn.tensor([5.0, 6.0, 7.0])
    assert x.tolist() == [0.0, 7.0, 0.0]
    assert tn.zeros(2).scatter(0, tn.tensor([0, 0]), tn.tensor([3.0, 4.0])).tolist() == [4.0, 0.0]


def test_a_negative_number_counts_from_the_top_of_an_unsigned_dtype():
    x, y = tn.zeros(2, dtype=tn.uint8), torch.zeros(2, dtype=torch.uint8)
    x[0], y[0] = -1, -1
    agree(x, y)
    agree(x.fill_(-255), y.fill_(-255))


def test_python_and_numpy_values_can_be_written():
    x = tn.zeros(2, 3)
    x[0] = [1, 2, 3]
    x[1, 1:] = np.array([4.0, 5.0])
    x[1, 0] = np.float32(9)
    assert x.tolist() == [[1.0, 2.0, 3.0], [9.0, 4.0, 5.0]]
    assert [row.tolist() for row in x] == x.tolist()
    assert 9.0 in x
    assert x[tn.tensor(1)].tolist() == x[1].tolist()
    assert x[np.int64(1), np.array([2, 0])].tolist() == [5.0, 9.0]


def test_a_tensor_written_by_itself():
    x, y = tn.arange(6.0), torch.arange(6.0)
    x[1:], y[1:] = x[:-1].clone(), y[:-1].clone()
    agree(x, y)
    x[::2] = x[1::2]
    y[::2] = y[1::2].clone()
    agree(x, y)
    x[:] = x[::-1]
    assert x.tolist() == y.flip(0).tolist()


X = tn.arange(12.0).reshape(3, 4)
ERRORS = {
    "out of range": (lambda x: x[3], IndexRangeError, ("dim 0", "[-3, 3)", "3")),
    "second dim": (lambda x: x[0, -5], IndexRangeError, ("dim 1", "[-4, 4)", "-5")),
    "too many": (lambda x: x[0, 0, 0], IndexRangeError, ("2 indices", "3 indices")),
    "two ellipses": (lambda x: x[..., ...], IndexRangeError, ("Ellipsis", "2 times")),
    "a float": (lambda x: x[1.0], DTypeError, ("float", "1.0")),
    "a string": (lambda x: x["a"], DTypeError, ("str", "'a'")),
    "a float tensor": (lambda x: x[x], DTypeError, ("float32", ".long()")),
    "a mask too small": (lambda x: x[tn.tensor([True, False])], ShapeError, ("mask (2,)", "(3,)")),
    "a mask too deep": (lambda x: x[tn.ones(3, 5) > 0], ShapeError, ("mask (3, 5)",)),
    "tensors that do not meet": (
        lambda x: x[tn.tensor([0, 1]), tn.tensor([0, 1, 2])],
        ShapeError,
        ("(2,)", "(3,)"),
    ),
    "an index out of range": (
        lambda x: x[tn.tensor([0, 5])].tolist(),
        IndexRangeError,
        ("index 5", "position (1,)", "[-3, 3)"),
    ),
    "gather out of range": (
        lambda x: x.gather(0, tn.tensor([[0], [9]])).tolist(),
        IndexRangeError,
        ("index 9", "(1, 0)"),
    ),
    "a value that does not fit": (
        lambda x: x.__setitem__(0, tn.ones(3)),
        ShapeError,
        ("(3,)", "(4,)"),
    ),
    "a mask's values": (lambda x: x.__setitem__(x > 3, tn.ones(2)), ShapeError, ("(2,)", "(8,)")),
    "index_select": (
        lambda x: x.index_select(0, tn.tensor([[0]])),
        ShapeError,
        ("vector", "(1, 1)"),
    ),
    "scatter's dtype": (
        lambda x: x.scatter(0, tn.tensor([[0]]), tn.tensor([[1]])),
        DTypeError,
        ("int64 into float32",),
    ),
    "scatter's source": (
        lambda x: x.scatter(0, tn.tensor([[0, 1]]), tn.ones(1, 1)),
        ShapeError,
        ("index (1, 2)", "source (1, 1)"),
    ),
    "scatter of nothing": (
        lambda x: x.scatter(0, tn.tensor([[0]])),
        ArgumentError,
        ("src= or value=",),
    ),
    "scatter_reduce": (
        lambda x: x.scatter_reduce(0, tn.tensor([[0]]), tn.ones(1, 1), "max"),
        ArgumentError,
        ("'max'", "amax"),
    ),
    "index_add": (
        lambda x: x.index_add(0, tn.tensor([0]), tn.ones(2, 4)),
        ShapeError,
        ("(1, 4)", "(2, 4)"),
    ),
    "gather of other dims": (
        lambda x: x.gather(0, tn.tensor([0])),
        ShapeError,
        ("gather", "(3, 4)", "(1,)"),
    ),
    "one_hot": (lambda x: tn.one_hot(tn.tensor([3]), 3).tolist(), IndexRangeError, ("index 3",)),
    "ragged indices": (lambda x: x[[[0], [1, 2]]], ShapeError, ("one length", "[1, 2]]")),
    "ragged values": (lambda x: x.__setitem__(0, [1, [2]]), ShapeError, ("one length", "[2]]")),
    "a slice of floats": (lambda x: x[1.5:], DTypeError, ("bounds of a slice", "1.5:")),
    "a slice that stands still": (lambda x: x[::0], ArgumentError, ("step", "::0")),
    "a slice from a float tensor": (lambda x: x[x[0, 0] :], DTypeError, ("index", "float32")),
    "NaN for an integer": (
        lambda x: x.long().__setitem__(0, float("nan")),
        ArgumentError,
        ("must fit", "nan for int64"),
    ),
    "too much for a byte": (
        lambda x: x.byte().__setitem__(0, 300),
        ArgumentError,
        ("must fit", "300 for uint8"),
    ),
    "too much to fill a byte": (lambda x: x.byte().fill_(-256), ArgumentError, ("-256",)),
    "too much for a mask": (
        lambda x: x.char().masked_fill(x > 3, 128),
        ArgumentError,
        ("128 for int8",),
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_wanted_what_came_and_what_to_do(case):
    call, kind, words = ERRORS[case]
    with pytest.raises(kind) as caught:
        call(X.clone())
    for word in words:
        assert word in str(caught.value)
    assert "fix:" in str(caught.value)


def test_pythons_own_error_is_caught_too():
    with pytest.raises(IndexError):
        X[7]
    assert list(iter(tn.arange(3))) == [0, 1, 2]
