"""Record a gallery of examples with a model, so that a page can replay its answers without it.

Examples are a folder: index.json with rows of id, title and question, and a picture <id>.png, .jpg or .webp each (rows
that describe a scene are drawn where there is none), clips.json with the same for clips <id>.mp4. A recording is a
folder, too: <id>.json, a trace with the plans of all methods and their answers at the usual budgets, and for clips the
frames that were read, <id>/<number>.webp.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from fsr.bench.machine import device_name
from fsr.errors import FsrError, InvalidInput
from fsr.media.pictures import load_image
from fsr.media.video import Clip, load_clip
from fsr.pruners import REGISTRY, Plan, Pruner, make
from fsr.pruners.inside import InsidePruner, LayersPlan
from fsr.pruners.plan import usual_budgets
from fsr.trace import Trace, answer_record, build_trace, shown_frames
from fsr.vlm import VLM, Encoding, load
from fsr.vlm.checkpoint import NAMES
from fsr.vlm.clips import clip_frames
from fsr.vlm.cost import timed

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
MAX_SIDE = 1280  # pixels; as the page scales a visitor's pictures down
NEEDS = frozenset().union(*(kind.requires for kind in REGISTRY.values()))


@dataclass(frozen=True, eq=False)
class Scene:
    """One example as it is encoded. clip: where the frames come from one."""

    id: str
    question: str
    frames: list[Image.Image]
    clip: Clip | None = None
    name: str = ""


def run(args: argparse.Namespace) -> int:
    first = "clips.json" if args.clips else "index.json"
    rows_of(args.examples, first)  # what cannot be read is told before a model is loaded
    name = Path(args.model).name if Path(args.model).is_dir() else args.model  # no path of this machine in a trace
    vlm = load(args.model, args.device, args.dtype, name=name)
    frames = clip_frames(args.model) if args.frames is None else args.frames
    if args.clips and not frames:
        raise InvalidInput(f"{vlm.title} reads pictures only; --clips is for models that read clips.")
    record(vlm, args.examples, args.out, args.only, args.max_new_tokens, args.draw, frames or 0, not args.clips)
    return 0


def record(
    vlm: VLM,
    examples: Path,
    out: Path,
    only: str | None = None,
    max_new_tokens: int = 128,
    draw: bool = False,
    frames: int = 0,
    pictures: bool = True,
) -> None:
    """One trace an example into `out`, told in one line each. frames: of a clip; 0 leaves clips out.

    pictures: whether they are recorded, too.

    Raises InvalidInput for a folder without examples, or where there is none called `only`.
    """
    rows = rows_of(examples, "index.json") if pictures else []
    clips = rows_of(examples, "clips.json") if frames and (examples / "clips.json").is_file() else []
    if vlm.id in NAMES:  # the embedded models know drawn scenes only
        clips = [row for row in clips if "actors" in row]
    known = [row["id"] for row in rows + clips]
    if only is not None and only not in known:
        raise InvalidInput(f"there is no example {only!r} in {examples}; choose one of {', '.join(known)}.")
    out.mkdir(parents=True, exist_ok=True)
    for row in rows + clips:
        if only in (None, row["id"]):
            scene = clip_scene(row, examples, frames, draw) if row in clips else picture_scene(row, examples, draw)
            trace = record_scene(vlm, scene, max_new_tokens)
            _write(trace, out / f"{scene.id}.json")
            _save_frames(trace, scene, out)
            texts = {key: answer["text"] for key, answer in trace.answers.items() if key.startswith(("full", "fsr@"))}
            print(f"{scene.id}: {scene.question} {texts}", flush=True)
    spread_focus([path for name in known if (path := out / f"{name}.json").is_file()])


def rows_of(examples: Path, name: str) -> list[dict[str, Any]]:
    """The rows of an index. Raises InvalidInput where there is none, or one without id and question."""
    path = examples / name
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON.") from error
    named = isinstance(rows, list) and all(isinstance(r, dict) and {"id", "question"} <= r.keys() for r in rows)
    if not named or any(Path(str(row["id"])).name != row["id"] for row in rows):
        raise InvalidInput(f"{path} must be a list of examples with an id, that can name a file, and a question.")
    return rows


def picture_scene(row: dict[str, Any], examples: Path, draw: bool = False) -> Scene:
    """Raises InvalidInput where there is no picture."""
    path = next((p for ending in ENDINGS if (p := examples / f"{row['id']}{ending}").is_file()), None)
    if "things" in row and (draw or path is None):
        from fsr.shapes.gallery import picture_of

        path = examples / f"{row['id']}.png"
        picture_of(row).save(path, optimize=True)
    if path is None:
        raise InvalidInput(f"{examples} has no picture {row['id']} ({', '.join(ENDINGS)}).")
    return Scene(row["id"], row["question"], [load_image(path, max_side=MAX_SIDE)])


def clip_scene(row: dict[str, Any], examples: Path, frames: int, draw: bool = False) -> Scene:
    """Raises InvalidInput where there is no clip."""
    path = examples / f"{row['id']}.mp4"
    if "actors" in row and (draw or not path.is_file()):
        from fsr.shapes.gallery import write_clip

        write_clip(row, path)
    clip = load_clip(path, frames)
    return Scene(row["id"], row["question"], clip.frames, clip, f"{row['id']}.mp4")


def record_scene(vlm: VLM, scene: Scene, max_new_tokens: int = 128) -> Trace:
    """Plans and answers of every method that this model can run; `recorded.note` says why others are missing."""
    media = vlm.encode_media(scene.frames, scene.clip.times if scene.clip else None, NEEDS)
    encoding = vlm.encode(media, scene.question, NEEDS)
    n, limit = len(encoding.tokens), max_new_tokens
    *_, last = vlm.generate(encoding, None, limit)
    answers = {"full": answer_record("full", n, last)}
    plans: dict[str, tuple[Pruner, Plan]] = {}
    problems = []
    for name in (one for one in REGISTRY if one != "full"):
        pruner = make(name)
        try:
            selections = []
            for budget, selection, answer in _answers(vlm, encoding, pruner, limit):
                selections.append(selection)
                answers[f"{name}@{budget}"] = answer
            if pruner.stage == "before":
                plans[name] = (pruner, pruner.plan(encoding.tokens))
            elif selections:
                plans[name] = (pruner, LayersPlan.of(selections))
        except FsrError as error:
            problems.append(f"{name}: {error}")
    recorded = {"on": datetime.date.today().isoformat(), "device": device_name(vlm.device), "note": " ".join(problems)}
    trace = build_trace(
        vlm, encoding, plans, answers, max_new_tokens=limit, recorded=recorded, clip=scene.clip, name=scene.name
    )
    return Trace.from_json(trace.to_json())


def _answers(vlm: VLM, encoding: Encoding, pruner: Pruner, limit: int) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """Budget, selection and answer at the usual budgets; once, where a method keeps a number of tokens of its own."""
    n = len(encoding.tokens)
    for budget in usual_budgets(n) if pruner.takes_budget else [n]:
        if isinstance(pruner, InsidePruner) and not _possible(pruner, n, vlm.shape.layers, budget):
            continue
        fresh = replace(encoding.tokens, shared=False)  # so that the time is that of a first selection
        selection, ms = timed(lambda t=fresh, k=budget: pruner(t, k), vlm.device)  # type: ignore[misc]
        *_, last = vlm.generate(encoding, selection, limit, select_ms=ms)
        read = budget if pruner.takes_budget else len(selection.sent)
        yield read, selection, answer_record(pruner.name, read, last)


def _possible(pruner: InsidePruner, n: int, layers: int, budget: int) -> bool:
    """Whether a method inside the language model can keep so few: the layers before its first cut read everything."""
    try:
        pruner.schedule(n, layers, budget)
    except InvalidInput:
        return False
    return True


def spread_focus(paths: list[Path]) -> None:
    """Enter K_F / N of every question into all of these traces."""
    traces = {path: Trace.from_json(path.read_bytes()) for path in paths}
    shares = [share for trace in traces.values() if (share := trace.focus_share) is not None]
    for path, trace in traces.items():
        if trace.focus != shares:
            _write(replace(trace, focus=shares), path)


def _write(trace: Trace, path: Path) -> None:
    try:
        path.write_text(trace.to_json(), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def _save_frames(trace: Trace, scene: Scene, out: Path) -> None:
    """The frames of a clip that the trace shows, one file each, by their numbers in the clip."""
    if scene.clip is None:
        return
    folder = out / scene.id
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.webp"):
        old.unlink()
    for at in shown_frames(len(scene.frames), len(trace.frames)):
        scene.frames[at].save(folder / f"{scene.clip.indices[at]}.webp", quality=90)
