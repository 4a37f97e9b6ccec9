"""Charts for papers and slides: matplotlib figures without pyplot, as bytes in PNG, SVG or PDF; the same data gives the
same bytes. Colours are those of `fsr.bench.look`; markers differ as well.
"""

from __future__ import annotations

import io
import math
import textwrap
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fsr.bench.look import LINE, LOWEST_KL, MUTED, SERIES, TEXT
from fsr.errors import InvalidInput

FORMATS = ("png", "svg", "pdf")
MARKERS = "osD^vPX*<>ph"
DPI = 200
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# fonts: TrueType inside PDF, outlines inside SVG, so that neither needs a font where it is shown
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "fsr",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": TEXT,
    "axes.linewidth": 0.6,
    "text.color": TEXT,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "text.parse_math": False,
}
_drawing = threading.Lock()  # matplotlib's settings belong to the whole process


def checked_format(fmt: str) -> str:
    """The format itself, or a sentence."""
    if fmt not in FORMATS:
        raise InvalidInput(f"a figure is written as one of {', '.join(FORMATS)}, not {fmt!r}.")
    return fmt


class Drawing:
    """`with Drawing(width, height, fmt) as figure: ...`, then `bytes`. Sizes in inches, background white.

    text: letters stay letters in an SVG, which a reader can change, where its font is known. words: what the file says
    of itself, by name. One drawing at a time: the settings that it uses are matplotlib's own and are put back when the
    block ends.
    """

    def __init__(
        self, width: float, height: float, fmt: str, text: bool = False, words: Mapping[str, str] | None = None
    ) -> None:
        self.size, self.fmt, self.bytes = (width, height), checked_format(fmt), b""
        self.text, self.words = text, words or {}

    def __enter__(self) -> Any:
        import matplotlib
        from matplotlib.figure import Figure

        _drawing.acquire()
        self._context = matplotlib.rc_context(_SETTINGS | ({"svg.fonttype": "none"} if self.text else {}))
        self._context.__enter__()
        self.figure = Figure(figsize=self.size, dpi=DPI, facecolor="white")
        return self.figure

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        try:
            if kind is None:
                file = io.BytesIO()
                self.figure.savefig(file, format=self.fmt, metadata=_METADATA[self.fmt] | self._metadata())
                self.bytes = file.getvalue()
        finally:
            self._context.__exit__(kind, value, trace)
            _drawing.release()

    def _metadata(self) -> dict[str, str]:
        """The words as each format can hold them: a PNG by any name, SVG and PDF under names of their own."""
        if self.fmt == "png" or not self.words:
            return dict(self.words)
        title, said = self.words.get("Question", ""), "; ".join(f"{name}: {text}" for name, text in self.words.items())
        return {"Title": title, "Description" if self.fmt == "svg" else "Subject": said}


def wrapped(text: str, inches: float, size: float = 8, lines: int = 4) -> str:
    """The text broken into lines that fit a width, at most so many; size in points. Long words are broken, too."""
    per_line = max(4, int(inches * 72 / (0.56 * size)))
    parts = textwrap.wrap(" ".join(text.split()), per_line) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: per_line - 1].rstrip() + "…"]
    return "\n".join(parts)


def fidelity_curves(
    methods: Mapping[str, Mapping[str, Mapping[str, Any]]],
    fmt: str = "png",
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> bytes:
    """KL divergence and probability of the unpruned answer against the budget, one line a method.

    methods: method -> budget -> {"kl", "probability"}, each a number or [mean, low, high], which draws a band: what
    `fsr.bench.fidelity.summarise` gives. "full" is drawn as a dashed line. labels: what the legend calls a method.
    title: e.g. the question. Raises InvalidInput for another format or where there is nothing to draw.
    """
    checked_format(fmt)
    labels = labels or {}
    lines = {m: row for m, row in methods.items() if m != "full" and row}
    budgets = sorted({int(k) for row in lines.values() for k in row})
    if not budgets:
        raise InvalidInput("there is no method with a budget to draw.")
    width, columns = 6.8, 3
    names = {m: wrapped(labels.get(m, m), (width - 0.6) / columns - 0.55, lines=3) for m in lines}
    if "full" in methods:
        names["full"] = labels.get("full", "All tokens")
    columns = min(columns, len(names))
    each = math.ceil(len(names) / columns)  # the legend fills one column after the other
    stacks = [list(names.values())[i : i + each] for i in range(0, len(names), each)]
    legend = max(sum(0.14 * (1 + name.count("\n")) + 0.06 for name in stack) for stack in stacks) + 0.08
    heading = wrapped(title, width - 0.6, 9) if title else ""
    top = 0.17 * (heading.count("\n") + 1) + 0.1 if heading else 0.1
    height = 2.3 + legend + top
    drawing = Drawing(width, height, fmt)
    with drawing as figure:
        axes = figure.subplots(1, 2)
        figure.subplots_adjust(
            left=0.12, right=0.985, wspace=0.3, top=1 - (top + 0.05) / height, bottom=(legend + 0.5) / height
        )
        if heading:
            figure.text(0.5, 1 - 0.08 / height, heading, ha="center", va="top", fontsize=9)
        for axis, measure in zip(axes, ("kl", "probability"), strict=True):
            for i, (method, row) in enumerate(lines.items()):
                _line(axis, row, measure, i, names[method])
            if "full" in methods:
                value = _mean(next(iter(methods["full"].values()))[measure])
                axis.axhline(
                    _shown(value, measure),
                    color=TEXT,
                    linewidth=0.9,
                    linestyle=(0, (4, 3)),
                    label=names["full"],
                    zorder=1,
                )
            _scale_budgets(axis, budgets)
        axes[0].set_ylabel("KL(all tokens || pruned),\nnats, logarithmic")
        _scale_kl(axes[0], lines)
        axes[1].set_ylabel("probability of the answer\nof all tokens")
        axes[1].set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        axes[1].set_ylim(-0.03, 1.03)
        handles, texts = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, texts, loc="lower center", ncols=columns, frameon=False, handlelength=2.4, columnspacing=1.6
        )
    return drawing.bytes


def _line(axis: Any, row: Mapping[str, Mapping[str, Any]], measure: str, i: int, name: str) -> None:
    at = sorted(row, key=int)
    x, y = [int(k) for k in at], [_shown(_mean(row[k][measure]), measure) for k in at]
    color, dashes = SERIES[i % len(SERIES)], "-" if i < len(SERIES) else (0, (5, 1.5))
    if all(isinstance(row[k][measure], Sequence) for k in at):
        low, high = ([_shown(row[k][measure][j], measure) for k in at] for j in (1, 2))
        axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    style = {"color": color, "linestyle": dashes, "marker": MARKERS[i % len(MARKERS)]}
    edge = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
    axis.plot(x, y, linewidth=1.3, label=name, clip_on=False, zorder=3, **edge, **style)


def _shown(value: float, measure: str) -> float:
    """What is below the lowest KL that is told apart is drawn on it."""
    return max(value, LOWEST_KL) if measure == "kl" else value


def _mean(value: Any) -> float:
    return float(value[0] if isinstance(value, Sequence) else value)


def _scale_budgets(axis: Any, budgets: list[int]) -> None:
    """Logarithmic, with a label at every budget that has room for one."""
    axis.set_xscale("log", base=2)
    low, high = math.log2(budgets[0]), math.log2(budgets[-1])
    apart = 0.09 * max(high - low, 1e-9)
    shown: list[int] = []
    for budget in reversed(budgets):
        if not shown or math.log2(shown[-1]) - math.log2(budget) >= apart:
            shown.append(budget)
    axis.set_xticks(shown, [str(b) for b in shown])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("visual tokens")
    axis.grid(color=LINE, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _scale_kl(axis: Any, lines: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Logarithmic, in powers of ten around the values, as the page draws it; what is below `LOWEST_KL` lies on it."""
    values = [max(_mean(point["kl"]), LOWEST_KL) for row in lines.values() for point in row.values()]
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = max(low + 1, math.ceil(math.log10(max(values)) - 1e-9))
    axis.set_yscale("log")
    axis.set_ylim(10.0**low, 10.0**high)
    words = [f"{10.0**p:g}" if p >= -3 else f"1e\N{MINUS SIGN}{-p}" for p in range(low, high + 1)]
    axis.set_yticks([10.0**p for p in range(low, high + 1)], words)
    axis.set_yticks([], minor=True)
