"""`python -m fsr bench`: measure the pruners on this machine; one file a measurement."""

from __future__ import annotations

import argparse

from fsr.cli.bench import accuracy, familiar, gpu, prefill, select, sweep_view, video, why


def add_commands(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    for name, module, words in (
        ("prefill", prefill, "real-size models with random weights: what pruning saves"),
        ("video", video, "the time and memory of the selection from a clip's frames"),
        ("accuracy", accuracy, "how often every method answers right on drawn test scenes"),
        ("familiar", familiar, "how far pictures lie from what an embedded model knows: calibrated on photographs"),
        ("select", select, "the time of the selection itself"),
        ("sweep-view", sweep_view, "how long the data-set view takes for a million generated rows"),
        ("why", why, "how long it takes to measure what an answer rests on"),
        ("gpu", gpu, "proves and measures everything on one GPU, within 8 minutes"),
    ):
        kind = kinds.add_parser(name, help=words)
        module.add_arguments(kind)
        kind.set_defaults(run=module.run)
