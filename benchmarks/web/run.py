"""Measure exported models in one Chromium beside onnxruntime-web and TF.js, one thread each.

    npm install onnxruntime-web @tensorflow/tfjs @tensorflow/tfjs-backend-wasm esbuild
    python benchmarks/web/run.py node_modules [--json out.json]

Latency: windows of calls in one page, the peers in turn; a ratio is the median over rounds of
peer / ours, and a time the best window's. First answer: from the beginning of the navigation, each
in a browser that was never started before. Bytes: all code that is fetched, by gzip -9.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from models import MODELS, make, make_trained

HERE = Path(__file__).parent
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-dev-shm-usage",
)  # fmt: skip
BUNDLE = """export * as tf from "@tensorflow/tfjs-layers-entry";
export * as wasm from "@tensorflow/tfjs-backend-wasm";
"""
ENTRY = """export * from "@tensorflow/tfjs-core";
export { layers, sequential } from "@tensorflow/tfjs-layers";
"""


class Handler(SimpleHTTPRequestHandler):
    """Files of the folder, pages of our own, and an answer that is posted."""

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Keep nothing between browsers, and let clocks be fine."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def do_POST(self) -> None:
        """Take the page's answer."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.found = json.loads(data)
        self.server.done.set()


def ask(folder: Path, body: str, seconds: float = 300) -> Any:
    """Return what a page's script makes, in a browser with a profile of its own."""
    text = f"""<!doctype html><meta charset="utf-8"><script type="module">
let made;
try {{ made = await (async () => {{ {body} }})(); }}
catch (e) {{ made = {{ failed: `${{e}} ${{e.stack}}` }}; }}
await fetch("/done", {{ method: "POST", body: JSON.stringify(made) }});
</script>"""
    (folder / "page.html").write_text(text)
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(folder)))
    server.done, server.found = threading.Event(), None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{server.server_port}/page.html"
        browser = subprocess.Popen(
            [shutil.which("chromium"), *FLAGS, f"--user-data-dir={profile}", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            if not server.done.wait(seconds):
                raise TimeoutError("the page did not answer")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
            server.server_close()
    if isinstance(server.found, dict) and "failed" in server.found:
        raise RuntimeError(server.found["failed"])
    return server.found


def prepare(modules: Path, folder: Path) -> dict[str, Any]:
    """Write all that pages fetch; return each model's row and answer."""
    (folder / "npm").symlink_to(modules.resolve())
    for name in ("peers.js", "page.js", "training.js"):
        shutil.copy(HERE / name, folder)
    (folder / "entry.js").write_text(ENTRY)
    (folder / "bundle.js").write_text(BUNDLE.replace("@tensorflow/tfjs-layers-entry", "./entry.js"))
    how = ["--bundle", "--format=esm", "--minify", "--outfile=tfjs.js", "--log-level=error"]
    bundle = [modules.resolve() / ".bin" / "esbuild", "bundle.js", *how]
    subprocess.run(
        bundle, cwd=folder, check=True, env={**os.environ, "NODE_PATH": str(modules.resolve())}
    )
    return {name: make(name, folder) for name in MODELS}


def code_bytes(folder: Path) -> dict[str, list[int]]:
    """Return the bytes of each peer's code for the digits, plain and by gzip -9."""
    ort, tfjs = (
        folder / "npm/onnxruntime-web/dist",
        folder / "npm/@tensorflow/tfjs-backend-wasm/dist",
    )
    ours = folder / "digits.ours"
    found = {
        "ours": [ours / "model.js", ours / "model.relaxed.wasm"],
        "ort": [ort / "ort.wasm.min.mjs", ort / "ort-wasm-simd-threaded.mjs",
                ort / "ort-wasm-simd-threaded.wasm"],
        "tfjs": [folder / "tfjs.js", tfjs / "tfjs-backend-wasm-simd.wasm"],
    }  # fmt: skip
    return {
        peer: [
            sum(p.stat().st_size for p in paths),
            sum(len(gzip.compress(p.read_bytes(), 9)) for p in paths),
        ]
        for peer, paths in found.items()
    }


def latency(folder: Path, name: str, spec: Any, rounds: int) -> dict[str, Any]:
    """Compare one model's calls."""
    body = f'return (await import("/page.js")).compare("{name}", {json.dumps(spec)}, {rounds}, 8);'
    found = ask(folder, body)
    times = found["times"]
    ours = times["ours"]
    return {
        "best_us": {p: round(1000 * min(t), 1) for p, t in times.items()},
        "ratio": {
            p: round(statistics.median(b / a for a, b in zip(ours, t, strict=True)), 2)
            for p, t in times.items()
        },
        "ratio_of_best": {p: round(min(t) / min(ours), 2) for p, t in times.items()},
        "gap": found["gaps"],
    }


def training(folder: Path, rounds: int) -> dict[str, Any]:
    """Compare a whole training step with TF.js'."""
    spec = make_trained(folder)
    body = f'return (await import("/training.js")).train({json.dumps(spec)}, {rounds}, 40);'
    found = ask(folder, body)
    ours, theirs = found["times"]["ours"], found["times"]["tfjs"]
    first, second = found["losses"]["ours"], found["losses"]["tfjs"]
    return {
        "best_ms": {p: round(min(t), 3) for p, t in found["times"].items()},
        "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        "losses_apart": max(abs(a - b) for a, b in zip(first, second, strict=True)),
        "losses": [first[0], first[-1]],
    }


def first_answers(folder: Path, spec: Any, repeats: int) -> dict[str, float]:
    """Return the median time to the first answer, and of a page that does nothing."""
    times: dict[str, list[float]] = {"nothing": [], "ours": [], "ort": [], "tfjs": []}
    for _ in range(repeats):
        for peer, seen in times.items():
            body = "return { first: performance.now() };"
            if peer != "nothing":
                call = f'first("{peer}", "digits", {json.dumps(spec)})'
                body = f'return (await import("/page.js")).{call};'
            seen.append(ask(folder, body)["first"])
    return {peer: round(statistics.median(seen), 1) for peer, seen in times.items()}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", type=Path, help="node_modules with the peers and esbuild")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        specs = prepare(given.modules, folder)
        found: dict[str, Any] = {"code": code_bytes(folder)}
        print("code, bytes and gzip:", found["code"], flush=True)
        for name in given.only:
            found[name] = latency(folder, name, specs[name], given.rounds)
            print(name, json.dumps(found[name]), flush=True)
        found["training"] = training(folder, given.rounds)
        print("training step:", json.dumps(found["training"]), flush=True)
        if given.repeats:
            found["first_ms"] = first_answers(folder, specs["digits"], given.repeats)
            print("first answer, ms:", found["first_ms"], flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
