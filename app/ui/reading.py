"""The Words tab: where each word of an answer looked, and what another question changes.

The page triggers `words.look(detail)` and `words.cross(detail)`. detail: the fields of `page.view()`, and
    words     the page's number of this run; `words.halt({"words": number})` ends it
    question  the question asked, if the box may hold another by now
    group     (look) the layers on screen: "all", "first", "middle", "last" or a number from 1
    other     (cross) the other question
The panel receives {"run", "about", "words": text}, the text being JSON:
    task, number  "look" or "cross", and the page's number
    phase, text, at, of   as of `app.words.Step`; "failed" with a sentence
    sides     (look, when done) {"full", "method"}: text, words, read (visual embeddings), layers (how many the model
              has), maps by group: {"scale": [w], "share": [w], "levels": [w]}, levels as `app.words` says. Groups that
              were left out because they are many come with the next look, which costs nothing then
    key, question  which selection "method" is, e.g. "fsr@64", and what was asked
    pair      (cross) as `app.words._crosswise` says, grows
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.request import Request
from app.ui.handlers import Handlers
from app.ui.sent import about_of, sent_with
from app.ui.values import model_value, run_id, text_of
from app.words import FULL, METHOD, WHOLE_UP_TO, Look, Looks, Step, questions, words
from fsr.why.attention import group_of, thirds


class Reading:
    """Handlers of the Words tab. They hold what was looked up lately, as plain arrays."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.service = handlers, handlers.service
        self.looks = Looks()

    def look(
        self, event: gr.EventData, question: str, session: Any, request: gr.Request
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Values for the panel and the topbar."""
        sent = sent_with(event)
        yield from self._steps("look", sent, question, session, request)

    def cross(
        self, event: gr.EventData, question: str, session: Any, request: gr.Request
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Values for the panel and the topbar."""
        sent = sent_with(event)
        yield from self._steps("cross", sent, question, session, request)

    def _steps(
        self, task: str, sent: dict[str, Any], question: str, session: Any, visitor: gr.Request
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        number = sent.get("words") if isinstance(sent.get("words"), int) else 0
        common: dict[str, Any] = {"task": task, "number": number}

        def value(shown: dict[str, Any]) -> dict[str, Any]:
            return {"run": run_id(), "words": text_of(common | shown)} | about_of(sent)

        with self.handlers.stoppable(sent, visitor) as stop:
            try:
                asked = self.service.checked(self.handlers.request_of(sent.get("question", question), sent, session))
                if task == "cross":
                    steps = questions(self.service, asked, str(sent.get("other", "")), stop)
                else:
                    known = self._known(asked)
                    steps = iter([Step("done", looks=known)]) if len(known) == 2 else self._new(asked, stop, known)
                for step in steps:
                    shown = {"phase": step.phase, "text": step.text, "at": step.at, "of": step.of}
                    if step.looks is not None:
                        shown |= self._shown(asked, step.looks, sent.get("group", "all"))
                    if step.pair is not None:
                        shown["pair"] = step.pair
                    yield value(shown), self._bar(step, asked)
            except Exception as error:
                said, bar = self.handlers.failed(error, session)
                yield value({"phase": "failed", "text": said}), bar

    def _bar(self, step: Step, asked: Request) -> Any:
        """For the topbar, once the model is sure to be there."""
        return model_value(self.service, asked.model) if step.phase == "encoding" else gr.skip()

    def _new(self, asked: Request, stop: Any, known: dict[str, Look]) -> Iterator[Step]:
        for step in words(self.service, asked, stop, known):
            for side, look in (step.looks or {}).items():
                self.looks.put(_key(asked, side), look)
            yield step

    def _known(self, asked: Request) -> dict[str, Look]:
        found = {side: self.looks.get(_key(asked, side)) for side in (FULL, METHOD)}
        return {side: look for side, look in found.items() if look is not None}

    def _shown(self, asked: Request, looks: dict[str, Look], group: Any) -> dict[str, Any]:
        n, layers = looks[FULL].n, looks[FULL].layers
        group_of(group, layers)
        groups = list(thirds(layers))
        length = n * len(groups) * sum(len(look.words) for look in looks.values())
        wanted = (
            [*groups, *([str(group)] if str(group) not in groups else [])] if length <= WHOLE_UP_TO else [str(group)]
        )
        sides = {
            side: {
                "text": look.text,
                "words": look.words,
                "read": look.read,
                "layers": layers,
                "numbers": look.numbers,
                "depth": look.depth,
                "maps": {name: look.map(name) for name in wanted},
            }
            for side, look in looks.items()
        }
        return {
            "sides": sides,
            "key": f"{asked.method}@{asked.budget_for(n)}",
            "question": asked.question,
            "group": str(group),
        }


def _key(asked: Request, side: str) -> str:
    """What an answer depends on."""
    return f"{side} {asked.setting}" if side == FULL else f"{side} {asked.scene} {asked.budget} {asked.of}"
