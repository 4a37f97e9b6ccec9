"""How long every method takes to select from the frames of a clip, and how much memory.

Both ways to share the budget: `global` (frames compete) and `per_group` (frames alike). As with `bench select` building
the tokens, normalising, selecting and merging are inside the time, and the yardstick is the Gram product of all tokens.
One run takes all jobs in turn, again and again; times are medians. `peak_mb` is the most that a job held beyond what
was there before, `peak_matrices` the same in fp32 matrices of all pairs of tokens; both are null off Linux.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fsr.bench.machine import peak_bytes, processor_name, reset_peak
from fsr.bench.select import ASKED, drawn, regions, third
from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, Pruner, make
from fsr.pruners.frames import SHARES, with_share
from fsr.tokens import Grid, Layout, VisualTokens, unit_rows

LLAVA_VIDEO = (32, 14, 14, 3584)  # frames, rows, columns, D; the checkpoint itself has 13 x 14 tokens and newlines
KEPT = 0.2
PLAN = "fsr_all_budgets"


def measure(
    frames: int,
    grid: tuple[int, int],
    width: int,
    budget: int | None = None,
    names: Sequence[str] | None = None,
    threads: int = 2,
    repeats: int = 3,
) -> dict[str, Any]:
    """Raises InvalidInput for numbers that make no sense. names: None for every method.

    Returns {"machine", "frames", "grid", "n", "k", "d", "threads", "repeats", "gram_ms", "methods": {name: {share:
    {"ms", "vs_gram", "vs_fsr", "peak_mb", "peak_matrices"}}}, "problems": {name: why it is not among them}}.
    `fsr_all_budgets` is the plan.
    """
    n = frames * grid[0] * grid[1]
    k = max(1, round(KEPT * n)) if budget is None else budget
    if min(frames, *grid, width, threads, repeats) < 1 or not 3 <= k <= n:
        raise InvalidInput(
            "a case needs at least one frame, row, column, thread and repeat, and 3 <= budget <= tokens."
        )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        jobs, problems = _jobs(frames, grid, width, k, names)
        ms, peaks = _timed(jobs, repeats)
    finally:
        torch.set_num_threads(before)
    gram = ms[("gram", "")]
    methods: dict[str, dict[str, Any]] = {}
    for (name, share), t in ms.items():
        if name == "gram":
            continue
        fsr, peak = ms.get(("fsr", share)), peaks[(name, share)]
        methods.setdefault(name, {})[share] = {
            "ms": round(t, 3),
            "vs_gram": round(t / gram, 3),
            "vs_fsr": None if fsr is None else round(t / fsr, 3),
            "peak_mb": None if peak is None else round(peak / 1e6, 1),
            "peak_matrices": None if peak is None else round(peak / (4 * n * n), 3),
        }
    machine = {"processor": processor_name(), "torch": torch.__version__}
    about = {"frames": frames, "grid": list(grid), "n": n, "k": k, "d": width, "threads": threads, "repeats": repeats}
    return {"machine": machine, **about, "gram_ms": round(gram, 3), "methods": methods, "problems": problems}


Job = Callable[[], object]


def _jobs(
    frames: int, grid: tuple[int, int], width: int, k: int, names: Sequence[str] | None
) -> tuple[dict[tuple[str, str], Job], dict[str, str]]:
    """By method and share, and why some methods cannot."""
    n = frames * grid[0] * grid[1]
    generator = torch.Generator().manual_seed(0)
    raw = regions(n, width, generator)
    saliency, relevance = third(n, k, generator)
    unit, layout = unit_rows(raw), layout_of(frames, grid)
    encoder = raw[:, : max(1, width // 4)].contiguous()

    pixels, question = drawn(n, generator), torch.randn(ASKED, width, generator=generator)

    def tokens() -> VisualTokens:
        return VisualTokens(raw, layout, encoder, saliency, relevance, pixels=pixels, question=question)

    def select(pruner: Pruner) -> Job:
        return lambda: pruner(tokens(), k)

    def plan(pruner: Pruner) -> Job:
        return lambda: pruner.plan(tokens())

    jobs: dict[tuple[str, str], Job] = {("gram", ""): lambda: unit @ unit.T}
    problems = {}
    wanted = [name for name, kind in REGISTRY.items() if kind.stage == "before"] if names is None else names
    for name in wanted:
        try:
            possible = ("global",) if REGISTRY[name].across_frames else SHARES
            shares = {share: with_share(make(name), share) for share in possible}
            shares["global"](tokens(), k)  # what cannot be selected from so many tokens is told, not measured
        except InvalidInput as error:
            problems[name] = str(error)
            continue
        jobs |= {(name, share): select(pruner) for share, pruner in shares.items()}
        if name == "fsr":
            jobs |= {(PLAN, share): plan(pruner) for share, pruner in shares.items()}
    return jobs, problems


def layout_of(frames: int, grid: tuple[int, int]) -> Layout:
    """Frames of equal grids, one pixel a token, in raster order."""
    one = Layout.of_grid(*grid)
    size = len(one)
    return Layout(
        torch.arange(frames).repeat_interleave(size),
        one.row.repeat(frames),
        one.col.repeat(frames),
        one.rect.repeat(frames, 1),
        tuple(Grid(g.width, g.height, g.rows, g.cols, g.seen) for g in one.grids * frames),
    )


def _timed(jobs: dict[tuple[str, str], Job], repeats: int) -> tuple[dict[Any, float], dict[Any, int | None]]:
    """Median milliseconds and largest peak in bytes of every job, after one round for warming up."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    peaks: dict[tuple[str, str], int | None] = dict.fromkeys(jobs)
    for i in range(repeats + 1):
        for key, job in jobs.items():
            held = peak_bytes() if reset_peak() else None
            start = time.perf_counter()
            result = job()
            elapsed = time.perf_counter() - start
            peak = None if held is None else (peak_bytes() or 0) - held
            del result
            if i:
                times[key].append(elapsed * 1e3)
                peaks[key] = peak if peaks[key] is None or peak is None else max(peaks[key] or 0, peak)
    return {key: statistics.median(t) for key, t in times.items()}, peaks
