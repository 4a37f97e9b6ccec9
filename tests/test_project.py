"""What a newcomer and a host rely on: versions that agree, commands that exist, tables that are the measured ones."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

from fsr.cli.bench.accuracy import summary
from tests.looping import each

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@each("name", ["evaluation", "evaluation-2000"])
def test_the_measured_tables_of_the_readme_are_the_recorded_ones(name):
    result = json.loads((ROOT / f"assets/shapes/{name}.json").read_text())
    assert summary(result) in README


def test_every_shipped_file_has_its_credit():
    credits = (ROOT / "assets/CREDITS.md").read_text()
    for path in (ROOT / "assets").rglob("*"):
        if path.is_file() and path.name != "CREDITS.md":
            folder = path.relative_to(ROOT / "assets").parts[0]
            assert f"`{folder}" in credits, f"{path} has no line in assets/CREDITS.md"


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    plain = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    return plain | {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}


@each("path", sorted((ROOT / "fsr").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_never_imports_the_app(path):
    assert not [m for m in imports(path) if m == "app" or m.startswith(("app.", "gradio"))]


def test_importing_the_library_loads_no_model_and_no_gradio():
    import subprocess

    code = "import sys, fsr, fsr.tokens, fsr.pruners; print('gradio' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
