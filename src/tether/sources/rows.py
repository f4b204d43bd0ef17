"""Rows of a JSONL or CSV file, each with the place to name when it does not fit."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.errors import UserError
from tether.files import check_characters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        place: ``file:line``.
        values: Its fields; in a CSV all are text.
    """

    place: str
    values: dict[str, Any]

    def text(self, key: str, *, default: str | None = None) -> str:
        """The field ``key`` as text.

        Raises:
            UserError: It is missing or blank and there is no default, or it is no text.
        """
        value = self.values.get(key)
        if default is not None and (value is None or str(value).strip() == ""):
            return default
        if not isinstance(value, str) or not value.strip():
            blank = value is None or not str(value).strip()
            found = "missing" if key not in self.values else "blank" if blank else "no text"
            raise UserError(f"the field '{key}' is {found}", where=self.place, fix=f"give '{key}' a text")
        return value


def read_rows(path: Path) -> list[Row]:
    """Read a ``.csv`` with a header, or JSON objects line by line.

    Raises:
        UserError: No such file, nothing in it, or a line that is no row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_csv_rows(file, path) if path.suffix == ".csv" else _json_rows(file, path))
    except FileNotFoundError:
        raise UserError("there is no such file", where=str(path), fix="check the path") from None
    except IsADirectoryError:
        raise UserError("this is a folder, not a file", where=str(path), fix="name a file in it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"this file is not UTF-8 text ({error.reason})", where=str(path)) from error
    if not rows:
        raise UserError("this file holds no rows", where=str(path), fix="check that it is the right file")
    return rows


def _json_rows(file: Iterator[str], path: Path) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            what = f"this line is not JSON ({error.msg} at column {error.colno})"
            raise UserError(what, where=place, fix="write one JSON object a line") from error
        check_characters(values, line, place)
        if not isinstance(values, dict):
            raise UserError("this line is no JSON object", where=place, fix="write one JSON object a line")
        yield Row(place, values)


def _csv_rows(file: Iterator[str], path: Path) -> Iterator[Row]:
    reader = csv.DictReader(file, strict=True)
    try:
        for values in reader:
            place = f"{path}:{reader.line_num}"
            if None in values or None in values.values():
                what = f"this row has not the header's {len(reader.fieldnames or [])} columns"
                raise UserError(what, where=place, fix="quote a text that holds a comma or a line break")
            yield Row(place, dict(values))
    except csv.Error as error:
        raise UserError(f"this is not CSV ({error})", where=f"{path}:{reader.line_num}") from error
