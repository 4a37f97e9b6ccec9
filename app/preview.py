"""What a messenger or a search engine shows of a link to the page: its own title, description and picture.

Gradio's page says "Gradio" and "Click to try out the app!" first, and its own settings for it second; here all of that
is taken out and said once.
"""

from __future__ import annotations

import html
import json
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import ROOT

TITLE = "FSR Explorer: which visual tokens does the answer need?"
DESCRIPTION = (
    "See which parts of a picture or clip a vision-language model still reads when its visual tokens are pruned: drag "
    "the budget, ask, compare FSR (Focus, Scan, Refine) with other methods."
)
PICTURE, SIZE = ROOT / "assets" / "preview.png", (1200, 630)
ADDRESS = "/fsr/preview.png"
_THEIRS = re.compile(rb'[ \t]*<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*?\n')
_ROOT = re.compile(rb'"root":\s*("(?:[^"\\]|\\.)*")')


def tags(root: str) -> str:
    """The meta elements. root: the page's own address, as Gradio tells it from the request and the root path."""
    at = root.rstrip("/")
    said = {
        'name="description"': DESCRIPTION,
        'property="og:type"': "website",
        'property="og:url"': f"{at}/",
        'property="og:title"': TITLE,
        'property="og:description"': DESCRIPTION,
        'property="og:image"': at + ADDRESS,
        'property="og:image:width"': str(SIZE[0]),
        'property="og:image:height"': str(SIZE[1]),
        'property="og:image:alt"': "A picture under a veil; the visual tokens that are kept shine through it.",
        'name="twitter:card"': "summary_large_image",
        'name="twitter:title"': TITLE,
        'name="twitter:description"': DESCRIPTION,
        'name="twitter:image"': at + ADDRESS,
    }
    return "".join(f'<meta {name} content="{html.escape(text)}" />\n' for name, text in said.items())


def rewritten(page: bytes) -> bytes:
    """Gradio's page with our words about it. The page as it is where it looks otherwise than it did."""
    head, mark, rest = page.partition(b"<script>")
    root = _ROOT.search(rest)
    if not mark or root is None or b'<meta charset="utf-8" />' not in head:
        return page
    ours = tags(json.loads(root.group(1))).encode()
    head = _THEIRS.sub(b"", head).replace(b'<meta charset="utf-8" />', b'<meta charset="utf-8" />\n' + ours, 1)
    return head + mark + rest


class Preview:
    """Rewrites the page itself, and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: list[Message] = []
        parts: list[bytes] = []

        async def gather(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
                    await send(message)
                else:
                    start.append(message)
            elif not start:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    body = rewritten(b"".join(parts))
                    MutableHeaders(scope=start[0])["Content-Length"] = str(len(body))
                    await send(start[0])
                    await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, gather if scope["type"] == "http" and scope["method"] == "GET" else send)


def picture() -> Route:
    """The picture of the preview, under an address that stays."""
    return Route(ADDRESS, lambda _: FileResponse(PICTURE, headers={"Cache-Control": "public, max-age=86400"}))
