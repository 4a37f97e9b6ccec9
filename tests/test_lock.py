"""A clone next year runs what runs today: every version that is installed is written down, once."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12")
LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-sweep.txt")


def requirements(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def machine(python: str) -> dict[str, str]:
    """A Linux machine with this Python."""
    named = {"python_version": python, "python_full_version": f"{python}.7", "implementation_name": "cpython"}
    return named | {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "extra": ""}


def locked(python: str) -> dict[str, str]:
    """Name -> version that the lock gives on such a machine."""
    found = {}
    for one in requirements("requirements.lock"):
        if one.marker is None or one.marker.evaluate(machine(python)):
            (exact,) = one.specifier
            assert exact.operator == "==", f"{one} is no exact version"
            assert one.name not in found, f"{one.name} is locked twice on Python {python}"
            found[canonicalize_name(one.name)] = exact.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_within_the_requirements(python):
    held = locked(python)
    for one in (one for name in LISTS for one in requirements(name)):
        name = canonicalize_name(one.name)
        assert name in held, f"{name} is not in requirements.lock: run make lock"
        assert one.specifier.contains(held[name]), f"{one} does not allow the locked {held[name]}: run make lock"


def installed_for(wanted: list[Requirement]) -> dict[str, str]:
    """Name -> version of all that is installed here for these requirements, and for theirs in turn."""
    found, asked = {}, set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        for extra in {"", *one.extras} - {extra for known, extra in asked if known == name}:
            asked.add((name, extra))
            package = distribution(name)
            found[name] = package.version.partition("+")[0]  # 2.14.1+cpu is the locked 2.14.1
            needs = map(Requirement, package.requires or [])
            wanted += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def test_all_that_make_installed_is_locked():
    """For the Python that runs this. An environment for other versions (make test-newest) has no lock."""
    if Path(sys.prefix).name != ".venv":
        pytest.skip("this environment was not installed from the lock")
    held = locked(f"{sys.version_info[0]}.{sys.version_info[1]}")
    wanted = [one for name in LISTS for one in requirements(name) if one.marker is None or one.marker.evaluate()]
    unlocked = [f"{name} {has}" for name, has in installed_for(wanted).items() if held.get(name) != has]
    assert not unlocked, f"not as in requirements.lock: {unlocked}; make lock, or rm .venv/.ready"


def test_the_space_runs_the_locked_gradio():
    card = dict(re.findall(r"^(\w+): (.+)$", (ROOT / "README.md").read_text().split("---")[1], re.M))
    assert {card["sdk_version"]} == {locked(python)["gradio"] for python in PYTHONS}
    assert (ROOT / card["app_file"]).exists()


def test_what_builds_the_package_is_exact_and_all_that_make_and_docker_install_is_locked():
    (backend,) = re.findall(r'requires = \["(.+)"\]', (ROOT / "pyproject.toml").read_text())
    assert [one.operator for one in Requirement(backend).specifier] == ["=="]
    of_other_versions = ".venv-newest", ".venv-oldest", ".venv-mcp", ".venv-ray", "$(LMMS_EVAL)"
    for name in ("Makefile", "Dockerfile"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        parts = [part.strip() for part in re.split(r"\n|&&|;", text)]
        installs = [part for part in parts if re.search(r"^pip install|python \$\(PIP\)", part)]
        assert installs
        for line in installs:
            assert "--constraint requirements.lock" in line or line.startswith(of_other_versions), line
