"""What other machines are given: the image's steps, and the settings that the documents and the image name."""

from __future__ import annotations

import re
from dataclasses import fields

from app.settings import ROOT, Settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def steps(*kinds: str) -> list[str]:
    """The Dockerfile's instructions of these kinds, each with its kind, on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.partition(" ")[0] in kinds]


def test_the_image_runs_as_uid_1000_which_owns_no_code():
    assert steps("USER") == ["USER 1000"]
    assert all("--chown" not in step for step in steps("COPY"))
    last = [step.partition(" ")[0] for step in steps("USER", "RUN", "COPY", "CMD")]
    assert last[-2:] == ["USER", "CMD"], "everything is made before the user is set"


def test_a_change_of_the_code_installs_nothing_again():
    copied_or_run = [step for step in steps("COPY", "RUN") if "pip install" in step or "requirements" in step]
    assert copied_or_run == steps("COPY", "RUN")[:2], "requirements are copied and installed before the code"


def test_all_that_the_image_copies_reaches_the_builder():
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    for step in steps("COPY"):
        for name in step.split()[1:-1]:
            assert (ROOT / name).exists(), step
            assert f"!{name}" in rules, f".dockerignore keeps {name} from the builder"


def test_settings_that_are_named_exist():
    known = {f"FSR_{field.name.upper()}" for field in fields(Settings)}
    pages = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        named = set(re.findall(r"\bFSR_[A-Z0-9_]+", page.read_text()))
        assert named <= known, f"{page.name} names {sorted(named - known)}"
