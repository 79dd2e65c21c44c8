"""Linear algebra: products of vectors, matrices and batches of them, and einsum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.macro import PLAIN, macro
from tenor.engine.trace import record
from tenor.errors import DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.tensor import diagonals, joining, reduction
from tenor.tensor.conversion import from_array
from tenor.tensor.dims import aliased, axis
from tenor.tensor.operands import Number, broadcast_shapes, cast, expand, lowered
from tenor.tensor.reduction import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.tensor.tensor import Tensor

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "cdist", "chain_matmul", "cross", "dot",
    "inner", "kron", "matmul", "mm", "mv", "outer", "tensordot", "trace", "vdot",
]  # fmt: skip


def one_dtype(name: str, *tensors: Tensor) -> None:
    """Refuse operands of several dtypes, and bools, which have no products to add up.

    Raises:
        DTypeError: the dtypes differ, or are bool.
    """
    kinds = {x.element_type for x in tensors}
    if len(kinds) > 1:
        raise DTypeError(
            f"{name}: operands must have one dtype.",
            came=[x.element_type.name for x in tensors],
            fix="convert one of them with .to()",
            operands=tensors,
        )
    if dt.bool_ in kinds:
        raise DTypeError(
            f"{name}: is not defined for bool.", came="bool", fix="convert with .float() or .long()"
        )


def _ranks(name: str, wanted: Sequence[int], *tensors: Tensor) -> None:
    """Refuse operands with other numbers of dims than wanted."""
    if any(len(x.shape_tuple) != n for x, n in zip(tensors, wanted, strict=True)):
        raise ShapeError(
            f"{name}: operands must have {' and '.join(str(n) for n in wanted)} dims.",
            came=[f"shape {x.shape_tuple}" for x in tensors],
            fix="use matmul(), which takes vectors, matrices and batches of them",
            operands=tensors,
        )


def _inner(name: str, a: Tensor, b: Tensor, m: int, n: int) -> None:
    """Refuse operands whose contracted extents differ."""
    if m != n:
        raise ShapeError(
            f"{name}: the last dim of a must equal the second-last dim of b.",
            came=[f"a: {a.shape_tuple}", f"b: {b.shape_tuple}"],
            fix="transpose one of them, e.g. with .mT",
            operands=(a, b),
        )


def _product(a: Tensor, b: Tensor) -> Tensor:
    made: Tensor = record(ops.MATMUL, (a, b))
    return made


# -- the general product ------------------------------------------------------------------------
@macro
def matmul(x: Tensor, other: Tensor) -> Tensor:
    """Return the product of vectors, matrices or batches of matrices.

    Two vectors give their dot product; a vector and a matrix, or a matrix and a vector, a vector.
    With more dims the last two are matrices and the others are broadcast.

    Args:
        x: Shape [K], or [..., M, K].
        other: Shape [K], or [..., K, N].

    Raises:
        ShapeError: the contracted extents differ, a batch does not broadcast, or an operand has no
            dims.
        DTypeError: the dtypes differ.

    Example:
        >>> import tenor as tn
        >>> tn.matmul(tn.tensor([[1.0, 2.0], [3.0, 4.0]]), tn.tensor([1.0, 1.0]))
        tensor([3., 7.])
    """
    x, other = lowered(x, other)
    one_dtype("matmul", x, other)
    a, b = x.shape_tuple, other.shape_tuple
    if not a or not b:
        raise ShapeError(
            "matmul: both operands must have one dim at least.",
            came=[f"shape {a}", f"shape {b}"],
            fix="use * for a product with a number",
            operands=(x, other),
        )
    _inner("matmul", x, other, a[-1], b[-2] if len(b) > 1 else b[0])
    left = x if len(a) > 1 else reshaped(x, (1, *a))
    right = other if len(b) > 1 else reshaped(other, (*b, 1))
    made = _batched(left, right)
    batch = made.shape_tuple[:-2]
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    return reshaped(made, (*batch, *rows, *columns))


def product(x: Tensor, other: Any) -> Tensor:
    """Answer `x @ other`, of two tensors or with an array."""
    if isinstance(other, np.ndarray):
        other = from_array(other)
    return matmul(x, other) if isinstance(other, Handle) else NotImplemented  # type: ignore[arg-type]


PLAIN[product] = PLAIN[matmul]


def reverse_product(x: Tensor, other: Any) -> Tensor:
    """Answer `other @ x`, of an array and a tensor."""
    return matmul(from_array(other), x) if isinstance(other, np.ndarray) else NotImplemented


def _batched(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of matrices, their leading dims broadcast."""
    left, right = a.shape_tuple, b.shape_tuple
    if left[:-2] == right[:-2]:
        return _product(a, b)
    if len(right) == 2:
        # One matrix for the whole batch: a single product of many rows.
        rows = reshaped(a, (size(left[:-1]), left[-1]))
        return reshaped(_product(rows, b), (*left[:-1], right[-1]))
    batch = broadcast_shapes("matmul", left[:-2], right[:-2])
    return _product(expand(a, (*batch, *left[-2:])), expand(b, (*batch, *right[-2:])))


# -- products of stated shapes ------------------------------------------------------------------
def mm(x: Tensor, mat2: Tensor) -> Tensor:
    """Return the product of two matrices, [M, K] and [K, N].

    Raises:
        ShapeError: they are not matrices, or do not fit.
    """
    _ranks("mm", (2, 2), x, mat2)
    return matmul(x, mat2)


def bmm(x: Tensor, mat2: Tensor) -> Tensor:
    """Return the products of two batches of matrices, [B, M, K] and [B, K, N].

    Raises:
        ShapeError: they are not batches of one size, or do not fit.
    """
    _ranks("bmm", (3, 3), x, mat2)
    if x.shape_tuple[0] != mat2.shape_tuple[0]:
        raise ShapeError(
            "bmm: both batches must have one size.",
            came=[f"shape {x.shape_tuple}", f"shape {mat2.shape_tuple}"],
            fix="use matmul(), which broadcasts batches",
            operands=(x, mat2),
        )
    return matmul(x, mat2)


def mv(x: Tensor, vec: Tensor) -> Tensor:
    """Return the product of a matrix [M, K] and a vector [K].

    Raises:
        ShapeError: they are not a matrix and a vector, or do not fit.
    """
    _ranks("mv", (2, 1), x, vec)
    return matmul(x, vec)


def dot(x: Tensor, tensor: Tensor) -> Tensor:
    """Return the dot product of two vectors.

    Raises:
        ShapeError: they are not vectors of one length.
    """
    _ranks("dot", (1, 1), x, tensor)
    return matmul(x, tensor)


def vdot(x: Tensor, other: Tensor) -> Tensor:
    """Return the dot product of two vectors; real numbers are their own conjugates."""
    return dot(x, other)


def inner(x: Tensor, other: Tensor) -> Tensor:
    """Return the sums of products over the last dim of both; a number scales.

    Raises:
        ShapeError: the last extents differ.
    """
    if not x.shape_tuple or not other.shape_tuple:
        return x * other
    return tensordot(x, other, ([-1], [-1]))


def outer(x: Tensor, vec2: Tensor) -> Tensor:
    """Return the products of every element of one vector with every one of another, [M, N].

    Raises:
        ShapeError: they are not vectors.
    """
    _ranks("outer", (1, 1), x, vec2)
    return reshaped(x, (x.shape_tuple[0], 1)) * vec2


def trace(x: Tensor) -> Tensor:
    """Return the sum of a matrix's diagonal.

    Raises:
        ShapeError: x is no matrix.
    """
    _ranks("trace", (2,), x)
    return reduction.sum(diagonals.diagonal(x))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """Return the product of several matrices, multiplied in the order that needs the fewest steps.

    Raises:
        ShapeError: they are not matrices that fit.
    """
    _ranks("chain_matmul", (2,) * len(matrices), *matrices)
    return _chained(list(matrices))


def _chained(matrices: list[Tensor]) -> Tensor:
    """Multiply the cheapest neighbours until one matrix is left (dynamic programming)."""
    edges = [matrices[0].shape_tuple[0], *[m.shape_tuple[1] for m in matrices]]
    count = len(matrices)
    cost = {(i, i): (0, i) for i in range(count)}
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            cost[i, j] = min(
                (cost[i, k][0] + cost[k + 1, j][0] + edges[i] * edges[k + 1] * edges[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return matrices[i]
        cut = cost[i, j][1]
        return matmul(product(i, cut), product(cut + 1, j))

    return product(0, count - 1)


# -- products added to something ----------------------------------------------------------------
def _blend(x: Tensor, product: Tensor, beta: Number, alpha: Number, name: str) -> Tensor:
    """Return beta * x + alpha * product; x is not looked at where beta is 0."""
    if broadcast_shapes(name, x.shape_tuple, product.shape_tuple) != product.shape_tuple:
        raise ShapeError(
            f"{name}: the input must broadcast to the product's shape.",
            came=[f"input {x.shape_tuple}", f"product {product.shape_tuple}"],
            fix="reshape the input",
            operands=(x, product),
        )
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return scaled
    return (x if beta == 1 else x * beta) + scaled


@macro
def addmm(x: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta * x + alpha * (mat1 @ mat2); x is ignored where beta is 0.

    Raises:
        ShapeError: the matrices do not fit, or x does not broadcast to their product.
    """
    x, mat1, mat2 = lowered(x, mat1, mat2)
    one_dtype("addmm", x, mat1, mat2)
    return _blend(x, mm(mat1, mat2), beta, alpha, "addmm")


def addmv(x: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta * x + alpha * (mat @ vec); x is ignored where beta is 0."""
    x, mat, vec = lowered(x, mat, vec)
    one_dtype("addmv", x, mat, vec)
    return _blend(x, mv(mat, vec), beta, alpha, "addmv")


def addr(x: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta * x + alpha * outer(vec1, vec2); x is ignored where beta is 0."""
    return _blend(x, outer(vec1, vec2), beta, alpha, "addr")


def baddbmm(
    x: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Return beta * x + alpha * bmm(batch1, batch2); x is ignored where beta is 0."""
    x, batch1, batch2 = lowered(x, batch1, batch2)
    one_dtype("baddbmm", x, batch1, batch2)
    return _blend(x, bmm(batch1, batch2), beta, alpha, "baddbmm")


def addbmm(
    x: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Return beta * x + alpha * the sum of bmm(batch1, batch2) over the batch."""
    x, batch1, batch2 = lowered(x, batch1, batch2)
    one_dtype("addbmm", x, batch1, batch2)
    product = bmm(batch1, batch2)
    total = cast(reduction.sum(product, 0), product.element_type)  # autocast adds up in float32
    return _blend(x, total, beta, alpha, "addbmm")


# -- products over chosen dims --------------------------------------------------------------------
def tensordot(x: Tensor, other: Tensor, dims: Any = 2) -> Tensor:
    """Return the sums of products over dims of x and as many of another tensor.

    Args:
        x: Any tensor.
        other: A tensor of x's dtype.
        dims: How many last dims of x meet the first of other, or two lists of dims that meet.

    Raises:
        ShapeError: extents that meet differ.
    """
    a, b = x.shape_tuple, other.shape_tuple
    if isinstance(dims, int):
        if dims < 0 or dims > min(len(a), len(b)):
            raise ShapeError(
                "tensordot: each operand must have as many dims as are summed over.",
                came=[f"dims={dims}", f"shapes {a} and {b}"],
                fix="use fewer dims",
            )
        first, second = list(range(len(a) - dims, len(a))), list(range(dims))
    else:
        first, second = (
            [axis("tensordot", d, x.ndim) for d in _listed(dims[0])],
            [axis("tensordot", d, other.ndim) for d in _listed(dims[1])],
        )
    if [a[d] for d in first] != [b[d] for d in second]:
        raise ShapeError(
            "tensordot: dims that meet must have one extent.",
            came=[f"dims {first} of {a}", f"dims {second} of {b}"],
            fix="name the dims that belong together in the same place of both lists",
            operands=(x, other),
        )
    rows = [d for d in range(len(a)) if d not in first]
    columns = [d for d in range(len(b)) if d not in second]
    count = size(a[d] for d in first)
    left = reshaped(x.permute(*rows, *first), (size(a[d] for d in rows), count))
    right = reshaped(other.permute(*second, *columns), (count, size(b[d] for d in columns)))
    made = matmul(left, right)
    return reshaped(made, (*[a[d] for d in rows], *[b[d] for d in columns]))


def _listed(dims: Any) -> list[int]:
    return [dims] if isinstance(dims, int) else list(dims)


def kron(x: Tensor, other: Tensor) -> Tensor:
    """Return the Kronecker product: every element of x times all of another tensor, as blocks."""
    count = max(len(x.shape_tuple), len(other.shape_tuple))
    a = (1,) * (count - len(x.shape_tuple)) + x.shape_tuple
    b = (1,) * (count - len(other.shape_tuple)) + other.shape_tuple
    coarse = reshaped(x, tuple(n for extent in a for n in (extent, 1)))
    fine = reshaped(other, tuple(n for extent in b for n in (1, extent)))
    return reshaped(coarse * fine, tuple(m * n for m, n in zip(a, b, strict=True)))


@aliased
def cross(x: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Return the cross products of vectors of three elements along a dim.

    Args:
        x: Any tensor with an extent of 3.
        other: A tensor that broadcasts with x.
        dim: The dim of the vectors; the first of extent 3 by default.

    Raises:
        ShapeError: no dim has extent 3.
    """
    shape = broadcast_shapes("cross", x.shape_tuple, other.shape_tuple)
    if dim is None:
        dim = shape.index(3) if 3 in shape else 0
    dim = axis("cross", dim, len(shape))
    if not shape or shape[dim] != 3:
        raise ShapeError(
            "cross: vectors must have three elements.",
            came=f"shape {shape}, dim {dim}",
            fix="name the dim of extent 3",
        )
    a, b = expand(x, shape), expand(other, shape)
    turned = a * joining.roll(b, -1, dim) - joining.roll(a, -1, dim) * b
    return joining.roll(turned, -1, dim)


def cdist(x: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """Return the p-norm distances between the rows of two batches, [..., P, M], [..., R, M].

    Returns:
        Shape [..., P, R].

    Raises:
        ShapeError: the rows differ in length.
    """
    a, b = x.shape_tuple, other.shape_tuple
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-1]:
        raise ShapeError(
            "cdist: both operands must be batches of rows of one length.",
            came=[f"shape {a}", f"shape {b}"],
            fix="reshape to [..., rows, length]",
            operands=(x, other),
        )
    apart = reshaped(x, (*a[:-1], 1, a[-1])) - reshaped(other, (*b[:-2], 1, *b[-2:]))
    return reduction.norm(apart, p, -1)
