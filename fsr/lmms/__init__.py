"""Our models and methods in lmms-eval, the field's own runner: `lmms-eval --model fsr`, see docs/lmms-eval.md.

lmms-eval finds `models` by the entry point group `lmms_eval.models`. It is installed apart (`make lmms-eval`); only
`fsr.lmms.model` and this function import it.
"""

from __future__ import annotations

from typing import Any


def models() -> Any:
    """The manifest that lmms-eval registers: the name fsr, and the class behind it, imported when it is asked for."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="fsr", simple_class_path="fsr.lmms.model.FSR")
