"""What came from the browser, checked; and failures as one sentence."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from app.clips import Film
from app.pictures import Picture
from app.request import Parameters
from app.saved_views import SavedView
from app.service import Service
from fsr.errors import FsrError, InvalidInput
from fsr.pruners import REGISTRY
from fsr.pruners.forced import MOST, NOTHING, Forced
from fsr.trace.saved import is_saved

log = logging.getLogger(__name__)


def received(service: Service, path: str, model: str, frames: int = 0) -> Picture | Film:
    """An uploaded picture or clip, or that of a saved view, checked. Raises InvalidInput with one sentence, and then
    the file is deleted."""
    if not isinstance(path, str) or not path:
        raise InvalidInput("there is no file; send a picture or a clip.")
    try:
        return service.open_media(path, model, frames)
    except Exception:
        Path(path).unlink(missing_ok=True)
        raise


def received_view(service: Service, path: str) -> SavedView | None:
    """An uploaded saved view, checked; None where the file is none. Raises InvalidInput with one sentence.

    The file is deleted: nobody need see a visitor's page again, and no browser shall.
    """
    if not isinstance(path, str) or not is_saved(path):
        return None
    try:
        return service.views.open(path)
    finally:
        Path(path).unlink(missing_ok=True)


def sent_with(event: gr.EventData) -> dict[str, Any]:
    """What the page sent with an event; nothing where it was called without."""
    data = getattr(event, "_data", None)
    return data if isinstance(data, dict) else {}


def about_of(view: Any) -> dict[str, int]:
    """The page's numbers of what a word is about: picture, question, selection, curves; of older ones it shows none."""
    return _numbers(view, "about", "ask", "look", "curves")


def run_of(view: Any) -> dict[str, int]:
    """The page's number of this question, of these curves, of this selection or of this study."""
    return _numbers(view, "ask", "curves", "look", "why", "words")


def _numbers(view: Any, *names: str) -> dict[str, int]:
    sent = view if isinstance(view, dict) else {}
    return {name: sent[name] for name in names if isinstance(sent.get(name), int)}


def whole(value: Any, name: str) -> int:
    """A whole number sent as JSON, from 0 to a million."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1e6 or value % 1:
        raise InvalidInput(f"the {name} must be a whole number from 0 to 1000000, not {str(value)[:40]!r}.")
    return int(value)


def checked_parameters(value: Any) -> Parameters:
    """Method -> parameters with plain values; `fsr.pruners.make` checks their names and ranges. Nothing where none are
    sent. Raises InvalidInput for anything else."""
    sent = {} if value is None else value
    if not isinstance(sent, dict):
        raise InvalidInput(f'parameters by method must be sent as {{"fsr": {{"rho": 0.8}}}}, not {str(value)[:40]!r}.')
    found = {}
    for method, chosen in sent.items():
        if chosen is None:
            continue
        if method not in REGISTRY:
            raise InvalidInput(f"there is no method {str(method)[:40]!r} to give parameters to.")
        if not isinstance(chosen, dict):
            raise InvalidInput(f'the parameters of {method} must be sent as {{"rho": 0.8}}, not {str(chosen)[:40]!r}.')
        found[method] = {str(name)[:40]: v for name, v in chosen.items()}
    return found


def checked_forced(value: Any) -> Forced:
    """{"in": [token, ...], "out": [...]} as the page sends it; nothing where it sends none."""
    if value is None:
        return NOTHING
    known = isinstance(value, dict) and set(value) <= {"in", "out"}
    ways = [value.get("in", []), value.get("out", [])] if known else []
    if not ways or not all(isinstance(tokens, list) and len(tokens) <= 10 * MOST for tokens in ways):
        raise InvalidInput('forced tokens are sent as {"in": [tokens], "out": [tokens]}.')
    inside, outside = ([whole(token, "token to force") for token in tokens] for tokens in ways)
    return Forced(tuple(inside), tuple(outside))


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Every failure inside becomes the page's error message."""
    try:
        yield
    except Exception as error:
        raise gr.Error(sentence(error), duration=8, print_exception=False) from error


def sentence(error: Exception) -> str:
    """The library's own sentences as they are; anything unforeseen is logged (its kind, never the visitor's data)."""
    if isinstance(error, FsrError):
        text = str(error)
        return text[:1].upper() + text[1:]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log.error("%s in %s, line %s", type(error).__name__, frame.filename, frame.lineno)
    return f"Something went wrong on the server ({type(error).__name__}). Try again; the server's log says where."
