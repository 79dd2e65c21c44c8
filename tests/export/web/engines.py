"""Where exported folders are run: wasmtime and Node; for Chromium see `chromium.py`."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tenor.export.web.weights import decoded


def constant(path, name):
    """Return what a script holds as a JSON constant."""
    return json.loads(re.search(f"^const {name} = (.*);$", path.read_text(), re.MULTILINE)[1])


class InWasmtime:
    """A folder's module in wasmtime."""

    def __init__(self, folder, kind="relaxed"):
        wasmtime = pytest.importorskip("wasmtime", reason="pip install wasmtime")
        config = wasmtime.Config()
        config.wasm_relaxed_simd = True
        engine = wasmtime.Engine(config)
        self.store = wasmtime.Store(engine)
        data = (folder / f"model.{kind}.wasm").read_bytes()
        instance = wasmtime.Instance(self.store, wasmtime.Module(engine, data), [])
        self.exports = instance.exports(self.store)
        self.memory = self.exports["memory"]
        self.heap = self.exports["__heap_base"].value(self.store)
        self.meta = constant(folder / "model.js", "META")
        self.nbytes = self.memory.data_len(self.store) - self.heap
        self.put(0, decoded((folder / "weights.bin").read_bytes(), self.nbytes))
        if "prepare" in self.meta:
            self.exports["prepare"](self.store, self.heap, self.heap + self.meta["prepare"])
        self.put(self.meta["work"], np.full(self.nbytes - self.meta["work"], 255, np.uint8))
        self.bind(self.meta)

    def put(self, at, array):
        self.memory.write(self.store, np.ascontiguousarray(array).tobytes(), self.heap + at)

    def get(self, at, dtype, shape):
        dtype = np.dtype(dtype)
        size = dtype.itemsize * int(np.prod(shape))
        raw = self.memory.read(self.store, self.heap + at, self.heap + at + size)
        return np.frombuffer(bytes(raw), dtype).reshape(shape)

    def bind(self, io, *more):
        for key, at, extra in zip(("inputs", "outputs"), io["tables"], (more, ()), strict=True):
            places = [p["at"] for p in io[key]] + list(extra)
            self.put(at, np.array([self.heap + p for p in places], np.uint32))

    def call(self, name, io, given):
        for place, array in zip(io["inputs"], given, strict=True):
            assert str(array.dtype) == place["dtype"]
            assert list(array.shape) == place["shape"]
            self.put(place["at"], array)
        tables = [self.heap + at for at in io["tables"]]
        status = self.exports[name](self.store, self.heap, *tables, self.heap + io["work"])
        return status, {p["name"]: self.get(p["at"], p["dtype"], p["shape"]) for p in io["outputs"]}

    def run(self, *given):
        return self.call("run", self.meta, given)


def jsonable(array):
    """Return an array as nested lists of numbers."""
    return np.asarray(array).tolist()


PLAIN = """
const plain = (v) => ArrayBuffer.isView(v) ? Array.from(v, Number) : v instanceof Error
  ? {error: v.name, message: v.message} : v && typeof v === "object" && !Array.isArray(v)
  ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)])) : Array.isArray(v)
  ? v.map(plain) : v;
"""


def in_node(folder, body, given=None, cwd=None, module=None):
    """Run an async function's body on `load` and `given` in Node; return what it returns."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here")
    where = module or (folder / "model.js").resolve().as_uri()
    code = f"""
import {{ load }} from {json.dumps(where)};
import {{ readFileSync }} from "node:fs";
{PLAIN}
const given = JSON.parse(readFileSync(0, "utf-8"));
const made = await (async () => {{ {body} }})();
console.log(JSON.stringify(plain(made)));
"""
    done = subprocess.run(
        [node, "--input-type=module", "-e", code], input=json.dumps(given), text=True,
        capture_output=True, cwd=cwd, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
