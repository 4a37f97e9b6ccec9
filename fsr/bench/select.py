"""How long selection takes, next to the Gram product that other methods pay in full.

Every method starts from raw features: building the tokens (with their checks), normalising, selecting and merging are
all inside the time. The yardstick is `f @ f.T` in fp32 with f already normalised and as many threads. One run takes
the yardstick and all methods in turn, again and again; times are medians, `vs_gram` and `vs_fsr` ratios of two medians.
Methods that prune inside the language model are left out: they select while it reads the prompt.

On a device a method that picks token by token is timed once more while it asks the device for every pick, as most
releases do (`fsr.bench.released`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fsr.bench import released
from fsr.bench.machine import processor_name
from fsr.bench.measure import quartiles
from fsr.errors import InvalidInput
from fsr.pruners import for_pictures, make
from fsr.similarity import exact_products
from fsr.tokens import Layout, VisualTokens, unit_rows
from fsr.vlm.cost import timed

CASES = ((576, 64, 4096), (2880, 320, 4096), (6272, 1254, 3584))  # N, K, D: LLaVA-1.5, LLaVA-NeXT, LLaVA-Video
VARIANTS = (("regions", "third"), ("regions", "as_is"), ("independent", "third"))  # features, scores
ONE_BY_ONE = ("fsr", "cdpruner", "divprune", "fsr-scan", "fsr-no-refine")  # methods that pick token by token
ASKED = 12  # tokens of a question
ASKING = ", asking"  # behind the name of a method that asks the device for every pick
CPU = torch.device("cpu")

Jobs = dict[str, Callable[[], object]]


def select(
    cases: Sequence[tuple[int, int, int]] = CASES, threads: Sequence[int] = (1, 2), repeats: int = 5
) -> dict[str, Any]:
    """Measure every case with every number of threads. Raises InvalidInput for a case or a count that makes no sense.

    Returns {"machine": {...}, "cases": [{"n", "k", "d", "threads", "features", "scores", "k_focus", "rows", "repeats",
    "gram_ms", "methods": {name: {"ms", "vs_gram", "vs_fsr"}}}]}; `rows` is how many similarity rows `fsr` computed.
    `fsr_all_budgets` is the plan: the role of every token at every budget.
    """
    if repeats < 1 or any(t < 1 for t in threads) or any(not 3 <= k <= n or d < 1 for n, k, d in cases):
        raise InvalidInput("a case needs 3 <= K <= N and D >= 1; repeats and threads must be at least 1.")
    before = torch.get_num_threads()
    machine = {"processor": processor_name(), "torch": torch.__version__, "threads": before}
    try:
        measured = [
            measure(n, k, d, t, features, scores, repeats)
            for n, k, d in cases
            for features, scores in VARIANTS
            for t in threads
        ]
    finally:
        torch.set_num_threads(before)
    return {"machine": machine, "cases": measured}


def measure(n: int, k: int, d: int, threads: int, features: str, scores: str, repeats: int) -> dict[str, Any]:
    """One case of `select`."""
    torch.set_num_threads(threads)
    jobs, tokens = _jobs(n, k, d, features, scores, CPU)
    repeats *= 5 if n < 1000 and repeats > 1 else 1
    ms = {name: statistics.median(times) for name, times in sampled(jobs, repeats).items()}
    facts = make("fsr")(tokens(), k).facts
    gram = ms.pop("gram")
    return {
        "n": n,
        "k": k,
        "d": d,
        "threads": threads,
        "features": features,
        "scores": scores,
        "k_focus": facts["k_focus"],
        "rows": facts["rows_computed"],
        "repeats": repeats,
        "gram_ms": round(gram, 3),
        "methods": {
            name: {"ms": round(t, 3), "vs_gram": round(t / gram, 3), "vs_fsr": round(t / ms["fsr"], 3)}
            for name, t in ms.items()
        },
    }


def on_device(n: int, k: int, d: int, scores: str, repeats: int, device: torch.device) -> dict[str, Any]:
    """One case on a device, of features like a picture's. Returns what a case of `select` does, without threads and
    rows; of the Gram product and of every method `spread`, the quartiles; `asking_ms` and `vs_asking` where a method
    picks token by token."""
    jobs, tokens = _jobs(n, k, d, "regions", scores, device)
    jobs |= {name + ASKING: _asking(jobs[name]) for name in ONE_BY_ONE}
    times = sampled(jobs, repeats, device)
    ms = {name: statistics.median(some) for name, some in times.items()}
    spread = {name: [round(end, 3) for end in quartiles(some)] for name, some in times.items()}
    methods: dict[str, dict[str, Any]] = {}
    for name in ms:
        if name == "gram" or name.endswith(ASKING):
            continue
        row = {"ms": round(ms[name], 3), "spread": spread[name]}
        row |= {f"vs_{other}": round(ms[name] / ms[other], 3) for other in ("gram", "fsr")}
        if name in ONE_BY_ONE:
            asking = ms[name + ASKING]
            row |= {"asking_ms": round(asking, 3), "vs_asking": round(ms[name] / asking, 3)}
        methods[name] = row
    return {
        "n": n,
        "k": k,
        "d": d,
        "features": "regions",
        "scores": scores,
        "k_focus": make("fsr")(tokens(), k).facts["k_focus"],
        "repeats": repeats,
        "gram_ms": round(ms["gram"], 3),
        "spread": spread["gram"],
        "methods": methods,
    }


def _jobs(
    n: int, k: int, d: int, features: str, scores: str, device: torch.device
) -> tuple[Jobs, Callable[[], VisualTokens]]:
    """The Gram product and every method, by name, and what makes the tokens."""
    generator = torch.Generator().manual_seed(0)
    raw = FEATURES[features](n, d, generator).to(device)
    saliency, relevance = (score.to(device) for score in SCORES[scores](n, k, generator))
    unit, layout = unit_rows(raw), Layout.of_grid(1, n)
    encoder = raw[:, : max(1, d // 4)].contiguous()  # as wide as the encoder's are: 1024 for 4096

    pixels, question = drawn(n, generator).to(device), torch.randn(ASKED, d, generator=generator).to(device)

    def tokens() -> VisualTokens:
        return VisualTokens(raw, layout, encoder, saliency, relevance, pixels=pixels, question=question)

    def gram() -> Tensor:
        with exact_products():
            return unit @ unit.T

    jobs: Jobs = {"gram": gram}
    before = for_pictures()
    jobs |= {name: lambda pruner=make(name): pruner(tokens(), k) for name in before}  # type: ignore[misc] # noqa: B008
    jobs["fsr_all_budgets"] = lambda: make("fsr").plan(tokens())
    return jobs, tokens


def _asking(job: Callable[[], object]) -> Callable[[], object]:
    def work() -> object:
        with released.looping(released):
            return job()

    return work


def sampled(jobs: Jobs, repeats: int, device: torch.device = CPU) -> dict[str, list[float]]:
    """Milliseconds of every job: `repeats` rounds of all jobs, after one for warming up; a device is waited for."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for i in range(repeats + 1):
        for name, job in jobs.items():
            _, ms = timed(job, device)
            if i:
                times[name].append(ms)
    return times


def regions(n: int, d: int, generator: torch.Generator) -> Tensor:
    """(N, D) features like those of a picture: one common direction, regions of similar patches, a falling spectrum.

    About 24 tokens share a region; cosines are near 0.3 between regions and 0.5 to 0.9 within one.
    """
    rank = min(256, d)
    basis = torch.randn(rank, d, generator=generator) / d**0.5
    spectrum = torch.arange(1, rank + 1).float() ** -0.5
    spectrum /= spectrum.norm()
    side = max(1, round(n**0.5))
    place = torch.stack([torch.arange(n) // side, torch.arange(n) % side], dim=1).float()
    centres = torch.rand(max(8, n // 24), 2, generator=generator) * side
    region = torch.cdist(place, centres).argmin(dim=1)
    between = torch.randn(len(centres), rank, generator=generator)[region]
    within = torch.randn(n, rank, generator=generator)
    noise = torch.randn(n, d, generator=generator) / d**0.5
    common = torch.randn(d, generator=generator) / d**0.5
    features: Tensor = 0.8 * common + ((between + 0.5 * within) * spectrum) @ basis + 0.25 * noise
    return features


def drawn(n: int, generator: torch.Generator) -> Tensor:
    """(N, 588), pixels of patches of 14 x 14, of few colours each in one: many equal their neighbour."""
    return torch.randint(4, (n, 1), generator=generator).float().expand(n, 588).contiguous()


def independent(n: int, d: int, generator: torch.Generator) -> Tensor:
    """(N, D) Gaussian features: no structure at all, which no picture looks like."""
    return torch.randn(n, d, generator=generator)


def third(n: int, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Saliency and relevance of which K/3 tokens hold nearly everything, so that Focus takes about K/3."""
    saliency, relevance = torch.rand(2, n, generator=generator)
    few = torch.randperm(n, generator=generator)[: k // 3]
    strong = torch.zeros(n).index_fill_(0, few, 1.0)
    return 0.9 * strong + 0.01 * saliency, 0.9 * strong + 0.1 * relevance


def as_is(n: int, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Saliency with a long tail and Gaussian relevance, whatever Focus makes of them."""
    return torch.randn(n, generator=generator).mul(1.5).exp(), torch.randn(n, generator=generator)


FEATURES = {"regions": regions, "independent": independent}
SCORES = {"third": third, "as_is": as_is}
