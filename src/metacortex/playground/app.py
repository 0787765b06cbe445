"""The web application: addresses, and what is checked before anything is done.

Every request is checked for its host (a page of another site must not reach a server on the loopback by a name of
its own), its origin, its size and its rate; every answer forbids the browser to run or load anything from elsewhere.
FastAPI is an optional dependency, so it is imported when an application is made.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metacortex.errors import MetacortexError, MissingExtraError
from metacortex.playground.actions import Actions, Call, File
from metacortex.playground.limits import Limits, Refused
from metacortex.playground.teacher import Teacher
from metacortex.playground.visitors import Visitor, Visitors

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["COOKIE", "HEADERS", "LOOPBACK", "MARK", "create_app"]

COOKIE = "metacortex_play"
MARK = "x-metacortex"
"""Header that every change must carry: pages of other sites cannot send it without being asked first, and refused."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
       for name in ("app", "api", "pad", "symbols", "answer", "skills", "waves")},
}  # fmt: skip
"""Address -> file: nothing else can be had."""
_PICTURE_COST = 0.1
_LOG = logging.getLogger("metacortex.playground")

Act = Callable[[Call], Any]


def create_app(teacher: Teacher, limits: Limits | None = None, hosts: Collection[str] | None = LOOPBACK) -> FastAPI:
    """The application.

    Args:
        teacher: who learns.
        limits: of visitors.
        hosts: names under which the server may be called; ``None`` for any.

    Raises:
        MissingExtraError: if FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI
        from starlette.routing import Route
    except ImportError:
        raise MissingExtraError("the playground", "playground") from None
    limits = limits or Limits()
    actions, visitors = Actions(teacher, limits), Visitors(limits)
    gate = _Gate(limits, visitors, hosts)
    pages = [Route(path, gate.page(name, kind), methods=["GET"]) for path, (name, kind) in _PAGE.items()]
    calls = [
        Route(path, gate.action(act, limit), methods=[method]) for method, path, act, limit in _routes(actions, limits)
    ]
    app = FastAPI(
        title="metacortex", docs_url=None, redoc_url=None, openapi_url=None, routes=[*pages, *calls],
        exception_handlers={404: gate.missing, 405: gate.missing},
    )  # fmt: skip
    app.state.actions, app.state.visitors = actions, visitors
    return app


def _routes(a: Actions, limits: Limits) -> list[tuple[str, str, Act, int]]:
    """Method, address, what it does, largest body."""
    small = 10_000
    return [
        ("GET", "/api/about", a.about, 0),
        ("GET", "/api/state", a.state, 0),
        ("GET", "/api/drawings/{name}", a.picture, 0),
        ("DELETE", "/api/drawings/{name}", a.delete_drawing, 0),
        ("POST", "/api/classes", a.add_class, small),
        ("PATCH", "/api/classes/{name}", a.rename_class, small),
        ("DELETE", "/api/classes/{name}", a.delete_class, 0),
        ("POST", "/api/classes/{name}/drawings", a.add_drawing, limits.upload),
        ("POST", "/api/classes/{name}/examples", a.add_example, small),
        ("POST", "/api/clear", a.clear, small),
        ("POST", "/api/undo", a.undo, small),
        ("POST", "/api/alphabets", a.load_alphabet, small),
        ("POST", "/api/queries", a.ask, limits.upload),
        ("POST", "/api/queries/example", a.ask_example, small),
        ("GET", "/api/queries/{name}", a.answer, 0),
        ("GET", "/api/queries/{name}/why", a.why, 0),
        ("GET", "/api/queries/{name}/rival", a.rival, 0),
        ("POST", "/api/skills", a.keep_skill, small),
        ("POST", "/api/skills/file", a.load_skill, limits.skill_file),
        ("GET", "/api/skills/{name}/file", a.skill_file, 0),
        ("POST", "/api/skills/{name}/use", a.use_skill, small),
        ("DELETE", "/api/skills/{name}", a.delete_skill, 0),
        ("POST", "/api/function", a.function, small),
        ("POST", "/api/function/rival", a.function_rival, small),
    ]


class _Gate:
    """What stands before every action."""

    def __init__(self, limits: Limits, visitors: Visitors, hosts: Collection[str] | None) -> None:
        self._limits, self._visitors, self._hosts = limits, visitors, hosts

    def page(self, name: str, kind: str) -> Callable[..., Any]:
        """Serve a file of the page."""
        data = (files("metacortex.playground") / "page" / name).read_bytes()

        async def serve(request: Request) -> Response:
            async def respond() -> Response:
                self._check_source(request)
                return _response(200, data, kind, {"cache-control": "no-cache"})

            return await _guarded(respond)

        return serve

    def action(self, act: Act, limit: int) -> Callable[..., Any]:
        """Carry out an action."""
        from starlette.concurrency import run_in_threadpool

        async def serve(request: Request) -> Response:
            async def respond() -> Response:
                self._check_source(request)
                key, visitor, new = self._visitor(request)
                cost = _PICTURE_COST if request.method == "GET" and "/drawings/" in request.url.path else 1.0
                wait = visitor.bucket.wait(cost)
                if wait:
                    raise Refused("too many requests: wait a little", 429, wait)
                if not visitor.places.acquire(blocking=False):
                    raise Refused("too many requests at once: wait for the answers", 429, 1.0)
                try:
                    call = Call(visitor, request.path_params.get("name", ""), await _body(request, limit))
                    answer = _answered(await run_in_threadpool(act, call))
                finally:
                    visitor.places.release()
                if request.method != "GET":
                    self._visitors.make_room()
                if new:
                    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", path="/",
                                      secure=request.url.scheme == "https")  # fmt: skip
                return answer

            return await _guarded(respond)

        return serve

    async def missing(self, request: Request, error: Exception) -> Response:
        """There is no such address, or not by this method."""
        return _refusal(Refused(f"there is nothing at {request.method} of this address", 404))

    def _visitor(self, request: Request) -> tuple[str, Visitor, bool]:
        key = request.cookies.get(COOKIE)
        visitor = self._visitors.find(key)
        if key is not None and visitor is not None:
            return key, visitor, False
        # An unknown key is never taken over: whoever sent it gets a new one.
        return *self._visitors.admit(request.client.host if request.client else ""), True

    def _check_source(self, request: Request) -> None:
        host = request.headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self._hosts is not None and name not in self._hosts:
            raise Refused("this server is called by another name: use the address that it printed", 421)
        if request.method in ("GET", "HEAD"):
            return
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
        foreign = (origin is not None and urlsplit(origin).netloc != host) or site not in ("same-origin", "none")
        if foreign or MARK not in request.headers:
            raise Refused("changes are only taken from the playground's own page", 403)


async def _guarded(respond: Callable[[], Any]) -> Response:
    """The answer, or the refusal."""
    try:
        return await respond()
    except MetacortexError as error:
        return _refusal(error if isinstance(error, Refused) else Refused(str(error), 422))
    except Exception:
        # A defect: it is written to the log, and the visitor learns nothing about the machine.
        _LOG.exception("the playground failed")
        return _refusal(Refused("something went wrong on the server", 500))


async def _body(request: Request, limit: int) -> bytes:
    """What came with a request, no more than allowed, whatever it said of its size."""
    too_large = Refused(f"this is too large: at most {limit / 1e6:g} MB are taken", 413)
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise too_large
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        parts.append(chunk)
    return b"".join(parts)


def _answered(content: Any) -> Response:
    if not isinstance(content, File):
        data = json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
        return _response(200, data, "application/json", {"cache-control": "no-store"})
    if content.name is None:
        # Drawings never change.
        return _response(200, content.data, content.kind, {"cache-control": "private, max-age=3600, immutable"})
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{content.name}"'}
    return _response(200, content.data, content.kind, headers)


def _refusal(error: Refused) -> Response:
    headers = {"cache-control": "no-store"}
    if error.wait is not None:
        headers["retry-after"] = str(max(1, round(error.wait + 0.5)))
    data = json.dumps({"error": str(error)}, ensure_ascii=False).encode()
    return _response(error.status, data, "application/json", headers)


def _response(status: int, data: bytes, kind: str, headers: dict[str, str]) -> Response:
    from starlette.responses import Response

    return Response(data, status, {**HEADERS, **headers}, media_type=kind)
