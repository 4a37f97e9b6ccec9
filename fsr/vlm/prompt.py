"""From a question to prompt ids: the checkpoint's own chat template, and a question that stays plain text.

The template is rendered with a mark in the question's place, so nothing a visitor types is ever read by the template
engine. A question that contains the text of a special token ("<image>", "</s>") is encoded as ordinary characters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from fsr.errors import FsrError

_MARK = "\ue000question\ue000"
_FALLBACK = ("USER: ", "\n", " ASSISTANT:")


def template(processor: Any, frames: int, image_token: str, kind: str = "image", **settings: bool) -> tuple[str, str]:
    """The rendered prompt before and after the question, with `frames` image tokens (kind "video": video tokens).

    settings: of the checkpoint's template; those that it does not know are not passed.
    """
    content: list[dict[str, str]] = [{"type": kind}] * frames + [{"type": "text", "text": _MARK}]
    if getattr(processor, "chat_template", None):
        conversation = [{"role": "user", "content": content}]
        known = {name: value for name, value in settings.items() if name in str(processor.chat_template)}
        rendered = processor.apply_chat_template(conversation, add_generation_prompt=True, **known)
    else:
        opening, newline, closing = _FALLBACK
        rendered = opening + (image_token + newline) * frames + _MARK + closing
    before, mark, after = rendered.partition(_MARK)
    if not mark or _MARK in after or (before + after).count(image_token) != frames:
        raise FsrError("this checkpoint's chat template does not place one image token per picture and the question.")
    return before, after


def encode(tokenizer: Any, before: str, question: str, after: str) -> list[int]:
    """Prompt ids, equal to the processor's own for ordinary questions. Image tokens are not yet expanded."""
    opening = _opening(tokenizer, before)
    if not _imitates_special(tokenizer, question):
        return opening + _ids(tokenizer, before + question + after)
    return opening + _ids(tokenizer, before) + plain_ids(tokenizer, question) + _ids(tokenizer, after)


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of `text` in which no special token can appear, except the one for unknown words."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    added = set(getattr(tokenizer, "added_tokens_decoder", {})) | set(tokenizer.all_special_ids)
    if not (set(ids) & added) - {tokenizer.unk_token_id}:
        return ids
    # some added tokens are not flagged special and survive: encode around them, their text cut in two
    pattern = "|".join(re.escape(str(t)) for i, t in tokenizer.added_tokens_decoder.items() if i in set(ids))
    cut = re.sub(pattern, lambda m: m[0][:1] + "\u200b" + m[0][1:], text, flags=re.IGNORECASE)
    return [
        i for i in tokenizer(cut, add_special_tokens=False, split_special_tokens=True)["input_ids"] if i not in added
    ]


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """The words and emoji that the tokenizer does not know, in order, each once; other signs are left out."""
    unk = tokenizer.unk_token_id
    if unk is None or not getattr(tokenizer, "is_fast", False):
        return []
    coded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    spans = [span for i, span in zip(coded["input_ids"], coded["offset_mapping"], strict=True) if i == unk]
    words = [text[a:b] for a, b in spans]
    return list(dict.fromkeys(w for w in words if any(c.isalnum() or unicodedata.category(c) == "So" for c in w)))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"] if text else []


def _opening(tokenizer: Any, before: str) -> list[int]:
    """The begin-of-text id that the tokenizer writes itself, unless the template already wrote it."""
    bos = tokenizer.bos_token
    if bos is None or before.startswith(bos):
        return []
    return [tokenizer.bos_token_id] if tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else []


def _imitates_special(tokenizer: Any, question: str) -> bool:
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()] + list(tokenizer.all_special_tokens)
    folded = unicodedata.normalize("NFKC", question).casefold()
    return any(token.strip() and token.casefold() in folded for token in added)
