"""A folder with WebGPU: the script's own answers there, the fallback, and the page's switch."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.compiler.emit import reference
from tenor.errors import ArgumentError, ExportError
from tenor.export.fold import folded
from tenor.export.quantize import calibrate, integer
from tenor.export.source import opened, source_of
from tenor.export.web import export_web
from tests.export import zoo
from tests.export.web.chromium import NO_GPU, WEBGPU, in_chromium
from tests.export.web.engines import in_node, jsonable

GPU = {"gpu.js", "webgpu.js", "program.json"}
NAMES = ("digits", "residual", "tabular", "transformer")


class Positions(nn.Module):
    """Constants that are made in float64, a class, and which of the numbers are large."""

    def forward(self, x):
        y = x * tn.linspace(0, 1, 7) + tn.linspace(0, 2, 7).cos()
        return {"y": y, "most": y.argmax(1), "large": y > 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of exported folders."""
    root = tmp_path_factory.mktemp("web")
    for name in NAMES:
        path, _ = zoo.bundle(name, root / f"{name}.tnr")
        export_web(path, root / name, gpu=True)
    for form in ("f16", "int8"):
        export_web(root / "digits.tnr", root / form, gpu=True, weights=form)
    rows = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    tn.save(Positions(), root / "positions.tnr", example_inputs=rows)
    export_web(root / "positions.tnr", root / "positions", gpu=True, batch=2)
    source = folded(source_of(opened(root / "residual.tnr"), batch=2))
    given = {k: np.ascontiguousarray(v) for k, v in source.rows.items()}
    quantization = calibrate(source, given, method="minmax")
    export_web(root / "residual.tnr", root / "bytes", gpu=True, batch=2, quantization=quantization)
    return root


def asked(name, root, batch=1):
    """Return a saved model's first examples, and Python's answers to them."""
    source = source_of(opened(root / f"{name}.tnr"), batch=batch)
    answers = {k: v[:batch] for k, v in source.answers.items()}
    return {k: v[:batch] for k, v in source.rows.items()}, answers


def in_bytes(root):
    """Return the rows of a model in eight bits, and what its integer graph makes of them."""
    source = folded(source_of(opened(root / "residual.tnr"), batch=2))
    rows = {k: np.ascontiguousarray(v) for k, v in source.rows.items()}
    whole = integer(calibrate(source, rows, method="minmax"))
    given = {k: rows[k][:2] for k in whole.inputs}
    made = reference.run(whole.graph, [*given.values(), *whole.weights.values()], [])
    return given, dict(zip(whole.outputs, made, strict=True))


def first(values):
    return next(iter(values.values()))


def near(came, wanted, by=1e-5):
    for key, array in wanted.items():
        made, kind = came["made"][key], came["types"][key]
        assert (
            kind == {"f": "Float32Array", "i": "BigInt64Array", "b": "Uint8Array"}[array.dtype.kind]
        )
        largest = max(1, np.abs(array).max())
        np.testing.assert_allclose(made, array.ravel(), rtol=0, atol=by * largest, err_msg=key)


BODY = """
const found = {};
for (const [name, values] of Object.entries(given)) {
  const { load } = await import(`/${name}/model.js`);
  const model = await load({ gpu: true }), here = await load();
  const promise = model.run(values), later = promise instanceof Promise;
  const [made, again, alone] = await Promise.all(
    [promise, model.run(values), model.predict(...Object.values(values))]);
  found[name] = { kind: model.kind, later, made, again, alone, here: here.run(values),
    types: Object.fromEntries(Object.entries(made).map(([k, v]) => [k, v.constructor.name])),
    inputs: JSON.stringify(model.inputs) === JSON.stringify(here.inputs),
    missing: await model.run({}).catch((e) => e), few: await model.predict().catch((e) => e) };
  const one = { [model.inputs[0].name]: [1] };
  found[name].wrong = await model.run({ ...values, ...one }).catch((e) => e);
  model.destroy();
}
return found;
"""


@pytest.mark.parametrize(("gpu", "kinds"), [(WEBGPU, ("webgpu",)), (NO_GPU, ("relaxed", "simd"))])
def test_the_script_answers_as_python_does(folder, gpu, kinds, tmp_path):
    every = {name: (asked(name, folder), 1e-5) for name in NAMES}
    every["positions"] = asked("positions", folder, 2), 1e-5
    every["bytes"] = in_bytes(folder), 1e-5
    every |= {form: (every["digits"][0], by) for form, by in (("f16", 4e-3), ("int8", 6e-2))}
    given = {name: {k: jsonable(v) for k, v in one[0].items()} for name, (one, _) in every.items()}
    came = in_chromium(folder, BODY, given, tmp_path, script="", gpu=gpu)
    if gpu is WEBGPU and came["digits"]["kind"] != "webgpu":
        pytest.skip("this Chromium has no WebGPU adapter")
    for name, ((_, answers), by) in every.items():
        found = came[name]
        assert found["kind"] in kinds
        assert found["later"]
        assert found["inputs"]
        assert found["again"] == found["made"]
        assert found["alone"] == (found["made"] if len(answers) > 1 else first(found["made"]))
        near(found, answers, by)
        for key, value in found["here"].items():  # both read one weights.bin
            largest = max(1, np.abs(value).max())
            np.testing.assert_allclose(found["made"][key], value, rtol=0, atol=1e-5 * largest)
        assert "is missing" in found["missing"]["message"]
        assert "predict takes" in found["few"]["message"]
        assert found["wrong"]["error"] == "RangeError"


INDEX = """
const m = await load({ gpu: true }), tokens = Object.values(given)[0];
const bad = (v) => m.predict(tokens.map((row) => row.map((t, i) => (i === 5 ? v : t))));
return { first: await bad(77).catch((e) => e), wide: await bad(2 ** 40).catch((e) => e),
  after: await m.predict(tokens) };
"""


def test_an_index_out_of_range(folder, tmp_path):
    given, answers = asked("transformer", folder)
    given = {k: jsonable(v) for k, v in given.items()}
    came = in_chromium(folder, INDEX, given, tmp_path, script="/transformer/model.js", gpu=WEBGPU)
    assert came["first"]["error"] == came["wide"]["error"] == "RangeError"
    (answer,) = answers.values()
    np.testing.assert_allclose(came["after"], answer.ravel(), atol=1e-5 * np.abs(answer).max())


BROKEN = """
HOW
const there = Boolean(await navigator.gpu?.requestAdapter());
const m = await load({ gpu: true });
return { there, kind: m.kind, made: await m.predict(Object.values(given)[0]) };
"""


@pytest.mark.parametrize(
    "how",
    [
        "GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error('none to be had'));",
        """const create = GPUDevice.prototype.createBuffer;
GPUDevice.prototype.createBuffer = function (d) {
  return create.call(this, { ...d, size: 2 ** 44 }); };""",
    ],
    ids=["no device", "no memory"],
)
def test_what_a_device_refuses_is_a_reason_to_fall_back(how, folder, tmp_path):
    given, answers = asked("digits", folder)
    given = {k: jsonable(v) for k, v in given.items()}
    body = BROKEN.replace("HOW", how)
    came = in_chromium(folder, body, given, tmp_path, script="/digits/model.js", gpu=WEBGPU)
    if not came["there"]:
        pytest.skip("this Chromium has no WebGPU adapter")
    assert came["kind"] == "relaxed"
    np.testing.assert_allclose(came["made"], first(answers).ravel(), atol=1e-5)


def test_in_node(folder):
    given, answers = asked("digits", folder)
    body = """const m = await load({ gpu: true }), x = Object.values(given)[0];
const base = new URL("./", FROM), plain = await load({ base });
const also = (await load(base)).kind;
return { kind: m.kind, also, made: await m.predict(x), plain: plain.predict(x) };
"""
    body = body.replace("FROM", json.dumps((folder / "digits" / "model.js").as_uri()))
    came = in_node(folder / "digits", body, {k: jsonable(v) for k, v in given.items()})
    assert came["kind"] == came["also"]
    assert came["plain"] == came["made"]
    np.testing.assert_allclose(came["made"], first(answers).ravel(), atol=1e-5)


SWITCHED = """
const made = await frame("/digits/index.html"), page = made.contentDocument;
const on = (id) => page.getElementById(id);
const facts = () => on("facts").textContent;
await until(() => page.body.dataset.ready && (on("switch") || on("nogpu")));
const error = () => on("error").textContent;
if (on("nogpu")) return { none: on("nogpu").textContent, facts: facts(), error: error() };
const timed = () => on("webgpu").textContent && on("relaxed").textContent;
await until(() => timed() && !facts().includes("WebGPU"));
const [here, there] = page.querySelectorAll("#switch input");
const before = facts(), checked = here.checked;
there.click();
await until(() => facts().includes("WebGPU"));
const gpu = facts();
page.querySelectorAll(".thumbs button")[1].click();
await until(() => facts() !== gpu);
const second = facts(), times = [on("webgpu").textContent, on("relaxed").textContent];
here.click();
await until(() => facts().includes("SIMD"));
return { before, checked, gpu, second, times, error: error() };
"""


def gap(facts):
    return float(facts.partition("answer by ")[2])


def test_the_page_has_a_switch(folder, tmp_path):
    came = in_chromium(folder, SWITCHED, None, tmp_path, script="", gpu=WEBGPU)
    if "none" in came:
        pytest.skip("this Chromium has no WebGPU adapter")
    assert not came["error"]
    assert came["checked"], "it begins with WebAssembly"
    assert "relaxed SIMD" in came["before"]
    for facts in (came["before"], came["gpu"], came["second"]):
        assert gap(facts) <= 1e-5
    assert all(time.endswith(("µs", "ms")) for time in came["times"])


def test_the_page_without_an_adapter(folder, tmp_path):
    came = in_chromium(folder, SWITCHED, None, tmp_path, script="")
    assert "runs on WebAssembly" in came["none"]
    assert not came["error"]
    assert gap(came["facts"]) <= 1e-5


def test_what_is_in_it(folder):
    made = {p.name: p for p in (folder / "digits").iterdir()}
    plain = export_web(folder / "digits.tnr", folder / "plain").files
    assert set(made) == plain.keys() | GPU
    assert made["model.js"].stat().st_size < 8192
    assert made["weights.bin"].stat().st_size == plain["weights.bin"]
    listed = json.loads(made["package.json"].read_text())["files"]
    assert set(listed) >= GPU
    program = json.loads(made["program.json"].read_text())
    assert program["own"] == ""  # every weight is read from weights.bin
    assert json.loads((folder / "positions" / "program.json").read_text())["own"]
    for path in made.values():
        for word in (b"http:", b"https:", b"__TITLE__", b"__GPU__", b"__FILES__"):
            assert word not in path.read_bytes(), path.name


class Wide(nn.Module):
    def forward(self, x):
        return (x.double() * 0.5).float()


def linear():
    return nn.Linear(3, 2)


REFUSED = [
    (Wide, {}, ExportError, "float64"),
    (linear, {"train": True}, ArgumentError, "runs on WebAssembly"),
]


@pytest.mark.parametrize(("make", "how", "kind", "message"), REFUSED)
def test_refused(make, how, kind, message, tmp_path):
    rows = np.ones((2, 3), np.float32)
    export_web(make(), tmp_path / "web", example_inputs=rows)
    before = {p.name: p.read_bytes() for p in (tmp_path / "web").iterdir()}
    with pytest.raises(kind) as found:
        export_web(make(), tmp_path / "web", example_inputs=rows, gpu=True, **how)
    assert message in str(found.value)
    assert {p.name: p.read_bytes() for p in (tmp_path / "web").iterdir()} == before


def test_types(folder, tmp_path):
    tsc = shutil.which("tsc")
    if tsc is None:
        pytest.skip("tsc is not here (npm install -g typescript)")
    shutil.copytree(folder / "tabular", tmp_path / "node_modules" / "tabular")
    (tmp_path / "a.mts").write_text(
        'import { load } from "tabular";\nconst m = await load({ gpu: true });\n'
        "const p: Float32Array = (await m.predict([1], [2])).probabilities;\n"
        "const l: BigInt64Array = (await m.run({ numbers: [1], kinds: [2n] })).label;\n"
        'const k: "webgpu" | "relaxed" | "simd" = m.kind;\nm.destroy();\n'
        'const here: BigInt64Array = (await load({ base: "x" })).predict([1], [2]).label;\n'
        'const also: BigInt64Array = (await load("x")).predict([1], [2]).label;\n'
        "// @ts-expect-error\nconst wrong: Float32Array = m.predict([1], [2]).probabilities;\n"
        "console.log(p, l, k, here, also, wrong);\n"
    )
    how = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", ""]
    done = subprocess.run([tsc, *how, "a.mts"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_bundled(folder, tmp_path):
    """A bundler takes the three scripts as one; the other files lie beside what it makes."""
    esbuild = shutil.which("esbuild")
    if esbuild is None:
        pytest.skip("esbuild is not here (npm install -g esbuild)")
    shutil.copytree(folder / "digits", tmp_path / "node_modules" / "digits")
    (tmp_path / "app.js").write_text('export { load } from "digits";\n')
    how = ["--bundle", "--format=esm", "--minify", "--platform=neutral", "--outfile=out/app.js"]
    done = subprocess.run([esbuild, "app.js", *how], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("model.relaxed.wasm", "model.simd.wasm", "weights.bin", "program.json"):
        shutil.copy(folder / "digits" / name, tmp_path / "out")
    given, answers = asked("digits", folder)
    body = """const m = await load({ gpu: true });
return [m.kind, await m.predict(Object.values(given)[0])];"""
    given = {k: jsonable(v) for k, v in given.items()}
    kind, made = in_chromium(tmp_path / "out", body, given, tmp_path, script="/app.js", gpu=WEBGPU)
    assert kind in ("webgpu", "relaxed")
    np.testing.assert_allclose(made, first(answers).ravel(), atol=1e-5)
