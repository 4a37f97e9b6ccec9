"""The HTTP API: three named endpoints on hidden components, so that Gradio checks every file before we see its path."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from app.compare import compare, report, requests_of
from app.request import Request
from app.service import Service
from app.settings import UPLOADS, Settings
from app.ui.sent import checked_parameters, errors_as_sentences, received, whole
from fsr.errors import InvalidInput


def add_endpoints(service: Service, settings: Settings) -> None:
    """Adds /analyse, /answer and /compare to the Blocks in whose context it is called."""

    def request(
        picture: str | None,
        question: str,
        method: str,
        budget: float,
        parameters: Any,
        share: Any = "global",
        frames: Any = 0,
        model: Any = "",
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
            checked_parameters({method: parameters}),
            model,
            share=share or "global",
            frames=count,
        )

    def analyse(
        picture: str,
        question: str,
        method: str,
        parameters: dict[str, Any] | None,
        share: str,
        frames: float,
        model: str,
    ) -> dict[str, Any]:
        """What every budget keeps of a picture or clip for a question: the whole trace, as JSON. `method`: fsr, ...

        share: "global", or "per_group", an equal share of the budget for every tile or frame. frames: how many of a
        clip are read; 0: what the model reads by default. model: one of those on offer; "": the first.
        """
        with errors_as_sentences():
            return service.analyse(request(picture, question, method, 0, parameters, share, frames, model))

    def answer(
        picture: str,
        question: str,
        method: str,
        budget: float,
        parameters: dict[str, Any] | None,
        share: str,
        frames: float,
        model: str,
    ) -> dict[str, Any]:
        """The answer with all visual tokens and with `budget` of them, each with its measured cost, as JSON.

        share, frames, model: as for `analyse`.
        """
        answers: dict[str, Any] = {}
        with errors_as_sentences():
            asked = request(picture, question, method, budget, parameters, share, frames, model)
            for event in service.answer(asked):
                if event.answer is not None:
                    answers[event.key] = event.answer
        return answers

    def compare_(
        picture: str,
        question: str,
        methods: list[str],
        budgets: list[int],
        parameters: dict[str, Any] | None,
        share: str,
        frames: float,
        model: str,
    ) -> dict[str, Any]:
        """The answers with all visual tokens and with what each method keeps: measured costs, agreement, overlap.

        methods and budgets: 2 to 6 methods at one budget, or one method at 2 to 6 budgets. parameters: by method.
        share, frames, model: as for `analyse`.
        """
        with errors_as_sentences():
            asked = request(picture, question, "fsr", 0, None, share, frames, model)
            asked = replace(asked, parameters=checked_parameters(parameters))
            requests = requests_of(asked, methods, budgets)
            return report(compare(service, requests), requests)

    picture = gr.File(visible=False, type="filepath", label="picture", file_types=UPLOADS)
    question = gr.Textbox(visible=False, label="question", max_length=settings.max_question_chars)
    method = gr.Textbox("fsr", visible=False, label="method")
    budget = gr.Number(64, visible=False, label="budget")
    parameters = gr.JSON(visible=False, label="parameters")
    methods = gr.JSON(["fsr", "random"], visible=False, label="methods")
    budgets = gr.JSON([64], visible=False, label="budgets")
    share = gr.Textbox("global", visible=False, label="share")
    frames = gr.Number(0, visible=False, label="frames")
    model = gr.Textbox("", visible=False, label="model")
    result = gr.JSON(visible=False, label="result")
    last = [share, frames, model]
    queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None}  # the line in `Service` is the queue
    gr.Button(visible=False).click(
        analyse, [picture, question, method, parameters, *last], result, api_name="analyse", **queue
    )
    gr.Button(visible=False).click(
        answer, [picture, question, method, budget, parameters, *last], result, api_name="answer", **queue
    )
    gr.Button(visible=False).click(
        compare_, [picture, question, methods, budgets, parameters, *last], result, api_name="compare", **queue
    )
