"""Files that a visitor takes along: figures, films, sheets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.animation import MOVES, animated
from app.asked_figure import pictures_of
from app.clip_export import Sent, saved
from app.exporting import figure, file_name
from app.ui.handlers import Handlers, Session
from app.ui.sent import errors_as_sentences, sent_with


class FileHandlers:
    """Handlers of what is saved, beside those of the page."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def figure(self, event: gr.EventData, session: Session) -> Iterator[str]:
        """A figure of what the page shows, as a file to download."""
        sent = sent_with(event)
        with errors_as_sentences():
            name = file_name(sent.get("figure"), sent.get("format"))
            asked = sent | {"scene": session.scene}
            data = figure(sent["figure"], sent["format"], asked, partial(self._frames, session))
        yield from offered(name, data)

    def export_clip(self, event: gr.EventData, session: Session) -> Iterator[str]:
        """The clip on the stage with its tokens, as a film or a contact sheet, or what is kept of a picture in
        motion, to download."""
        with errors_as_sentences():
            asked = sent_with(event)
            if asked.get("kind") in MOVES:
                name, data = animated(asked, partial(self._frames, session))
            else:
                sent = Sent.checked(asked)
                name, data = saved(sent, self._frames(session, sent.trace))
        yield from offered(name, data)

    def _frames(self, session: Session, trace: dict[str, Any]) -> list[Image.Image]:
        """One picture for every frame of the trace; none where it is about a clip and the stage shows a picture."""
        clip = trace["clip"]
        return pictures_of(self.handlers.shown(session, clip["sampled"] if clip else 0), trace)


def offered(name: str, data: bytes) -> Iterator[str]:
    """A file to download under this name; it is deleted once Gradio has its copy."""
    with tempfile.TemporaryDirectory(prefix="fsr-figure-") as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield str(path)
