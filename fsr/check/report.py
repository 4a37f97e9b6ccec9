"""What an owner of the weights can send in: a check's result as one row of the table of families."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import transformers

from fsr.vlm.matrix import checked


def row(result: dict[str, Any], by: str) -> dict[str, Any]:
    """result: of `fsr.check.checkpoint.check`. by: who ran it. Raises InvalidInput where the name is too long."""
    model = result["model"]
    return checked(
        "the report",
        {
            "model": Path(model).name if Path(model).exists() else model,  # nobody's folders
            "family": result["family"],
            "by": by,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "device": result["hardware"],
            "dtype": result["dtype"],
            "passed": result["passed"],
            "checks": [{key: one[key] for key in ("name", "status", "figure", "limit")} for one in result["checks"]],
        },
    )
