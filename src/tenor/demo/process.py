"""Fresh processes: a model verified in one, and a server in another."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Server", "serving", "verify_afresh"]

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0


def _tenor(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tenor.cli", *arguments]


def verify_afresh(model: Path) -> tuple[bool, str]:
    """Load a model in a fresh process and run its examples: whether they held, and what it said."""
    done = subprocess.run(  # noqa: S603 - our own program, on our own file
        _tenor("verify", str(model)), capture_output=True, text=True, timeout=120, check=False
    )
    said = (done.stdout if done.returncode == 0 else done.stderr + done.stdout).strip()
    return done.returncode == 0, " ".join(said.split())


class Server:
    """A server process that answers.

    Attributes:
        url: Where it answers.
        status: Its exit status, once it has stopped.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.status: int | None = None

    def await_ready(self) -> None:
        """Return once it says it is ready.

        Raises:
            ArgumentError: It ended, or was not ready in a minute; with the end of its log.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=5) as answer:  # noqa: S310
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise ArgumentError(
            "demo: the server must start and say that it is ready.",
            came=self.log.read_text("utf-8", "replace").splitlines()[-12:],
            fix=f"see {self.log}; tenor doctor checks the installation",
        )

    def stop(self) -> None:
        """Ask it to stop and wait; end it where it does not."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.status = None


@contextmanager
def serving(model: Path, log: Path) -> Iterator[Server]:
    """Serve a model from a fresh process inside the `with` block, on a free local port."""
    port = free_port()
    command = _tenor("serve", str(model), "--host", "127.0.0.1", "--port", str(port))
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own program, on our own file
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        server.await_ready()
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
