"""Loops as C99: every primitive compiles without a warning and gives what the reference gives."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from tenor.compiler.emit import c, reference
from tenor.compiler.whole import whole
from tenor.ir import dtype as dt
from tenor.ir.target import Target
from tests.ops.differential import differing, drawn, graph_of, magnitudes, seed_of
from tests.ops.test_primitives import CASES

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc compiles the files")
SCALAR = Target("x86_64-unknown-none-elf", "", "", 32, 16, has_fma=False)
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O0", "-c", "-fPIC"]
TRIED = (dt.float32, dt.int64, dt.float16, dt.uint8)
"""Dtypes of which a primitive's first two are tried."""
SEVERAL = ("conv", "conv_input", "conv_weight", "matmul", "matmul_int8")
"""Primitives of which the first samples are tried, and not one alone."""
MORE = 2
"""Units in the last place that functions may be further off where nothing is fused."""


def chosen(name):
    """Return the samples of a primitive that are tried, each with its dtype."""
    case = CASES[name]
    for dtype in [d for d in TRIED if d in case.dtypes][:2] or case.dtypes[:1]:
        samples = list(case.samples(dtype))
        many = name in SEVERAL and dtype is not dt.float16
        places = range(6) if many else (min(5, len(samples) - 1),)
        yield from ((dtype, samples[k]) for k in places if k < len(samples))


def signature(symbol):
    return (
        f"int32_t {symbol}(const void *weights, const void *const *inputs, void *const *outputs, "
        "void *workspace)"
    )


def tables(arrays):
    return (ctypes.c_void_p * max(1, len(arrays)))(*[a.ctypes.data for a in arrays])


def slots(sample):
    """Return run-time numbers as a program is given them: 8 bytes each."""
    held = np.zeros(max(1, len(sample.scalars)), np.int64)
    for i, (dtype, value) in enumerate(sample.scalars):
        view = held.view(np.float64) if dtype.kind == "float" else held
        view[i] = value
    return held


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Compile every sample; return the library, and what belongs to each function."""
    folder, made = tmp_path_factory.mktemp("c"), {}
    for name in CASES:
        for dtype, sample in chosen(name):
            graph, leaves = graph_of(sample, "plain")
            done = whole(graph, SCALAR, len(leaves), skip=frozenset({"prepare"}))
            symbol = f"s{len(made)}"
            given = [f"(t_byte *){p}" for p in ("weights", "inputs", "outputs", "workspace")]
            head = f"#include <stdint.h>\n{signature(symbol)};\n"
            text = c.emit(done.function, f"all_{symbol}", signature(symbol), given)
            (folder / f"{symbol}.c").write_text(head + text)
            made[symbol] = (name, dtype, sample, graph, leaves, done.workspace)
    files = [folder / f"{s}.c" for s in made]
    subprocess.run(["gcc", *STRICT, *files], check=True, cwd=folder)
    link = ["gcc", "-shared", "-o", folder / "all.so", *(folder / f"{s}.o" for s in made), "-lm"]
    subprocess.run(link, check=True)
    return ctypes.CDLL(str(folder / "all.so")), made


@pytest.mark.parametrize("name", CASES)
def test_a_primitive_gives_what_the_reference_gives(name, library):
    functions, made = library
    tolerance = CASES[name].tolerance
    for symbol, (owner, dtype, sample, graph, leaves, workspace) in made.items():
        if owner != name:
            continue
        arrays = drawn(leaves, seed_of(name, dtype.name, sample.label))
        numbers = [value for _, value in sample.scalars]
        want = reference.run(graph, arrays, numbers)
        got = [np.zeros(n.shape, n.dtype.numpy) for n in graph.outputs]
        room = np.full(workspace + 64, 255, np.uint8)
        place = ctypes.c_void_p(room.ctypes.data + -room.ctypes.data % 64)
        held = [np.ascontiguousarray(a) for a in arrays]
        status = getattr(functions, symbol)(
            None, tables([*held, slots(sample)]), tables(got), place
        )
        assert status == 0
        ulps = {k: v + MORE for k, v in tolerance.ulps.items()} or {"float32": MORE, "float16": 1}
        scales = magnitudes(graph, arrays, numbers) if tolerance.scaled else [None] * len(got)
        for node, x, y, scale in zip(graph.outputs, got, want, scales, strict=True):
            bad = differing(x, y, node.dtype, tolerance._replace(ulps=ulps), scale)
            assert not np.any(bad), f"{sample.label}: {np.sum(bad)} of {bad.size} differ"
