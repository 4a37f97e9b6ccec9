"""The page's own panels: `gr.HTML` with constant markup, mounted by app/static/main.js."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.serving import STATIC, markup

# What each panel hands to its JavaScript. Names in quotes become events of the component, e.g. gallery.pick(fn, ...).
_DOORS = {
    "stage": "again: () => trigger('again', {}), look: () => trigger('look', {})",
    "rail": "",
    "compare": "",
    "overlap": "",
    "own": "",
    "tabs": "",
    "why": "study: (detail) => trigger('study', detail), halt: (detail) => trigger('halt', detail)",
    "words": "look: (detail) => trigger('look', detail), cross: (detail) => trigger('cross', detail), "
    "halt: (detail) => trigger('halt', detail)",
    "lecture": "",
    "guide": "",
    "fidelity": "curves: (detail) => trigger('curves', detail), halt: (detail) => trigger('halt', detail)",
    "film": "",
    "asking": "",
    "compose": "scene: (detail) => trigger('scene', detail)",
    "answers": "",
    "gallery": "pick: (id, recording) => trigger('pick', { id, recording }), open: (asked) => trigger('pick', asked)",
    "drawer": "replan: (detail) => trigger('replan', detail)",
    "topbar": "chosen: (id) => trigger('chosen', { id }), look: () => trigger('look', {}), "
    "figure: (detail) => trigger('figure', detail), exportClip: (detail) => trigger('export_clip', detail)",
}


def panel(name: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """One panel. `value` is JSON that its script draws with textContent; it is never put into the markup."""
    return gr.HTML(
        value=value,
        html_template=markup(f"{name}/panel.html" if (STATIC / name).is_dir() else f"{name}.html"),
        js_on_load=f"window.fsrReady.then((page) => page.{name}({{ element, props, watch, {_DOORS[name]} }}));",
        apply_default_css=False,
        elem_id=f"fx-{name}",
        container=False,
        padding=False,
    )
