"""The page's own JavaScript and CSS as one `<style>` and one `<script>` for the head: no build step, no request.

The files in app/static are ES modules, so that an editor, a linter and node read them as such. Here each becomes a
function scope of its own, in the order of their imports.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"
STYLES = ("theme.css", "page.css", "stage.css", "panels.css", "picker.css", "compare.css", "narrow.css", "film.css")
_IMPORT = re.compile(r'^import (?:\{([^}]*)\}|\* as (\w+)) from "\./([\w.]+)";\n', re.M)
_EXPORT = re.compile(r"^export ((?:async )?function|const|let|class) (\w+)", re.M)


@cache
def script(entry: str = "main.js") -> str:
    """JavaScript that sets `window.fsrModules`; every module of the entry's import graph, once."""
    done: dict[str, str] = {}
    _add(entry, done, ())
    return "window.fsrModules = {};\n" + "\n".join(done.values())


def _add(name: str, done: dict[str, str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"app/static: {' -> '.join((*above, name))} import each other in a circle.")
    if name in done:
        return
    source = (STATIC / name).read_text(encoding="utf-8")
    for match in _IMPORT.finditer(source):
        _add(match[3], done, (*above, name))
    names = [match[2] for match in _EXPORT.finditer(source)]
    body = _EXPORT.sub(r"\1 \2", _IMPORT.sub(_as_constant, source))
    done[name] = f'window.fsrModules["{name}"] = (() => {{\n{body}\nreturn {{ {", ".join(names)} }};\n}})();'


def _as_constant(match: re.Match[str]) -> str:
    what = f"{{{match[1]}}}" if match[1] else match[2]
    return f'const {what} = window.fsrModules["{match[3]}"];\n'


def markup(name: str) -> str:
    """The constant HTML of one panel; it holds no template marks, so nothing is ever filled in by Gradio."""
    text = (STATIC / name).read_text(encoding="utf-8")
    if "${" in text or "{{" in text:
        raise ValueError(f"app/static/{name} must be constant markup, without template marks.")
    return text


def head(config: dict[str, Any]) -> str:
    """Everything the page needs before its panels mount. `config` holds constants of this app, never visitors' data."""
    style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)
    constants = json.dumps(config).replace("<", "\\u003c")
    start = f'window.fsrExplorer = window.fsrModules["main.js"].start({constants});'
    return f"<style>{style}</style><script>{script()}\n{start}</script>"
