"""What was found out about answers: kept for a while, so that asking again costs nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from fsr.why import Influences, Regain, Repair
from fsr.why.words import Word

KEPT = 64  # studies, and as many unpruned answers


@dataclass(frozen=True)
class Answered:
    """A greedy answer, its end of text among the ids."""

    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Study:
    """One selection of one question, as far as it is known. key: e.g. fsr@64. repaired: the answer with the repair.

    words: of the answer, once all influences are known.
    """

    key: str = ""
    answer: Answered | None = None
    unpruned: Answered | None = None
    influences: Influences | None = None
    words: tuple[Word, ...] = ()
    regained: Regain | None = None
    repair: Repair | None = None
    repaired: str = ""
    kept_by: dict[str, list[int]] = field(default_factory=dict)

    def has(self, what: str) -> bool:
        """Whether "influence" or "repair" is done."""
        if what == "influence":
            return self.influences is not None and len(self.influences.found) == self.influences.of
        return self.repair is not None and self.repair.finished


class Studies:
    """A bounded memory of studies under hashes of what they are about; the one that was used least is forgotten."""

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._held: OrderedDict[Hashable, Study] = OrderedDict()
        self._unpruned: OrderedDict[Hashable, Answered] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, selection: Hashable, question: Hashable) -> Study:
        """What is known of a selection, with the unpruned answer where another selection has it."""
        with self._lock:
            found = self._held.get(selection, Study())
            return replace(found, unpruned=found.unpruned or self._unpruned.get(question))

    def put(self, selection: Hashable, question: Hashable, study: Study) -> None:
        """Keep it; of a study that was not finished the answers alone."""
        if not study.has("influence"):
            study = replace(study, influences=None)
        if not study.has("repair"):
            study = replace(study, regained=None, repair=None, repaired="", kept_by={})
        with self._lock:
            self._held[selection] = study
            self._held.move_to_end(selection)
            if study.unpruned is not None:
                self._unpruned[question] = study.unpruned
            for held in (self._held, self._unpruned):
                while len(held) > self.most:
                    held.popitem(last=False)
