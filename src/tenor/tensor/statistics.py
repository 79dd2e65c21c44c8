"""Statistics: sums and means that pass over NaN, covariances, distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.engine.trace import record
from tenor.errors import ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor import linear, reduction
from tenor.tensor.dims import Dims, aliased
from tenor.tensor.elementwise import clamp, isnan, sqrt, where
from tenor.tensor.operands import cast, constant, floating
from tenor.tensor.reduction import only_floats, reshaped

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = ["corrcoef", "cov", "dist", "nanmean", "nansum", "renorm"]


@aliased
def nansum(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Return the sum over dims of what is not NaN."""
    if x.element_type.kind == "float":
        x = where(isnan(x), 0.0, x)
    return reduction.sum(x, dim, keepdim, dtype=dtype)


@aliased
def nanmean(
    x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Return the mean over dims of what is not NaN; NaN where nothing is.

    Raises:
        DTypeError: x is not floating.
    """
    if dtype is not None:
        x = cast(x, dt.of(dtype))
    only_floats("nanmean", x)
    wide = reduction.widened(x)
    count = reduction.sum(cast(~isnan(x), wide.element_type), dim, keepdim)
    return cast(nansum(wide, dim, keepdim) / count, x.element_type)


def cov(
    x: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """Return the covariances of variables, one a row, over observations, one a column.

    Args:
        x: Shape [variables, observations], or a vector of observations of one variable.
        correction: Degrees of freedom taken off.
        fweights: How often each observation was made, integer.
        aweights: How much each observation counts, floating.

    Raises:
        ShapeError: x has more than two dims, or weights do not fit the observations.
    """
    if len(x.shape_tuple) > 2:
        raise ShapeError(
            "cov: expects a matrix of variables by observations.",
            came=f"shape {x.shape_tuple}",
            fix="reshape it to two dims",
        )
    rows = reshaped(floating(x), (1, x.numel())) if len(x.shape_tuple) < 2 else floating(x)
    weights = _weights(rows, fweights, aweights)
    if weights is None:
        total: Tensor = constant(rows.shape_tuple[1], rows.element_type)
        free = total - correction
        apart = rows - reduction.mean(rows, 1, True)
        made = linear.matmul(apart, apart.mT)
    else:
        total = reduction.sum(weights)
        apart = rows - reduction.sum(rows * weights, 1, True) / total
        free = total - correction
        if aweights is not None and correction:
            free = (
                total
                - correction * reduction.sum(weights * cast(aweights, weights.element_type)) / total
            )
        made = linear.matmul(apart * weights, apart.mT)
    made = made / clamp(free, min=0.0)
    return reshaped(made, ()) if len(x.shape_tuple) < 2 else made


def _weights(rows: Tensor, fweights: Tensor | None, aweights: Tensor | None) -> Tensor | None:
    """Return the weight of each observation, or None where all count the same."""
    found: Tensor | None = None
    for given in (fweights, aweights):
        if given is None:
            continue
        if given.shape_tuple != rows.shape_tuple[1:]:
            raise ShapeError(
                "cov: there must be one weight for each observation.",
                came=[f"weights {given.shape_tuple}", f"observations {rows.shape_tuple[1:]}"],
                fix="give a vector of weights",
            )
        weight = cast(given, rows.element_type)
        found = weight if found is None else found * weight
    return found


def corrcoef(x: Tensor) -> Tensor:
    """Return the correlations of variables, one a row, over observations, one a column."""
    found = cov(x)
    if not found.shape_tuple:
        return found / found
    spread = sqrt(record(ops.RESHAPE, (found.diagonal(),), (found.shape_tuple[:1],)))
    scaled = found / spread / reshaped(spread, (spread.numel(), 1))
    return clamp(scaled, min=-1.0, max=1.0)


def dist(x: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """Return the p-norm of the difference of two tensors."""
    return reduction.norm(floating(x - other), p)


@aliased
def renorm(x: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Return x with each slice along a dim scaled down to a p-norm of `maxnorm` at most."""
    dim = dim % len(x.shape_tuple)
    rest = [d for d in range(len(x.shape_tuple)) if d != dim]
    length = reduction.norm(x, p, rest, True)
    return x * where(length > maxnorm, maxnorm / (length + 1e-7), 1.0)  # type: ignore[no-any-return]
