"""Clips on the command line: the same door, the same answers, one sentence for a bad file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsr.cli.answer import ONE_PICTURE, described
from fsr.cli.inputs import loaded
from fsr.cli.main import main
from tests.test_video import written
from tests.tiny_families import save_onevision


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("clips") / "a.mp4").rename(tmp_path_factory.mktemp("clips") / "clip.png")


def test_a_clip_is_answered_with_both_shares(clip, tiny_folder, capsys):
    command = ["answer", str(clip), "what?", "--model", str(tiny_folder), "--budget", "20", "--max-new-tokens", "2"]
    assert main([*command, "--frames", "4", "--only", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["visual_tokens"] == 4 * 25
    assert record["clip"]["indices"] == [0, 13, 26, 39]
    assert record["clip"]["timestamps_s"] == pytest.approx([0, 1.3, 2.6, 3.9])
    assert (record["clip"]["decoder"], record["share"]) == ("decord", "global")
    assert record["answers"]["fsr"]["cost"]["visual_tokens"] == 20
    assert "note" not in record
    assert main([*command, "--frames", "2", "--only", "--share", "per_group"]) == 0
    text = capsys.readouterr().out
    assert "clip: 4 s, 64 x 48 pixels, 10 frames/s" in text
    assert "frames 0 (0.00 s), 39 (3.90 s), read by decord; budget per_group" in text
    assert "fsr, 20 of 50 visual tokens" in text


def test_a_model_for_clips_is_given_their_times_and_its_own_number_of_frames(clip, tmp_path, capsys):
    """OneVision reads them as one video, 4 x 4 tokens a frame; as so many pictures it would read 7 x 7."""
    folder = save_onevision(tmp_path / "tiny-video")
    (folder / "fsr.json").write_text('{"clip_frames": 3}')
    command = [str(clip), "what?", "--model", str(folder), "--max-new-tokens", "2", "--json"]
    assert main(["answer", *command, "--only", "--budget", "5"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["visual_tokens"], record["clip"]["indices"]) == (3 * 16, [0, 19, 39])
    assert main(["fidelity", *command, "--methods", "fsr", "--budgets", "9", "--frames", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["visual_tokens"] == 2 * 16


def test_the_content_decides_what_a_file_is(clip, picture, tmp_path):
    frames, facts = loaded(str(clip), 3)
    assert (len(frames), facts["width"]) == (3, 64)
    picture.save(tmp_path / "a.mp4", format="PNG")
    frames, facts = loaded(str(tmp_path / "a.mp4"), 3)
    assert ([frame.size for frame in frames], facts) == ([picture.size], None)


def test_the_embedded_model_says_what_it_was_trained_on():
    record = {"model": "shapes", "device": "cpu", "dtype": "float32", "answers": {}, "unknown_words": []}
    assert described({**record, "note": ONE_PICTURE}).endswith(ONE_PICTURE)
    assert "single pictures" in ONE_PICTURE


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda data: data[: len(data) // 2], [], "no video that can be read"),
        (lambda data: data[:0], [], "picture file is empty"),
        (lambda data: data, ["--frames", "0"], "from 1 to 64"),
        (lambda data: data, ["--share", "each"], "one of global, per_group, not 'each'"),
        (lambda data: data, ["--method", "fastv", "--share", "per_group"], "inside the language model"),
    ],
    ids=["cut off", "empty", "no frames", "another mode", "another stage"],
)
def test_bad_input_is_one_sentence_and_code_2(clip, tmp_path, tiny_folder, capsys, change, options, sentence):
    path = tmp_path / "b.mp4"
    path.write_bytes(change(clip.read_bytes()))
    assert main(["answer", str(path), "what?", "--model", str(tiny_folder), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
