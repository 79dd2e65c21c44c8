"""A headless Chromium that runs a page and says what it came to."""

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-dev-shm-usage",
)  # fmt: skip
WEBGPU = "--enable-unsafe-webgpu"
"""WebGPU by SwiftShader; with --disable-gpu there would be no adapter."""


def answer(files, *flags, seconds=90):
    """Serve files by name, open index.html, and return the JSON it posts to /answer.

    The page has to be served: ES modules are not loaded from files.
    """
    came, done = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = files.get(self.path.lstrip("/") or "index.html")
            self.send_response(404 if body is None else 200)
            kinds = {".html": "text/html", ".js": "text/javascript"}
            kind = kinds.get(Path(self.path).suffix, "application/octet-stream")
            self.send_header("Content-Type", kind if self.path != "/" else "text/html")
            self.end_headers()
            self.wfile.write(body.encode() if isinstance(body, str) else body or b"")

        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        url = f"http://127.0.0.1:{server.server_port}/"
        command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", url]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done.wait(seconds)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
            server.server_close()
    assert came, f"the page did not answer within {seconds} seconds"
    return came[0]
