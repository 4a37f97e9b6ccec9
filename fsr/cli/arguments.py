"""What several commands read and write: lists of whole numbers, JSON to a file or to standard output."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fsr.errors import InvalidInput


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE (-: standard output)")


def whole_numbers(text: str, option: str) -> list[int]:
    """Whole numbers with commas between them. Raises InvalidInput with the option's name."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInput(f"{option} takes whole numbers with commas, for example 192,64, not {text!r}.") from None


def say(line: str) -> None:
    """Tell at once what is at work, on standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def write_json(value: Any, where: str) -> int:
    """Write JSON to a file, or to standard output for "-"; the exit code 0. Raises InvalidInput for such a file."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    if where == "-":
        print(text)
        return 0
    try:
        Path(where).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{where} cannot be written: {error.strerror}.") from error
    return 0


def report(result: Any, table: str, where: str | None) -> int:
    """The JSON alone on standard output for "-"; else the table, and the JSON in a file if one is named."""
    if where != "-":
        print(table)
    return write_json(result, where) if where else 0
