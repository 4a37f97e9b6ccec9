"""The page's own files: ES modules and styles under an address with their version, so that browsers keep them; and the
headers of every answer, which let the page load nothing from another host.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.data_sets import DataSets
from app.examples import Examples
from app.preview import Preview, picture
from app.scenes import routes as scenes
from app.service import Service
from app.tours import route as tours

STATIC = Path(__file__).parent / "static"
STYLES = (
    "look.css",
    "theme.css",
    "page.css",
    "stage.css",
    "panels.css",
    "picker.css",
    "save/save.css",
    "compare.css",
    "tabs.css",
    "own/own.css",
    "why/why.css",
    "words/words.css",
    "lecture/lecture.css",
    "guide/guide.css",
    "compose/compose.css",
    "wide.css",
    "narrow.css",
    "film.css",
)
UNSTYLED = (
    ".gradio-container { visibility: hidden; animation: fx-anyway 0s 2s forwards; }"
    "@keyframes fx-anyway { to { visibility: visible; } }"
)
FOREVER = "public, max-age=31536000, immutable"
# Gradio's own page holds inline scripts and styles, and makes functions of the `js` of its events from text: it needs
# 'unsafe-inline' and 'unsafe-eval'. Nothing of a visitor's reaches a script: panels draw with textContent alone.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self' https://huggingface.co https://*.huggingface.co",  # a Space's page holds ours in a frame
}

# The data-set view is a page of our own: no inline scripts or styles, nothing that makes code of text.
DATA_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": POLICY["frame-ancestors"],
}


@cache
def version() -> str:
    """A hash of all modules and styles."""
    digest = hashlib.sha256()
    for path in sorted(filter(Path.is_file, STATIC.rglob("*"))):
        digest.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def address(name: str) -> str:
    """Where a file of app/static is served, relative to the page, as Gradio's own files are: also under a root path.
    Modules import each other by relative addresses and so keep the version."""
    return f"./fsr/{version()}/{name}"


def markup(name: str) -> str:
    """The constant HTML of one panel; it holds no template marks, so nothing is ever filled in by Gradio."""
    text = (STATIC / name).read_text(encoding="utf-8")
    if "${" in text or "{{" in text:
        raise ValueError(f"app/static/{name} must be constant markup, without template marks.")
    return text


def head(config: dict[str, Any]) -> str:
    """What the page needs before its panels mount. `config` holds constants of this app, never visitors' data.

    Panels mount in any order and wait for `fsrReady`, the promise of what main.js starts. Gradio's script puts this
    into the page when it starts: until the styles are there nothing is shown, for two seconds at most.
    """
    styles = [f'<link rel="stylesheet" href="{address(name)}">' for name in STYLES]
    constants = json.dumps(config).replace("<", "\\u003c")
    start = f'import("{address("main.js")}").then(({{ start }}) => (window.fsrExplorer = start({constants})))'
    return "".join([f"<style>{UNSTYLED}</style>", *styles, f"<script>window.fsrReady = {start};</script>"])


@cache
def early() -> str:
    """A Link header: the browser fetches styles and modules while Gradio's own script still starts."""
    styles = [f"<{address(name)}>; rel=preload; as=style" for name in STYLES]
    names = [path.relative_to(STATIC).as_posix() for path in sorted(STATIC.rglob("*.js"))]
    names = [name for name in names if not name.startswith("data/")]  # of another page
    modules = [f"<{address(name)}>; rel=modulepreload" for name in names]
    return ", ".join(styles + modules)


class _Versioned(StaticFiles):
    """Files whose address changes with their content."""

    def get_path(self, scope: Scope) -> str:
        """What follows the version, also where a proxy took the root path away: Starlette's own way then finds none."""
        return str(scope["path"]).rpartition(f"/{version()}/")[2]

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = FOREVER
        return response


class Headers:
    """Adds the Content-Security-Policy to every answer, to Gradio's page what it will need, and to streams that a proxy
    must pass on every event at once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.policy = "; ".join(f"{name} {sources}" for name, sources in POLICY.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                kind, own = headers.get("content-type", ""), "Content-Security-Policy" in headers
                headers.setdefault("Content-Security-Policy", self.policy)
                if kind.startswith("text/html") and not own:
                    headers["Link"] = early()
                elif kind.startswith("text/event-stream"):
                    headers["X-Accel-Buffering"] = "no"
            await send(message)

        await self.app(scope, receive, with_policy if scope["type"] == "http" else send)


def data_page() -> Route:
    """`./data`: constant markup, in which {static} is the address of app/static with its version."""

    def told(_: Request) -> Response:
        text = (STATIC / "data" / "data.html").read_text(encoding="utf-8")
        policy = "; ".join(f"{name} {sources}" for name, sources in DATA_POLICY.items())
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
        return HTMLResponse(text.replace("{static}", address("").rstrip("/")), headers=headers)

    return Route("/data", told)


def health(service: Service) -> Route:
    """What a host asks every few seconds: whether requests are answered, and by which model. Loads nothing."""
    first, models = service.settings.first, service.models

    def told(_: Request) -> Response:  # in a thread of the pool that serves the page
        value = {"model": models.resolved(first), "in_memory": models.held_id, "notice": models.notice(first)}
        return JSONResponse(value, headers={"Cache-Control": "no-store"})

    return Route("/health", told)


def app_options(service: Service | None = None) -> dict[str, Any]:
    """For the FastAPI app that Gradio makes: our files, our headers, and answers that are compressed."""
    routes: list[BaseRoute] = [picture(), *scenes(), Mount(f"/fsr/{version()}", _Versioned(directory=STATIC))]
    if service is not None:
        routes += [health(service), tours(Examples(Path(service.settings.examples)))]
        routes += [data_page(), *DataSets(service.sweeps).routes()]
    return {
        "routes": routes,
        "middleware": [
            Middleware(Headers),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=6),
            Middleware(Preview),
        ],
    }
