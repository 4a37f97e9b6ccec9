"""The HTTP API: named endpoints on hidden components, so that Gradio checks every file before we see its path.

A client may leave out everything but picture and question. docs/api.md has examples; the docstrings are what Gradio's
API page and MCP clients show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from typing import Any

import gradio as gr

from app.asked_figure import KINDS, drawn
from app.asked_figure import fidelity as fidelity_of
from app.compare import compare as compared
from app.compare import report, requests_of
from app.picker import rows
from app.request import Request
from app.service import Service
from app.settings import UPLOADS, Settings
from app.ui.files import offered
from app.ui.sent import checked_forced, checked_parameters, errors_as_sentences, received, whole
from app.why import studied_whole
from app.words import words as words_of_both
from fsr.bench.chart import FORMATS
from fsr.errors import InvalidInput
from fsr.pruners import describe

Parameters = dict[str, Any] | None

HELP = {
    "picture": "A picture (JPEG, PNG, WebP), a clip (MP4, MOV, WebM, Matroska, AVI), or that of a saved view.",
    "question": "What is asked about it.",
    "method": "Which tokens are kept: fsr, or another name of /methods.",
    "budget": "How many visual tokens are kept; 0: a ninth of them.",
    "parameters": 'Of the method, where they differ from its defaults, e.g. {"rho": 0.8}; see /methods.',
    "parameters_by_method": 'By method, where they differ from its defaults, e.g. {"fsr": {"rho": 0.8}}; see /methods.',
    "methods": 'Names of /methods, e.g. ["fsr", "random"]. 2 to 6 at one budget, or one at 2 to 6 budgets.',
    "some_methods": 'One to six names of /methods, e.g. ["fsr", "random"].',
    "budgets": "Numbers of visual tokens, e.g. [64]. One for 2 to 6 methods, or 2 to 6 for one method.",
    "share": '"global", or "per_group": an equal share of the budget for every tile or frame.',
    "frames": "How many frames of a clip are read; 0: what the model reads by default.",
    "model": "One of the ids of /models; empty: the first.",
    "figure": f"What is drawn: {', '.join(KINDS)}.",
    "format": f"The file: {', '.join(FORMATS)}.",
    "layer": "Of a picture: roles (what becomes of every token), or a heat map of saliency, relevance or priority.",
    "layers": 'Of the language model: "all", "first", "middle" or "last" (a third each), or the number of one, from 1.',
    "frame": "Which frame of a clip is drawn, from 0.",
    "repair": "Whether to look for dropped tokens that bring the unpruned answer back; takes longer.",
    "forced": 'Tokens that are always or never kept, by number, e.g. {"in": [12], "out": [40, 41]}; 64 each at most.',
}
STRINGS = {"type": "array", "items": {"type": "string"}}
SHAPES: dict[str, dict[str, Any]] = {  # of what Gradio calls "any valid json"
    "parameters": {"type": "object"},
    "forced": {"type": "object"},
    "parameters_by_method": {"type": "object"},
    "methods": STRINGS,
    "some_methods": STRINGS,
    "budgets": {"type": "array", "items": {"type": "integer"}},
}


def add_endpoints(service: Service, settings: Settings) -> None:
    """Adds all endpoints to the Blocks in whose context it is called."""

    def request(
        picture: str | None,
        question: str,
        method: str,
        budget: float,
        parameters: Any,
        share: Any = "global",
        frames: Any = 0,
        model: Any = "",
        forced: Any = None,
    ) -> Request:
        if not picture:
            raise InvalidInput("there is no picture; send a JPEG, PNG or WebP file, or a clip.")
        count = whole(frames or 0, "number of frames")
        model = service.check_model(model or settings.first)
        opened = received(service, picture, model, count)
        return Request(
            opened.id,
            question or "",
            method or "fsr",
            whole(budget, "budget"),
            checked_parameters({method or "fsr": parameters}),
            model,
            share=share or "global",
            frames=count,
            forced=checked_forced(forced),
        )

    def requested(picture: str, question: str, parameters: Any, share: str, frames: float, model: str) -> Request:
        """The same without a method; parameters: by method."""
        asked = request(picture, question, "fsr", 0, None, share, frames, model)
        return replace(asked, parameters=checked_parameters(parameters))

    def analyse(
        picture: str,
        question: str,
        method: str = "fsr",
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
        forced: Parameters = None,
    ) -> dict[str, Any]:
        """What every budget keeps of a picture or clip for a question: the whole trace, as JSON. No answer is made."""
        with errors_as_sentences():
            return service.analyse(request(picture, question, method, 0, parameters, share, frames, model, forced))

    def answer(
        picture: str,
        question: str,
        method: str = "fsr",
        budget: float = 64,
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
        forced: Parameters = None,
    ) -> dict[str, Any]:
        """The answer with all visual tokens ("full") and with `budget` of them (e.g. "fsr@64"), each with its measured
        cost; "unlike" where the picture is so far from all that the model learnt from that they mean nothing."""
        answers: dict[str, Any] = {}
        with errors_as_sentences():
            asked = request(picture, question, method, budget, parameters, share, frames, model, forced)
            for event in service.answer(asked):
                if event.answer is not None:
                    answers[event.key] = event.answer
                if event.trace is not None and (event.trace["familiar"] or {}).get("far"):
                    answers["unlike"] = event.trace["familiar"]
        return answers

    def compare(
        picture: str,
        question: str,
        methods: list[str] | None = None,
        budgets: list[int] | None = None,
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
        forced: Parameters = None,
    ) -> dict[str, Any]:
        """The answers with all visual tokens and with what each method keeps: measured costs, agreement with the full
        answer, kept tokens, and overlap of every pair."""
        with errors_as_sentences():
            asked = requested(picture, question, parameters, share, frames, model)
            requests = requests_of(replace(asked, forced=checked_forced(forced)), methods, budgets)
            return report(compared(service, requests), requests)

    def why(
        picture: str,
        question: str,
        method: str = "fsr",
        budget: float = 64,
        repair: bool = False,
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
        forced: Parameters = None,
    ) -> dict[str, Any]:
        """Which kept tokens the pruned answer rests on: by how much its log-probability (nats) falls without each,
        largest first. With `repair` also what pruning lost and a few dropped tokens that bring the unpruned answer
        back."""
        with errors_as_sentences():
            asked = request(picture, question, method, budget, parameters, share, frames, model, forced)
            return studied_whole(service, asked, bool(repair))

    def words(
        picture: str,
        question: str,
        method: str = "fsr",
        budget: float = 64,
        layers: str = "all",
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
        forced: Parameters = None,
    ) -> dict[str, Any]:
        """Where each word looked, of the answer with all visual tokens ("full") and of the pruned one ("method"): the
        language model's attention to every visual token, which is not influence."""
        with errors_as_sentences():
            asked = request(picture, question, method, budget, parameters, share, frames, model, forced)
            *_, last = words_of_both(service, asked)
            assert last.looks is not None
            return {side: look.record(layers or "all") for side, look in last.looks.items()}

    def fidelity(
        picture: str,
        question: str,
        methods: list[str] | None = None,
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
    ) -> dict[str, Any]:
        """How close methods stay to the unpruned model at budgets from a half to a thirty-sixth of the tokens: KL
        divergence (nats, mean over the answer's tokens) and probability of the unpruned answer, as points."""
        with errors_as_sentences():
            return fidelity_of(service, requested(picture, question, parameters, share, frames, model), methods)

    def figure(
        picture: str,
        question: str,
        figure: str = "picture",
        format: str = "png",
        methods: list[str] | None = None,
        budget: float = 64,
        layer: str = "roles",
        frame: float = 0,
        parameters: Parameters = None,
        share: str = "global",
        frames: float = 0,
        model: str = "",
    ) -> Iterator[str]:
        """A figure for a paper or slides, as a file: the picture with what the first method keeps, a contact sheet of
        all methods, by how many each token is kept, their overlap, or fidelity curves."""
        with errors_as_sentences():
            asked = requested(picture, question, parameters, share, frames, model)
            at = whole(frame, "frame")
            name, data = drawn(service, asked, figure, format, methods, whole(budget, "budget"), str(layer)[:40], at)
        yield from offered(name, data)

    def methods() -> list[dict[str, Any]]:
        """Every pruning method: name, label, paper, what it needs, and its parameters with defaults and ranges."""
        return describe()

    def models() -> list[dict[str, Any]]:
        """Every model on offer: id, title, memory it needs, licence, and what its scores are made of."""
        return rows(service.models)

    kept = described("parameters", gr.JSON(visible=False, label="parameters"))
    by_method = described("parameters_by_method", gr.JSON(visible=False, label="parameters"))
    inputs = {
        "picture": gr.File(visible=False, type="filepath", label="picture", file_types=UPLOADS),
        "question": gr.Textbox(visible=False, label="question", max_length=settings.max_question_chars),
        "method": gr.Textbox("fsr", visible=False, label="method"),
        "budget": gr.Number(64, visible=False, label="budget"),
        "methods": gr.JSON(["fsr", "random"], visible=False, label="methods"),
        "some_methods": gr.JSON(["fsr", "random"], visible=False, label="methods"),
        "budgets": gr.JSON([64], visible=False, label="budgets"),
        "share": gr.Textbox("global", visible=False, label="share"),
        "frames": gr.Number(0, visible=False, label="frames"),
        "model": gr.Textbox("", visible=False, label="model"),
        "figure": gr.Textbox("picture", visible=False, label="figure"),
        "format": gr.Textbox("png", visible=False, label="format"),
        "layer": gr.Textbox("roles", visible=False, label="layer"),
        "layers": gr.Textbox("all", visible=False, label="layers"),
        "frame": gr.Number(0, visible=False, label="frame"),
        "repair": gr.Checkbox(False, visible=False, label="repair"),
        "forced": gr.JSON(visible=False, label="forced"),
    }
    of = {name: described(name, component) for name, component in inputs.items()}
    result = gr.JSON(visible=False, label="result")
    file = gr.File(visible=False, label="file")
    first, last = [of["picture"], of["question"]], [of["share"], of["frames"], of["model"]]
    queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None}  # the line in `Service` is the queue
    quick: dict[str, Any] = {"concurrency_id": "quick"}

    def serve(function: Any, inputs: list[Any], output: Any, **options: Any) -> None:
        function.__doc__ = tool_words(function, inputs)
        gr.Button(visible=False).click(function, inputs, output, api_name=function.__name__, **options)

    serve(analyse, [*first, of["method"], kept, *last, of["forced"]], result, **queue)
    serve(answer, [*first, of["method"], of["budget"], kept, *last, of["forced"]], result, **queue)
    asking_why = [*first, of["method"], of["budget"], of["repair"], kept, *last, of["forced"]]
    serve(why, asking_why, result, **queue)
    asking_words = [*first, of["method"], of["budget"], of["layers"], kept, *last, of["forced"]]
    serve(words, asking_words, result, **queue)
    serve(compare, [*first, of["methods"], of["budgets"], by_method, *last, of["forced"]], result, **queue)
    serve(fidelity, [*first, of["some_methods"], by_method, *last], result, **queue)
    drawing = [of["figure"], of["format"], of["some_methods"], of["budget"], of["layer"], of["frame"]]
    serve(figure, [*first, *drawing, by_method, *last], file, **queue)
    serve(methods, [], result, **quick)
    serve(models, [], result, **quick)


def described(name: str, component: Any) -> Any:
    """The component with our words about it on the API page, in place of Gradio's about the component."""
    schema = SHAPES.get(name, component.api_info_as_input())
    component.api_info_as_input = lambda: schema | {"additional_description": HELP[name]}
    return component


def tool_words(function: Any, inputs: list[Any]) -> str:
    """The docstring with a line about every parameter, from which MCP clients are told what it is."""
    words = [component.api_info_as_input()["additional_description"] for component in inputs]
    lines = [f"    {name}: {text}" for name, text in zip(signature(function).parameters, words, strict=True)]
    return "\n".join([" ".join((function.__doc__ or "").split()), *(["", "Args:", *lines] if lines else [])])
