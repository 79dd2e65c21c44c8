"""The ASGI application: routes, limits, and what becomes of every error."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tenor.errors import ArgumentError, IndexRangeError, RequestError, ShapeError, TenorError
from tenor.serve import tfserving, v2
from tenor.serve.repository import Repository
from tenor.serve.workers import Busy, Workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenor.serve.servable import Servable

__all__ = ["Limits", "Service", "create_app"]

logger = logging.getLogger("tenor.serve")

CLIENT_ERRORS = (RequestError, ShapeError, IndexRangeError)
"""What a model may raise for values that a client can correct."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes on at once.

    Attributes:
        concurrency: Inferences that run at once; more than 1 only if `Servable.run` may be
            called from several threads.
        queue: Inferences that may wait; one more is answered 503.
        body_bytes: Largest request body; a larger one is answered 413. Its JSON may take
            25 times as much memory while it is parsed.
        body_seconds: Longest time a body may take to arrive; a slower one is answered 408.
        retry_seconds: What `Retry-After` says in a 503.

    Raises:
        ArgumentError: A limit is too low to answer anything.
    """

    concurrency: int = 1
    queue: int = 256
    body_bytes: int = 64 << 20
    body_seconds: float = 30.0
    retry_seconds: int = 1

    def __post_init__(self) -> None:
        lowest = {"concurrency": 1, "queue": 0, "body_bytes": 1, "body_seconds": 0.001}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ArgumentError(
                    f"Limits: {name} must be {low} or more.", came=repr(getattr(self, name))
                )


def reason(error: TenorError) -> str:
    """Return an error's text for a client: without our source lines."""
    came = f" Got: {'; '.join(error.came)}." if error.came else ""
    fix = f" Fix: {error.fix}." if error.fix else ""
    return f"{error.wanted}{came}{fix}"


def reply(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a document as a JSON response."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return Response(body, status, headers, "application/json")


async def refuse(request: Request, error: Exception) -> Response:
    """Turn an HTTPException into the error body that both protocols share."""
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"nothing is at {request.url.path[:200]}; see /v1/models/NAME and /v2/models/NAME"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "POST")
        detail = f"{request.method} is not for this path, which takes {allowed}"
    headers = dict(error.headers) if error.headers else None
    return reply({"error": detail}, error.status_code, headers)


class Service:
    """The endpoints, over a repository and a bounded set of workers.

    Attributes:
        repository: The models; may change while requests run.
        limits: What is taken on at once.
        workers: The threads that parse, run and write.
        ready: Whether new requests should be sent here; false once a stop has begun.
    """

    def __init__(self, repository: Repository, limits: Limits) -> None:
        self.repository = repository
        self.limits = limits
        self.workers = Workers(limits.concurrency, limits.queue)
        self.ready = True

    def find(self, request: Request) -> Servable:
        """Return the servable of a request's path, or refuse with 404."""
        name, version = request.path_params["name"], request.path_params.get("version")
        try:
            return self.repository.find(name, version)
        except LookupError as error:
            raise HTTPException(404, str(error)) from None

    async def infer(self, answer: Callable[[Servable, bytes], bytes], request: Request) -> Response:
        """Read, admit and answer one inference; say so where a stop cuts it short."""
        servable = self.find(request)
        try:
            return await self.answered(partial(answer, servable), servable, request)
        except asyncio.CancelledError:
            if self.ready:  # no stop of ours: whoever cancelled this waits for it to end
                raise
            raise HTTPException(503, "the server stopped before this was answered") from None

    async def answered(
        self, answer: Callable[[bytes], bytes], servable: Servable, request: Request
    ) -> Response:
        """Read a body and return what the model answers."""
        refuse_encodings(request)
        if self.workers.full:  # before the body is taken in, which is what costs memory
            raise self.busy()
        body = await self.body(request)
        try:
            return reply(await self.workers.run(partial(answer, body)))
        except Busy:
            raise self.busy() from None
        except CLIENT_ERRORS as error:
            return reply({"error": reason(error)}, 400)
        except MemoryError:
            raise HTTPException(413, "the body takes more memory than there is") from None
        except Exception:
            logger.exception("model %r version %s failed", servable.name, servable.version)
            detail = f"model {servable.name!r} failed; the server's log says why"
            return reply({"error": detail}, 500)

    def busy(self) -> HTTPException:
        """Return the refusal of a request there is no place for."""
        headers = {"Retry-After": str(self.limits.retry_seconds)}
        return HTTPException(503, f"{self.workers.taken} requests are running or waiting", headers)

    async def body(self, request: Request) -> bytes:
        """Return the request's body, or refuse one that is too large or too slow."""
        limit = self.limits.body_bytes
        too_large = HTTPException(413, f"the body is larger than {limit} bytes")
        length = request.headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and (len(length) > 19 or int(length) > limit):
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise HTTPException(
                408, f"the body did not arrive within {self.limits.body_seconds:g} s"
            ) from None
        except ClientDisconnect:  # nobody reads this answer, but nothing failed either
            raise HTTPException(400, "the client left before the body was complete") from None
        return b"".join(chunks)

    async def v1_status(self, request: Request) -> Response:
        """GET /v1/models/NAME[/versions/V]."""
        servable = self.find(request)
        one = "version" in request.path_params
        versions = [servable.version] if one else self.repository.versions(servable.name)
        return reply(tfserving.status(versions))

    async def v1_metadata(self, request: Request) -> Response:
        """GET /v1/models/NAME[/versions/V]/metadata."""
        return reply(tfserving.metadata(self.find(request)))

    async def v1_post_only(self, _request: Request) -> Response:
        """Refuse other methods than POST on NAME:VERB, which GET would take for a name."""
        raise HTTPException(405, headers={"Allow": "POST"})

    async def v1_other_verb(self, request: Request) -> Response:
        """POST /v1/models/NAME:VERB of a verb there is not."""
        verb = request.path_params["verb"][:40]
        detail = f"models answer :predict; {verb!r} is not offered"
        if verb in ("classify", "regress"):
            detail += ", since it takes tf.Example features and models here take tensors"
        raise HTTPException(404, detail)

    async def v2_server(self, _request: Request) -> Response:
        """GET /v2."""
        return reply(v2.server_metadata(installed_version()))

    async def v2_model(self, request: Request) -> Response:
        """GET /v2/models/NAME[/versions/V]."""
        servable = self.find(request)
        return reply(v2.metadata(servable, self.repository.versions(servable.name)))

    async def v2_model_ready(self, request: Request) -> Response:
        """GET /v2/models/NAME[/versions/V]/ready."""
        document = {"name": self.find(request).name, "ready": self.ready}
        return reply(document, 200 if self.ready else 503)

    async def live(self, _request: Request) -> Response:
        """GET /healthz and /v2/health/live: the event loop turns."""
        return reply({"live": True})

    async def is_ready(self, _request: Request) -> Response:
        """GET /readyz and /v2/health/ready: there are models, and no stop has begun."""
        ready = self.ready and bool(self.repository.names())
        return reply({"ready": ready}, 200 if ready else 503)

    def routes(self) -> list[Route]:
        """Return every path, its methods and its endpoint."""
        predict, infer = partial(self.infer, tfserving.predict), partial(self.infer, v2.infer)
        others = ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]
        table: list[tuple[str, list[str], Endpoint]] = [
            ("/healthz", ["GET"], self.live),
            ("/readyz", ["GET"], self.is_ready),
            ("/v2", ["GET"], self.v2_server),
            ("/v2/health/live", ["GET"], self.live),
            ("/v2/health/ready", ["GET"], self.is_ready),
        ]
        for version in ("", "/versions/{version}"):
            v1, v2_ = f"/v1/models/{{name}}{version}", f"/v2/models/{{name}}{version}"
            table += [
                (f"{v1}:predict", ["POST"], predict),
                (f"{v1}:{{verb}}", ["POST"], self.v1_other_verb),
                (f"{v1}:{{verb}}", others, self.v1_post_only),
                (v1, ["GET"], self.v1_status),
                (f"{v1}/metadata", ["GET"], self.v1_metadata),
                (v2_, ["GET"], self.v2_model),
                (f"{v2_}/ready", ["GET"], self.v2_model_ready),
                (f"{v2_}/infer", ["POST"], infer),
            ]
        return [Route(path, endpoint, methods=methods) for path, methods, endpoint in table]


def refuse_encodings(request: Request) -> None:
    """Refuse bodies that are not plain JSON bytes, whatever their content type says."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "the body must be sent without Content-Encoding")
    if "inference-header-content-length" in request.headers:
        raise HTTPException(
            400, "this server does not offer the binary tensor extension; send JSON data"
        )


def installed_version() -> str:
    """Return Tenor's version, or 0 where it runs from a source tree that is not installed."""
    try:
        return importlib.metadata.version("tenor")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def create_app(models: Repository | Iterable[Servable], limits: Limits | None = None) -> Starlette:
    """Return an ASGI application that answers for the models.

    `app.state.service` is its Service; close its workers when the application is done with.
    """
    repository = models if isinstance(models, Repository) else Repository(models)
    service = Service(repository, limits or Limits())
    app = Starlette(routes=service.routes(), exception_handlers={HTTPException: refuse})
    # A path with a slash too many is said to be one: not every client goes where it is sent.
    app.router.redirect_slashes = False
    app.state.service = service
    return app
