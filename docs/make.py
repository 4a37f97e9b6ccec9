# ruff: noqa: E501  its prose is a page, not code
"""`make docs`: writes docs/measurements.md, docs/paper.md, the GPU table of README.md and that of unlike pictures in
docs/world.md from what was measured and recorded, and the table of families in docs/models.md from what the tests prove."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fsr.bench.architectures import ARCHITECTURES  # noqa: E402
from fsr.cli.bench import familiar, gpu, prefill, select, video, why  # noqa: E402
from fsr.cli.bench.accuracy import summary  # noqa: E402
from fsr.lmms.page import page as paper_page  # noqa: E402
from fsr.vlm.cost import DecoderShape, kv_cache_bytes, prefill_flops  # noqa: E402
from fsr.vlm.familiar import Familiar  # noqa: E402
from fsr.vlm.matrix import COLUMNS, REAL, matrix  # noqa: E402

MEASURED = {  # file in measurements/ -> what it holds, and the command that makes it
    "select.json": (
        "Selection",
        "python -m fsr bench select --threads 2 --repeats 3 --json measurements/select.json",
        select.table,
    ),
    "video.json": (
        "Selection from a clip",
        "python -m fsr bench video --repeats 1 --json measurements/video.json",
        video.table,
    ),
    "why.json": (
        "What an answer rests on",
        "python -m fsr bench why --json measurements/why.json",
        why.table,
    ),
    "prefill-llava-1.5-7b.json": (
        "Prefill at real size, random weights",
        "python -m fsr bench prefill --architecture llava-1.5-7b --layers 8 --random-weights --dtype float32 "
        "--budgets 192,128,64 --repeats 3 --new-tokens 2 --json measurements/prefill-llava-1.5-7b.json",
        prefill.table,
    ),
    "prefill-llava-onevision-0.5b.json": (
        "The small model of a machine without a GPU, random weights",
        "python -m fsr bench prefill --architecture llava-onevision-0.5b --random-weights --dtype float32 --threads 2 "
        "--budgets 486,162 --repeats 3 --new-tokens 8 --json measurements/prefill-llava-onevision-0.5b.json",
        prefill.table,
    ),
    "prefill-smolvlm2-256m.json": (
        "The smallest real model, from loading to the answer, random weights",
        "python -m fsr bench prefill --architecture smolvlm2-256m --random-weights --dtype float32 --threads 2 --whole "
        "--repeats 3 --new-tokens 8 --json measurements/prefill-smolvlm2-256m.json",
        prefill.table,
    ),
}
ESTIMATED = {  # title -> architecture, visual tokens in all, positions of text
    "LLaVA-1.5 7B": ("llava-1.5-7b", 576, 64),
    "LLaVA-NeXT 7B": ("llava-next-7b", 2880, 320),
    "Qwen2.5-VL 3B, a picture of 1008 x 1008": ("qwen2.5-vl-3b", 1296, 259),
    "LLaVA-Video 7B, 32 frames": ("llava-video-7b", 32 * 169, 1082),
}
TEXT = 45  # positions of text in the estimates
NOT_YET = "Not yet measured on a GPU."
MADE = re.compile(r"(<!-- GPU: made by make docs -->\n).*?(\n<!-- end -->)", re.S)  # in the README
FAMILIAR = re.compile(r"(<!-- familiar: made by make docs -->\n).*?(\n<!-- end -->)", re.S)  # in world.md
FAMILIES = re.compile(r"(<!-- families: made by make docs -->\n).*?(\n<!-- end -->)", re.S)  # in models.md
PAPER = """Not measured here: average percent of the unpruned LLaVA-1.5-7B kept over nine benchmarks, from Table 1 of the FSR
paper (arXiv 2602.05809).

| tokens | FastV | SparseVLM | DART | VisionZip | DivPrune | HoloV | VisPruner | CDPruner | FSR |
|---|---|---|---|---|---|---|---|---|---|
| 192 | 88.0 | 95.2 | 97.8 | | | 96.5 | 98.2 | 98.5 | 99.1 |
| 128 | 89.6 | 95.6 | 95.2 | 96.2 | 96.2 | 96.1 | 96.7 | 97.6 | 98.3 |
| 64 | 72.0 | 86.0 | 90.8 | 92.7 | 93.3 | 92.9 | 93.5 | 95.7 | 96.1 |"""


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return found


def standing(result: dict[str, Any]) -> list[str]:
    """Where FSR is ahead of each method, behind, or level, beyond the paired interval; lost first."""
    behind, ahead, level = [], [], []
    for method, budgets in result["versus_fsr"].items():
        lost = [b for b, (low, _) in budgets.items() if low > 0]
        won = [b for b, (_, high) in budgets.items() if high < 0]
        behind += [f"{method} at {_listed(lost)}"] if lost else []
        ahead += [f"{method} at {_listed(won)}"] if won else []
        level += [method] if not lost and not won else []
    return [
        f"* FSR is **behind** {'; '.join(behind)}." if behind else "* FSR is behind no method of this table.",
        f"* FSR is ahead of {'; '.join(ahead)}." if ahead else "* FSR is ahead of no method of this table.",
        f"* It is level with {_listed(level)} at every budget." if level else "",
    ]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def by_type(result: dict[str, Any]) -> str:
    """One row a type of question: all tokens, and FSR at every budget."""
    budgets = list(result["accuracy"]["fsr"])
    lines = [
        f"| question | all tokens | {' | '.join(f'FSR, {b}' for b in budgets)} |",
        "|---" * (2 + len(budgets)) + "|",
    ]
    for kind, rows in result["by_type"].items():
        cells = [next(iter(rows["full"].values())), *(rows["fsr"][b] for b in budgets)]
        lines.append(f"| {kind} | {' | '.join(f'{100 * x:.0f}' for x in cells)} |")
    return "\n".join(lines)


def kept(result: dict[str, Any]) -> str:
    shares = ", ".join(f"{100 * x:.1f} % at {b}" for b, x in result["retention"]["fsr"].items())
    unseen = result["unseen_pairs"]
    pairs = ", ".join(f"FSR at {b} {100 * x:.1f}" for b, x in unseen["accuracy"]["fsr"].items())
    full = next(iter(unseen["accuracy"]["full"].values()))
    return (
        f"Of the accuracy with all tokens FSR keeps {shares}. On colour-shape pairs never seen in training "
        f"({unseen['questions']} questions): all tokens {100 * full:.1f}, {pairs}."
    )


def accuracy(path: str, words: str) -> str:
    result = read(path)
    lines = "\n".join(filter(None, [*standing(result), endings(result)]))
    parts = [words, f"`{result['command']}`", summary(result), lines]
    return "\n\n".join([*parts, kept(result), by_type(result)])


def endings(result: dict[str, Any]) -> str:
    """How many answers of which methods did not end by themselves, where that was counted."""
    if "unended" not in result:
        return ""
    if not result["unended"]:
        return "* Every answer of every method ended by itself."
    of = [f"{method} {', '.join(f'{n} at {b}' for b, n in row.items())}" for method, row in result["unended"].items()]
    return f"* Of {result['questions']} answers each so many did not end by themselves: {'; '.join(of)}."


def worlds(path: str) -> list[str]:
    """The five sets of pictures that others drew: a section of the page."""
    result = read(path)
    found = [
        "## Pictures that others drew",
        f"`{result['command']}`. {result['questions']} questions a set; nothing was trained or tuned on them. *own*: renderers, "
        "artists and wordings of training; *renderer*: one that training never uses; *artist*: icons of a set that it never "
        "shows; *wordings*: questions worded as in no training question, and typed as people type; *pairs*: a colour and a "
        "shape that it never shows together.",
    ]
    for name, one in result["sets"].items():
        kept = ", ".join(f"{100 * x:.1f} % at {b}" for b, x in one["retention"]["fsr"].items())
        lines = "\n".join(filter(None, [*standing(one), endings(one)]))
        words = f"Of the accuracy with all tokens FSR keeps {kept}."
        found += [f"### {name}", summary(one), lines, words, by_type(one)]
    return found


def traces() -> str:
    """What the recorded answers of the gallery cost, and on what: all tokens, and FSR at a ninth of them."""
    places = set()
    lines = [
        "| example | tokens | encode, ms | prefill of all, ms | FSR: select, ms | prefill, ms | first token, ms | repeats |",
        "|---" * 8 + "|",
    ]
    for path in sorted((ROOT / "assets" / "traces").glob("*.json")):
        trace = json.loads(path.read_text(encoding="utf-8"))
        n = trace["tokens"]["n"]
        places.add(trace["recorded"]["device"])
        full, ours = (trace["answers"][key]["cost"] for key in ("full", f"fsr@{round(n / 9)}"))
        if full is None or ours is None:  # recorded where nothing could be measured
            continue
        cells = [_time(full, "encode_ms"), _time(full, "prefill_ms")]
        cells += [_time(ours, name) for name in ("select_ms", "prefill_ms", "first_token_ms")]
        lines.append(f"| {path.stem} | {n} -> {round(n / 9)} | {' | '.join(cells)} | {ours.get('repeats', 1)} |")
    return "\n".join([*lines, "", f"Measured on: {'; '.join(sorted(places))}."])


def _time(cost: dict[str, Any], name: str) -> str:
    value = cost.get(name, cost["select_ms"] + cost["prefill_ms"])
    ends = cost.get("spread", {}).get(name)
    return f"{value:.1f}" + (f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else "")


def benchmarks() -> list[str]:
    parts = []
    for name, (title, command, table) in MEASURED.items():
        path = ROOT / "measurements" / name
        text = f"## {title}\n\n`{command}`\n\n"
        parts.append(
            text + (f"```\n{table(read(f'measurements/{name}'))}\n```" if path.is_file() else "Not yet measured.")
        )
    return parts


def cards() -> list[dict[str, Any]]:
    """What was measured on GPUs, a file a card."""
    found = [read(f"measurements/{path.name}") for path in sorted((ROOT / "measurements").glob("*.json"))]
    return [result for result in found if "card" in result and not result["rehearsal"]]


def on_gpus(results: list[dict[str, Any]]) -> str:
    """All that was measured on each card."""
    parts = [f"### {result['card']}\n\n```\n{gpu.table(result)}\n```" for result in results]
    return "\n\n".join(parts) or NOT_YET


def shortly(results: list[dict[str, Any]]) -> str:
    """A line a card and model, at the smallest budget."""
    lines = [
        "| card | model, random weights | visual tokens | prefill of all, ms | FSR: select, ms | prefill, ms | of the ideal | KV cache, MB |",
        "|---" * 8 + "|",
    ]
    for result in results:
        for part in result["parts"].values():
            if "rows" in part:
                full, row = part["unpruned"], part["rows"][-1]
                cells = [result["card"], part["title"], f"{part['visual_tokens']} -> {row['budget']}"]
                cells += [f"{x:.1f}" for x in (full["prefill_ms"], row["select_ms"], row["prefill_ms"])]
                cells += [f"{row['vs_ideal']:.2f}", f"{full['kv_mb']:.0f} -> {row['kv_mb']:.0f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if results else NOT_YET


def readme(text: str, results: list[dict[str, Any]]) -> str:
    """The README with these results in its place for them."""
    return MADE.sub(lambda place: place[1] + shortly(results) + place[2], text)


def families() -> str:
    """The table of families, a number for every test that proves a cell; and these tests."""
    rows, numbers = matrix(), {}
    lines = [f"| family | {' | '.join(COLUMNS)} | {REAL} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        cells = []
        for cell in row.cells.values():
            of = [numbers.setdefault(test, len(numbers) + 1) for test in cell.tests]
            cells.append(f"{cell.text} ({', '.join(map(str, of))})" if of else cell.text)
        lines.append(f"| {row.title} | {' | '.join(cells)} | {row.real} |")
    meanings = [f"* {column}: {meaning}." for column, meaning in COLUMNS.items()]
    tests = [f"{number}. `{test}`" for test, number in numbers.items()]
    return "\n".join([*lines, "", *meanings, "", "The tests:", "", *tests])


def world(text: str) -> str:
    """docs/world.md with what was measured of unlike pictures in its place."""
    found = Familiar.read(ROOT / "assets" / "shapes")
    told = familiar.summary(familiar.result_of(found)) if found else "Not yet measured with the shipped weights."
    return FAMILIAR.sub(lambda place: place[1] + told + place[2], text)


def models(text: str) -> str:
    """docs/models.md with the table of families in its place."""
    return FAMILIES.sub(lambda place: place[1] + families() + place[2], text)


def estimates() -> str:
    lines = ["| model | visual tokens | prefill, TFLOP | KV cache, MiB |", "|---|---|---|---|"]
    for title, (name, *counts) in ESTIMATED.items():
        one = ARCHITECTURES[name]
        shape = DecoderShape.of(one.make(one, dict(one.text))[0].get_text_config())
        flops = " -> ".join(f"{prefill_flops(shape, k + TEXT) / 1e12:.2f}" for k in counts)
        cache = " -> ".join(f"{kv_cache_bytes(shape, k, 2) / 2**20:.0f}" for k in counts)
        lines.append(f"| {title} | {' -> '.join(map(str, counts))} | {flops} | {cache} |")
    return "\n".join(lines)


def page() -> str:
    return (
        "\n\n".join(
            [
                "# Measurements",
                "Made by `make docs` from `assets/*/evaluation*.json`, the recorded traces and `measurements/`; a test fails "
                "where this page and those files disagree. Times are of the machine that each file names.",
                "## Accuracy on drawn test scenes",
                accuracy(
                    "assets/shapes/evaluation-2000.json",
                    "The embedded picture model, on test scenes that training and validation cannot reach. Percent right, in "
                    "brackets the bootstrap 95 % interval. Every method with its default parameters, FSR with the paper's; "
                    "nothing was tuned on these scenes. *full* reads all visual tokens, *blind* none, *majority* gives the "
                    "commonest answer of each type.",
                ),
                "## Every method on the first 500 of them",
                accuracy(
                    "assets/shapes/evaluation.json",
                    "Methods inside the language model have no entry where the budget is below what the layers before their "
                    "first cut read (this model has five layers).",
                ),
                "## Accuracy on drawn test clips",
                accuracy(
                    "assets/shapes-video/evaluation.json",
                    "The embedded clip model: 8 frames of 144 visual tokens; the budget is shared by all frames.",
                ),
                *worlds("assets/shapes/evaluation-sets.json"),
                "## What the gallery's recorded answers cost",
                "Medians of interleaved repeats, in brackets the middle half of them; all examples at a ninth of their tokens.",
                traces(),
                *benchmarks(),
                "## On a GPU",
                "`python -m fsr bench gpu`, a section a card; models are of real size with random weights.",
                on_gpus(cards()),
                "## Estimated cost",
                f"By the formulas in `fsr/vlm/cost.py`, not measured: the language model's prefill with {TEXT} positions of text "
                "(a multiply-add counts two, attention in full), and the half-precision KV cache of the visual tokens.",
                estimates(),
                "The paper's Table 7 has 9.042 -> 2.291 TFLOP and 288 -> 32 MB for LLaVA-1.5-7B with 64 tokens. The cache is the "
                "same; its operations follow from the same formula with attention counted as the causal mask leaves it and a "
                "prompt of 112 positions besides the picture (`prefill_flops(shape, length, causal=True)`).",
                "## What the paper reports for a real model",
                PAPER,
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    from tests.proofs import write

    write()
    (ROOT / "docs" / "models.md").write_text(models((ROOT / "docs" / "models.md").read_text("utf-8")), encoding="utf-8")
    (ROOT / "docs" / "world.md").write_text(world((ROOT / "docs" / "world.md").read_text("utf-8")), encoding="utf-8")
    (ROOT / "docs" / "measurements.md").write_text(page(), encoding="utf-8")
    (ROOT / "docs" / "paper.md").write_text(paper_page(), encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (ROOT / "README.md").write_text(readme(text, cards()), encoding="utf-8")
