"""Images read between their pixels: resizing, and sampling at given places."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError, ShapeError
from tenor.nn.functional_space import adaptive_avg_pool1d, adaptive_avg_pool2d
from tenor.tensor import float64, index_select, tensor, where
from tenor.tensor.operands import raised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tenor.tensor import Tensor

    Taps = tuple[NDArray[np.int64], NDArray[Any]]

__all__ = ["grid_sample", "interpolate"]

RANK: Final = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
"""How many spatial dims the modes that name a number are for."""
SHARPNESS: Final = -0.75
"""The free number of Keys' cubic convolution, as in PyTorch and OpenCV."""


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """Return x (N, C, *S) resized to other extents of its spatial dims.

    Args:
        input: One to three spatial dims.
        size: The new extents.
        scale_factor: Or what to multiply the extents by.
        mode: "nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" or "area".
        align_corners: Whether the corners' centres stay where they are, not the corners.
        recompute_scale_factor: Work the factor out again from the rounded extents.

    Raises:
        ArgumentError: both or neither of size and scale_factor are given, or the mode does not fit.
        ShapeError: the input has no batch, channel and one to three spatial dims.
    """
    extents = tuple(input.shape)[2:]
    if not 1 <= len(extents) <= 3:
        raise ShapeError(
            "interpolate: expects (N, C, L), (N, C, H, W) or (N, C, D, H, W).",
            came=f"input: {tuple(input.shape)}",
            fix="add the batch or channel dim with unsqueeze()",
            operands=(input,),
        )
    wanted, factors = _sizes(extents, size, scale_factor)
    if min(wanted) < 1:
        raise ArgumentError(
            "interpolate: the new extents must be positive.",
            came=f"{wanted} of {extents}",
            fix="choose a larger size or scale_factor",
        )
    if recompute_scale_factor:
        factors = (None,) * len(extents)
    _check_mode(mode, len(extents), align_corners)
    if mode == "area":
        return _area(input, wanted)
    out = input
    kind = np.dtype(np.float64 if input.dtype is float64 else np.float32)
    for k, (n, m, factor) in enumerate(zip(extents, wanted, factors, strict=True)):
        out = _weighed(out, k + 2, _taps(mode, n, m, factor, bool(align_corners), kind))
    return out


def _sizes(
    extents: tuple[int, ...], size: Any, scale_factor: Any
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Return the new extents, and the factors asked for."""
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            "interpolate: needs either size or scale_factor.",
            came=f"size={size}, scale_factor={scale_factor}",
            fix="give one of them",
        )
    given = scale_factor if size is None else size
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(extents)
    if len(values) != len(extents):
        raise ArgumentError(
            f"interpolate: takes one number, or one for each of the {len(extents)} spatial dims.",
            came=repr(given),
            fix="drop or add a number",
        )
    if size is not None:
        return tuple(map(int, values)), (None,) * len(values)
    return tuple(int(n * f) for n, f in zip(extents, values, strict=True)), tuple(values)


def _check_mode(mode: str, rank: int, align_corners: bool | None) -> None:
    known = ("nearest", "nearest-exact", "area", *RANK)
    if mode not in known or RANK.get(mode, rank) != rank or (mode == "area" and rank == 3):
        fitting = [m for m in known if RANK.get(m, rank) == rank and (m != "area" or rank < 3)]
        raise ArgumentError(
            f"interpolate: the mode must fit {rank} spatial dims.",
            came=repr(mode),
            fix=f"choose one of {', '.join(fitting)}",
        )
    if align_corners is not None and mode not in RANK:
        raise ArgumentError(
            "interpolate: align_corners is for the linear and cubic modes.",
            came=f"mode {mode!r}",
            fix="leave it out",
        )


def _area(x: Tensor, wanted: tuple[int, ...]) -> Tensor:
    return adaptive_avg_pool1d(x, wanted[0]) if len(wanted) == 1 else adaptive_avg_pool2d(x, wanted)


def _taps(
    mode: str, n: int, m: int, factor: float | None, aligned: bool, kind: np.dtype[Any]
) -> Taps:
    """Return, for each of m new places, which of the n old ones it reads, and their weights."""
    number: Any = kind.type
    if mode.startswith("nearest"):
        number = np.float32  # PyTorch picks pixels in single precision whatever the image's
    step = number(1 / factor if factor else n / m)
    at = np.arange(m, dtype=number)
    if mode.startswith("nearest"):
        places = (at + number(0.5)) * step if mode == "nearest-exact" else at * step
        index = np.minimum(np.floor(places).astype(np.int64), n - 1)
        return index[:, None], np.ones((m, 1), np.float32)
    if aligned:
        places = at * number((n - 1) / (m - 1) if m > 1 else 0)
    else:
        places = (at + number(0.5)) * step - number(0.5)
        if mode != "bicubic":
            places = np.maximum(places, 0)
    low = np.floor(places)
    t = (places - low).astype(number)
    first = low.astype(np.int64)
    if mode != "bicubic":
        index = np.stack([first, first + 1], 1)
        return np.clip(index, 0, n - 1), np.stack([1 - t, t], 1)
    index = first[:, None] + np.arange(-1, 3)
    return np.clip(index, 0, n - 1), _cubic(np.stack([t + 1, t, 1 - t, 2 - t], 1))


def _cubic(distance: NDArray[Any]) -> NDArray[Any]:
    """Return Keys' weights of pixels at distances below 2 (1981)."""
    d, a = distance.astype(np.float64), SHARPNESS
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, far).astype(distance.dtype)


def _weighed(x: Tensor, dim: int, taps: Taps) -> Tensor:
    """Return weighted sums of slices along a dim."""
    index, weights = taps
    if index.shape[1] == 1:
        return index_select(x, dim, tensor(index[:, 0]))
    shape = (-1,) + (1,) * (x.ndim - 1 - dim)
    parts = [
        index_select(x, dim, tensor(i)) * tensor(w).to(x.dtype).reshape(shape)
        for i, w in zip(index.T.copy(), weights.T.copy(), strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


# -- sampling at given places ---------------------------------------------------------------------
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Return x (N, C, H, W) read at the places of a grid (N, H', W', 2).

    Args:
        input: The images.
        grid: Pairs (column, row), from -1 at one border to 1 at the other.
        mode: "bilinear" or "nearest".
        padding_mode: What lies outside: "zeros", "border" or "reflection".
        align_corners: Whether -1 and 1 are the outer pixels' centres, not their edges.

    Raises:
        ArgumentError: a mode is unknown.
        ShapeError: the shapes are not as above.
    """
    if mode not in ("bilinear", "nearest") or padding_mode not in FOLDS:
        raise ArgumentError(
            "grid_sample: mode is 'bilinear' or 'nearest'; padding_mode 'zeros', 'border' or "
            "'reflection'.",
            came=f"{mode!r} and {padding_mode!r}",
            fix="choose one of each",
        )
    if input.ndim != 4 or grid.ndim != 4 or grid.shape[-1] != 2 or input.shape[0] != grid.shape[0]:
        raise ShapeError(
            "grid_sample: expects images (N, C, H, W) and a grid (N, H', W', 2).",
            came=[f"input: {tuple(input.shape)}", f"grid: {tuple(grid.shape)}"],
            fix="give one grid for each image, column before row",
            operands=(input, grid),
        )
    input, grid = raised(input), raised(grid)
    extents = (input.shape[3], input.shape[2])
    x, y = (
        FOLDS[padding_mode](_pixels(grid[..., k], n, bool(align_corners)), n, bool(align_corners))
        for k, n in enumerate(extents)
    )
    if mode == "nearest":
        return _read(input, x.round(), y.round())
    left, top = x.floor().detach(), y.floor().detach()
    right, down = (x - left).unsqueeze(1), (y - top).unsqueeze(1)
    return (
        _read(input, left, top) * ((1 - right) * (1 - down))
        + _read(input, left + 1, top) * (right * (1 - down))
        + _read(input, left, top + 1) * ((1 - right) * down)
        + _read(input, left + 1, top + 1) * (right * down)
    )


def _pixels(place: Tensor, n: int, aligned: bool) -> Tensor:
    return (place + 1) * ((n - 1) / 2) if aligned else ((place + 1) * n - 1) / 2


def _border(place: Tensor, n: int, _aligned: bool) -> Tensor:
    kept: Tensor = place.clamp(0, n - 1)
    return kept


def _reflected(place: Tensor, n: int, aligned: bool) -> Tensor:
    low, span = (0.0, n - 1.0) if aligned else (-0.5, float(n))
    if span == 0:
        return place * 0
    away = (place - low).abs()
    rounds = (away / span).floor().detach()
    rest = away - rounds * span
    there = where(rounds % 2 == 0, rest, span - rest) + low
    return _border(there, n, aligned)


FOLDS: Final[dict[str, Callable[[Tensor, int, bool], Tensor]]] = {
    "zeros": lambda place, _n, _aligned: place,
    "border": _border,
    "reflection": _reflected,
}


def _read(x: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Return pixels (N, C, H', W') at whole places; zeros outside."""
    n, channels, height, width = x.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    zero = column.detach() * 0
    at = where(inside, row, zero).long() * width + where(inside, column, zero).long()
    flat = at.reshape(n, 1, -1).expand(n, channels, math.prod(at.shape[1:]))
    found = x.reshape(n, channels, height * width).gather(2, flat)
    pixels: Tensor = found.reshape(n, channels, *at.shape[1:])
    visible: Tensor = where(inside.unsqueeze(1), pixels, pixels.detach() * 0)
    return visible
