"""`python -m training pictures | clips`: train the embedded models."""

from __future__ import annotations

import argparse
import sys

from training import clip_train, train


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pictures = commands.add_parser("pictures", help="train the embedded model from scratch")
    train.add_arguments(pictures)
    pictures.set_defaults(run=train.main)
    clips = commands.add_parser("clips", help="train the clip model on top of it")
    clip_train.add_arguments(clips)
    clips.set_defaults(run=clip_train.main)
    options = parser.parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
