"""What the panels receive: plain JSON made from examples, pictures, events and models.

Traces and patches travel as text inside it: Gradio's page copies every value several times, and one string is copied
at once where 20,000 numbers are copied one by one.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.curves import Step
from app.examples import Example, Examples
from app.pictures import Picture
from app.service import Event, Service

_runs = itertools.count(1)


def run_id() -> int:
    """A number that makes every value new: a panel is told of a value only when its JSON changed."""
    return next(_runs)


def file_value(path: Path) -> dict[str, Any]:
    """A file that Gradio moves to its cache and gives an address."""
    return gr.FileData(path=str(path)).model_dump()


def picture_value(path: Path, size: tuple[int, int]) -> dict[str, Any]:
    return {"file": file_value(path), "width": size[0], "height": size[1]}


def example_value(example: Example) -> dict[str, Any]:
    """A gallery scene with its recorded trace, for the stage."""
    with Image.open(example.picture) as image:
        picture = picture_value(example.picture, image.size)
    return {
        "run": run_id(),
        "fresh": True,
        "example": example.id,
        "question": example.question,
        "trace": example.trace(),
        "pictures": [picture],
    }


def upload_value(picture: Picture) -> dict[str, Any]:
    """A visitor's picture that nothing is known about yet."""
    shown = picture_value(picture.file, picture.image.size)
    return {"run": run_id(), "fresh": True, "example": None, "question": "", "trace": None, "pictures": [shown]}


def trace_value(trace: dict[str, Any], scene: str, setting: str) -> dict[str, Any]:
    """A live trace of the picture that is on the stage already; the page says from now on that it shows `scene`, of
    `setting`, see `Request`."""
    return {"run": run_id(), "fresh": False, "trace": text_of(trace), "scene": scene, "setting": setting}


def patch_value(patch: dict[str, Any]) -> dict[str, Any]:
    return {"run": run_id(), "patch": text_of(patch)}


def text_of(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def status_value(phase: str, text: str = "") -> dict[str, Any]:
    """Only a status, for the answers panel."""
    return {"run": run_id(), "status": {"phase": phase, "text": text}}


def event_value(event: Event, question: str, where: str) -> dict[str, Any]:
    """One step of an answer, for the answers panel."""
    value = status_value(event.phase, event.text)
    value["status"] |= {"at": event.at, "of": event.of}
    value |= {"asked": event.asked, "question": question, "where": where}
    if event.problem:
        value["problems"] = {event.key: event.problem}
    if event.answer is not None:
        value["answers"] = {event.key: event.answer}
    return value


class FidelityValue:
    """What the fidelity panel shows so far; each value holds all of it, so that none can be missed."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {"points": [], "problems": {}, "smallest": None}

    def add(self, step: Step, question: str, where: str) -> None:
        self.shown |= {"phase": step.phase, "text": step.text, "at": step.at, "of": step.of}
        self.shown |= {"question": question, "where": where}
        if step.point is not None:
            self.shown["points"].append(step.point)
        if step.problem:
            self.shown["problems"][step.method] = step.problem
        if step.smallest is not None:
            found = step.smallest
            self.shown["smallest"] = {"method": step.method, "budget": found.budget, "runs": found.runs}

    def value(self) -> dict[str, Any]:
        return {"run": run_id(), "fidelity": text_of(self.shown)}


def failed_value(text: str) -> dict[str, Any]:
    return {"run": run_id(), "fidelity": text_of({"phase": "failed", "text": text})}


def gallery_value(examples: Examples) -> dict[str, Any]:
    rows = examples.all.values()
    tiles = [{"id": e.id, "title": e.title, "question": e.question, "picture": file_value(e.picture)} for e in rows]
    return {"examples": tiles}


def model_value(service: Service, model: str) -> dict[str, Any]:
    """The model in use and where it runs; before it is loaded, where it will."""
    vlm = service.loaded(model)
    value: dict[str, Any] = {"run": run_id(), "id": model, "loaded": vlm is not None}
    if vlm is None:
        return value | {
            "device": device_name(service.settings.device or _default_device()),
            "dtype": "",
            "pathways": {},
        }
    dtype = str(vlm.dtype).removeprefix("torch.")
    return value | {"device": device_name(str(vlm.device)), "dtype": dtype, "pathways": dict(vlm.pathways)}


def device_name(device: str) -> str:
    return {"cpu": "CPU", "cuda": "GPU"}.get(device, device.replace("cuda:", "GPU "))


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
