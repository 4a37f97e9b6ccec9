"""What happens on the page: parse what came from the browser, ask the service, give the panels their values."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from app.clips import Film, is_clip_id
from app.compare import compare, requests_of
from app.curves import curves, smallest
from app.examples import Examples
from app.models import NotLoaded
from app.pictures import Picture
from app.request import Request
from app.saved_views import SavedView, is_view_id
from app.scenes import drawn
from app.service import Service
from app.sweep_items import sweep_item
from app.ui import values
from app.ui.running import MAX_RUNNING, Pace, Stoppable, Stops
from app.ui.sent import (
    about_of,
    checked_forced,
    checked_parameters,
    errors_as_sentences,
    received,
    received_view,
    run_of,
    sent_with,
    sentence,
    whole,
)
from app.work import Event
from fsr.errors import InvalidInput
from fsr.vlm import VLM
from fsr.world.scene import read_scene

GENERAL = "What is in the picture?"  # asked of an upload until the visitor types something
SLOTS = ("answer", "look")  # what can run for one visitor at the same time


@dataclass(frozen=True)
class Session:
    """What the server remembers of one visitor: hashes and names, no data. before: the model in use before `model`.

    opened: the picture came with a saved view, which is shown as it was until something is asked. scene: the text of a
    scene that was composed, of which `picture` is drawn.
    """

    model: str
    picture: str | None = None  # of an uploaded picture
    example: str | None = None
    recording: str = ""  # whose traces of the examples are shown
    before: str = ""
    opened: bool = False
    scene: str = ""


class Handlers:
    """Handlers of one app. They hold the stop buttons of visitors and nothing else."""

    def __init__(self, service: Service, examples: Examples) -> None:
        self.service, self.examples = service, examples
        self._stops: Stops = OrderedDict()
        self._stopped: OrderedDict[str, dict[str, int]] = OrderedDict()  # what each visitor stopped last

    # -- pictures

    def open_link(self, view: Any, session: Session, request: gr.Request) -> tuple[Any, Any, Session, Any]:
        """A shared link: example, or item of a sweep, recording, model and question; the rest of an address is read in
        the browser.

        view: has the id of a visitor's own picture, where this browser's history remembers one.
        """
        query = request.query_params
        sent: dict[str, Any] = {"id": session.example, "recording": session.recording}
        if (name := query.get("example")) in self.examples.all:
            sent["id"] = name
        if (recording := query.get("recording")) in self.examples.recordings:
            sent["recording"] = recording
        if (model := query.get("model")) in self.service.settings.offers:
            sent["model"] = model
        if (question := query.get("question", "")).strip() and len(question) <= self._longest:
            sent["question"] = question
        if query.get("sweep") and query.get("item"):
            with errors_as_sentences():
                return self._opened(sent | {"sweep": query["sweep"], "item": query["item"]}, session)
        if query.get("scene"):
            with errors_as_sentences():
                return self._opened(sent | {"scene": query["scene"]}, session)
        own = view.get("picture") if isinstance(view, dict) and query.get("picture") == "own" else None
        if own:
            with suppress(InvalidInput):  # it was forgotten: the page says that the link does not hold it
                return self._opened(sent | {"picture": own}, session)
        here = sent["id"] == session.example and sent["recording"] == session.recording
        if sent["id"] is None or (here and not own and len(sent) == 2):
            return gr.skip(), sent.get("question", gr.skip()), session, gr.skip()
        with errors_as_sentences():
            stage, *rest = self._opened(sent, session)
            return (gr.skip() if here and not own else stage, *rest)

    def pick(self, event: gr.EventData, session: Session, request: gr.Request) -> tuple[Any, Any, Session, Any]:
        """Values for stage, question, session and topbar."""
        self.stop(request)  # an answer about the picture before
        with errors_as_sentences():
            return self._opened(sent_with(event), session)

    def _opened(self, sent: dict[str, Any], session: Session) -> tuple[Any, Any, Session, Any]:
        """What a click or an address asks for: an example, an item of a sweep, or a picture opened before; a model and
        a question with it.

        Raises InvalidInput where it is none, or no longer here.
        """
        chosen = session
        if (model := sent.get("model")) is not None and self.service.check_model(model) != session.model:
            chosen = self._choosing(session, model)
        if sent.get("sweep"):
            stage, question, chosen, _ = self._item(sent, chosen)
        elif sent.get("scene"):
            stage, question, chosen, _ = self._composed(sent, chosen)
        elif isinstance(own := sent.get("picture"), str) and own:
            stage, question, chosen, _ = self._own(own, chosen, GENERAL)
        else:
            recording = sent.get("recording", chosen.recording)
            stage, question, chosen, _ = self._example(sent.get("id"), chosen, recording)
        if isinstance(asked := sent.get("question"), str) and asked.strip():
            question = asked[: self._longest]
        same = chosen.model == session.model
        return stage, question, chosen, gr.skip() if same else values.chosen_value(self.service, chosen.model)

    @property
    def _longest(self) -> int:
        return self.service.settings.max_question_chars

    def _own(self, picture: str, session: Session, question: str = "") -> tuple[Any, Any, Session, Any]:
        """Values for stage, question, session and topbar: a visitor's own picture or clip, or a saved view."""
        if is_view_id(picture):
            return self._saved(self.service.views.get(picture), session)
        session, bar, note = self._reading(session, is_clip_id(picture))
        session = replace(session, picture=picture, example=None, opened=False, scene="")
        return values.upload_value(self.shown(session)) | note, question, session, bar

    def compose(
        self, event: gr.EventData, question: str, session: Session, request: gr.Request
    ) -> tuple[Any, Any, Session, Any]:
        """Values for stage, question, session and topbar: a scene that a visitor composes, anew at each change.

        An example's own question goes with the example; what the visitor typed stays.
        """
        self.stop(request)
        sent = sent_with(event)
        with errors_as_sentences():
            stage, _, session, bar = self._composed(sent, session)
        asked = sent.get("question")
        if isinstance(asked, str):
            return stage, asked[: self._longest], session, bar
        return stage, "" if self.examples.ask(question) and not stage["edit"] else gr.skip(), session, bar

    def _composed(self, sent: dict[str, Any], session: Session) -> tuple[Any, Any, Session, Any]:
        """Values for stage, question, session and topbar. sent: scene; edit: whether it follows from the one before;
        sitting: the page's number of it."""
        scene = read_scene(sent.get("scene")).text
        session, bar, note = self._reading(session, False)
        session = replace(session, picture=None, example=None, opened=False, scene=scene)
        shown = self.shown(session)
        assert isinstance(shown, Picture)
        session = replace(session, picture=shown.id)
        about = {"edit": sent.get("edit") is True, "sitting": whole(sent.get("sitting", 0), "number of a scene")}
        return values.scene_value(shown, scene) | about | note, "", session, bar

    def _item(self, sent: dict[str, Any], session: Session) -> tuple[Any, Any, Session, Any]:
        """The same of an item of a sweep; the sweep's model answers, where it is on offer and no other is asked for."""
        found = sweep_item(self.service, sent["sweep"], sent.get("item"), session.model)
        if found.model not in ("", session.model) and sent.get("model") is None:
            session = self._choosing(session, found.model)
        stage, _, session, bar = self._own(found.shown.id, session)
        return found.value() | stage, found.question, session, bar

    def _saved(self, saved: SavedView, session: Session) -> tuple[Any, Any, Session, Any]:
        """The same of a saved view; what it was saved with answers from now on, where that is on offer."""
        before, model, note = session.model, saved.view.trace.model["id"], {}
        if model in self.service.settings.offers and model != before:
            session = self._choosing(session, model)
            title = self.service.settings.offers[model].title
            note = {"note": f"The file was saved with {title}, which answers now."}
        session, _, switched = self._reading(session, is_clip_id(saved.shown.id))
        session = replace(session, picture=saved.shown.id, example=None, opened=True, scene=saved.view.scene)
        bar = gr.skip() if session.model == before else values.chosen_value(self.service, session.model)
        return values.saved_value(saved) | note | switched, saved.view.trace.question, session, bar

    def _example(self, name: object, session: Session, recording: object = "") -> tuple[Any, Any, Session, Any]:
        example = self.examples.get(name, recording)
        session, bar, note = self._reading(session, example.clip)
        session = replace(session, example=example.id, picture=None, recording=example.recording)
        session = replace(session, opened=False, scene="")
        if not example.clip or example.trace_file.is_file():
            return values.example_value(example) | note, example.question, session, bar
        stage = values.upload_value(self.shown(session)) | note  # a clip that nothing was recorded about
        return stage | {"example": example.id, "question": example.question}, example.question, session, bar

    def upload(self, path: str, session: Session, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """The id of what was uploaded, and values for answers; a clip takes a while."""
        self.stop(request)
        yield gr.skip(), values.status_value("planning", "Reading the file.")
        try:
            shown = received_view(self.service, path) or received(self.service, path, session.model)
        except Exception as error:
            said = sentence(error)
            yield gr.skip(), values.status_value("refused", said)
            raise gr.Error(said, duration=8, print_exception=False) from error
        yield shown.id, gr.skip()

    def show_upload(self, uploaded: str, question: str, session: Session) -> tuple[Any, Any, Session, Any, Any]:
        """Values for stage, question, session, answers and topbar. The session may be another than when the upload
        began: its model. An example's own question goes with the example; what the visitor typed stays."""
        with errors_as_sentences():
            stage, asked, session, bar = self._own(uploaded, session)
        empty = isinstance(question, str) and not question.strip()
        kept = asked or GENERAL if asked or empty or self.examples.ask(question) else gr.skip()
        return stage, kept, session, values.status_value("idle"), bar

    # -- questions

    def ask(self, question: str, view: Any, session: Session, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Yields values for stage, answers and topbar; each says which picture on the page it is about."""
        about = about_of(view)
        with self.stoppable(view, request) as stop:
            try:
                yield from self._steps(self.request_of(question, view, session), view, stop)
            except Exception as error:
                said, bar = self.failed(error, session)
                yield gr.skip(), values.status_value("failed", said) | about, bar
                raise gr.Error(said, duration=8, print_exception=False) from error

    def _steps(self, asked: Request, view: Any, stop: threading.Event) -> Iterator[tuple[Any, ...]]:
        about, pace = about_of(view), Pace(self.service.settings.yields_per_second)
        loads = self.service.models.loads
        for event in self._events(asked, view, stop):
            stage, bar, before = gr.skip(), gr.skip(), loads
            loads = self.service.models.loads
            if event.trace is not None:
                scene = "" if "compare" in view else asked.scene
                stage = values.trace_value(event.trace, scene, asked.setting, self.service.opened(asked)) | about
            if event.patch is not None:
                stage = values.patch_value(event.patch, asked.setting) | about
            if loads != before or event.trace is not None:
                bar = values.model_value(self.service, asked.model)
            if event.answer is None or event.answer["end"] or pace.due():
                yield stage, values.event_value(event, asked.question, self._where(asked)) | about, bar

    def failed(self, error: Exception, session: Session) -> tuple[str, Any]:
        """What is said of it, and the value for the topbar: the choice of a model that cannot be loaded goes back."""
        said, bar = sentence(error), values.model_value(self.service, session.model)
        if isinstance(error, NotLoaded) and session.before in self.service.settings.offers:
            said += f" {self.service.settings.offers[session.before].title} stays in use."
            bar["back"] = session.before
        return said, bar

    def _where(self, asked: Request) -> str:
        """On what an answer was measured. No model is held on to here: another visitor's may take its place."""
        return where(self.service.loaded(asked.model))

    def _events(self, asked: Request, view: Any, stop: threading.Event) -> Iterator[Event]:
        """The answer of one method, or, where the page compares, of several."""
        wanted = view.get("compare")
        if not isinstance(wanted, dict):
            return self.service.answer(asked, stop, str(view.get("shown")))
        requests = requests_of(asked, wanted.get("methods"), wanted.get("budgets"))
        held = checked_parameters(wanted.get("held"))
        return compare(self.service, requests, stop, str(wanted.get("shown")), held)

    def analyse_upload(
        self, question: str, view: Any, session: Session, request: gr.Request
    ) -> Iterator[tuple[Any, Any, Any]]:
        """After an upload: what would be kept, without an answer. Without a question there is nothing to say yet.

        A clip that no model on offer reads is shown all the same.
        """
        model = session.model
        if session.opened:
            yield gr.skip(), values.status_value("idle"), gr.skip()
        elif is_clip_id(session.picture or "") and not self.service.clip_frames(model):
            why = sentence(InvalidInput(self.service.reads_no_clips(model)))
            yield gr.skip(), values.status_value("refused", why), gr.skip()
        elif not isinstance(question, str) or not question.strip():
            yield gr.skip(), values.status_value("idle"), gr.skip()
        elif later := self.service.unasked(model):
            yield gr.skip(), values.status_value("idle", later), gr.skip()
        else:
            yield from self._look(question, view, session, request)

    def _look(
        self, question: object, view: Any, session: Session, request: gr.Request, whole: bool = True
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Values for stage, answers and topbar while a trace, or a patch of one, is made; it can be stopped."""
        about = about_of(view)
        with self.stoppable(view, request, "look") as stop:
            try:
                asked = self.request_of(question, view, session)
                for event in self.service.looking(asked, stop, whole):
                    stage = gr.skip()
                    if event.trace is not None:
                        shown = self.service.opened(asked)
                        stage = values.trace_value(event.trace, asked.scene, asked.setting, shown) | about
                    if event.patch is not None:
                        stage = values.patch_value(event.patch, asked.setting) | about
                    phase = {"done": "idle", "stopped": "stopped"}.get(event.phase, "planning")
                    bar = values.model_value(self.service, session.model) if phase == "idle" else gr.skip()
                    yield stage, values.status_value(phase, event.text) | about, bar
            except Exception as error:
                said, bar = self.failed(error, session)
                yield gr.skip(), values.status_value("refused", said) | about, bar

    def stop_run(self, view: Any, request: gr.Request) -> None:
        """Stop a question, a selection or curves, also while they still wait in the queue."""
        visitor = request.session_hash or ""
        self._stopped[visitor] = self._stopped.pop(visitor, {}) | run_of(view)
        while len(self._stopped) > MAX_RUNNING:
            self._stopped.popitem(last=False)
        self.stop(request)

    def halt(self, event: gr.EventData, request: gr.Request) -> None:
        self.stop_run(sent_with(event), request)

    def stop(self, request: gr.Request) -> None:
        """Stop what runs for this visitor."""
        for slot in SLOTS:
            stop = self._stops.get((request.session_hash or "", slot))
            if stop is not None:
                stop.set()

    def replan(
        self, event: gr.EventData, question: str, session: Session, request: gr.Request
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Values for stage, answers, topbar. The question is that of the trace, the box may hold another by now."""
        sent, about = sent_with(event), about_of(sent_with(event))
        method = sent.get("method")
        view = {"method": method, "budget": 0, "parameters": {str(method): sent.get("parameters")}}
        view |= {"share": sent.get("share", "global"), "forced": sent.get("forced")} | about | run_of(sent)
        if later := self.service.models.loads_later(session.model):
            yield gr.skip(), values.status_value("refused", later) | about, gr.skip()
            return
        yield from self._look(sent.get("question", question), view, session, request, whole=False)

    # -- fidelity

    def fidelity(
        self, event: gr.EventData, question: str, session: Session, request: gr.Request
    ) -> Iterator[tuple[Any, Any]]:
        """Curves of the methods, or with `smallest` the budget that the first needs. Values for panel and topbar."""
        sent, pace = sent_with(event), Pace(self.service.settings.yields_per_second)
        about = about_of(sent)
        shown = values.FidelityValue()
        with self.stoppable(sent, request) as stop:
            try:
                asked = self.request_of(sent.get("question", question), sent | {"budget": 0}, session)
                asked = replace(asked, of=0)
                requests = requests_of(asked, sent.get("methods"), [1], least=1)
                loads = self.service.models.loads
                work = (
                    smallest(self.service, requests[0], stop)
                    if sent.get("smallest")
                    else curves(self.service, requests, stop)
                )
                for step in work:
                    before, loads = loads, self.service.models.loads
                    shown.add(step, asked.question.strip(), self._where(asked))
                    bar = gr.skip() if loads == before else values.model_value(self.service, asked.model)
                    if step.point is None or pace.due():
                        yield shown.value() | about, bar
            except Exception as error:
                said, bar = self.failed(error, session)
                yield values.failed_value(said) | about, bar

    def choose_model(self, event: gr.EventData, session: Session) -> tuple[Any, Session]:
        with errors_as_sentences():
            model = self.service.check_model(sent_with(event).get("id"))
        self.service.models.retry(model)
        return values.chosen_value(self.service, model), self._choosing(session, model)

    def look(self, session: Session) -> Any:
        """What the model picker tells, as it is now; for the topbar."""
        return values.picker_value(self.service, session.model)

    # -- pieces

    def _reading(self, session: Session, clip: bool) -> tuple[Session, Any, dict[str, str]]:
        """The session with a model that was made for what is shown; where it is another one than before, values for the
        topbar and, for the stage, a note."""
        model = self.service.model_for(session.model, clip)
        if model == session.model:
            return session, gr.skip(), {}
        note = self.service.switched(session.model, model, clip)
        return self._choosing(session, model), values.chosen_value(self.service, model), {"note": note}

    def _choosing(self, session: Session, model: str) -> Session:
        """The session with this model; what was in use before is what it goes back to."""
        models = self.service.models
        worked = models.resolved(session.model) in models.worked
        before = session.model if worked or not session.before else session.before
        return replace(session, model=model, before=before if before != model else "")

    def request_of(self, question: object, view: Any, session: Session) -> Request:
        """Everything in `view` comes from the browser: any type, any value."""
        view = view if isinstance(view, dict) else {}
        picture = self._id(session)
        budget, of = whole(view.get("budget"), "budget"), whole(view.get("of", 0), "number of tokens")
        text = question if isinstance(question, str) else ""
        parameters = checked_parameters(view.get("parameters"))
        share = str(view.get("share", "global"))[:40]
        frames = whole(view.get("frames", 0), "number of frames")
        method = str(view.get("method"))[:40]
        forced = checked_forced(view.get("forced"))
        return Request(picture, text, method, budget, parameters, session.model, of, share, frames, forced)

    def _id(self, session: Session) -> str:
        """Of what is on the stage. An example's clip is not decoded for it: answering says that it does."""
        if session.example is not None and (example := self.examples.get(session.example)).clip:
            return self.service.clips.admit(example.media)
        return self.shown(session).id

    def shown(self, session: Session, frames: int = 0) -> Picture | Film:
        """What is on the stage. frames: how many of a clip; 0: what the model reads by default."""
        if session.example is not None:
            return self.service.open_media(self.examples.get(session.example).media, session.model, frames)
        if session.scene and not session.opened:
            return self.service.pictures.keep(drawn(session.scene))
        if session.picture is None:
            raise InvalidInput("there is no picture yet; choose an example or upload one.")
        return self.service.media(session.picture, session.model, frames)

    @contextmanager
    def stoppable(self, view: Any, request: gr.Request, slot: str = "answer") -> Iterator[threading.Event]:
        visitor = request.session_hash or ""
        stopped = self._stopped.get(visitor, {})
        with Stoppable(self._stops, (visitor, slot)) as stop:
            if any(stopped.get(name) == number for name, number in run_of(view).items()):
                stop.set()
            yield stop


def where(vlm: VLM | None) -> str:
    """On what the answer was measured."""
    return "" if vlm is None else f"{values.device_name(str(vlm.device))}, {vlm.precision}"
