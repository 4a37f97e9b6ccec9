"""Leases without a GPU: every turn in a process of its own, forked for it, with bytes alone on the way in and out."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Generator
from multiprocessing.connection import Connection
from pathlib import Path

from app.leases import work_off

FORK = multiprocessing.get_context("fork")
END_S = 20


def forked(order: bytes, seconds: float) -> Generator[bytes, None, None]:
    """An `app.leases.Lease`."""
    assert isinstance(order, bytes)
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_child, args=(there, order, seconds), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12, of forks beside threads
        process.start()
    there.close()
    try:
        while True:
            try:
                yield here.recv_bytes()
            except EOFError:
                break
    finally:
        here.close()
        process.join(END_S)
        assert process.exitcode is not None, "a turn ends soon after its stop"
    assert process.exitcode == 0


def _child(out: Connection, order: bytes, seconds: float) -> None:
    """As `spaces` does it: in a thread of its own, for those that the parent computed with are not here; and without
    the parent's connections, which would not end when the parent ends them."""
    for fd in Path("/proc/self/fd").iterdir():
        if fd.is_socket():
            os.close(int(fd.name))

    def work() -> None:
        try:
            for step in work_off(order, seconds):
                assert isinstance(step, bytes)
                out.send_bytes(step)
        except BrokenPipeError:  # nobody listens any more
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    out.close()


def serve() -> None:
    """The page with leases of this kind for all of its models; otherwise as `python app.py`."""
    from app.leases import Leases
    from app.service import Service
    from app.settings import Settings
    from app.ui.page import build_app, launch_options

    settings = Settings.from_environment()
    service = Service(settings)
    service.leases = Leases(forked, service.models, sparing=False)
    build_app(settings, service).launch(**launch_options(settings, service) | {"server_port": settings.port})
