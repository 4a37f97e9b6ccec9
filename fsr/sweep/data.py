"""What a sweep asks: items from a file, a folder, a data set of the hub's library, or the embedded test scenes.

An item that cannot be read is an item with a problem, in its place: the numbering never depends on what is broken.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsr.errors import InvalidInput
from fsr.sweep.rows import Csv, JsonLines, Parquet, Rows

if TYPE_CHECKING:
    from PIL.Image import Image

    from fsr.bench.accuracy import Case

MEDIA = ("image", "video", "media", "path", "file")  # columns that may name the picture or clip
QUESTION = ("question", "text", "prompt")
ANSWERS = ("answers", "answer")
LONGEST = 10_000  # characters of a text that is kept in a column
Plain = str | float | bool | None


@dataclass(frozen=True)
class Item:
    """One question. index: its place in the data. media: what to open, a path or a picture. name: of it, as the data
    has it. answers: known ones, if any. columns: what else the data says. problem: why it cannot be asked."""

    index: int
    question: str = ""
    media: Path | Image | None = None
    name: str = ""
    answers: tuple[str, ...] = ()
    columns: dict[str, Plain] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Data:
    """name: as it was asked for. digest: tells whether the data changed. count: of items."""

    name: str
    digest: str
    count: int
    _items: Any

    def items(self, start: int, stop: int) -> Iterator[Item]:
        """Those from start to before stop."""
        yield from self._items(start, min(stop, self.count))

    def first(self, limit: int | None) -> Data:
        """The same with at most so many items. Raises InvalidInput for a limit below 1."""
        if limit is not None and limit < 1:
            raise InvalidInput(f"--limit must be at least 1, not {limit}.")
        return self if limit is None else replace(self, count=min(self.count, limit))


def opened(name: str) -> Data:
    """The data of that name: `shapes:N`, a .jsonl, .csv or .parquet file, a folder with index.json or with a saved
    data set, or the id of one on the hub. Raises InvalidInput with one sentence."""
    kind, _, count = name.partition(":")
    if kind == "shapes" and count:
        return _scenes(name, count)
    path = Path(name)
    readers: dict[str, Callable[[Path], Rows]] = {".jsonl": JsonLines, ".csv": Csv, ".parquet": Parquet}
    if path.is_file():
        if path.suffix.lower() not in readers:
            raise InvalidInput(f"{name}: data is a {', '.join(readers)} file or a folder, not {path.suffix or 'this'}.")
        return _rows(name, readers[path.suffix.lower()](path), path.parent)
    if (path / "index.json").is_file():
        rows = _parsed(path / "index.json")
        if not isinstance(rows, list):
            raise InvalidInput(f"{path / 'index.json'} must be a list of questions.")
        return _listed(name, rows, path)
    if path.exists() and not path.is_dir():
        raise InvalidInput(f"{name} is neither a file nor a folder.")
    return _data_set(name, path)


# -- files


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no JSON that can be read: {str(error).splitlines()[0]}") from error


def _rows(name: str, rows: Rows, folder: Path) -> Data:
    def items(start: int, stop: int) -> Iterator[Item]:
        for index, row in enumerate(rows.read(start, stop), start):
            yield _item(index, row, folder)

    return Data(name, rows.digest, len(rows), items)


def _listed(name: str, rows: list[Any], folder: Path) -> Data:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())

    def items(start: int, stop: int) -> Iterator[Item]:
        for index in range(start, min(stop, len(rows))):
            yield _item(index, rows[index], folder)

    return Data(name, digest.hexdigest(), len(rows), items)


def _item(index: int, row: Any, folder: Path) -> Item:
    """A row as an item; what is wrong with it is its problem."""
    if isinstance(row, Exception):
        return Item(index, problem=str(row))
    if not isinstance(row, dict):
        return Item(index, problem="this is no object with named columns.")
    question, media, answers = (_first(row, names) for names in (QUESTION, MEDIA, ANSWERS))
    columns = {str(key): plain(value) for key, value in row.items() if key not in (question, media, answers)}
    known = _answers(row.get(answers)) if answers else ()
    asked = row.get(question) if question else None
    if not isinstance(asked, str) or not asked.strip():
        return Item(index, columns=columns, answers=known, problem="there is no question.")
    name = row.get(media) if media else None
    if _is_picture(name):
        return Item(index, asked, name, "", known, columns)
    if not isinstance(name, str) or not name:
        return Item(index, asked, None, "", known, columns, "there is no picture or clip.")
    return Item(index, asked, folder / name, name, known, columns)


def _first(row: dict[Any, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if row.get(name) not in (None, "")), None)


def _is_picture(value: Any) -> bool:
    from PIL.Image import Image

    return isinstance(value, Image)


def _answers(value: Any) -> tuple[str, ...]:
    """One answer or several; a list in JSON stands in a text of CSV."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,)
    found = value if isinstance(value, list | tuple) else [value]
    texts = [one.get("answer") if isinstance(one, dict) else one for one in found]
    return tuple(str(one) for one in texts if one is not None and str(one).strip())


def plain(value: Any) -> Plain:
    """A value that a column can hold: true or false, a finite number, or text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text[:LONGEST]


# -- others


def _data_set(name: str, path: Path) -> Data:
    """A data set of the library `datasets`: saved on disk, or on the hub; the split behind a colon, else the first."""
    try:
        import datasets
    except ImportError as error:
        raise InvalidInput(
            f"{name} is no file and no folder with index.json; for data sets of the hub: pip install datasets."
        ) from error
    source, _, split = name.partition(":") if not path.exists() else (name, "", "")
    try:
        found = datasets.load_from_disk(source) if path.exists() else datasets.load_dataset(source)
    except Exception as error:  # whatever the hub or the disk has against it
        raise InvalidInput(f"{source} cannot be read as a data set: {str(error).splitlines()[0]}") from error
    if isinstance(found, dict):
        if split and split not in found:
            raise InvalidInput(f"{source} has no split {split!r}; it has {', '.join(found)}.")
        found = found[split or next(iter(found))]

    def items(start: int, stop: int) -> Iterator[Item]:
        for index in range(start, min(stop, len(found))):
            yield _item(index, found[index], Path())

    return Data(name, str(found._fingerprint), len(found), items)


def _scenes(name: str, count: str) -> Data:
    """The embedded models' test scenes, as `python -m fsr bench accuracy` draws them."""
    if not count.isdigit() or not 1 <= int(count) <= 1_000_000:
        raise InvalidInput(f"shapes:N asks for N test scenes, from 1 to 1000000, not {count!r}.")

    def items(start: int, stop: int) -> Iterator[Item]:
        from fsr.bench.accuracy import case

        for index in range(start, min(stop, int(count))):
            one = case("test", 0, index)
            q = one.question
            yield Item(index, q.text, one.picture, f"scene {index}", (q.answer,), _about_scene(one))

    return Data(name, "test scenes, seed 0", int(count), items)


def _about_scene(case: Case) -> dict[str, Plain]:
    """What the generator knows: of the question (type, relation, how many objects it names), of the scene (objects),
    and of the one object that is asked about (small, its bounding box in tokens, the ninth of the picture that its
    centre lies in, colour and shape)."""
    from fsr.shapes.questions import DIRECTIONS, place_of
    from fsr.shapes.scenes import PATCH

    q, things = case.question, case.scene.things
    columns: dict[str, Plain] = {
        "type": q.type,
        "objects": float(len(things)),
        "objects asked about": float(len(q.about)),
    }
    columns["small"] = case.small
    if q.type == "relation":
        words = q.text.replace("under", "below").split()
        columns["relation"] = next((name for name in DIRECTIONS if name in words), None)
    if q.subject is not None:
        thing = things[q.subject]
        columns |= {
            "tokens of the object": round(thing.width * thing.height / PATCH**2, 2),
            "place of the object": place_of(thing),
            "colour of the object": thing.color,
            "shape of the object": thing.shape,
        }
    return columns
