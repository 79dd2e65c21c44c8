"""Shaders give what the reference interpreter gives: natively, and in a browser's page."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.compiler.emit import reference
from tenor.compiler.emit.wgsl import CARRIED, KINDS, MISSING
from tenor.compiler.schedule.contract import TEMPLATES
from tenor.compiler.shaders import shaders
from tenor.errors import ArgumentError, DTypeError, IndexRangeError
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tenor.export.web.gpu import PagePart, part_of
from tenor.ir import dtype as dt
from tenor.ir.build import GraphBuilder
from tenor.ir.op import OPS
from tenor.ir.shader import BINDINGS
from tests.export import zoo
from tests.export.web.chromium import WEBGPU, in_chromium
from tests.ops.differential import drawn, graph_of, seed_of, wide
from tests.ops.test_primitives import CASES

TRIED = (dt.float32, dt.float16, dt.bfloat16, dt.int64, dt.uint8, dt.bool_)
HALVES = {dt.float16: 2.0**-10, dt.bfloat16: 2.0**-7}
MODELS = ("digits", "mlp", "residual", "unet", "transformer", "tabular", "keywords")


@pytest.fixture(scope="module")
def device():
    pytest.importorskip("wgpu", reason="the package wgpu runs shaders")
    from tenor.runtime import webgpu

    try:
        return webgpu.device()
    except ArgumentError as error:
        pytest.skip(str(error))


def run(graph, arrays, weights=0):
    from tenor.runtime.webgpu import Executable

    made = Executable(shaders(graph, weights))
    given = len(arrays) - weights
    made.keep(arrays[given:])
    return made.run(arrays[:given])


def check(graph, arrays, message="", rtol=1e-5, scaled=1e-6):
    """Compare with the reference; a sum is as exact as its largest parts."""
    got, code, _ = run(graph, arrays)
    assert code == 0
    wanted = zip(graph.outputs, got, reference.run(graph, arrays, []), strict=True)
    for node, made, want in wanted:
        assert made.dtype == want.dtype
        assert made.shape == want.shape
        if node.dtype in HALVES:  # rounded alike, but for what the oracle adds in float64
            made, want = wide(made, node.dtype), wide(want, node.dtype)
            made, want = made.astype(np.float32), want.astype(np.float32)
            rtol = HALVES[node.dtype]
        if want.dtype == np.int64:  # of which a device has the lower half
            made, want = made.astype(np.int32), want.astype(np.int32)
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(made, want, err_msg=message)
            continue
        finite = np.abs(want[np.isfinite(want)])
        room = 1e-37 + scaled * (finite.max() if finite.size else 0)
        np.testing.assert_allclose(made, want, rtol=rtol, atol=room, err_msg=message)


# -- text, which needs no device ------------------------------------------------------------------
def first_graph(name):
    """Return a small graph of a primitive."""
    case = CASES[name]
    dtype = next(d for d in case.dtypes if d in CARRIED)
    samples = (s for s in case.samples(dtype) if all(math.prod(x.shape) for x in s.leaves))
    graphs = (graph_of(sample, "plain")[0] for sample in samples)
    return next(g for g in graphs if all(n.dtype in CARRIED for n in g.nodes))


@pytest.mark.parametrize("name", OPS)
def test_a_primitive_has_shaders_or_is_named_missing(name):
    graph = first_graph(name)
    if name in MISSING:
        with pytest.raises(ArgumentError, match="no shader computes") as raised:
            shaders(graph)
        assert name in str(raised.value) or name == "random_bits"  # which is given scalars
    else:
        assert shaders(graph).outputs


def test_every_kind_of_kernel_has_a_row():
    opened_up = {"attention", "attention_gradient"}
    assert set(KINDS) == {"map", "reduce", *TEMPLATES} - opened_up
    assert set(MISSING) <= set(OPS)


PLUS_ONE = """\
@group(0) @binding(0) var<storage, read> b0: array<f32>;
@group(0) @binding(1) var<storage, read_write> b1: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, \
@builtin(local_invocation_index) thread: u32, \
@builtin(workgroup_id) group: vec3<u32>) {
  let i = i32(id.x) + i32(id.y) * 2097152;
  if (i >= 35) { return; }
  let v1 = b0[i];
  let v2 = v1 + 1.0f;
  b1[i] = v2;
}
"""


def test_text_of_a_map():
    b = GraphBuilder()
    x = b.leaf((5, 7), dt.float32)
    program = shaders(b.graph(b.add(x, b.full((5, 7), 1.0, dt.float32))))
    assert [s.text for s in program.shaders] == [PLUS_ONE]


def source(name, path, batch=2):
    path, _ = zoo.bundle(name, path / "m.tnr")
    return folded(source_of(opened(path), batch=batch))


@pytest.mark.parametrize("name", ["keywords", "transformer"])
def test_programs_keep_to_what_every_device_allows(name, tmp_path):
    model = source(name, tmp_path)
    program, again = (shaders(model.graph, len(model.weights)) for _ in range(2))
    assert program == again
    assert len(program.shaders) < len(program.dispatches)  # layers of one shape share their code
    for shader in program.shaders:
        assert len(shader.access) <= BINDINGS
        shared = re.findall(r"var<workgroup> \w+: array<\w+, (\d+)>", shader.text)
        assert 4 * sum(map(int, shared)) <= 16 << 10
        assert int(re.search(r"@workgroup_size\((\d+)\)", shader.text)[1]) <= 256
    for dispatch in program.dispatches:
        assert max(dispatch.groups) <= 65535
        assert all(r.offset % 256 == 0 for r in dispatch.ranges)
        access = program.shaders[dispatch.shader].access
        written = {r.buffer for r, a in zip(dispatch.ranges, access, strict=True) if a == "write"}
        spans = sorted((r.buffer, r.offset, r.offset + r.bytes) for r in dispatch.ranges)
        for (name_a, _, end), (name_b, begin, _) in pairwise(spans):
            assert name_a != name_b or name_a not in written or end <= begin


def test_what_shaders_cannot_hold_is_named():
    b = GraphBuilder()
    with pytest.raises(DTypeError, match="'cast' must have a dtype"):
        shaders(b.graph(b.exp(b.cast(b.leaf((3,), dt.float32), dt.float64))))
    b = GraphBuilder()
    with pytest.raises(DTypeError, match="32 bits"):
        shaders(b.graph(b.add(b.leaf((3,), dt.int64), b.full((3,), 1 << 40, dt.int64))))
    b = GraphBuilder()
    with pytest.raises(ArgumentError, match="134,217,728 bytes"):
        shaders(b.graph(b.neg(b.leaf((1 << 26,), dt.float32))))


# -- natively -------------------------------------------------------------------------------------
def few(name):
    """Yield graphs of a primitive over dtypes and ways to read operands."""
    case = CASES[name]
    for dtype in [d for d in TRIED if d in case.dtypes] or case.dtypes:
        samples = [s for s in case.samples(dtype) if not s.scalars]
        samples = [s for s in samples if max([math.prod(x.shape) for x in s.leaves] or [0]) <= 3000]
        step = max(1, len(samples) // (4 if dtype is dt.float32 else 1))
        for k, sample in enumerate(samples[step // 2 :: step]):
            modes = [m for m in sample.modes if m != "apart"]
            graph, leaves = graph_of(sample, modes[k % len(modes)])
            arrays = drawn(leaves, seed_of(name, dtype.name, sample.label))
            yield f"{name} {dtype.name} {sample.label}", graph, arrays


def held(graph, arrays):
    """Tell whether numbers and dtypes are such as a device holds."""
    if any(node.dtype not in CARRIED for node in graph.nodes):
        return False
    literals = [np.array(n.attrs[0]) for n in graph.nodes if n.op.name == "const"]
    return all(
        a.dtype != np.int64 or not a.size or (a.min() >= -(2**31) and a.max() < 2**31)
        for a in (*arrays, *literals)
    )


@pytest.mark.parametrize("name", [n for n in OPS if n not in MISSING])
def test_a_primitive_gives_what_the_reference_gives(name, device):
    tried = 0
    for label, graph, arrays in few(name):
        if not held(graph, arrays):
            arrays = [np.clip(a, -(2**15), 2**15) if a.dtype == np.int64 else a for a in arrays]
        if held(graph, arrays) and "float32 to int64" not in label:  # numbers of 63 bits
            loose = 2e-5 if name == "pow" else 1e-5
            sums = any(n.op.family in ("reduce", "contraction", "order") or n.op.name == "fold"
                       or "add" in n.attrs for n in graph.nodes)  # fmt: skip
            check(graph, arrays, label, loose, 1e-6 if sums else 0)
            tried += 1
    assert tried


@pytest.mark.parametrize("name", ["matmul_int8", "conv_int8"])
def test_sums_of_products_of_bytes_are_exact(name, device):
    case = CASES[name]
    tried = [s for s in case.samples(case.dtypes[0]) if all(math.prod(x.shape) for x in s.leaves)]
    for sample in tried:
        graph, leaves = graph_of(sample, "plain")
        check(graph, drawn(leaves, seed_of(name, sample.label)), f"{name} {sample.label}")


def test_a_number_is_held_in_a_byte_as_the_reference_says(device):
    b = GraphBuilder()
    ties = np.arange(-300, 300, dtype=np.float32) + 0.5
    odd = [math.nan, -math.nan, math.inf, -math.inf, -0.0, 3e38, -3e38, 0.49999997, -0.5]
    values = np.concatenate([ties, ties.astype(int) / 3, np.array(odd)]).astype(np.float32)
    x = b.leaf(values.shape, dt.float32)
    how = [(0, -128, 127), (3, -128, 127), (-128, -128, 127), (127, 0, 127), (-7, -100, 5)]
    check(b.graph(*(b.emit(OPS["quantize"], (x,), attrs) for attrs in how)), [values])


def test_eight_bits_follow_a_product_of_bytes_in_one_launch(device):
    b = GraphBuilder()
    x, w = b.leaf((2, 3, 9, 7), dt.int8), b.leaf((5, 3, 3, 3), dt.int8)
    y = b.emit(OPS["conv_int8"], (x, w), ((1, 1), ((1, 1), (1, 1)), (1, 1), 1, 9))
    real = b.mul(b.cast(y, dt.float32), b.full(y.shape, 3e-4, dt.float32))
    graph = b.graph(b.emit(OPS["quantize"], (real,), (-3, -100, 127)))
    assert len(shaders(graph).dispatches) == 1
    rng = np.random.default_rng(0)
    check(graph, [rng.integers(-128, 128, n.shape).astype(np.int8) for n in (x, w)])


RANGES = {
    "exp": (-87, 88, False), "sigmoid": (-80, 80, False), "expm1": (-20, 4, True),
    "log": (-80, 80, False), "log1p": (-20, 20, False), "rsqrt": (-80, 80, False),
    "tanh": (-20, 3, True), "erf": (-20, 2, True), "sin": (-20, 88, True), "cos": (-20, 88, True),
}  # fmt: skip
"""Function -> low, high, and whether arguments have both signs; but for the first two these are
the logarithms of what it is tried on."""


@pytest.mark.parametrize("name", RANGES)
def test_a_function_is_right_to_a_few_ulps(name, device):
    low, high, signed = RANGES[name]
    rng = np.random.default_rng(5)
    values = rng.uniform(low, high, 20_000)
    if name not in ("exp", "sigmoid"):
        values = np.exp(values) * (rng.choice([-1, 1], 20_000) if signed else 1)
    b = GraphBuilder()
    graph = b.graph(b.emit(OPS[name], (b.leaf((20_000,), dt.float32),)))
    check(graph, [values.astype(np.float32)], rtol=5e-7, scaled=0)


def test_a_large_product_is_done_in_shared_tiles(device):
    b = GraphBuilder()
    x, y = b.leaf((2, 130, 70), dt.float32), b.leaf((2, 70, 140), dt.float32)
    graph = b.graph(b.matmul(x, y))
    assert "workgroupBarrier" in shaders(graph).shaders[0].text
    rng = np.random.default_rng(0)
    check(graph, [rng.normal(size=n.shape).astype(np.float32) for n in (x, y)])


def test_long_reductions_are_done_by_a_workgroup(device):
    b = GraphBuilder()
    x = b.leaf((3, 5000), dt.float32)
    graph = b.graph(b.sum(x, (1,)), b.max(x, (1,)), b.argmax(x, 1), b.argmin(x, 1))
    assert "workgroupBarrier" in shaders(graph).shaders[0].text
    values = np.random.default_rng(0).integers(-50, 50, (3, 5000)).astype(np.float32)
    values[1, 4000:] = math.nan
    check(graph, [values])


def test_more_elements_than_a_row_of_workgroups_has(device):
    b = GraphBuilder()
    count = 2_097_152 + 77
    graph = b.graph(b.neg(b.leaf((count,), dt.int32)))
    assert shaders(graph).dispatches[0].groups[1] > 1
    check(graph, [np.arange(count, dtype=np.int32)])


def test_a_kernel_of_many_buffers_shares_bindings(device):
    b = GraphBuilder()
    kinds = (dt.float32, dt.int32, dt.bool_, dt.uint8)
    leaves = [b.leaf((9,), kinds[i % 4]) for i in range(20)]
    total = b.cast(leaves[0], dt.float32)
    for leaf in leaves[1:]:
        total = b.add(total, b.cast(leaf, dt.float32))
    graph = b.graph(total, b.neg(total))
    rng = np.random.default_rng(0)
    check(graph, [rng.integers(0, 2, 9).astype(x.dtype.numpy) for x in leaves])


def labels(graph):
    return [d.label for d in shaders(graph).dispatches]


def test_a_map_that_follows_a_product_is_part_of_it(device):
    rng = np.random.default_rng(0)
    for m, k, n in ((5, 7, 9), (130, 70, 140)):  # in registers, and in shared tiles
        b = GraphBuilder()
        x, w, bias = (
            b.leaf((m, k), dt.float32),
            b.leaf((k, n), dt.float32),
            b.leaf((n,), dt.float32),
        )
        other, index = b.leaf((m, n), dt.float32), b.leaf((m, n), dt.int64)
        y = b.add(b.matmul(x, w), b.expand(bias, (m, n)))
        y = b.add(b.emit(OPS["sigmoid"], (y,)), other)
        column = b.cast(b.expand(b.iota(n, dt.int64), (m, n)), dt.float32)
        taken = b.take(bias, b.emit(OPS["wrap_index"], (index,), (n, "index")), 0)
        graph = b.graph(b.add(b.mul(y, column), taken), b.le(y, other))
        assert labels(graph) == ["matmul+add+le"]
        arrays = [rng.normal(size=s.shape).astype(np.float32) for s in (x, w, bias, other)]
        check(graph, [*arrays, rng.integers(-n, n, (m, n))])


def test_what_others_read_of_a_product_is_stored(device):
    rng = np.random.default_rng(0)
    for last in (
        lambda b, y: (b.exp(y), y),  # wanted for itself
        lambda b, y: (b.sum(b.exp(y), (0,)), b.exp(y)),  # read by two kernels
        lambda b, y: (b.transpose(b.exp(y)),),  # fits: read at its own index
        lambda b, y: (b.exp(b.transpose(y)),),  # read elsewhere
        lambda b, y: (b.exp(b.slice(y, (0, 0), (4, 4), (1, 1))),),
        lambda b, y: (b.add(y, b.transpose(y)),),
    ):
        b = GraphBuilder()
        x, w = b.leaf((6, 5), dt.float32), b.leaf((5, 6), dt.float32)
        graph = b.graph(*last(b, b.matmul(x, w)))
        check(graph, [rng.normal(size=s.shape).astype(np.float32) for s in (x, w)])
    assert "matmul" in labels(graph)


def test_what_depends_on_weights_alone_is_done_once(device):
    b = GraphBuilder()
    x, w = b.leaf((3, 4), dt.float32), b.leaf((4, 4), dt.float32)
    weight = b.matmul(b.exp(w), w)
    graph = b.graph(b.matmul(x, weight))
    program = shaders(graph, 1)
    assert (len(program.prepared), len(program.dispatches)) == (2, 1)
    arrays = [np.random.default_rng(0).normal(size=n.shape).astype(np.float32) for n in (x, w)]
    got, _, _ = run(graph, arrays, 1)
    np.testing.assert_allclose(got[0], reference.run(graph, arrays, [])[0], rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_zoo_loaded_there(name, device, tmp_path):
    path, inputs = zoo.bundle(name, tmp_path / "m.tnr")
    here, there = tn.load(path), tn.load(path, device="webgpu")
    assert (here.device, there.device) == ("cpu", "webgpu")
    firsts = {}
    for rows in (3, 1) if name in ("digits", "tabular") else (3,):
        given = [x[:rows] for x in inputs]
        want, got = here(*given), there(*given)
        every = list(
            zip(want.values(), got.values(), strict=True)
            if isinstance(want, dict)
            else [(want, got)]
        )
        for a, b in every:
            assert a.dtype is b.dtype
            size = max(1.0, float(a.abs().max()))
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-5 * size)
        firsts[rows] = [b[:1].numpy().tobytes() for _, b in every]
    # What a row gives does not depend on the rest of the batch.
    assert len(set(map(tuple, firsts.values()))) == 1


def test_an_index_out_of_range_is_an_error_there(device, tmp_path):
    path, (tokens,) = zoo.bundle("transformer", tmp_path / "m.tnr")
    model = tn.load(path, device="webgpu")
    with pytest.raises(IndexRangeError, match=r"row 77"):
        model(np.where(np.arange(12) == 5, 77, tokens[:2]))
    assert model(tokens[:2]).shape == (2, 12, 50)  # and it is forgotten
    with pytest.raises(DTypeError, match="32 bits"):
        model(tokens[:2] + 2**40)


def test_only_models_are_loaded_there(tmp_path):
    tn.save({"w": tn.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match="tensors are loaded to the CPU"):
        tn.load(tmp_path / "w.safetensors", device="webgpu")
    with pytest.raises(ArgumentError, match="device must be one"):
        tn.load(tmp_path / "w.safetensors", device="tpu")


class Positions(nn.Module):
    """Constants that are counted in float64."""

    def forward(self, x):
        ramp = tn.linspace(0, 1, 7)
        return x * ramp + tn.linspace(0, 2, 7).cos() + ramp.sum()


def test_constants_made_in_other_dtypes_are_worked_out_before(device, tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    tn.save(Positions(), tmp_path / "m.tnr", example_inputs=rows)
    here, there = tn.load(tmp_path / "m.tnr"), tn.load(tmp_path / "m.tnr", device="webgpu")
    for given in (rows, rows[:1]):
        np.testing.assert_allclose(there(given).numpy(), here(given).numpy(), rtol=1e-5)
    part = part_of(source_of(here, batch=2))
    held = part.program["weights"]
    assert [w["name"] for w in held] == [f"constant.{n}" for n in range(len(held))]
    first = np.frombuffer(part.weights, np.float32, 7, held[0]["at"])
    np.testing.assert_array_equal(first, np.linspace(0, 1, 7, dtype=np.float32))


def test_adapters_have_numbers(device, tmp_path):
    path, (images,) = zoo.bundle("digits", tmp_path / "m.tnr")
    assert tn.load(path, device="webgpu:0")(images[:1]).shape == (1, 10)
    with pytest.raises(ArgumentError, match="webgpu:99; there is webgpu:0 "):
        tn.load(path, device="webgpu:99")


def test_a_model_it_cannot_run_is_refused_when_it_is_loaded(device, tmp_path):
    class Wide(nn.Module):
        def forward(self, x):
            return (x.double() * 0.5).float()

    tn.save(Wide(), tmp_path / "m.tnr", example_inputs=np.ones((2, 3), np.float32))
    with pytest.raises(DTypeError, match="float64"):
        tn.load(tmp_path / "m.tnr", device="webgpu")


# -- in a page ------------------------------------------------------------------------------------
PAGE = """
const { createGPU } = await import("/webgpu.js");
const got = {};
for (const name of given) {
  const read = (end) => fetch(`/${name}.${end}`);
  const program = await (await read("json")).json(), inputs = await (await read("inputs")).json();
  const model = await createGPU(program, await (await read("bin")).arrayBuffer());
  if (!model) return { none: true };
  const [first, second] = await Promise.all([model.run(inputs), model.run(inputs)]);
  const wrong = Object.fromEntries(Object.keys(inputs).map((k) => [k, [1, 2, 3]]));
  got[name] = [first, second, await model.run(wrong).catch(String)];
  model.destroy();
}
return got;
"""


class Functions(nn.Module):
    """What a browser's own functions might be too rough for."""

    def forward(self, x):
        made = {"exp": x.exp(), "log": x.abs().log(), "tanh": x.tanh(), "erf": x.erf()}
        return made | {"sin": (x * 90).sin(), "sigmoid": x.sigmoid(), "pow": x.abs() ** 1.7}


class Workgroups(nn.Module):
    """What the invocations of a workgroup do together: a large product, and long reductions."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, 128)

    def forward(self, x):
        y = self.layer(x).flatten(1)
        return {"sum": y.sum(1), "largest": y.amax(1), "where": y.argmax(1)}


def together():
    """Return models that are no model of the zoo: each with its rows."""
    x = np.linspace(-30, 30, 700, dtype=np.float32)[None]
    rows = np.random.default_rng(0).normal(size=(2, 64, 128)).astype(np.float32)
    return {
        "functions": (Functions(), np.concatenate([x, x[:, ::-1]])),
        "workgroups": (Workgroups(), rows),
    }


def page_source(name, path):
    if name not in together():
        return source(name, path)
    module, rows = together()[name]
    tn.save(module, path / f"{name}.tnr", example_inputs=rows)
    return folded(source_of(opened(path / f"{name}.tnr"), batch=2))


def test_models_run_in_a_page(tmp_path):
    names = ("digits", "tabular", *together())
    files = tmp_path / "served"
    files.mkdir()
    (files / "webgpu.js").write_text(PagePart.runtime())
    wanted = {}
    for name in names:
        model = page_source(name, tmp_path)
        part = part_of(model)
        barriers = sum("workgroupBarrier" in s["text"] for s in part.program["shaders"])
        assert barriers == (3 if name == "workgroups" else 0)
        given = {n: model.rows[n][:2] for n in model.inputs}
        (files / f"{name}.json").write_text(json.dumps(part.program))
        (files / f"{name}.bin").write_bytes(part.weights)
        inputs = {n: a.ravel().tolist() for n, a in given.items()}
        (files / f"{name}.inputs").write_text(json.dumps(inputs))
        made = reference.run(model.graph, [*given.values(), *model.weights.values()], [])
        wanted[name] = dict(zip(model.outputs, made, strict=True))
    got = in_chromium(files, PAGE, names, tmp_path, script="", gpu=WEBGPU)
    if got.get("none"):
        pytest.skip("this Chromium has no WebGPU adapter")
    for name, outputs in wanted.items():
        first, second, refused = got[name]
        assert first == second
        assert re.match(r"RangeError: \w+ has 2 x [\d x]+ numbers, not 3", refused)
        for output, value in outputs.items():
            np.testing.assert_allclose(
                first[output], value.ravel(), rtol=1e-5, atol=1e-6 * max(1, np.abs(value).max())
            )
