"""Memory that runs out in the middle: one sentence, nothing is held on to, and the next question works.

PyTorch's own allocator refuses: it is asked for more than any machine has, in the middle of a real pass.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager

import pytest
import torch

from app.compare import compare, requests_of
from app.curves import curves, smallest
from app.request import Request
from app.service import Service
from app.settings import Settings
from fsr.errors import FsrError, OutOfMemory, within_memory
from tests.looping import each
from tests.tiny import in_memory

TOO_MUCH = 2**60  # bytes


@pytest.fixture
def service(tiny_folder, tiny_vlm):
    made = Service(Settings(model=str(tiny_folder), max_new_tokens=6, repeat_s=0), look=in_memory(tiny_vlm))
    yield made
    made.close()


@pytest.fixture
def request_(service, picture, tmp_path):
    picture.save(tmp_path / "picture.png")
    return Request(service.open_media(tmp_path / "picture.png").id, "what is it?", "fsr", 6, {}, service.settings.first)


@contextmanager
def full(module, when=lambda inputs: True):
    """While it lasts, memory runs out in the passes of the module with such inputs; yields refs to their caches."""
    caches = []

    def allocate(_module, _arguments, inputs):
        if when(inputs):
            caches.extend(weakref.ref(x) for name, x in inputs.items() if name in ("cache", "past_key_values") and x)
            torch.empty(TOO_MUCH, dtype=torch.uint8)

    handle = module.register_forward_pre_hook(allocate, with_kwargs=True)
    try:
        yield caches
    finally:
        handle.remove()


def answer(service, request, stop):
    return service.answer(request)


def look(service, request, stop):
    return service.looking(request)


def comparison(service, request, stop):
    return compare(service, requests_of(request, ["fsr", "grid"], [6]))


def fidelity(service, request, stop):
    return curves(service, requests_of(request, ["grid"], [6], least=1), stop)


def search(service, request, stop):
    return smallest(service, request, stop)


@each("ask", [answer, comparison, fidelity, search, look], ids=["answer", "compare", "curves", "smallest", "look"])
def test_one_sentence_and_the_next_question_works(service, request_, tiny_vlm, ask):
    good = [event.answer["text"] for event in service.answer(request_) if event.answer][-1]
    model, stop = tiny_vlm.model.model, threading.Event()
    service.encodings.clear()
    tiny_vlm.forget()
    decoding = ask is not look
    with full(model.language_model if decoding else model.vision_tower) as caches, pytest.raises(OutOfMemory) as caught:
        list(ask(service, request_, stop))
    assert str(caught.value) == (
        "this machine's memory is full; take a smaller picture, fewer frames, a smaller model or dtype bfloat16."
    )
    assert [ref() for ref in caches] == [None] * decoding, "not even the error holds what was half made"
    assert (len(service.encodings), len(tiny_vlm._media)) == (0, 0)
    assert not service.line.busy
    assert [event.answer["text"] for event in service.answer(request_) if event.answer][-1] == good


def test_a_method_that_runs_out_of_memory_leaves_the_others_their_answers(service, request_, tiny_vlm):
    list(service.answer(request_))
    longest, failed = [0], []

    def first_pruned_prompt(inputs):
        length = 0 if inputs.get("inputs_embeds") is None else inputs["inputs_embeds"].shape[1]
        longest[0] = max(longest[0], length)
        if not 1 < length < longest[0] or failed:
            return False
        return not failed.append(length)

    with full(tiny_vlm.model.model.language_model, first_pruned_prompt):
        events = list(compare(service, requests_of(request_, ["grid", "random"], [6])))
    (refused,) = (event.key for event in events if event.problem)
    (other,) = {"grid@6", "random@6"} - {refused}  # whose turn comes first depends on the question
    assert next(event.problem for event in events if event.problem).startswith("this machine's memory is full")
    assert {event.key for event in events if event.answer} == {"full", other}
    assert events[-1].phase == "done"


@each(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "the memory of the GPU is full; .* 4bit",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "the memory of the GPU is",
        ),
        (MemoryError(), "this machine's memory is full; .* bfloat16"),
    ],
)
def test_what_tells_that_memory_is_full(error, words):
    with pytest.raises(OutOfMemory, match=words), within_memory():
        raise error


@each("error", [RuntimeError("shapes do not match"), FsrError("a sentence")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error), match=str(error)), within_memory():
        raise error
