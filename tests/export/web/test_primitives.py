"""Every primitive in WebAssembly, run by wasmtime, against the reference interpreter."""

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.compiler.whole import whole
from tenor.export.objects import object_of
from tenor.export.web.linker import lacking, link
from tenor.ir import dtype as dt
from tenor.ir.target import Target
from tests.ops.differential import differing, drawn, graph_of, magnitudes, seed_of
from tests.ops.test_primitives import CASES

wasmtime = pytest.importorskip("wasmtime", reason="pip install wasmtime")
SAMPLES = 4
QUICK = (dt.float32, dt.int64)
PAIRS = [
    pytest.param(name, dtype, marks=() if dtype in QUICK else pytest.mark.slow)
    for name, case in CASES.items()
    for dtype in case.dtypes
    if dtype is not dt.float16  # refused: see test_folder.py
]


def run(graph, arrays, scalars, relaxed):
    """Compile a graph, link it, and run it in wasmtime."""
    target = Target.wasm32(relaxed=relaxed)
    made = whole(graph, target, len(arrays), skip=frozenset(("prepare",)))
    data = object_of({"run": made.function}, target, lacks=lacking)
    given = [np.ascontiguousarray(a) for a in arrays]
    if scalars:
        given.append(np.frombuffer(b"".join(scalars), np.uint8))
    outputs = [(node.shape, node.dtype.numpy) for node in graph.outputs]
    sizes = [a.nbytes for a in given]
    sizes += [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in outputs]
    places = np.cumsum([0, *(-(-n // 64) * 64 for n in sizes)])
    tables = int(places[-1])
    work = -(-(tables + 4 * len(sizes)) // 64) * 64
    linked = link(data, work + made.workspace)
    config = wasmtime.Config()
    config.wasm_relaxed_simd = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    exports = wasmtime.Instance(store, wasmtime.Module(engine, linked.module), []).exports(store)
    memory, base = exports["memory"], exports["__heap_base"].value(store)
    memory.write(store, b"\xff" * (work + made.workspace), base)
    for array, at in zip(given, places, strict=False):
        memory.write(store, array.tobytes(), base + int(at))
    table = np.array([base + int(at) for at in places[:-1]], np.uint32)
    memory.write(store, table.tobytes(), base + tables)
    second = base + tables + 4 * len(given)
    assert exports["run"](store, base, base + tables, second, base + work) == 0
    found = []
    for (shape, dtype), at, size in zip(
        outputs, places[len(given) :], sizes[len(given) :], strict=False
    ):
        raw = memory.read(store, base + int(at), base + int(at) + size)
        found.append(np.frombuffer(bytes(raw), dtype).reshape(shape))
    return found


@pytest.mark.parametrize("relaxed", [False, True], ids=["simd", "relaxed"])
@pytest.mark.parametrize(("name", "dtype"), PAIRS, ids=lambda p: getattr(p, "name", p))
def test_a_primitive_gives_what_the_reference_gives(name, dtype, relaxed):
    case = CASES[name]
    for sample in list(case.samples(dtype))[:SAMPLES]:
        seed = seed_of(name, dtype.name, sample.label)
        graph, leaves = graph_of(sample, "plain")
        arrays = drawn(leaves, seed)
        numbers = [value for _, value in sample.scalars]
        want = reference.run(graph, arrays, numbers)
        raw = [
            np.array(value, np.float64 if kind.kind == "float" else np.int64).tobytes()
            for kind, value in sample.scalars
        ]
        got = run(graph, arrays, raw, relaxed)
        for node, x, y, scale in zip(
            graph.outputs, got, want, magnitudes(graph, arrays, numbers), strict=True
        ):
            bad = differing(x, y, node.dtype, case.tolerance, scale)
            assert not np.any(bad), f"{sample.label}: {np.sum(bad)} of {bad.size} differ"
