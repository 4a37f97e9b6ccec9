"""What the Why tab asks for: see `app.why`, which says what crosses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.ui import values
from app.ui.handlers import Handlers, Session
from app.ui.running import Pace
from app.ui.sent import about_of, sent_with
from app.why import Step, study, to_json


class StudyHandlers:
    """Handlers of the Why tab, beside those of the page."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def study(
        self, event: gr.EventData, question: str, session: Session, request: gr.Request
    ) -> Iterator[tuple[Any, Any]]:
        """Values for the panel and the topbar while a study grows."""
        handlers, service = self.handlers, self.handlers.service
        sent, pace, loads = sent_with(event), Pace(service.settings.yields_per_second), service.models.loads
        number = {"why": sent["why"]} if isinstance(sent.get("why"), int) else {}
        about = {name: value for name, value in about_of(sent).items() if name == "about"} | number
        what, scene, last = str(sent.get("what"))[:40], "", ""
        with handlers.stoppable(sent, request) as stop:
            try:
                asked = handlers.request_of(sent.get("question", question), sent, session)
                scene = service.checked(asked).scene
                for step in study(service, asked, what, stop):
                    before, loads = loads, service.models.loads
                    bar = gr.skip() if loads == before else values.model_value(service, asked.model)
                    if step.phase != last or pace.due():
                        last = step.phase
                        yield study_value(step, what, scene) | about, bar
            except Exception as error:
                said, bar = handlers.failed(error, session)
                yield study_value(Step("failed", said), what, scene) | about, bar


def study_value(step: Step, what: str, scene: str) -> dict[str, Any]:
    """One step for the panel; it holds all of what is known, so that none can be missed."""
    known = {} if step.study is None else to_json(step.study, what)
    told = {"phase": step.phase, "text": step.text, "at": step.at, "of": step.of, "what": what, "scene": scene}
    return {"run": values.run_id(), "study": values.text_of(told | known)}
