"""`make gpu-check`: proves and measures everything that this project says of a GPU, on one card and within minutes.

It needs torch, transformers, safetensors, numpy and pillow. What is more (torchvision, OpenCV, the page) is used where
it is there, and named where it is missed. Parts worth most come first.
"""

from __future__ import annotations

import importlib
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fsr import kernels
from fsr.bench import machine, prefill, select
from fsr.bench.architectures import SMALL, build, named
from fsr.bench.parts import Part, Say, Skipped, run, said
from fsr.check import device as same
from fsr.errors import FsrError, InvalidInput
from fsr.kernels import loops
from fsr.vlm.placement import DTYPES

EXAMPLES = machine.ROOT / "assets" / "examples"
FOLDER = Path("measurements")
SCORES = ("third", "as_is")  # both kinds, see `fsr.bench.select`
# visual tokens to keep, as in the paper's tables, or the share of all of them that these give
BUDGETS: dict[str, tuple[float, ...]] = {
    "llava-1.5-7b": (192, 128, 64),
    "llava-next-7b": (960, 640, 320),
    "llava-video-7b": (0.5, 0.4, 0.3, 0.2),
    "qwen2.5-vl-7b": (0.5, 0.4, 0.2, 0.1),
}
PAGES_MODEL = "llava-1.5-7b"
PICTURES = 5  # of the page's questions


@dataclass(frozen=True)
class Extent:
    """How much is measured. questions: compared with the CPU's answers. held: those after which memory is looked at.
    cases: N, K, D of the selection. asked: questions to the page, page_tokens and repeat_s: its limits. suffix: of the
    architectures' names. slow: whether a part takes its time."""

    device: torch.device
    dtype: str
    questions: int
    held: int
    cases: tuple[tuple[int, int, int], ...]
    repeats: int
    new_tokens: int
    frames: int
    asked: int
    page_tokens: int
    repeat_s: float
    suffix: str = ""
    slow: bool = True


CARD = Extent(
    device=torch.device("cuda"),
    dtype="bfloat16",
    questions=100,
    held=100,
    cases=select.CASES,
    repeats=9,
    new_tokens=9,
    frames=32,
    asked=20,
    page_tokens=32,
    repeat_s=0.5,
)
REHEARSAL = Extent(
    device=torch.device("cpu"),
    dtype="float32",
    questions=2,
    held=1,
    cases=((40, 6, 8),),
    repeats=1,
    new_tokens=2,
    frames=2,
    asked=2,
    page_tokens=2,
    repeat_s=0,
    suffix=SMALL,
    slow=False,
)


def gpu_check(rehearse: bool, where: Path | None, limit_s: float, say: Say) -> dict[str, Any]:
    """Measure every part within `limit_s` seconds; returns what it writes to `where`, default measurements/<card>.json.

    rehearse: on the CPU, with tiny sizes; then `where` must be given. Raises InvalidInput where there is no card.
    """
    if not rehearse and not torch.cuda.is_available():
        raise InvalidInput("there is no CUDA device here; --rehearse runs every part on the CPU with tiny sizes.")
    if rehearse and where is None:
        raise InvalidInput("a rehearsal is no measurement: give the file to write with --json FILE.")
    extent = REHEARSAL if rehearse else CARD
    facts = {**machine.about(extent.device), "rehearsal": rehearse}
    where = where or FOLDER / f"{slug(facts['card'])}.json"
    return run(parts(extent), limit_s, where, facts, say)


def parts(extent: Extent) -> list[Part]:
    """All of them, those worth most first."""
    first, *others = BUDGETS
    models = {name: partial(model, extent, name) for name in BUDGETS}
    return [
        Part("checks", 60.0 * extent.slow, partial(checks, extent)),
        *(Part(f"selection-{n}", 20.0 * extent.slow, partial(selection, extent, n, k, d)) for n, k, d in extent.cases),
        Part(first, 40.0 * extent.slow, models[first]),
        Part("page", 60.0 * extent.slow, partial(page, extent)),
        *(Part(name, 40.0 * extent.slow, models[name]) for name in others),
    ]


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# -- the parts


def checks(extent: Extent) -> dict[str, Any]:
    """Everything of `fsr.check.device`, on the card."""
    device, found = extent.device, []
    chosen = kernels._chosen(device)
    ways = {"loops": loops} if device.type == "cpu" else {"kernels": chosen, "loops": loops}
    jobs: dict[str, Callable[[], same.Problems]] = {}
    if device.type != "cpu":
        jobs["kernels compile"] = lambda: ["Triton cannot be used here"] if chosen is loops else []
    for name, way in ways.items():
        for check in (same.farthest_points, same.groups, same.most_diverse_tokens, same.panel_state):
            jobs[f"{name}: {_words(check)}"] = partial(check, way, device)
    for one in (same.equal_tokens, same.exact_rows, same.waits):
        jobs[_words(one)] = partial(one, device)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        jobs[f"selections in {str(dtype).removeprefix('torch.')}"] = partial(same.selections, device, dtype)
    asked, pictures = questions(extent.questions)
    vlm = embedded(device)
    reference = vlm if device.type == "cpu" else embedded(torch.device("cpu"))
    jobs[f"answers to {len(asked)} questions about {pictures}"] = partial(same.same_answers, vlm, reference, asked)
    jobs["hooks gone"] = partial(same.hooks_gone, vlm, *asked[0])
    jobs[f"memory back after {2 * extent.held} answers"] = partial(same.memory_back, vlm, asked[:4], extent.held)
    for name, job in jobs.items():
        start = time.perf_counter()
        try:
            problems = job()
        except Exception as error:  # a finding about the card
            problems = [said(error)]
        found.append({"name": name, "problems": problems[:5], "seconds": round(time.perf_counter() - start, 2)})
    return {"passed": not any(one["problems"] for one in found), "checks": found}


def _words(check: Callable[..., same.Problems]) -> str:
    return check.__name__.replace("_", " ")


def embedded(device: torch.device) -> Any:
    """The embedded picture model in float32."""
    from fsr.vlm import load

    return load("shapes", device, "float32")


def questions(count: int) -> tuple[list[tuple[Image.Image, str]], str]:
    """Pictures with questions, and what pictures: validation scenes, or the examples where OpenCV cannot draw them."""
    try:
        from fsr.bench.accuracy import cases
    except ImportError:
        return _about_examples(count), "the example pictures"
    return [(case.picture, case.question.text) for case in cases("validation", 0, count)], "validation scenes"


def _about_examples(count: int) -> list[tuple[Image.Image, str]]:
    found = []
    for row in json.loads((EXAMPLES / "index.json").read_text(encoding="utf-8")):
        picture = Image.open(EXAMPLES / f"{row['id']}.png").convert("RGB")
        for thing in row.get("things", []):
            color, shape = thing["color"], thing["shape"]
            found += [(picture, f"what color is the {shape}?"), (picture, f"where is the {color} {shape}?")]
            found += [(picture, f"is there a {color} {shape}?"), (picture, f"what shape is the {color} object?")]
    return found[:count]


def selection(extent: Extent, n: int, k: int, d: int) -> dict[str, Any]:
    """What every method takes to select K of N tokens, with both kinds of scores."""
    return {"cases": [select.on_device(n, k, d, scores, extent.repeats, extent.device) for scores in SCORES]}


def model(extent: Extent, name: str) -> dict[str, Any]:
    """What pruning saves on a model of real size with random weights, at the paper's budgets."""
    one = named(name + extent.suffix)
    if name in ("llava-video-7b", "qwen2.5-vl-7b") and find_spec("torchvision") is None:
        raise Skipped(f"transformers reads pictures and clips for {one.title} by torchvision, which is not installed.")
    total = one.tokens * (extent.frames if one.video else 1)
    budgets = [round(k if k > 1 else k * total) for k in BUDGETS[name]]
    try:
        return prefill.prefill(
            name + extent.suffix,
            extent.dtype,
            str(extent.device),
            budgets,
            frames=extent.frames,
            repeats=extent.repeats,
            new_tokens=extent.new_tokens,
        )
    except InvalidInput:
        raise
    except FsrError as error:  # it does not fit
        raise Skipped(str(error)) from error


def page(extent: Extent) -> dict[str, Any]:
    """The page's own path: its service answers questions about a few pictures, each with all tokens and with FSR."""
    try:  # by name: the page stands above the library
        app, asking, limits = (importlib.import_module(f"app.{name}") for name in ("service", "request", "settings"))
    except ImportError as error:
        raise Skipped(f"the page is not here ({said(error)}).") from error
    one = named(PAGES_MODEL + extent.suffix)

    settings = limits.Settings(model="shapes", models="", max_new_tokens=extent.page_tokens, repeat_s=extent.repeat_s)
    service = app.Service(settings)
    budget = one.tokens // 9
    times: list[tuple[float, float]] = []
    try:
        model = build(PAGES_MODEL + extent.suffix, DTYPES[extent.dtype], extent.device, media_cache=PICTURES)
        service.models.hold("shapes", model)  # it answers what "shapes" is asked
        pictures = _opened(service, one.picture)
        for i in range(extent.asked):
            words = f"What is person {i} holding?"
            parameters = {"fsr": {"focus_cap": prefill.FOCUS_CAP}}
            request = asking.Request(pictures[i % PICTURES], words, "fsr", budget, parameters, "shapes")
            times.append(_waited(service.answer(request)))
    finally:
        service.close()
    first, whole = zip(*times, strict=True)
    return {
        "model": one.title,
        "dtype": extent.dtype,
        "questions": extent.asked,
        "pictures": PICTURES,
        "budget": budget,
        "new_tokens": extent.page_tokens,
        "first_word": _percentiles(first),
        "whole_question": _percentiles(whole),
    }


def _opened(service: Any, size: tuple[int, int]) -> list[str]:
    """Pictures of noise, brought as a visitor's are."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(PICTURES):
            file = Path(folder) / f"{seed}.png"
            prefill.noise(*size, seed).save(file)
            found.append(service.open_media(file).id)
    return found


def _waited(events: Iterator[Any]) -> tuple[float, float]:
    """Milliseconds until the first word of an answer, and until all is said and measured."""
    start, first, phase = time.perf_counter(), None, ""
    for event in events:
        phase = event.phase
        if first is None and event.answer is not None:
            first = time.perf_counter()
    if first is None or phase != "done":
        raise FsrError(f"the service ended a question with {phase!r}.")
    return (first - start) * 1e3, (time.perf_counter() - start) * 1e3


def _percentiles(ms: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(ms, n=20, method="inclusive")
    return {"p50_ms": round(cuts[9], 1), "p95_ms": round(cuts[18], 1)}
