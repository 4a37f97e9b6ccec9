"""What the panels receive: plain JSON made from examples, pictures, events and models.

Traces and patches travel as text inside it: Gradio's page copies every value several times, and one string is copied
at once where 20,000 numbers are copied one by one.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.clips import Film
from app.curves import Step
from app.examples import Example, Examples
from app.picker import rows
from app.pictures import Picture
from app.saved_views import SavedView
from app.scenes import address
from app.service import Service
from app.work import Event
from fsr.trace import clip_record, shown_frames
from fsr.vlm.matrix import COLUMNS, matrix
from fsr.vlm.placement import MAPS

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
    with Image.open(example.pictures[0]) as image:
        size = image.size
    return {
        "run": run_id(),
        "fresh": True,
        "example": example.id,
        "recording": example.recording,
        "question": example.question,
        "trace": None,
        "file": file_value(example.trace_file) if example.trace_file.is_file() else None,
        "pictures": [picture_value(path, size) for path in example.pictures],
    }


def upload_value(shown: Picture | Film) -> dict[str, Any]:
    """A visitor's picture or clip that nothing is known about yet."""
    value = {"run": run_id(), "fresh": True, "example": None, "picture": shown.id}
    value |= {"question": "", "trace": None}
    if isinstance(shown, Film):
        return value | {"pictures": film_values(shown), "clip": clip_record(shown.clip, shown.name)}
    return value | {"pictures": [picture_value(shown.file, shown.image.size)]}


def scene_value(shown: Picture, scene: str) -> dict[str, Any]:
    """A scene that a visitor composes, for the stage. scene: its text."""
    picture = {"file": {"url": address(scene)}, "width": shown.image.width, "height": shown.image.height}
    return upload_value(shown) | {"pictures": [picture], "drawn": scene}


def saved_value(saved: SavedView) -> dict[str, Any]:
    """A saved view, to be shown as it was: its trace, its pictures, and what was on screen."""
    shown, view = saved.shown, saved.view
    value: dict[str, Any] = {"run": run_id(), "fresh": True, "example": None, "picture": saved.id}
    value |= {
        "question": view.trace.question,
        "trace": text_of(saved.trace),
        "opened": {"method": view.method, "budget": view.budget},
        "editable": view.scene,
    }
    if isinstance(shown, Film):
        return value | {"pictures": film_values(shown), "clip": view.trace.clip}
    return value | {"pictures": [picture_value(shown.file, shown.image.size)]}


def film_values(film: Film, grids: int | None = None) -> list[dict[str, Any]]:
    """The frames of a clip with their times and numbers; with `grids`, those that so many frames of a trace show."""
    at = range(len(film.files)) if grids is None else shown_frames(len(film.files), grids)
    clip = film.clip
    times = [{"time": clip.times[i], "index": clip.indices[i]} for i in at]
    return [picture_value(film.files[i], film.images[i].size) | time for i, time in zip(at, times, strict=True)]


def trace_value(trace: dict[str, Any], scene: str, setting: str, shown: Picture | Film | None = None) -> dict[str, Any]:
    """A live trace of the picture that is on the stage already; the page says from now on that it shows `scene`, of
    `setting`, see `Request`. shown: a clip, whose frames may be others than those on the stage."""
    value = {"run": run_id(), "fresh": False, "trace": text_of(trace), "scene": scene, "setting": setting}
    if isinstance(shown, Film):
        value["pictures"] = film_values(shown, len(trace["frames"]))
    return value


def patch_value(patch: dict[str, Any], setting: str) -> dict[str, Any]:
    """One method of the trace that is on the stage. setting: as of `trace_value`."""
    return {"run": run_id(), "patch": text_of(patch), "setting": setting}


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
    recordings = [asdict(one) for one in examples.recordings.values()]
    return {"examples": [tile_value(example) for example in examples.all.values()], "recordings": recordings}


def tile_value(example: Example) -> dict[str, Any]:
    middle = example.pictures[len(example.pictures) // 2]  # of a clip
    about = {
        "id": example.id,
        "title": example.title,
        "question": example.question,
        "clip": example.clip,
        "story": example.story,
    }
    return about | {"picture": file_value(middle)}


def model_value(service: Service, model: str) -> dict[str, Any]:
    """The model in use and where it runs; before it is loaded, where it will. answering: itself, or its fallback.

    The page chooses what `back` holds, where there is one: this model could not be loaded.
    """
    vlm = service.loaded(model)
    value: dict[str, Any] = {"run": run_id(), "id": model, "loaded": vlm is not None}
    value |= {"answering": service.models.resolved(model), "notice": service.models.notice(model)}
    if vlm is None:
        return value | {
            "device": device_name(str(service.settings.device or _default_device())),
            "dtype": "",
            "pathways": {},
        }
    return value | {"device": device_name(str(vlm.device)), "dtype": vlm.precision, "pathways": dict(vlm.pathways)}


def chosen_value(service: Service, model: str) -> dict[str, Any]:
    """The same of a model that is in use from now on; other values only tell news of the one that is."""
    return model_value(service, model) | {"chosen": True}


def picker_value(service: Service, model: str) -> dict[str, Any]:
    """`model_value` with a row for every model on offer, see `app.picker.rows`, and what is proven for each family."""
    proven = {"columns": COLUMNS, "families": [row.to_json() for row in matrix()]}
    return model_value(service, model) | {"rows": rows(service.models), "proven": proven}


def device_name(device: str) -> str:
    if device in MAPS:
        return "several devices"
    return {"cpu": "CPU", "cuda": "GPU"}.get(device, device.replace("cuda:", "GPU "))


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
