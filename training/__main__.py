"""`python -m training icons | photos | pictures | world | clips`: train the embedded models."""

from __future__ import annotations

import argparse
import sys

from training import clip_train, icons, photos, train, world_train


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pictures = commands.add_parser("pictures", help="train the embedded model on drawn scenes, from scratch")
    train.add_arguments(pictures)
    pictures.set_defaults(run=train.main)
    world = commands.add_parser("world", help="train it further on pictures that others drew")
    world_train.add_arguments(world)
    world.set_defaults(run=world_train.main)
    clips = commands.add_parser("clips", help="train the clip model on top of it")
    clip_train.add_arguments(clips)
    clips.set_defaults(run=clip_train.main)
    sets = commands.add_parser("icons", help="fetch the icon sets and rasterise them")
    icons.add_arguments(sets)
    sets.set_defaults(run=icons.main)
    taken = commands.add_parser("photos", help="fetch photographs of open licence, which calibrate bench familiar")
    photos.add_arguments(taken)
    taken.set_defaults(run=photos.main)
    options = parser.parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
