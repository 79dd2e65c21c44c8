"""Matrix products, and convolutions as matrix products of what is never laid out.

A kernel is said by three functions: the element of a at (batch, row, k), that of b at (batch, k,
column), and where an element of the result is stored. Two templates go over them: tiles of 4 x 4
in registers, and for large products tiles of 64 x 64 whose operands a workgroup shares. In both
an element's products are added up from the first k to the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.emit.wgsl.body import THREADS, every, grid
from tenor.compiler.emit.wgsl.element import cast, register, rounded, wrapped
from tenor.compiler.emit.wgsl.map import write_tail
from tenor.ir import dtype as dt
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.emit.wgsl.body import Body
    from tenor.ir.dtype import DType

__all__ = ["PRODUCTS", "write_product"]

Groups = tuple[int, tuple[int, int, int]]
ENOUGH: Final = 256
"""Invocations below which a tile is cut smaller, so that there are more of them."""
BLOCK: Final = 64
"""Rows and columns of a workgroup's tile."""
DEPTH: Final = 16
"""How much of k is shared at a time: two times 64 x 16 elements are 8 of 16 KB."""
SIDE: Final = 16
"""Invocations along a side of a workgroup's tile."""
EACH: Final = BLOCK // SIDE
"""Rows, and columns, of which an invocation has the elements."""
PITCH: Final = BLOCK + 1
"""Elements from one k of a to the next: odd, so that neighbours write to different banks."""
LARGE: Final = 1 << 21
"""Multiplications from which on sharing pays."""
MOST: Final = 65535
"""Workgroups along one side of a grid."""


@dataclass(frozen=True)
class Product:
    """What a template has to know.

    Attributes:
        batch, m, n, k: The extents.
        dtype: The dtype things are added up in.
        a, b: Lines and the value, of functions of (z, i, k) and of (z, k, j).
        place: Lines and the place of the result at (z, i, j).
    """

    batch: int
    m: int
    n: int
    k: int
    dtype: DType
    a: tuple[list[str], str]
    b: tuple[list[str], str]
    place: tuple[list[str], str]


def write_product(body: Body) -> Groups:
    """Write a product; return the threads of a workgroup, and how many workgroups."""
    p = PRODUCTS[body.kernel.kind](body)
    kind = register(p.dtype)
    if p.k:
        body.function(f"left(z: i32, i: i32, k: i32) -> {kind}", *p.a)
        body.function(f"right(z: i32, k: i32, j: i32) -> {kind}", *p.b)
    body.function("place(z: i32, i: i32, j: i32) -> i32", *p.place)
    for part in body.kernel.parts:
        write_tail(body, part)
    grid_fits = max(-(-p.m // BLOCK), -(-p.n // BLOCK), p.batch) <= MOST
    large = min(p.m, p.n) >= BLOCK and p.k >= DEPTH and p.batch * p.m * p.n * p.k >= LARGE
    return _in_blocks(body, p) if large and grid_fits else _in_registers(body, p)


def _more(p: Product, total: str, a: str, b: str) -> str:
    """Return a sum with one more product."""
    if p.dtype.kind == "bool":
        return f"{total} | ({a} & {b})"
    return f"fma({a}, {b}, {total})" if p.dtype.kind == "float" else f"{total} + {a} * {b}"


def _result(body: Body, p: Product, total: str) -> str:
    """Return a sum as what is stored."""
    if p.dtype.kind == "float":
        return body.use(rounded(total, p.dtype))
    return total if p.dtype.kind == "bool" else wrapped(total, p.dtype)


# -- tiles in registers ---------------------------------------------------------------------------
def _tile(p: Product) -> tuple[int, int]:
    for rows, columns in ((4, 4), (2, 4), (1, 4)):
        threads = p.batch * -(-p.m // rows) * -(-p.n // columns)
        if p.m >= rows and p.n >= columns and threads >= ENOUGH:
            return rows, columns
    return 1, 1


def _in_registers(body: Body, p: Product) -> Groups:
    """Write tiles of a few elements an invocation; neighbours have neighbouring columns."""
    rows, columns = _tile(p)
    down, across = -(-p.m // rows), -(-p.n // columns)
    count = p.batch * down * across
    i = body.index(count)
    z, rest = body.let(f"{i} / {down * across}"), body.let(f"{i} % {down * across}")
    row, column = body.let(f"{rest} / {across} * {rows}"), body.let(f"{rest} % {across}")
    # Past the end a tile goes over the last row or column again, and stores nothing.
    at_i = [body.let(_bounded(f"{row} + {r}", p.m, rows)) for r in range(rows)]
    at_j = [body.let(_bounded(f"{column} + {c * across}", p.n, columns)) for c in range(columns)]
    start = "false" if p.dtype.kind == "bool" else f"{register(p.dtype)}(0)"
    total = [[body.var(register(p.dtype), start) for _ in at_j] for _ in at_i]
    if p.k:
        with body.block(body.loop("k", p.k)):
            a = [body.let(f"left({z}, {name}, k)") for name in at_i]
            b = [body.let(f"right({z}, k, {name})") for name in at_j]
            for r, left in enumerate(a):
                for c, right in enumerate(b):
                    body.line(f"{total[r][c]} = {_more(p, total[r][c], left, right)};")
    for r in range(rows):
        for c in range(columns):
            test = _inside(f"{row} + {r}", p.m, rows)
            test += _inside(f"{column} + {c * across}", p.n, columns)
            with body.block(f"if ({every(test)})" if test else ""):
                value = _result(body, p, total[r][c])
                _put(body, f"place({z}, {at_i[r]}, {at_j[c]})", value)
    return THREADS, grid(-(-count // THREADS))


def _bounded(text: str, extent: int, tile: int) -> str:
    return text if extent % tile == 0 else f"min({text}, {extent - 1})"


def _inside(text: str, extent: int, tile: int) -> list[str]:
    return [] if extent % tile == 0 else [f"{text} < {extent}"]


def _put(body: Body, at: str, value: str) -> None:
    """Store an element, or hand it to the map that follows."""
    if body.kernel.parts:
        body.line(f"tail({at}, {value});")
        return
    body.store(len(body.kernel.buffers) - 1, at, value)


# -- tiles that a workgroup shares ----------------------------------------------------------------
def _in_blocks(body: Body, p: Product) -> Groups:
    """Write tiles of 64 x 64; an invocation has 4 x 4 elements, 16 apart."""
    kind = register(p.dtype)
    none = "false" if kind == "bool" else f"{kind}(0)"
    shared = body.shared(kind, PITCH * DEPTH), body.shared(kind, BLOCK * DEPTH)
    for name, value in (("z", "group.z"), ("t", "thread")):
        body.line(f"let {name} = i32({value});")
    for name, value in (("top", "group.y"), ("first", "group.x")):
        body.line(f"let {name} = i32({value}) * {BLOCK};")
    rows = [body.let(f"t / {SIDE} + {r * SIDE}") for r in range(EACH)]
    columns = [body.let(f"t % {SIDE} + {c * SIDE}") for c in range(EACH)]
    total = [[body.var(kind, none) for _ in columns] for _ in rows]
    with body.block(body.loop("begin", p.k, "0", str(DEPTH))):
        _share(body, p, shared, none)
        body.line("workgroupBarrier();")
        with body.block(body.loop("k", DEPTH)):
            a = [body.let(f"{shared[0]}[k * {PITCH} + {row}]") for row in rows]
            b = [body.let(f"{shared[1]}[k * {BLOCK} + {column}]") for column in columns]
            for held, left in zip(total, a, strict=True):
                for name, right in zip(held, b, strict=True):
                    body.line(f"{name} = {_more(p, name, left, right)};")
        body.line("workgroupBarrier();")
    for row, held in zip(rows, total, strict=True):
        for column, name in zip(columns, held, strict=True):
            i, j = f"top + {row}", f"first + {column}"
            with body.block(f"if ({every([f'{i} < {p.m}', f'{j} < {p.n}'])})"):
                _put(body, f"place(z, {i}, {j})", _result(body, p, name))
    return SIDE * SIDE, (-(-p.n // BLOCK), -(-p.m // BLOCK), p.batch)


def _share(body: Body, p: Product, shared: tuple[str, str], none: str) -> None:
    """Write how the invocations put 64 rows and 64 columns of 16 k into shared memory."""
    left, right = shared
    with body.block(body.loop("s", BLOCK * DEPTH, "t", str(SIDE * SIDE))):
        # Neighbours read what lies side by side: a row of a along k, a row of b along columns.
        body.line(f"let deep = begin + s % {DEPTH};")
        body.line(f"let across = begin + s / {BLOCK};")
        body.line(f"let i = top + s / {DEPTH};")
        body.line(f"let j = first + s % {BLOCK};")
        body.line(f"var a = {none};")
        body.line(f"var b = {none};")
        body.line(f"if (deep < {p.k} && i < {p.m}) {{ a = left(z, i, deep); }}")
        body.line(f"if (across < {p.k} && j < {p.n}) {{ b = right(z, across, j); }}")
        body.line(f"{left}[s % {DEPTH} * {PITCH} + s / {DEPTH}] = a;")
        body.line(f"{right}[s] = b;")


# -- what is multiplied ---------------------------------------------------------------------------
def _matmul(body: Body) -> Product:
    p = body.kernel.params
    dtype = body.buffer(0).dtype
    offsets, lines, rest = p["offsets"], [], "z"
    starts: list[list[str]] = [[], [], []]
    for at, (extent, *strides) in reversed(list(enumerate(p["batch"]))):
        lines.append(f"let z{at} = {rest} % {extent};")
        lines.append(f"let y{at} = {rest} / {extent};")
        rest = f"y{at}"
        for terms, stride in zip(starts, strides, strict=True):
            terms.append(f"z{at} * {stride}")
    (ai, ak), (bk, bj), (ci, cj) = p["a"], p["b"], p["c"]
    a, b, c = (" + ".join([*terms, str(o)]) for terms, o in zip(starts, offsets, strict=True))
    column = f"j * {bj}"
    if p["panel"]:
        panel = p["panel"]
        column = f"j / {panel} * {panel * p['k']} + j % {panel}"
    return Product(
        size(x[0] for x in p["batch"]), p["m"], p["n"], p["k"], dtype,
        (lines, body.load(0, f"{a} + i * {ai} + k * {ak}")),
        (lines, body.load(1, f"{b} + k * {bk} + {column}")),
        (lines, f"{c} + i * {ci} + j * {cj}"),
    )  # fmt: skip


def _matmul_int8(body: Body) -> Product:
    p = body.kernel.params
    m, n, k = p["m"], p["n"], p["k"]
    left = cast(body.load(0, f"i * {k} + k"), body.buffer(0).dtype, dt.int32)
    return Product(
        1, m, n, k, dt.int32, ([], left), ([], body.load(1, f"j * {k} + k")),
        ([], f"i * {n} + j"),
    )  # fmt: skip


@dataclass(frozen=True)
class Window:
    """The extents of a convolution, and text that goes over them."""

    params: dict[str, Any]

    @property
    def inputs(self) -> int:
        """Input channels of a group."""
        return int(self.params["channels_in"] // self.params["groups"])

    @property
    def outputs(self) -> int:
        """Output channels of a group."""
        return int(self.params["channels_out"] // self.params["groups"])

    def split(self, name: str, extents: tuple[int, ...], index: str) -> list[str]:
        """Return lines that name the places `<name>0`, ... of a row-major index."""
        lines = []
        for d in reversed(range(len(extents))):
            rest = index if d == len(extents) - 1 else f"{name}_{d + 1}"
            lines.append(f"let {name}{d} = {f'{rest} % {extents[d]}' if d else rest};")
            if d:
                lines.append(f"let {name}_{d} = {rest} / {extents[d]};")
        return lines

    def tested(self, values: list[str], extents: tuple[int, ...], more: list[str]) -> str:
        """Return whether places are inside, and what else is asked."""
        tests = [f"u32({v}) < {n}u" for v, n in zip(values, extents, strict=True)]
        return every([*more, *tests])


def _flat(head: str, values: list[str], extents: tuple[int, ...]) -> str:
    """Return the row-major index of places, after that of the dims before them."""
    text = head
    for value, extent in zip(values, extents, strict=True):
        text = f"({text}) * {extent} + {value}"
    return text


def _guarded(
    body: Body, number: int, at: str, test: str, lines: list[str], fill: int = 0
) -> tuple[list[str], str]:
    """Return lines and an element that is `fill` where a test fails."""
    dtype = body.buffer(number).dtype
    none = "false" if dtype.kind == "bool" else f"{register(dtype)}({fill})"
    lines = [*lines, f"let inside = {test};", f"let at = select(0, {at}, inside);"]
    return lines, f"select({none}, {body.load(number, 'at')}, inside)"


def _met(w: Window, places: str, taps: str) -> list[str]:
    """Return lines that name the input places `s0`, ... which taps meet at output places."""
    p = w.params
    return [
        f"let s{d} = {places}{d + 1} * {p['stride'][d]} + {taps}{d + 1} * {p['dilation'][d]}"
        f" - {p['padding'][d][0]};"
        for d in range(len(p["kernel"]))
    ]


def _conv(body: Body) -> Product:
    """Rows are output channels, columns output places of all images, k (channel, tap)."""
    w = Window(body.kernel.params)
    p = w.params
    rank, image, taps = len(p["kernel"]), p["spatial_in"], p["kernel"]
    spots = size(p["spatial_out"])
    weight = f"(z * {w.outputs} + i) * {w.inputs * size(taps)} + k"
    lines = [
        *w.split("k", (w.inputs, *taps), "k"),
        *w.split("o", (p["n"], *p["spatial_out"]), "j"),
    ]
    lines += _met(w, "o", "k")
    places = [f"s{d}" for d in range(rank)]
    at = _flat(f"o0 * {p['channels_in']} + z * {w.inputs} + k0", places, image)
    source = _guarded(body, 0, at, w.tested(places, image, []), lines, p.get("fill", 0))
    made = f"(j / {spots} * {p['channels_out']} + z * {w.outputs} + i) * {spots} + j % {spots}"
    summed = dt.int32 if body.kernel.kind == "conv_int8" else body.buffer(0).dtype
    return Product(
        p["groups"], w.outputs, p["n"] * spots, w.inputs * size(taps), summed,
        ([], body.load(1, weight)), source, ([], made),
    )  # fmt: skip


def _conv_input(body: Body) -> Product:
    """Rows are input channels, columns input places of all images, k (output channel, tap)."""
    w = Window(body.kernel.params)
    p = w.params
    rank, image, taps = len(p["kernel"]), p["spatial_in"], p["kernel"]
    spots = size(image)
    weight = [*w.split("k", (w.outputs, size(taps)), "k")]
    at_weight = f"((z * {w.outputs} + k0) * {w.inputs} + i) * {size(taps)} + k1"
    lines = [*w.split("k", (w.outputs, *taps), "k"), *w.split("o", (p["n"], *image), "j")]
    tests = []
    for d in range(rank):
        lines.append(f"let t{d} = o{d + 1} + {p['padding'][d][0]} - k{d + 1} * {p['dilation'][d]};")
        lines.append(f"let s{d} = t{d} / {p['stride'][d]};")
        tests.append(f"t{d} % {p['stride'][d]} == 0")
    places = [f"s{d}" for d in range(rank)]
    at = _flat(f"o0 * {p['channels_out']} + z * {w.outputs} + k0", places, p["spatial_out"])
    source = _guarded(body, 0, at, w.tested(places, p["spatial_out"], tests), lines)
    made = f"(j / {spots} * {p['channels_in']} + z * {w.inputs} + i) * {spots} + j % {spots}"
    return Product(
        p["groups"], w.inputs, p["n"] * spots, w.outputs * size(taps), body.buffer(0).dtype,
        (weight, body.load(1, at_weight)), source, ([], made),
    )  # fmt: skip


def _conv_weight(body: Body) -> Product:
    """Rows are output channels, columns (input channel, tap), k output places of all images."""
    w = Window(body.kernel.params)
    p = w.params
    rank, image, taps = len(p["kernel"]), p["spatial_in"], p["kernel"]
    spots = size(p["spatial_out"])
    gradient = f"(k / {spots} * {p['channels_out']} + z * {w.outputs} + i) * {spots} + k % {spots}"
    lines = [
        *w.split("o", (p["n"], *p["spatial_out"]), "k"),
        *w.split("c", (w.inputs, *taps), "j"),
    ]
    lines += _met(w, "o", "c")
    places = [f"s{d}" for d in range(rank)]
    at = _flat(f"o0 * {p['channels_in']} + z * {w.inputs} + c0", places, image)
    source = _guarded(body, 0, at, w.tested(places, image, []), lines)
    made = f"(z * {w.outputs} + i) * {w.inputs * size(taps)} + j"
    return Product(
        p["groups"], w.outputs, w.inputs * size(taps), p["n"] * spots, body.buffer(0).dtype,
        ([], body.load(1, gradient)), source, ([], made),
    )  # fmt: skip


PRODUCTS: Final[dict[str, Callable[[Body], Product]]] = {
    "matmul": _matmul,
    "matmul_int8": _matmul_int8,
    "conv": _conv,
    "conv_int8": _conv,
    "conv_input": _conv_input,
    "conv_weight": _conv_weight,
}
"""By kind of kernel. A convolution's batch is its groups."""
