"""Chromium before a server of our own: a page that runs JavaScript, or a picture of one."""

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

import pytest

from tests.export.web.engines import PLAIN

CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-dev-shm-usage",
)  # fmt: skip
NO_GPU, WEBGPU = "--disable-gpu", "--enable-unsafe-webgpu"
"""Without an adapter; and WebGPU, by SwiftShader where there is no GPU."""

PAGE = """<!doctype html><meta charset="utf-8"><body><script type="module">
PLAIN
const frame = (path) => new Promise((done) => {
  const made = document.createElement("iframe");
  made.width = 1000; made.height = 900; made.src = path; made.onload = () => done(made);
  document.body.append(made);
});
const until = async (f) => {
  for (let i = 0; i < 400; i++) {
    const found = f();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 25));
  }
  throw new Error(`never: ${f}`);
};
const given = GIVEN;
let made;
try {
  const { load } = SCRIPT ? await import(SCRIPT) : {};
  made = plain(await (async () => { BODY })());
} catch (problem) { made = { failed: `${problem} ${problem.stack}` }; }
await fetch("/done", { method: "POST", body: JSON.stringify(made) });
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder, the page of a test, and what that page posts."""

    def log_message(self, *_args):
        pass

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def do_GET(self):
        self.server.asked.append(self.path)
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


@contextlib.contextmanager
def serving(folder, page=""):
    """Serve a folder, and a page as test.html."""
    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.done, server.result, server.page, server.asked = threading.Event(), None, page, []
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def browsing(tmp, *arguments):
    """Run a browser of its own profile, and end it with all of its processes."""
    if CHROMIUM is None:
        pytest.skip("chromium is not here")
    profile = tmp / "chromium"
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, "HOME": str(tmp)},
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def in_chromium(
    folder, body, given=None, tmp=None, timeout=90, script="/model.js", gpu=NO_GPU, asked=None
):
    """Run an async function's body in a page beside a folder; return what it returns.

    It sees `load` of a script, `given`, `frame(path)`: a page of the folder in a frame, loaded,
    and `until(f)`, which waits till a function gives something. The paths that were fetched are
    appended to a list, `asked`.
    """
    found = {"PLAIN": PLAIN, "GIVEN": json.dumps(given), "SCRIPT": json.dumps(script), "BODY": body}
    page = re.sub("|".join(found), lambda m: found[m[0]], PAGE)
    with serving(folder, page) as server:
        with browsing(tmp, gpu, f"{server.address}/test.html"):
            assert server.done.wait(timeout), "the page did not answer"
        came = server.result
        if asked is not None:
            asked += server.asked
    assert not (isinstance(came, dict) and "failed" in came), came["failed"]
    return came


def screenshot(folder, path, tmp, size="1100,900", *, dark=False):
    """Take a picture of a folder's page in Chromium."""
    flags = [NO_GPU, f"--screenshot={path}", f"--window-size={size}", "--virtual-time-budget=4000"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    with (
        serving(folder) as server,
        browsing(tmp, *flags, f"{server.address}/index.html") as process,
    ):
        process.wait(60)
