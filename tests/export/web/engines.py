"""Where exported folders are run: wasmtime, Node, and Chromium before a server of our own."""

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pytest

from tenor.export.web.weights import decoded

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-dev-shm-usage", "--hide-scrollbars",
]  # fmt: skip


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
        text = (folder / "model.js").read_text()
        self.meta = json.loads(re.search("^const META = (.*);$", text, re.MULTILINE)[1])
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


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def do_GET(self):
        if self.path == "/test.html":
            data = self.server.page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        super().do_GET()

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.result = json.loads(data)
        self.server.done.set()


def in_chromium(folder, body, given=None, tmp=None, timeout=90, script="/model.js"):
    """Run an async function's body in a page beside a folder; return what it returns.

    It sees `load` of a script, `given`, `frame(path)`: a page of the folder in a frame, loaded,
    and `until(f)`, which waits till a function gives something.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not here")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder))
    )
    server.done, server.result = threading.Event(), None
    server.page = f"""<!doctype html><meta charset="utf-8"><body><script type="module">
{PLAIN}
const frame = (path) => new Promise((done) => {{
  const made = document.createElement("iframe");
  made.width = 1000; made.height = 900; made.src = path; made.onload = () => done(made);
  document.body.append(made);
}});
const until = async (f) => {{
  for (let i = 0; i < 400; i++) {{
    const found = f();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 25));
  }}
  throw new Error(`never: ${{f}}`);
}};
const given = {json.dumps(given)};
let made;
try {{
  const {{ load }} = {json.dumps(script)} ? await import({json.dumps(script)}) : {{}};
  made = plain(await (async () => {{ {body} }})());
}} catch (problem) {{ made = {{ failed: `${{problem}} ${{problem.stack}}` }}; }}
await fetch("/done", {{ method: "POST", body: JSON.stringify(made) }});
</script>"""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/test.html"
        with _browser(chromium, [address], tmp):
            assert server.done.wait(timeout), "the page did not answer"
    finally:
        server.shutdown()
        server.server_close()
    found = server.result
    assert not (isinstance(found, dict) and "failed" in found), found["failed"]
    return found


def screenshot(folder, path, tmp, size="1100,900", *, dark=False):
    """Take a picture of a folder's page in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not here")
    handler = functools.partial(_Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        extra = ["--blink-settings=preferredColorScheme=0"] if dark else []
        flags = [f"--screenshot={path}", f"--window-size={size}", "--virtual-time-budget=4000"]
        address = f"http://127.0.0.1:{server.server_port}/index.html"
        with _browser(chromium, [*flags, *extra, address], tmp) as process:
            process.wait(60)
    finally:
        server.shutdown()
        server.server_close()


class _browser:
    """A browser of its own profile, ended with all of its processes."""

    def __init__(self, chromium, arguments, tmp):
        self.profile = tmp / f"profile{time.monotonic_ns()}"
        self.command = [chromium, *FLAGS, f"--user-data-dir={self.profile}", *arguments]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env={**os.environ, "HOME": str(self.profile.parent)},
        )  # fmt: skip
        return self.process

    def __exit__(self, *_problem):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
