"""`python -m fsr.shapes train | evaluate`: the embedded model's commands."""

from __future__ import annotations

import argparse
import sys

from fsr.shapes import evaluate, train
from fsr.tokens import FsrError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fsr.shapes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trainer = commands.add_parser("train", help="train the embedded model from scratch")
    train.add_arguments(trainer)
    trainer.set_defaults(run=train.main)
    evaluator = commands.add_parser("evaluate", help="measure every method at every budget on test scenes")
    evaluate.add_arguments(evaluator)
    evaluator.set_defaults(run=evaluate.main)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except FsrError as error:
        print(f"fsr.shapes: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
