"""The folder: what is in it, how it is asked, how it is replaced, what is refused."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError, ExportError, SaveError
from tenor.export.web import export_web
from tests.export import zoo
from tests.export.web.engines import in_node

FILES = {
    "model.js", "model.d.ts", "model.relaxed.wasm", "model.simd.wasm", "weights.bin",
    "package.json", "index.html", "README.md",
}  # fmt: skip


@pytest.fixture(scope="module")
def tabular(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    path, inputs = zoo.bundle("tabular", folder / "m.tnr")
    export_web(path, folder / "made")
    return folder / "made", tn.load(path), inputs


def test_what_is_in_it(tabular):
    folder = tabular[0]
    assert {p.name for p in folder.iterdir()} == FILES
    assert (folder / "model.js").stat().st_size < 8192
    for path in folder.iterdir():
        data = path.read_bytes()
        for word in (b"http:", b"https:", b"//cdn", b"__META__", b"__PAGE__", os.fsencode(folder)):
            assert word not in data, (path.name, word)


ASKED = """
const m = await load();
const x = given.numbers.flat(), k = given.kinds.flat();
const ways = [
  { numbers: given.numbers, kinds: given.kinds },
  { numbers: x, kinds: k },
  { numbers: Float32Array.from(x), kinds: BigInt64Array.from(k, BigInt) },
  { numbers: Float64Array.from(x), kinds: Int32Array.from(k) },
];
const made = ways.map((w) => m.run(w));
return { made: [...made, m.predict(x, k)],
  types: Object.values(made[0]).map((v) => v.constructor.name),
  inputs: m.inputs, outputs: m.outputs, kind: m.kind };
"""


def test_it_is_asked_with_arrays_of_many_kinds(tabular):
    folder, model, (numbers, kinds) = tabular
    wanted = model(numbers[:1], kinds[:1])
    came = in_node(folder, ASKED, {"numbers": numbers[:1].tolist(), "kinds": kinds[:1].tolist()})
    for made in came["made"]:
        np.testing.assert_allclose(
            made["probabilities"], wanted["probabilities"].numpy()[0], atol=1e-6
        )
        assert made["label"] == wanted["label"].tolist()
    assert came["types"] == ["Float32Array", "BigInt64Array"]
    assert came["inputs"] == [
        {"name": "numbers", "dtype": "float32", "shape": [1, 5]},
        {"name": "kinds", "dtype": "int64", "shape": [1, 3]},
    ]
    assert [s["name"] for s in came["outputs"]] == ["probabilities", "label"]


WRONG = {
    "m.predict(x)": "predict takes numbers, kinds",
    "m.run({ numbers: x })": '"kinds" is missing',
    "m.run({ numbers: x, kinds: k, more: x })": 'no input "more"',
    "m.predict(x.slice(1), k)": "4 came",
    "m.predict([[1, 2, 3, 4]], k)": "4 entries at depth 1",
    "m.predict([[[1], [2], [3], [4], [5]]], k)": "depth 2",
    "m.predict(x, [0, 1, 0.5])": "value 2 is 0.5",
    "m.predict(x, Float32Array.of(0, 1, 2))": "Float32Array came",
    "m.predict(Uint8Array.of(0, 1, 2, 3, 4), k)": "Uint8Array came",
    "m.predict(['1', 2, 3, 4, 5], k)": "value 0 is 1",
    "m.predict(x.map(BigInt), k)": "value 0 is",
    "m.predict('12345', k)": "give a typed array",
    "m.predict(x, [0, 1, 99])": "out of range",
    "m.predict(undefined, k)": '"numbers" is missing',
}


def test_what_does_not_fit_is_refused(tabular):
    calls = ",".join(f"() => {call}" for call in WRONG)
    body = f"""
const m = await load(), x = [1, 2, 3, 4, 5], k = [0, 1, 2];
const found = [{calls}].map((call) => {{ try {{ return call(); }} catch (e) {{ return e; }} }});
return {{ found, after: m.predict(x, k).label, before: (await load()).predict(x, k).label }};"""
    came = in_node(tabular[0], body)
    for call, problem in zip(WRONG, came["found"], strict=True):
        assert problem.get("error") in ("TypeError", "RangeError"), (call, problem)
        assert WRONG[call] in problem["message"], (call, problem)
    assert came["after"] == came["before"]


def test_from_another_folder(tabular, tmp_path):
    (tmp_path / "script").mkdir()
    shutil.copy(tabular[0] / "model.js", tmp_path / "script" / "model.js")
    body = f"""
const m = await load({json.dumps(tabular[0].as_uri() + "/")});
return m.predict([1, 2, 3, 4, 5], [0, 1, 2]).label;"""
    came = in_node(tmp_path / "script", body)
    assert came == in_node(tabular[0], "return (await load()).predict([1,2,3,4,5],[0,1,2]).label;")


@pytest.mark.parametrize("kind", ["application/wasm", "application/octet-stream", ""])
def test_from_a_server(tabular, kind):
    """A module is compiled while it comes, where the server says what it is."""
    body = f"""
let streamed = 0;
const {{ instantiateStreaming }} = WebAssembly;
WebAssembly.instantiateStreaming = (...a) => (streamed++, instantiateStreaming(...a));
globalThis.fetch = async (url) => new Response(
  readFileSync(new URL(url.pathname.slice(1), {json.dumps(tabular[0].as_uri() + "/")})),
  {{ headers: {json.dumps({"content-type": kind} if kind else {})} }});
const m = await load("http://somewhere/");
return [m.predict([1, 2, 3, 4, 5], [0, 1, 2]).label, streamed];"""
    found, streamed = in_node(tabular[0], body)
    wanted = "return (await load()).predict([1, 2, 3, 4, 5], [0, 1, 2]).label;"
    assert found == in_node(tabular[0], wanted)
    assert streamed == (kind == "application/wasm")


def test_what_a_server_has_not_is_said(tabular):
    body = """
globalThis.fetch = async () => new Response("", { status: 404, statusText: "Not Found" });
try { await load("http://somewhere/"); } catch (problem) { return problem; }"""
    assert "404 Not Found" in in_node(tabular[0], body)["message"]


def test_from_npm(tabular, tmp_path):
    """As `npm install ./folder` leaves it: found by its name in node_modules."""
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(tabular[0], tmp_path / "node_modules" / "tabular")
    body = "return (await load()).predict([1, 2, 3, 4, 5], [0, 1, 2]).label;"
    assert in_node(None, body, cwd=tmp_path, module="tabular") == in_node(tabular[0], body)


def test_types(tabular, tmp_path):
    """The declarations say what the script does: TypeScript agrees, where it is here."""
    tsc = shutil.which("tsc")
    if tsc is None:
        pytest.skip("tsc is not here (npm install -g typescript)")
    shutil.copytree(tabular[0], tmp_path / "node_modules" / "tabular")
    (tmp_path / "a.mts").write_text(
        'import { load } from "tabular";\nconst m = await load();\n'
        "const p: Float32Array = m.predict([1], [2]).probabilities;\n"
        "const l: BigInt64Array = m.run({ numbers: [1], kinds: [2n] }).label;\nconsole.log(p, l);\n"
    )
    how = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", ""]
    done = subprocess.run([tsc, *how, "a.mts"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_bundled(tabular, tmp_path):
    """A bundler takes the script; its files lie beside what it makes."""
    esbuild = shutil.which("esbuild")
    if esbuild is None:
        pytest.skip("esbuild is not here (npm install -g esbuild)")
    shutil.copytree(tabular[0], tmp_path / "node_modules" / "tabular")
    (tmp_path / "app.js").write_text('export { load } from "tabular";\n')
    how = ["--bundle", "--format=esm", "--minify", "--platform=neutral", "--outfile=out/app.js"]
    done = subprocess.run([esbuild, "app.js", *how], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("model.relaxed.wasm", "model.simd.wasm", "weights.bin"):
        shutil.copy(tabular[0] / name, tmp_path / "out")
    body = "return (await load()).predict([1, 2, 3, 4, 5], [0, 1, 2]).label;"
    where = (tmp_path / "out" / "app.js").as_uri()
    (tmp_path / "out" / "package.json").write_text('{"type": "module"}')
    assert in_node(None, body, module=where) == in_node(tabular[0], body)


# -- replaced as a whole ------------------------------------------------------------------------
def linear(seed=0):
    tn.manual_seed(seed)
    return nn.Linear(3, 2)


ROWS = np.ones((2, 3), np.float32)


def test_an_earlier_export_is_replaced(tmp_path):
    made = export_web(linear(), tmp_path / "web", example_inputs=ROWS)
    assert made.folder == tmp_path / "web"
    assert made.files == {p.name: p.stat().st_size for p in made.folder.iterdir()}
    (tmp_path / "web" / "old.txt").write_text("of the earlier one")
    export_web(linear(1), tmp_path / "web", example_inputs=ROWS)
    assert {p.name for p in (tmp_path / "web").iterdir()} == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["web"]


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ArgumentError, match="a new folder"):
            export_web(linear(), folder, example_inputs=ROWS)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    export_web(linear(), tmp_path / "web", example_inputs=ROWS)
    before = (tmp_path / "web" / "weights.bin").read_bytes()
    rename = type(tmp_path).rename

    def broken(self, target):
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", broken)
    with pytest.raises(SaveError, match="files written"):
        export_web(linear(1), tmp_path / "web", example_inputs=ROWS)
    assert (tmp_path / "web" / "weights.bin").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["web"]


# -- refused before anything is written -----------------------------------------------------------
class Half(nn.Module):
    def forward(self, x):
        return x.to(tn.float16)


class HalfInside(nn.Module):
    def forward(self, x):
        return (x.to(tn.float16) * 2).float()


REFUSED = [
    (linear, {"weights": "f8"}, ArgumentError, "f32, f16, int8"),
    (linear, {"batch": 0}, ArgumentError, "batch is a whole number"),
    (linear, {"batch": 2, "train": True}, ArgumentError, "one row at a time"),
    (linear, {"signature": "other"}, ArgumentError, "a signature"),
    (linear, {"example_inputs": None}, ArgumentError, "example_inputs"),
    (linear, {"train": True, "optimizer": "lion"}, ArgumentError, "optimizer's name"),
    (Half, {}, ArgumentError, "an array for"),
    (HalfInside, {}, ExportError, "float16 in the model"),
]


@pytest.mark.parametrize(("make", "how", "kind", "message"), REFUSED)
def test_refused(make, how, kind, message, tmp_path):
    with pytest.raises(kind) as found:
        export_web(make(), tmp_path / "web", **{"example_inputs": ROWS, **how})
    assert message in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_weight_too_large_for_a_half(tmp_path):
    model = linear()
    with tn.no_grad():
        model.weight.fill_(1e6)
    with pytest.raises(ArgumentError, match="65504"):
        export_web(model, tmp_path / "web", example_inputs=ROWS, weights="f16")
    assert not (tmp_path / "web").exists()
