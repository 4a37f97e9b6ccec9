"""What pruning saves on a real-size model, next to a prompt that never had the tokens.

The model has random weights (`fsr.bench.architectures`); everything runs through the adapter that the page uses. A
round runs the vision tower, the unpruned prompt, and for each budget FSR on fresh tokens, the pruned prompt and the
ideal: random embeddings, as many, given straight to the same language model. Rounds repeat, short prompts more
often, the ideal before the pruned run and after it in turn; every time is a median. Batch of one.

Random scores are spread so evenly that Focus would take the whole budget and nothing would be left to select: here
Focus may take a third of it, so that Scan and Refine, the costly stages, do theirs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fsr.bench.clock import StackClock
from fsr.bench.machine import device_name, peak_bytes, reset_peak
from fsr.bench.measure import fresh_selection, quartiles, turn
from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.base import Pruner
from fsr.tokens import check_budget
from fsr.vlm.base import VLM
from fsr.vlm.cost import Cost, timed
from fsr.vlm.media import Encoding, Media

QUESTION = "What is the person holding"  # 45 positions of text in LLaVA-1.5's prompt: 621 with 576 visual tokens
FOCUS_CAP = 1 / 3
SHORT = 0.5  # prompts up to this share of the unpruned one run TWICE a round
TWICE = 2

Say = Callable[[str], None]


@dataclass
class Samples:
    """Milliseconds and counts of one kind of run, by name."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float | None) -> None:
        for name, value in values.items():
            if value is not None:
                self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        return statistics.median(self.values[name]) if name in self.values else None

    def spread(self, name: str) -> list[float]:
        """The quartiles."""
        return [round(end, 2) for end in quartiles(self.values[name])]

    def most(self, name: str) -> float | None:
        return max(self.values[name]) if name in self.values else None


def prefill(
    architecture: str = "llava-1.5-7b",
    dtype: str = "bfloat16",
    device: str | None = None,
    budgets: Sequence[int] | None = None,
    layers: int | None = None,
    frames: int = 8,
    repeats: int = 4,
    new_tokens: int = 3,
    threads: int | None = None,
    say: Say = lambda line: None,
    whole: bool = False,
) -> dict[str, Any]:
    """Build an architecture and measure it.

    whole: also what comes before a prompt is read, and all of it for a photograph as the page hands one over, see
    `fsr.bench.whole`; then a half, a quarter and a ninth of its tokens are the default budgets.
    Returns what `measure` does with the machine, the architecture and, where layers were left out, `extrapolated`;
    `whole` adds load_s, load_memory_mb, photograph and, where clips are read, clip.
    Raises InvalidInput for settings that make no sense, FsrError where it does not fit into memory.
    """
    from fsr.bench import whole as path
    from fsr.bench.architectures import build, named
    from fsr.vlm.placement import DTYPES, usable

    one, place = named(architecture), usable(device)
    if dtype not in DTYPES:
        raise InvalidInput(f"--dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
    kind = DTYPES[dtype]
    frames = frames if one.video else 1
    if not 1 <= frames <= 64 or repeats < 1 or new_tokens < 1 or (threads is not None and threads < 1):
        raise InvalidInput("frames must be from 1 to 64; repeats, new tokens and threads at least 1.")
    if budgets is not None and not whole:
        for budget in budgets:
            check_budget(budget, one.tokens * frames)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        say(f"building {architecture}, {layers or one.layers} of {one.layers} layers, {dtype}, random weights")
        vlm, ms = timed(lambda: build(architecture, kind, place, layers, frames), place)
        weights = sum(p.numel() * p.element_size() for p in vlm.decoder.model.parameters())
        say(f"built in {ms / 1e3:.1f} s: {weights / 1e9:.2f} GB of weights")
        pictures = [noise(*one.picture, seed) for seed in range(frames)]
        times = [float(i) for i in range(frames)] if one.video else None
        before_prompt: dict[str, Any] = {}
        if whole:
            vlm, before_prompt = path.loaded(vlm, kind, place)
            say(f"loaded in {before_prompt['load_s']} s")
            pictures, times = [noise(*path.PHOTOGRAPH, 0)], None
            before_prompt["photograph"] = path.encoded(vlm, pictures, False, repeats)
            if vlm.reads_clips:
                clip = [noise(*path.CLIP, seed) for seed in range(path.FRAMES)]
                before_prompt["clip"] = path.encoded(vlm, clip, True, repeats)
            say("encoded a photograph and a clip")
            n = before_prompt["photograph"]["visual_tokens"]
            budgets = [max(1, n // part) for part in path.PARTS] if budgets is None else budgets
        measured = measure(vlm, pictures, times, budgets, repeats, new_tokens, one.layers, say)
        return {
            "architecture": architecture,
            "title": one.title,
            "weights": "random",
            "weights_gb": round(weights / 1e9, 3),
            "dtype": str(kind).removeprefix("torch."),
            "device": str(place),
            "processor": device_name(place),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "build_s": round(ms / 1e3, 1),
            "frames": len(pictures),
            **before_prompt,
            **measured,
        }
    finally:
        torch.set_num_threads(before)


def measure(
    vlm: VLM,
    pictures: Sequence[Image.Image],
    times: Sequence[float] | None = None,
    budgets: Sequence[int] | None = None,
    repeats: int = 4,
    new_tokens: int = 3,
    full_layers: int | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Measure a loaded model. full_layers: of the whole architecture, where `vlm` has fewer.

    Returns layers, visual_tokens, text_tokens, method, repeats, unpruned (a row without a budget) and rows. A row:
    budget, prompt_tokens, encode_ms (the vision tower, vision_ms, and the question's relevance and prompt,
    question_ms), select_ms, prefill_ms, ideal_prefill_ms, vs_ideal = (select + prefill) / ideal, vs_ideal_range (the
    least and the most of one run), spread (the quartiles of select_ms and prefill_ms), speedup = unpruned prefill /
    (select + prefill), decode_ms_per_token, kv_mb
    (10^6 bytes), kv_share of the unpruned cache, memory_mb (the process's peak while it answered, weights included;
    on cuda the device's), flops_estimated, k_focus, n_focus and runs. Raises InvalidInput for a budget that is none.
    """
    pruner = make("fsr", focus_cap=FOCUS_CAP)
    encoding = vlm.encode(vlm.encode_media(pictures, times, pruner.requires), QUESTION, pruner.requires)
    n = len(encoding.tokens)
    budgets = [check_budget(k, n) for k in budgets] if budgets is not None else usual(n)
    vlm.warm_up()
    bench = _Bench(vlm, pruner, pictures, times, new_tokens)
    for i in range(repeats):
        started = time.perf_counter()
        encoding = bench.encode()
        bench.unpruned(encoding)
        for budget in budgets:
            bench.pair(encoding, budget, ideal_first=i % 2 == 1)
        for budget in [k for k in budgets if bench.length[k] <= SHORT * bench.length[None]] * (TWICE - 1):
            bench.pair(encoding, budget, ideal_first=i % 2 == 0)
        say(f"round {i + 1} of {repeats}: {time.perf_counter() - started:.1f} s; {bench.summary(budgets)}")
    layers = vlm.shape.layers
    result: dict[str, Any] = {
        "layers": layers,
        "full_layers": full_layers or layers,
        "visual_tokens": n,
        "text_tokens": bench.length[None] - n,
        "method": {"name": pruner.name, **pruner.parameters()},
        "pathways": vlm.pathways,
        "repeats": repeats,
        "unpruned": bench.row(None),
        "rows": [bench.row(budget) for budget in budgets],
    }
    if full_layers is not None and full_layers > layers:
        result["extrapolated"] = {
            "to_layers": full_layers,
            "how": f"the time in the {layers} layers built, times {full_layers}/{layers}; all else as measured",
            "unpruned": bench.extrapolated(None, full_layers / layers),
            "rows": [bench.extrapolated(budget, full_layers / layers) for budget in budgets],
        }
    return result


def usual(n: int) -> list[int]:
    """All tokens, a third, 2/9 and a ninth of them: 576, 192, 128 and 64 of LLaVA-1.5."""
    return sorted({n, max(1, n // 3), max(1, 2 * n // 9), max(1, n // 9)}, reverse=True)


class _Bench:
    """The runs of one measurement and what they took; key None: the unpruned prompt."""

    def __init__(
        self,
        vlm: VLM,
        pruner: Pruner,
        pictures: Sequence[Image.Image],
        times: Sequence[float] | None,
        new_tokens: int,
    ) -> None:
        self.vlm, self.pruner, self.pictures, self.times, self.new_tokens = vlm, pruner, pictures, times, new_tokens
        self.encodes = Samples()
        self.runs: dict[int | None, Samples] = {}
        self.ideals: dict[int, Samples] = {}
        self.costs: dict[int | None, Cost] = {}
        self.length: dict[int | None, int] = {}
        self.facts: dict[int, dict[str, float]] = {}
        self.clock = StackClock(vlm)

    def encode(self) -> Encoding:
        media: Media = self.vlm.encode_media(self.pictures, self.times, self.pruner.requires)
        media.clip_patches = None  # else a model that caches pictures has projected them before
        encoding, ms = timed(lambda: self.vlm.encode(media, QUESTION, self.pruner.requires), self.vlm.device)
        self.encodes.add(vision_ms=media.encode_ms, question_ms=ms, encode_ms=media.encode_ms + ms)
        return encoding

    def unpruned(self, encoding: Encoding) -> None:
        self.length[None] = self.vlm.language_inputs(encoding, None)["inputs_embeds"].shape[1]
        self._answer(None, encoding, len(encoding.tokens))

    def pair(self, encoding: Encoding, budget: int, ideal_first: bool) -> None:
        """Selection and pruned prompt, and the ideal prompt, next to each other in time."""
        if budget not in self.length:
            selection: Any = fresh_selection(self.vlm, encoding, self.pruner, budget)[0]
            self.facts[budget] = selection.facts
            self.length[budget] = self.vlm.language_inputs(encoding, selection)["inputs_embeds"].shape[1]
        embeds = encoding.tokens.embeddings
        shape = (1, self.length[budget], embeds.shape[1])
        random = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(embeds)
        jobs: list[Callable[[], float]] = [
            lambda: self._answer(budget, encoding, budget),
            lambda: self._ideal(budget, random),
        ]
        took = {job: jobs[job]() for job in ((1, 0) if ideal_first else (0, 1))}
        self.runs[budget].add(vs_ideal=took[0] / took[1])

    def _answer(self, key: int | None, encoding: Encoding, budget: int) -> float:
        """Milliseconds to the first token."""
        reset_peak()
        with self.clock.running() as stack:
            _, cost = turn(self.vlm, encoding, None if key is None else self.pruner, budget, self.new_tokens)
        peak = cost.peak_bytes if cost.peak_bytes is not None else peak_bytes()
        self.costs[key] = cost
        steps = stack.ms[1:]
        self.runs.setdefault(key, Samples()).add(
            select_ms=cost.select_ms,
            prefill_ms=cost.prefill_ms,
            decode_ms_per_token=cost.decode_ms_per_token,
            stack_ms=stack.ms[0],
            decode_stack_ms=statistics.mean(steps) if steps else None,
            memory_bytes=peak,
        )
        return cost.first_token_ms

    def _ideal(self, budget: int, embeds: Tensor) -> float:
        with self.clock.running() as stack:
            progress = next(iter(self.vlm.decoder.greedy(embeds, 1)))
        self.ideals.setdefault(budget, Samples()).add(prefill_ms=progress.prefill_ms, stack_ms=stack.ms[0])
        return progress.prefill_ms

    def row(self, budget: int | None) -> dict[str, Any]:
        runs, cost, full = self.runs[budget], self.costs[budget], self.costs[None]
        encode = {name: self.encodes.median(name) for name in ("encode_ms", "vision_ms", "question_ms")}
        row: dict[str, Any] = {} if budget is None else {"budget": budget}
        row |= {"prompt_tokens": self.length[budget], **encode}
        timings = {"select_ms": runs.median("select_ms") or 0.0, "prefill_ms": runs.median("prefill_ms") or 0.0}
        row |= timings if budget is not None else {"prefill_ms": timings["prefill_ms"]}
        if budget is not None:
            row |= _ratios(sum(timings.values()), self.ideals[budget].median("prefill_ms"), self._full_prefill())
            row["spread"] = {name: runs.spread(name) for name in timings}
            row["vs_ideal_range"] = [round(f(runs.values["vs_ideal"]), 4) for f in (min, max)]
        memory = runs.most("memory_bytes")
        row |= {
            "decode_ms_per_token": runs.median("decode_ms_per_token"),
            "kv_mb": cost.kv_bytes / 1e6,
            "kv_share": cost.kv_bytes / full.kv_bytes,
            "memory_mb": None if memory is None else memory / 1e6,
            "flops_estimated": cost.flops_estimated,
            "runs": len(runs.values["prefill_ms"]),
        }
        if budget is not None:
            row |= {name: self.facts[budget][name] for name in ("k_focus", "n_focus")}
        return rounded(row)

    def _full_prefill(self) -> float:
        return self.runs[None].median("prefill_ms") or 0.0

    def extrapolated(self, budget: int | None, by: float) -> dict[str, Any]:
        """The same run on a model `by` times as deep: its layers take that much longer, everything else the same."""

        def deeper(samples: Samples, name: str = "prefill_ms", stack: str = "stack_ms") -> float | None:
            whole, inside = samples.median(name), samples.median(stack)
            return None if whole is None or inside is None else whole + (by - 1) * inside

        runs = self.runs[budget]
        row: dict[str, Any] = {} if budget is None else {"budget": budget}
        row |= {"prefill_ms": deeper(runs), "kv_mb": self.costs[budget].kv_bytes / 1e6 * by}
        row["decode_ms_per_token"] = deeper(runs, "decode_ms_per_token", "decode_stack_ms")
        if budget is not None:
            row["select_ms"] = runs.median("select_ms") or 0.0
            taken = row["prefill_ms"] + row["select_ms"]
            row |= _ratios(taken, deeper(self.ideals[budget]), deeper(self.runs[None]))
        return rounded(row)

    def summary(self, budgets: Sequence[int]) -> str:
        """Medians so far, for the progress line."""
        parts = [f"unpruned {self._full_prefill():.0f} ms"]
        for budget in budgets:
            row = self.row(budget)
            parts.append(f"{budget}: {row['select_ms']:.0f} + {row['prefill_ms']:.0f} ms, x{row['vs_ideal']:.3f} ideal")
        return "; ".join(parts)


def _ratios(taken: float, ideal: float | None, full: float | None) -> dict[str, float]:
    """taken: selection and prefill. Milliseconds all."""
    assert ideal is not None
    assert full is not None
    return {"ideal_prefill_ms": ideal, "vs_ideal": taken / ideal, "speedup": full / taken}


def noise(width: int, height: int, seed: int) -> Image.Image:
    """A picture of noise."""
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Times to a hundredth of a millisecond, ratios to a tenth of a thousandth."""
    digits = {"vs_ideal": 4, "speedup": 3, "kv_share": 4}
    return {name: round(v, digits.get(name, 2)) if isinstance(v, float) else v for name, v in row.items()}
