"""The socket, the thread and the signals around the application."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from tenor.errors import ArgumentError
from tenor.serve.app import Limits, Service, create_app

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tenor.serve.repository import Repository
    from tenor.serve.servable import Servable

__all__ = ["RunningServer", "serve", "start_in_thread"]

logger = logging.getLogger("tenor.serve")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

HURRY_SECONDS = 1.0
"""How long connections get to close once a stop is cut short."""


class RunningServer:
    """A server that answers in a thread of its own, until `stop` or the end of a `with` block.

    Attributes:
        url: Where it answers, e.g. "http://127.0.0.1:8501".
        service: The application's Service; its repository may be changed.
    """

    def __init__(self, server: uvicorn.Server, listener: socket.socket, service: Service) -> None:
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.service = service
        self._server = server
        self._hurry = threading.Event()
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name="tenor-serve-http", daemon=True
        )
        self._thread.start()
        while not server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server's thread ended before it answered; see the log")
            time.sleep(0.002)

    def stop(self, drain: float = 0.0) -> bool:
        """Stop gracefully: readiness turns false, then the socket closes, then requests finish.

        Args:
            drain: Seconds to go on answering with readiness false, so that a load balancer
                that polls it sends nothing more before the socket closes.

        Returns:
            Whether every request was answered; False if some outlasted the time to stop.
        """
        self.service.ready = False
        self._hurry.wait(drain)
        self._server.should_exit = True
        while self._thread.is_alive() and not self._hurry.is_set():
            self._thread.join(0.05)
        self._thread.join(HURRY_SECONDS)
        self.service.workers.close()
        return self.service.workers.taken == 0

    def hurry(self) -> None:
        """Cut a stop short: leave requests unanswered."""
        self._server.force_exit = True
        self._hurry.set()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ArgumentError: The address is not this machine's, or is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem = f"{port}"
    if 0 <= port < 1 << 16:
        try:
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            problem = str(error)
    raise ArgumentError(
        f"serve: host {host!r} and port {port} must be free to listen on.",
        came=problem,
        fix="choose another port below 65536, or port=0 for any free one",
    )


def start_in_thread(
    models: Repository | Iterable[Servable],
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
    stop_seconds: int = 30,
) -> RunningServer:
    """Serve models from a thread; port 0 picks a free port.

    Args:
        models: What to serve.
        host: The address to listen on.
        port: The port to listen on.
        limits: What the server takes on at once.
        stop_seconds: How long running requests may take once a stop has begun.

    Raises:
        ArgumentError: The address is not this machine's, or is taken.
    """
    listener = listen(host, port)
    app = create_app(models, limits)
    # Logging is the caller's to set up; lifespan events have no one to hear them here.
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=stop_seconds,
    )
    return RunningServer(uvicorn.Server(config), listener, app.state.service)


def serve(
    models: Repository | Iterable[Servable],
    host: str = "127.0.0.1",
    port: int = 8501,
    limits: Limits | None = None,
    drain_seconds: float = 0.0,
    stop_seconds: int = 30,
) -> bool:
    """Serve models until SIGTERM or SIGINT, then stop gracefully; call it in the main thread.

    A second signal stops at once. The address is logged at level INFO to "tenor.serve".

    Args:
        models: What to serve.
        host: The address to listen on; "0.0.0.0" for every address of this machine.
        port: The port to listen on; 8501 is TensorFlow Serving's.
        limits: What the server takes on at once.
        drain_seconds: How long to go on answering with readiness false before the socket
            closes, so that load balancers notice.
        stop_seconds: How long running requests may take after that.

    Returns:
        Whether every request was answered; False if some were cut off.

    Raises:
        ArgumentError: The address is not this machine's, or is taken.
    """
    running = start_in_thread(models, host, port, limits, stop_seconds)
    asked = threading.Event()

    def on_signal(_number: int, _frame: Any) -> None:
        if asked.is_set():
            running.hurry()
        asked.set()

    before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        logger.info("serving %s at %s", running.service.repository.names(), running.url)
        asked.wait()
        logger.info("stopping: %d requests are running", running.service.workers.taken)
        return running.stop(drain_seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
