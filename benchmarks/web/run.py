"""Measure exported models in one Chromium beside onnxruntime-web and TF.js, one thread each.

    npm install onnxruntime-web @tensorflow/tfjs @tensorflow/tfjs-backend-wasm esbuild
    python benchmarks/web/run.py node_modules [--json out.json]

Latency: windows of calls in one page, the peers in turn; a ratio is the median over rounds of
peer / ours, and a time the best window's. Bytes: all code that is fetched, by gzip -9.

First answer: a browser with a new profile has been showing another site's page for a while, and
goes to a page that loads the digits and asks them once; nothing is cached. The clock is the page's
own, from the start of the navigation to the answer. Beside it stands a page that does nothing:
that much is the browser's, whatever the page does. Every page names its script in a link, is
written as the peer's guide has it, and is measured in turns with the others.
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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parent))
from models import MODELS, make, make_trained

HERE = Path(__file__).parent
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-dev-shm-usage",
)  # fmt: skip
SECONDS = 300
SETTLE = 2000
"""Milliseconds on another page before a first answer is asked for."""
BEFORE = """<!doctype html><meta charset="utf-8"><title>Before</title><script>
onload = () => setTimeout(() => location.assign("{address}"), {settle});
</script>"""
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


@contextlib.contextmanager
def serving(folder: Path, host: str = "127.0.0.1") -> Iterator[Any]:
    """Serve a folder; another loopback address is another site."""
    server: Any = ThreadingHTTPServer((host, 0), lambda *a: Handler(*a, directory=str(folder)))
    server.done, server.found = threading.Event(), None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def ask(folder: Path, body: str, *, arrive: bool = False, link: str = "") -> Any:
    """Return what a page's script makes, in a browser with a profile of its own.

    Args:
        folder: What is served.
        body: The script, of an async function.
        arrive: Whether the browser comes from another site's page, when it has settled there.
        link: A module that the page's head names, so that it is fetched early.
    """
    head = '<link rel="icon" href="data:,">'
    head += f'<link rel="modulepreload" href="{link}">' if link else ""
    text = f"""<!doctype html><meta charset="utf-8">{head}<script type="module">
let made;
try {{ made = await (async () => {{ {body} }})(); }}
catch (e) {{ made = {{ failed: `${{e}} ${{e.stack}}` }}; }}
await fetch("/done", {{ method: "POST", body: JSON.stringify(made) }});
</script>"""
    (folder / "page.html").write_text(text)
    with (
        serving(folder) as server,
        serving(folder, "127.0.0.2") as other,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        address = f"http://127.0.0.1:{server.server_port}/page.html"
        if arrive:
            (folder / "before.html").write_text(BEFORE.format(settle=SETTLE, address=address))
            address = f"http://127.0.0.2:{other.server_port}/before.html"
        browser = subprocess.Popen(
            [shutil.which("chromium"), *FLAGS, f"--user-data-dir={profile}", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            if not server.done.wait(SECONDS):
                raise TimeoutError("the page did not answer")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
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


def first_answers(folder: Path, spec: Any, repeats: int) -> dict[str, Any]:
    """Return each peer's time to its first answer, and that of a page that does nothing."""
    peers = (folder / "peers.js").read_text().replace("export const", "const")
    asked = f"""{peers}
const spec = {json.dumps(spec)};
const answer = await PEERS[peer]("digits", spec), made = await answer(Float32Array.from(spec.x));
return performance.now();"""
    times: dict[str, list[float]] = {peer: [] for peer in LINKS}
    for _ in range(repeats):
        for peer, link in LINKS.items():
            body = f'const peer = "{peer}"; {asked}' if link else "return performance.now();"
            times[peer].append(ask(folder, body, arrive=True, link=link))
    gross = {peer: statistics.median(seen) for peer, seen in times.items()}
    best = min(gross[peer] for peer in ("ort", "tfjs"))
    nothing, ours = gross["nothing"], gross["ours"]
    return {
        "ms": {peer: round(ms, 1) for peer, ms in gross.items()},
        "ms_beyond_nothing": {peer: round(ms - nothing, 1) for peer, ms in gross.items()},
        "of_the_faster_peer": round(ours / best, 2),
        "of_the_faster_peer_beyond_nothing": round((ours - nothing) / (best - nothing), 2),
    }


LINKS = {
    "nothing": "", "ours": "/digits.ours/model.js",
    "ort": "/npm/onnxruntime-web/dist/ort.wasm.min.mjs", "tfjs": "/tfjs.js",
}  # fmt: skip
"""The script that each peer's page names in its head."""


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
            found["first"] = first_answers(folder, specs["digits"], given.repeats)
            print("first answer:", json.dumps(found["first"]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
