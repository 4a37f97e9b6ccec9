"""An item of a recorded sweep, opened in the explorer as any picture or clip, by the sweep's name and its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from app.clips import Film
from app.pictures import Picture
from app.service import Service
from fsr.errors import InvalidInput

MOST_DIGITS = 9


@dataclass(frozen=True)
class SweepItem:
    """sweep, item: what it is called in an address. model: the sweep's, where the page offers it, else empty; title: as
    the sweep has it. shown: its picture or frames."""

    sweep: str
    item: int
    question: str
    model: str
    title: str
    shown: Picture | Film

    def value(self) -> dict[str, Any]:
        """For the stage, with that of its picture."""
        note = f"The sweep asked {self.title}, which is not on offer here." if not self.model else ""
        source = {"sweep": self.sweep, "item": self.item, "question": self.question}
        return {"source": source} | ({"note": note} if note else {})


def sweep_item(service: Service, sweep: object, item: object, model: str) -> SweepItem:
    """model: whose number of frames a clip gets. Raises InvalidInput with one sentence for what is not there."""
    if not isinstance(sweep, str):
        raise InvalidInput("the sweep must be one of those on the page Data sets.")
    found = service.sweeps.get(sweep)
    number = str(item)
    if isinstance(item, bool) or not (number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS):
        raise InvalidInput(f"the item must be a whole number, not {number[:20]!r}.")
    one = service.sweeps.item(found, int(number))
    asked = str(found.settings["model"])
    offered = next((name for name, offer in service.settings.offers.items() if asked in (name, offer.source)), "")
    if isinstance(one.media, Image.Image):
        shown: Picture | Film = service.pictures.keep(one.media.convert("RGB"))
    elif one.media is None:
        raise InvalidInput(f"item {number} of {sweep!r} has no picture.")
    else:
        shown = service.open_media(one.media, offered or model, int(found.settings.get("frames") or 0))
    return SweepItem(sweep, int(number), one.question, offered, asked[:200], shown)
