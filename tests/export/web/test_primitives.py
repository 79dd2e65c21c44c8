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


class Laid:
    """Where a graph's operands, results and their tables lie in memory, and what is there."""

    def __init__(self, graph, arrays, scalars):
        self.count = len(arrays)
        self.given = [np.ascontiguousarray(a) for a in arrays]
        if scalars:
            self.given.append(np.frombuffer(b"".join(scalars), np.uint8))
        self.outputs = [(node.shape, node.dtype.numpy) for node in graph.outputs]
        sizes = [a.nbytes for a in self.given]
        sizes += [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in self.outputs]
        self.sizes = sizes
        self.places = np.cumsum([0, *(-(-n // 64) * 64 for n in sizes)])
        self.tables = int(self.places[-1])
        self.work = -(-(self.tables + 4 * len(sizes)) // 64) * 64

    def put(self, memory, store, base, workspace):
        """Write the operands and the tables; everything else is ones."""
        memory.write(store, b"\xff" * (self.work + workspace), base)
        for array, at in zip(self.given, self.places, strict=False):
            memory.write(store, array.tobytes(), base + int(at))
        table = np.array([base + int(at) for at in self.places[:-1]], np.uint32)
        memory.write(store, table.tobytes(), base + self.tables)

    def results(self, memory, store, base):
        """Return the results."""
        found, first = [], len(self.given)
        for (shape, dtype), at, size in zip(
            self.outputs, self.places[first:], self.sizes[first:], strict=False
        ):
            raw = memory.read(store, base + int(at), base + int(at) + size)
            found.append(np.frombuffer(bytes(raw), dtype).reshape(shape))
        return found


def run(graphs, laid, relaxed):
    """Compile graphs, link them as one module, and run each in wasmtime."""
    target = Target.wasm32(relaxed=relaxed)
    made = [
        whole(g, target, x.count, skip=frozenset(("prepare",)))
        for g, x in zip(graphs, laid, strict=True)
    ]
    names = [f"run{i}" for i in range(len(made))]
    functions = dict(zip(names, [m.function for m in made], strict=True))
    data = object_of(functions, target, lacks=lacking)
    heap = max(x.work + m.workspace for x, m in zip(laid, made, strict=True))
    config = wasmtime.Config()
    config.wasm_relaxed_simd = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    module = wasmtime.Module(engine, link(data, heap, exports=names).module)
    exports = wasmtime.Instance(store, module, []).exports(store)
    memory, base = exports["memory"], exports["__heap_base"].value(store)
    for name, x, m in zip(names, laid, made, strict=True):
        x.put(memory, store, base, m.workspace)
        first = base + x.tables
        second = first + 4 * len(x.given)
        assert exports[name](store, base, first, second, base + x.work) == 0
        yield x.results(memory, store, base)


@pytest.mark.parametrize("relaxed", [False, True], ids=["simd", "relaxed"])
@pytest.mark.parametrize(("name", "dtype"), PAIRS, ids=lambda p: getattr(p, "name", p))
def test_a_primitive_gives_what_the_reference_gives(name, dtype, relaxed):
    case = CASES[name]
    samples = list(case.samples(dtype))[:SAMPLES]
    graphs, laid, wants, scales = [], [], [], []
    for sample in samples:
        seed = seed_of(name, dtype.name, sample.label)
        graph, leaves = graph_of(sample, "plain")
        arrays = drawn(leaves, seed)
        numbers = [value for _, value in sample.scalars]
        raw = [
            np.array(value, np.float64 if kind.kind == "float" else np.int64).tobytes()
            for kind, value in sample.scalars
        ]
        graphs.append(graph)
        laid.append(Laid(graph, arrays, raw))
        wants.append(reference.run(graph, arrays, numbers))
        scales.append(magnitudes(graph, arrays, numbers))
    gots = run(graphs, laid, relaxed)
    for sample, graph, got, want, scale in zip(samples, graphs, gots, wants, scales, strict=True):
        for node, x, y, near in zip(graph.outputs, got, want, scale, strict=True):
            bad = differing(x, y, node.dtype, case.tolerance, near)
            assert not np.any(bad), f"{sample.label}: {np.sum(bad)} of {bad.size} differ"
