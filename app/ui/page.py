"""The page: its layout, and which event calls which handler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.clip_export import film_format
from app.examples import Examples
from app.offers import SMALL_ENOUGH, Offer, smallest_real
from app.scenes import composer, words_of
from app.service import Service
from app.serving import app_options, head
from app.settings import ROOT, UPLOADS, Settings
from app.tours import tours_in
from app.ui import values
from app.ui.endpoints import add_endpoints
from app.ui.files import FileHandlers
from app.ui.handlers import Handlers, Session
from app.ui.panels import panel
from app.ui.reading import Reading
from app.ui.studies import StudyHandlers
from fsr.pruners import describe
from fsr.vlm.familiar import Familiar

COMPARED_FIRST = ["fsr", "random", "cdpruner", "vispruner", "holov"]  # FSR, its named peers, and the random choice
NOTES = {  # where no limit was measured with these very weights; where one was, it is said of the picture
    "shapes": "The embedded model knows drawn scenes only: what it says of photographs means nothing.",
    "shapes-video": (
        "The embedded clip model knows drawn clips only: what it says of filmed ones, or of pictures, means nothing."
    ),
}
ASK_JS = "(question, _, session) => [question, fsrExplorer.page.asking(question ?? ''), session]"
STOP_JS = "() => [{ask: fsrExplorer.page.ask, look: fsrExplorer.page.look}]"
ANALYSE_JS = "(question, _, session) => [question, fsrExplorer.page.analysing(), session]"
SHOW_JS = "(uploaded, question, session) => [uploaded, fsrExplorer.page.kept(question), session]"
LINK_JS = "(_, session) => [{picture: history.state?.picture ?? null}, session]"
DOWNLOAD_JS = "() => fsrExplorer.page.download()"
FAILED_JS = {
    what: f"() => fsrExplorer.page.failed('{what}')"
    for what in ("answers", "fidelity", "drawing", "why", "words", "link", "scene")
}
# Who waits for the model waits in the line of `Service`, which says for how long; Gradio's own queue holds nobody back.
MODEL_EVENTS: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, "show_progress": "hidden"}
FILM_EVENTS: dict[str, Any] = {"concurrency_id": "film", "concurrency_limit": 1, "show_progress": "hidden"}
FLOOD = 10_000  # events in Gradio's queue: no number of visitors, but somebody who floods the server
POLL_S = 0.05  # how soon Gradio sees an event: by default it looks every millisecond, and takes 9 % of a core, not 3 %
THREADS = 40  # at a time, besides those in which visitors wait
QUICK_EVENTS: dict[str, Any] = {"concurrency_id": "quick", "concurrency_limit": 16, "show_progress": "hidden"}


def build_app(settings: Settings, service: Service | None = None) -> gr.Blocks:
    """The page. Loads no weights: the first example is drawn from its recorded trace."""
    service = service or Service(settings)
    examples = Examples(Path(settings.examples))
    handlers = Handlers(service, examples)
    recording = examples.recording_of(settings.first)
    first = examples.get(examples.first.id, recording) if examples.first else None
    session = Session(model=settings.first, example=first.id if first else None, recording=recording)
    with gr.Blocks(title="FSR Explorer", fill_width=True, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        demo: gr.Blocks = blocks
        state, uploaded = gr.State(session), gr.State("")
        view = gr.JSON(visible=False)
        topbar = panel("topbar", values.chosen_value(service, settings.first))
        panel("guide")
        with gr.Row(elem_id="fx-main", equal_height=False):
            with gr.Column(elem_id="fx-col-stage"):
                stage = panel("stage", values.example_value(first) if first else None)
            with gr.Column(elem_id="fx-col-rail"):
                panel("rail")
            with gr.Column(elem_id="fx-col-drawer"):
                drawer = panel("drawer")
            with gr.Column(elem_id="fx-col-film"):
                panel("film")
            with gr.Column(elem_id="fx-col-compare"):
                panel("compare")
                fidelity = panel("fidelity")
                download = gr.DownloadButton("Figure", elem_id="fx-download", size="sm")
            with gr.Column(elem_id="fx-col-side"):
                question, ask, stop = _question(first.question if first else "")
                compose = panel("compose")
                panel("tabs")
                answers = panel("answers")
                panel("overlap")
                why = panel("why")
                words = panel("words")
                panel("lecture")
                with gr.Row(elem_id="fx-choose"):
                    gallery = panel("gallery", values.gallery_value(examples))
                    upload = gr.UploadButton(
                        "Your picture, clip or view", file_types=UPLOADS, elem_id="fx-upload", size="sm"
                    )
                    making = gr.Button("Make a scene", elem_id="fx-makescene", size="sm")
                panel("own")

        add_endpoints(service, settings)  # first: their names are taken by no event of the page
        private: dict[str, Any] = {"api_visibility": "private"}
        asked = {"inputs": [question, view, state], "outputs": [stage, answers, topbar]}
        several: dict[str, Any] = {**MODEL_EVENTS, **private, "trigger_mode": "multiple"}
        asking = {**asked, "js": ASK_JS, **several}  # the next question stops the one before
        answering = [gr.on([ask.click, question.submit], handlers.ask, **asking), stage.again(handlers.ask, **asking)]
        stop.click(handlers.stop_run, [view], None, js=STOP_JS, **QUICK_EVENTS, **private)
        chosen = [stage, question, state, topbar]
        linked = [gallery.pick(handlers.pick, [state], chosen, **QUICK_EVENTS, **private)]
        read = upload.upload(handlers.upload, [upload, state], [uploaded, answers], **QUICK_EVENTS, **private)
        shown = read.success(
            handlers.show_upload,
            [uploaded, question, state],
            [stage, question, state, answers, topbar],
            js=SHOW_JS,
            **QUICK_EVENTS,
            **private,
        )
        answering.append(shown.success(handlers.analyse_upload, **asked, js=ANALYSE_JS, **several))
        making.click(None, None, None, js="() => fsrExplorer.page.compose()")
        made = compose.scene(
            handlers.compose, [question, state], chosen, trigger_mode="multiple", **QUICK_EVENTS, **private
        )
        answering.append(made.success(handlers.analyse_upload, **asked, js=ANALYSE_JS, **several))
        answering.append(stage.look(handlers.analyse_upload, **asked, js=ANALYSE_JS, **several))
        answering.append(drawer.replan(handlers.replan, [question, state], asked["outputs"], **several))
        curves = fidelity.curves(handlers.fidelity, [question, state], [fidelity, topbar], **several)
        study = why.study(StudyHandlers(handlers).study, [question, state], [why, topbar], **several)
        reading = Reading(handlers)
        read_words = [
            words.look(reading.look, [question, state], [words, topbar], **several),
            words.cross(reading.cross, [question, state], [words, topbar], **several),
        ]
        words.halt(handlers.halt, None, None, **QUICK_EVENTS, **private)
        files = FileHandlers(handlers)
        drawing = [
            topbar.figure(files.figure, [state], [download], **QUICK_EVENTS, **private),
            topbar.export_clip(files.export_clip, [state], [download], **FILM_EVENTS, **private),
        ]
        for event in drawing:
            event.success(None, None, None, js=DOWNLOAD_JS)
        linked.append(demo.load(handlers.open_link, [view, state], chosen, js=LINK_JS, **QUICK_EVENTS, **private))
        reported = {
            "answers": answering,
            "fidelity": [curves],
            "drawing": drawing,
            "why": [study],
            "words": read_words,
            "link": linked,
            "scene": [made],
        }
        for what, events in reported.items():
            for event in events:
                event.failure(None, None, None, js=FAILED_JS[what])
        for panel_ in (fidelity, why):
            panel_.halt(handlers.halt, None, None, **QUICK_EVENTS, **private)
        topbar.chosen(handlers.choose_model, [state], [topbar, state], **QUICK_EVENTS, **private)
        topbar.look(handlers.look, [state], [topbar], **QUICK_EVENTS, **private)
    demo.queue(max_size=FLOOD, default_concurrency_limit=4, api_open=False)
    demo._queue.sleep_when_free = POLL_S
    return demo


def _question(text: str) -> tuple[gr.Textbox, gr.Button, gr.Button]:
    with gr.Group(elem_id="fx-ask"):
        question = gr.Textbox(
            text, label="Question", placeholder="What do you want to know about the picture or clip?",
            lines=1, max_lines=3, submit_btn=False, elem_id="fx-question", autofocus=False,
        )  # fmt: skip
        panel("asking")
        with gr.Row(elem_id="fx-buttons"):
            ask = gr.Button("Ask", variant="primary", elem_id="fx-askbutton", size="md", scale=0)
            stop = gr.Button("Stop", variant="secondary", elem_id="fx-stopbutton", size="md", scale=0)
            gr.Checkbox(False, label="Ask again when the slider is let go", elem_id="fx-again", container=False)
    return question, ask, stop


def launch_options(settings: Settings, service: Service | None = None) -> dict[str, Any]:
    """Everything `launch` needs; no request leaves for another host, nothing but the examples can be read.

    service: what /health tells of.
    """
    return {
        "theme": gr.themes.Base(
            font=[
                gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)),  # its SemiBold file has no Latin letters
                "ui-sans-serif",
                "system-ui",
                "sans-serif",
            ],
            font_mono=[gr.themes.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"],
            primary_hue="slate",
            neutral_hue="slate",
        ),
        "head": head(page_config(settings)),
        "app_kwargs": app_options(service),
        "server_name": settings.host or None,
        "server_port": settings.port or None,
        "root_path": settings.root_path.rstrip("/") or None,  # None: Gradio's own GRADIO_ROOT_PATH
        "ssr_mode": False,
        "mcp_server": bool(settings.mcp),
        "share": False,
        "strict_cors": True,
        "show_error": False,
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": ["api"],
        "max_threads": THREADS + settings.waiting_visitors,
        "max_file_size": settings.max_upload_mb * 1_000_000,
        "allowed_paths": [str(Path(settings.examples) / folder) for folder in ("examples", "traces")],
        "blocked_paths": [str(ROOT / "app"), str(ROOT / "fsr")],
        "state_session_capacity": 200,
        "favicon_path": str(ROOT / "app" / "static" / "favicon.svg"),
    }


def page_config(settings: Settings) -> dict[str, Any]:
    """Constants of this app for its JavaScript: methods with their parameters, models."""
    examples = Examples(Path(settings.examples))
    methods = [m for m in describe() if m["exact_count"]]
    models = [
        {"id": m.id, "title": m.title, "note": note_of(m), "words": words_of(m)} for m in settings.offers.values()
    ]
    real = smallest_real(settings.offers.values())
    compared = [m for m in describe() if m["name"] != "full"]
    return {
        "methods": methods,
        "compare": compared,
        "compareFirst": COMPARED_FIRST,
        "models": models,
        "real": None if real is None else {"id": real.id, "title": real.title},
        "small": SMALL_ENOUGH.partition(",")[0],
        "method": "fsr",
        "examples": [{"id": one.id, "question": one.question} for one in examples.all.values()],
        "recordings": list(examples.recordings),
        "recording": examples.recording_of(settings.first),
        "maxQuestion": settings.max_question_chars,
        "film": film_format(),
        "compose": composer(),
        "tours": tours_in(examples.folder, frozenset(examples.all)),
    }


def note_of(offer: Offer) -> str:
    """What always stands below the examples about this model."""
    note = NOTES.get(offer.source, "")
    return "" if note and offer.folder is not None and Familiar.read(offer.folder) else note
