"""Record the example gallery: draw every scene, answer its question with every method, store the traces.

`python -m app.record --model shapes --to assets` rewrites assets/examples/*.png and assets/traces/*.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.compare import needs_of
from app.scenes import picture_of
from app.settings import ROOT
from fsr.cost import timed
from fsr.pruners import REGISTRY, Pruner, make
from fsr.pruners.plan import usual_budgets
from fsr.tokens import Selection
from fsr.trace import Trace, answer_record, build_trace
from fsr.vlm import VLM, Encoding, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shapes", help="what fsr.vlm.load takes")
    parser.add_argument("--to", type=Path, default=ROOT / "assets", help="the folder with examples/ and traces/")
    parser.add_argument("--only", help="record this example alone")
    arguments = parser.parse_args()
    record(load(arguments.model), ROOT / "assets" / "examples" / "index.json", arguments.to, arguments.only)


def record(vlm: VLM, index: Path, to: Path, only: str | None = None, max_new_tokens: int = 128) -> None:
    """Pictures and traces of all scenes in `index`, into to/examples and to/traces; one line each."""
    for folder in ("examples", "traces"):
        (to / folder).mkdir(parents=True, exist_ok=True)
    if index != to / "examples" / "index.json":
        shutil.copyfile(index, to / "examples" / "index.json")
    for row in json.loads(index.read_text(encoding="utf-8")):
        if only in (None, row["id"]):
            trace = record_scene(vlm, row, to, max_new_tokens)
            (to / "traces" / f"{row['id']}.json").write_text(trace.to_json(), encoding="utf-8")
            texts = {key: answer["text"] for key, answer in trace.answers.items() if key.startswith(("full", "fsr"))}
            print(f"{row['id']}: {row['question']} {texts}", flush=True)


def record_scene(vlm: VLM, row: dict[str, Any], to: Path, max_new_tokens: int = 128) -> Trace:
    """The trace of one scene: plans of all methods, answers of all methods at the recorded budgets."""
    image = picture_of(row)
    image.save(to / "examples" / f"{row['id']}.png", optimize=True)
    needs = needs_of(REGISTRY)
    encoding = vlm.encode(vlm.encode_media([image], needs=needs), row["question"], needs)
    n = len(encoding.tokens)
    pruners = {name: make(name) for name, kind in REGISTRY.items() if kind.exact_count and _possible(kind, encoding)}

    def answer(method: str, budget: int, selection: Selection | None = None, ms: float = 0.0) -> dict[str, Any]:
        *_, last = vlm.generate(encoding, selection, max_new_tokens, select_ms=ms)
        return answer_record(method, budget, last)

    answers = {"full": answer("full", n)}
    for name, pruner in pruners.items():
        for budget in usual_budgets(n):
            fresh = replace(encoding.tokens, shared=False)  # so that the time is that of a first selection
            selection, ms = timed(lambda p=pruner, t=fresh, k=budget: p(t, k), vlm.device)  # type: ignore[misc]
            answers[f"{name}@{budget}"] = answer(name, budget, selection, ms)
    plans = {name: (pruner, pruner.plan(encoding.tokens)) for name, pruner in pruners.items()}
    recorded = {"on": datetime.date.today().isoformat(), "device": processor_name(), "note": ""}
    trace = build_trace(vlm, encoding, plans, answers, recorded=recorded, max_new_tokens=max_new_tokens)
    return Trace.from_json(trace.to_json())


def _possible(kind: type[Pruner], encoding: Encoding) -> bool:
    return all(getattr(encoding.tokens, score) is not None for score in kind.requires - kind.optional)


def processor_name() -> str:
    """The processor as its maker calls it, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
