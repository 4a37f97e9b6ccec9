"""A picture goes through the vision tower once, whoever asks about it; how many are remembered is bounded."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

import fsr.vlm
from fsr.pruners import make
from fsr.vlm.media import MediaCache
from tests.test_vlm_llava import last, other


@pytest.fixture
def counted(tiny_folder, picture):
    """A VLM whose tower counts its passes; warmed up, so that only real encodes count."""
    vlm = fsr.vlm.load(str(tiny_folder))
    vlm.encode_media([other(0)])
    calls = []
    vlm.model.model.vision_tower.register_forward_pre_hook(lambda *_: calls.append(1))
    return vlm, calls


def test_a_new_question_or_budget_costs_no_vision_encode(counted, picture):
    vlm, calls = counted
    media = vlm.encode_media([picture])
    assert len(calls) == 1
    for question in ("one?", "another?"):
        encoding = vlm.encode(media, question)
        for budget in (3, 9):
            last(vlm.generate(encoding, make("fsr")(encoding.tokens, budget), 2))
    assert vlm.encode_media([picture.copy()]) is media
    assert len(calls) == 1


def test_the_cache_tells_pictures_apart_and_forgets_the_oldest(tiny_folder, picture):
    vlm = fsr.vlm.load(str(tiny_folder), media_cache=2)
    first = vlm.encode_media([picture])
    changed = picture.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    assert vlm.encode_media([changed]) is not first
    assert vlm.encode_media([picture]) is first
    vlm.encode_media([other(1)])  # the changed picture is now the oldest
    assert vlm.encode_media([picture]) is first
    assert len(vlm._media) == 2


def test_a_picture_of_other_shape_with_the_same_bytes_is_another(tiny_vlm):
    wide, high = Image.new("RGB", (40, 20)), Image.new("RGB", (20, 40))
    assert wide.tobytes() == high.tobytes()
    assert tiny_vlm.encode_media([wide]).key != tiny_vlm.encode_media([high]).key


def test_media_cache_is_bounded():
    cache = MediaCache(3)
    for i in range(10):
        cache.put(type("M", (), {"key": str(i), "nbytes": 1})())
    assert len(cache) == 3
    assert cache.get("9") is not None
    assert cache.get("6") is None


def test_two_threads_encode_one_picture_once(counted, picture):
    vlm, calls = counted
    threads = [threading.Thread(target=vlm.encode_media, args=([picture],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(calls) == 1
