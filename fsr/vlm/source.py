"""Where a checkpoint lies, and one sentence for everything that can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsr.errors import FsrError
from fsr.vlm.hub import Hub
from fsr.vlm.progress import LoadStopped

UNREACHABLE = {
    *("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "ConnectTimeout"),
    *("ReadTimeout", "TimeoutException", "NetworkError", "ProxyError"),
}


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies. name: as sentences call it. folder: at least its settings. hub: None for a directory."""

    name: str
    folder: Path
    hub: Hub | None = None

    @property
    def local(self) -> bool:
        return self.hub is None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn whatever a loader raises into one sentence, without the folder in it."""
        try:
            yield
        except (FsrError, LoadStopped):
            raise
        except Exception as error:  # config, weights and tokenizer readers raise nearly anything on damaged files
            raise FsrError(reason(self.name, error).replace(str(self.folder), self.name)) from error


def reason(source: str, error: BaseException) -> str:
    """One sentence for a failed load: gated, unknown, unreachable or damaged."""
    names = {type(e).__name__ for e in _chain(error)}
    if "GatedRepoError" in names:
        return f"{source} is gated: accept its licence on its hub page and log in with `hf auth login`."
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        return f"the hub knows no model {source} (or it is private)."
    if "OutOfMemoryError" in names:
        return f"{source} does not fit into the memory of the GPU; try dtype 4bit, a smaller model or the CPU."
    if "IncompleteSnapshotError" in names:
        return f"only a part of {source} is on this machine and the hub cannot be reached; download the rest once."
    if names & UNREACHABLE:
        return f"{source} is not on this machine and the hub cannot be reached; download it once, or load 'shapes'."
    detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return f"{source} cannot be loaded: {detail}"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
