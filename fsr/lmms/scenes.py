"""A task of our own for lmms-eval, offline: the embedded models' test scenes as a data set on disk, and its YAML.

    python -m fsr.lmms.scenes 200 DIR
    lmms-eval --model fsr --model_args pretrained=shapes,method=fsr,budget=64 --include_path DIR --tasks fsr_shapes

The scenes, questions and metric are those of `python -m fsr sweep shapes:200`, so the scores must be equal.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fsr.errors import FsrError, InvalidInput

TASK, SPLIT = "fsr_shapes", "test"
YAML = """task: {task}
dataset_path: {data}
dataset_kwargs:
  load_from_disk: true
test_split: {split}
output_type: generate_until
doc_to_visual: !function fsr.lmms.scenes.pictures
doc_to_text: !function fsr.lmms.scenes.question
doc_to_target: answer
process_results: !function fsr.lmms.scenes.scored
generation_kwargs:
  max_new_tokens: 128
  do_sample: false
metric_list:
  - metric: score
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def written(count: int, folder: Path) -> None:
    """The data set in `folder`/data and the task in `folder`/fsr_shapes.yaml. Raises FsrError without `datasets`."""
    try:
        import datasets
    except ImportError as error:
        raise FsrError("the data set is written by the library datasets: make lmms-eval.") from error
    from fsr.bench.accuracy import cases

    def rows() -> Any:
        for case in cases("test", 0, count):
            asked = case.question
            yield {"image": case.picture, "question": asked.text, "answer": asked.answer, "type": asked.type}

    kinds = {name: datasets.Value("string") for name in ("question", "answer", "type")}
    columns = datasets.Features({"image": datasets.Image(), **kinds})
    held = datasets.Dataset.from_list(list(rows()), features=columns)
    datasets.DatasetDict({SPLIT: held}).save_to_disk(str(folder / "data"))
    (folder / f"{TASK}.yaml").write_text(YAML.format(task=TASK, split=SPLIT, data=(folder / "data").resolve()))


def pictures(doc: Any) -> list[Any]:
    return [doc["image"].convert("RGB")]


def question(doc: Any, lmms_eval_specific_kwargs: Any = None) -> str:
    return str(doc["question"])


def scored(doc: Any, results: list[str]) -> dict[str, float]:
    from fsr.sweep.metrics import listed

    return {"score": listed(results[0], [doc["answer"]])}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fsr.lmms.scenes", description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, help="scenes")
    parser.add_argument("folder", type=Path, help="where the data set and the task are written")
    args = parser.parse_args(argv)
    try:
        if args.count < 1:
            raise InvalidInput(f"count must be at least 1, not {args.count}.")
        written(args.count, args.folder)
    except FsrError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
