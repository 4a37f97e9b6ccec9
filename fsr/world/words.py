"""The words of the world and their tokenizer: those of `fsr.shapes.vocabulary` with their ids, then the new ones."""

from __future__ import annotations

import re

from tokenizers import Regex, normalizers
from transformers import PreTrainedTokenizerFast

from fsr.shapes.vocabulary import UNK, build_tokenizer
from fsr.shapes.vocabulary import words as former_words
from fsr.world.asking import PHRASES, UNKNOWN
from fsr.world.names import ICONS, KIND_WORDS, NAMES, plural
from fsr.world.spelling import replacements
from fsr.world.wordings import OPENINGS, WORDINGS, template_words

_OTHERS = "bigger larger smaller biggest largest smallest none neither nor without but there"


def words() -> list[str]:
    """Every token in the order of its id."""
    names = [*NAMES, *map(plural, NAMES), *ICONS, *(w for pair in KIND_WORDS.values() for p in pair for w in p.split())]
    grammar = sorted(template_words(WORDINGS)) + " ".join(OPENINGS).split() + _OTHERS.split()
    phrases = " ".join(p for group in PHRASES.values() for p in group).split()
    found = dict.fromkeys([*former_words(clips=True), *names, *grammar, *phrases, *UNKNOWN.split()])
    return list(found)


def build_world_tokenizer() -> PreTrainedTokenizerFast:
    """As `fsr.shapes.vocabulary.build_tokenizer`, but it reads what people type (`spelling`)."""
    return build_tokenizer(clips=True, vocabulary=words(), before=_reading())


def _reading() -> list[normalizers.Normalizer]:
    return [normalizers.Replace(Regex(pattern), target) for pattern, target in replacements()]


_TOKEN = re.compile(r"[a-z]+|\d|[^\w\s]")


def token_ids(text: str, ids: dict[str, int]) -> tuple[int, ...]:
    """The ids of a plain lower-case question or answer, as the tokenizer gives them. ids: by word (`words`)."""
    return tuple(ids.get(w, ids[UNK]) for w in _TOKEN.findall(text))
