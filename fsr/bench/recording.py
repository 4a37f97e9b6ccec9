"""Record a gallery of examples with a model, so that a page can replay its answers without it.

Examples are a folder: index.json with rows of id, title and question, and a picture <id>.png, .jpg or .webp each (rows
that describe a scene are drawn where there is none), clips.json with the same for clips <id>.mp4. A recording is a
folder, too: <id>.json, a trace with the plans of all methods and their answers at the usual budgets, and for clips the
frames that were read, <id>/<number>.webp.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fsr.bench.machine import device_name
from fsr.bench.measure import FULL, Allowance, Measurement, differ
from fsr.errors import FsrError, InvalidInput
from fsr.media.pictures import load_image
from fsr.media.video import Clip, load_clip
from fsr.pruners import REGISTRY, Plan, Pruner, make
from fsr.pruners.inside import InsidePruner, InsideSelection, LayersPlan
from fsr.pruners.plan import usual_budgets
from fsr.trace import Trace, answer_record, build_trace, shown_frames
from fsr.vlm import VLM
from fsr.vlm.checkpoint import NAMES
from fsr.vlm.cost import Cost

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
NEEDED = frozenset({"id", "question"})
MAX_SIDE = 1280  # pixels; as the page scales a visitor's pictures down
REPEATS = Allowance(seconds=600, least=7, most=9)
TRIES = 4
SLOWER = 1.15  # a round that takes so many times the fastest is left out, for every answer alike
MOST_SPREAD = 0.3  # of the median, between the quartiles
MOST_SPREAD_OF_DECODING = 0.6  # an answer of a word has one or two steps of a few milliseconds
WATCHED = {
    "prefill_ms": "the prefill",
    "first_token_ms": "selection and prefill",
    "decode_ms_per_token": "the time per decoded token",
}
NEEDS = frozenset().union(*(kind.requires for kind in REGISTRY.values()))


@dataclass(frozen=True, eq=False)
class Scene:
    """One example as it is encoded. clip: where the frames come from one."""

    id: str
    question: str
    frames: list[Image.Image]
    clip: Clip | None = None
    name: str = ""


def record(
    vlm: VLM,
    examples: Path,
    out: Path,
    only: str | None = None,
    max_new_tokens: int = 128,
    draw: bool = False,
    frames: int = 0,
    pictures: bool = True,
    timed: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """One trace an example into `out`, each told to `say` in one line. frames: of a clip; 0 leaves clips out.

    pictures: whether they are recorded, too. timed: see `record_scene`.

    Raises InvalidInput for a folder without examples, or where there is none called `only`; FsrError where the machine
    is too busy to be measured, and then that trace is not written.
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
            trace = record_scene(vlm, scene, max_new_tokens, timed)
            _write(trace, out / f"{scene.id}.json")
            _save_frames(trace, scene, out)
            texts = {key: answer["text"] for key, answer in trace.answers.items() if key.startswith(("full", "fsr@"))}
            say(f"{scene.id}: {scene.question} {texts}")
    spread_focus([path for name in known if (path := out / f"{name}.json").is_file()])


def rows_of(examples: Path, name: str, needed: Set[str] = NEEDED) -> list[dict[str, Any]]:
    """The rows of an index. Raises InvalidInput where there is none, or a row without what is needed."""
    path = examples / name
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON.") from error
    whole = isinstance(rows, list) and all(isinstance(r, dict) and needed <= r.keys() for r in rows)
    if not whole or any(Path(str(row["id"])).name != row["id"] for row in rows):
        words = ", ".join(sorted(needed))
        raise InvalidInput(f"{path} must be a list of examples, each with {words}; its id must be able to name a file.")
    return rows


def picture_scene(row: dict[str, Any], examples: Path, draw: bool = False) -> Scene:
    """Raises InvalidInput where there is no picture."""
    path = next((p for ending in ENDINGS if (p := examples / f"{row['id']}{ending}").is_file()), None)
    if {"things", "scene"} & row.keys() and (draw or path is None):
        path = examples / f"{row['id']}.png"
        drawn_picture(row).save(path, optimize=True)
    if path is None:
        raise InvalidInput(f"{examples} has no picture {row['id']} ({', '.join(ENDINGS)}).")
    return Scene(row["id"], row["question"], [load_image(path, max_side=MAX_SIDE)])


def drawn_picture(row: dict[str, Any]) -> Image.Image:
    """Of a row that holds the objects of a drawn scene, or the text of a composed one. Raises InvalidInput."""
    if "scene" in row:
        from fsr.world.drawing import draw
        from fsr.world.scene import read_scene

        return Image.fromarray(draw(read_scene(row["scene"]).picture()))
    from fsr.shapes.gallery import picture_of

    return picture_of(row)


def clip_scene(row: dict[str, Any], examples: Path, frames: int, draw: bool = False) -> Scene:
    """Raises InvalidInput where there is no clip."""
    path = examples / f"{row['id']}.mp4"
    if "actors" in row and (draw or not path.is_file()):
        from fsr.shapes.gallery import write_clip

        write_clip(row, path)
    clip = load_clip(path, frames)
    return Scene(row["id"], row["question"], clip.frames, clip, f"{row['id']}.mp4")


def record_scene(vlm: VLM, scene: Scene, max_new_tokens: int = 128, timed: bool = True) -> Trace:
    """Plans and answers of every method that this model can run; `recorded.note` says why others are missing.

    timed: repeat every answer, for times with a spread. Raises FsrError where the machine is so busy that the times
    contradict each other, however often it measures.
    """
    times = scene.clip.times if scene.clip else None
    encoding = vlm.encode(vlm.encode_media(scene.frames, times, NEEDS), scene.question, NEEDS)
    measured = Measurement(vlm, encoding, max_new_tokens, encode=lambda: vlm.encode_ms(scene.frames, times))
    _run(measured, FULL)
    plans: dict[str, tuple[Pruner, Plan]] = {}
    reads = {FULL: len(encoding.tokens)}  # visual tokens of every answer, by key
    problems = []
    for name in (one for one in REGISTRY if one != FULL):
        pruner = make(name)
        try:
            keys = _answered(measured, pruner, reads)
            if pruner.stage == "before":
                plans[name] = (pruner, pruner.plan(encoding.tokens))
            elif keys:
                selections = [measured.sides[key].selection for key in keys]
                plans[name] = (pruner, LayersPlan.of([s for s in selections if isinstance(s, InsideSelection)]))
        except FsrError as error:
            problems.append(f"{name}: {error}")
    costs = settled(measured, scene.id) if timed else measured.costs()
    steady = measured.steady(SLOWER) if timed else []
    if slow := steady.count(False):
        problems.append(f"{slow} of {len(steady)} rounds are left out: the whole machine was slow.")
    answers = {}
    for key, read in reads.items():
        last = measured.sides[key].last
        assert last is not None
        answers[key] = answer_record(key.partition("@")[0], read, replace(last, cost=costs[key]))
    recorded = {"on": datetime.date.today().isoformat(), "device": measured_on(vlm.device), "note": " ".join(problems)}
    trace = build_trace(
        vlm,
        encoding,
        plans,
        answers,
        max_new_tokens=max_new_tokens,
        recorded=recorded,
        clip=scene.clip,
        name=scene.name,
    )
    return Trace.from_json(trace.to_json())


def measured_on(device: torch.device) -> str:
    """What times are measured on: a GPU, or a processor and the threads that compute."""
    if device.type == "cuda":
        return device_name(device)
    threads = torch.get_num_threads()
    return f"{device_name(device)}, {threads} thread{'s' if threads > 1 else ''}"


def _answered(measured: Measurement, pruner: Pruner, reads: dict[str, int]) -> list[str]:
    """The keys of this method's answers at the usual budgets; of one, where it keeps a number of tokens of its own."""
    n, keys = len(measured.encoding.tokens), []
    for budget in usual_budgets(n) if pruner.takes_budget else [n]:
        if isinstance(pruner, InsidePruner) and not _possible(pruner, n, measured.vlm.shape.layers, budget):
            continue
        read = budget if pruner.takes_budget else len(pruner(measured.encoding.tokens, budget).sent)
        key = f"{pruner.name}@{read}"
        measured.select(key, pruner, budget)
        _run(measured, key)
        reads[key] = read
        keys.append(key)
    return keys


def _run(measured: Measurement, key: str) -> None:
    for _ in measured.answer(key):
        pass


def settled(measured: Measurement, name: str) -> dict[str, Cost]:
    """Costs that do not contradict each other; measured anew, at most `TRIES` times, where they do."""
    for at in range(TRIES):
        # what is busy for a while only is outweighed by more repeats
        costs = measured.repeat(REPEATS, anew=at == 0, slower=SLOWER)
        doubts = contradictions(costs, {key: side.pruner for key, side in measured.sides.items()})
        if not doubts:
            return costs
    raise FsrError(
        f"the machine is too busy to record {name!r}: {doubts[0]}, {TRIES} times in a row; end what else runs, then "
        "record again, or record without repeats (--untimed)."
    )


def contradictions(costs: Mapping[str, Cost], pruners: Mapping[str, Pruner | None]) -> list[str]:
    """What cannot be, in words: a wide spread, or fewer tokens slower than all of them.

    The latter of methods before the language model only: those inside it compute more than a shorter prompt does.
    """
    found = []
    for key, cost in costs.items():
        for name, what in WATCHED.items():
            value, ends = getattr(cost, name), (cost.spread or {}).get(name)
            if value is None:
                continue
            most = MOST_SPREAD_OF_DECODING if name == "decode_ms_per_token" else MOST_SPREAD
            if ends is None or ends[1] - ends[0] > most * value:
                found.append(f"{what} of {key} spreads by more than {most:.0%}")
            pruner, full = pruners[key], costs[FULL]
            shorter = pruner is not None and pruner.stage == "before" and cost.visual_tokens < full.visual_tokens
            if shorter and name != "first_token_ms" and differ(cost, full, name) and value > getattr(full, name):
                found.append(f"{what} of {key} takes longer than that of all tokens")
    return found


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
