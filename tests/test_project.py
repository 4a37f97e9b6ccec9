"""What a newcomer and a host rely on: versions that agree, commands that exist, tables that are the measured ones."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

from fsr.cli.main import build_parser

ROOT = Path(__file__).parents[1]


def test_every_shipped_file_has_its_credit():
    credits = (ROOT / "assets/CREDITS.md").read_text()
    for path in (ROOT / "assets").rglob("*"):
        if path.is_file() and path.name != "CREDITS.md":
            folder = path.relative_to(ROOT / "assets").parts[0]
            assert f"`{folder}" in credits, f"{path} has no line in assets/CREDITS.md"


def test_every_evaluation_names_the_command_that_measures_it_again():
    files = sorted(ROOT.glob("assets/shapes*/evaluation*.json"))
    assert len(files) == 4
    for file in files:
        result = json.loads(file.read_text())
        python, *words = result["command"].split()
        assert (python, *words[:2]) == ("python", "-m", "fsr"), file
        args = build_parser().parse_args(words[2:])
        assert args.questions == result["questions"], file
        for found in result.get("sets", {"": result}).values():
            assert set(args.methods.split(",")) <= {*found["accuracy"]}, file


# The floors of the house, the lowest first: what stands on one may import from its own and from those below.
FLOORS = (
    ("fsr.errors", "fsr.host"),
    ("fsr.similarity",),
    ("fsr.kernels",),
    ("fsr.tokens",),
    ("fsr.focus", "fsr.scan", "fsr.refine"),
    ("fsr.pruners",),
    ("fsr.media", "fsr.shapes", "fsr.world"),
    ("fsr.vlm",),
    ("fsr", "fsr.trace", "fsr.why"),  # fsr: `fsr.prune` and `fsr.explain`
    ("fsr.bench", "fsr.check"),
    ("fsr.sweep",),
    ("fsr.lmms",),
    ("fsr.cli",),
    ("fsr.__main__", "training"),
    ("app",),
    ("app.ui",),
)
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}


def floor(module: str) -> int:
    """Of the longest name in `FLOORS` that the module's begins with."""
    while module not in FLOOR:
        module = module.rpartition(".")[0]
    return FLOOR[module]


def modules() -> dict[str, Path]:
    found = {}
    for top in ("fsr", "training", "app"):
        for path in (ROOT / top).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports() -> dict[str, set[str]]:
    """Which of our modules each of them imports, anywhere in it."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= (inside & known.keys()) or {node.module}
        found[name] = (wanted & known.keys()) - {name}
    return found


def test_no_arrow_points_upwards():
    for name, wanted in imports().items():
        for other in wanted:
            assert floor(other) <= floor(name), f"{name} imports {other}, which stands above it"


def test_the_product_needs_nothing_that_trains():
    needed = {other for name, wanted in imports().items() if not name.startswith("training") for other in wanted}
    assert "training.train" in modules()
    assert not [name for name in needed if name.startswith("training")]


def test_nothing_imports_in_a_circle():
    graph, done = imports(), set()

    def follow(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for other in sorted(graph[name]):
                follow(other, (*above, name))
            done.add(name)

    for name in sorted(graph):
        follow(name, ())


def test_the_library_knows_no_gradio():
    for name, path in modules().items():
        if not name.startswith("app"):
            assert "gradio" not in path.read_text().replace("gradio_", ""), name


def test_importing_the_library_loads_no_model_and_no_gradio():
    import subprocess

    code = "import sys, fsr, fsr.tokens, fsr.pruners; print('gradio' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
