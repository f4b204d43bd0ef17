"""YAML read with the line of every key, so that a mistake is told where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tether.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number (1.1 wants `1.0e-4`, which nobody writes)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Document:
    """What a YAML file says, and where.

    Attributes:
        path: The file.
        data: Its content as plain Python values.
        lines: The line, from 1, of each key and list entry, by its path from the top.
    """

    path: Path
    data: Any
    lines: dict[KeyPath, int]

    def place(self, path: KeyPath) -> str:
        """``file:line`` of the deepest part of ``path`` that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path}:{self.lines.get(path, 1)}"


def read_yaml(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        UserError: No such file, not YAML, or a key said twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("there is no such file", where=str(path), fix="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"this file cannot be read ({error})", where=str(path)) from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        if node is not None:
            _note_lines(node, (), path, lines)
        return Document(path, None if node is None else loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"this is not YAML ({error.problem})", where=f"{path}:{line}") from error
    except yaml.YAMLError as error:
        raise UserError(f"this is not YAML ({error})", where=str(path)) from error
    finally:
        loader.dispose()


def scalar(text: str) -> Any:
    """A single value as YAML reads it: ``16`` a number, ``true`` a truth value, ``[1e-4, 2e-4]`` a list.

    Raises:
        yaml.YAMLError: It is not a value.
    """
    return yaml.load(text, _Loader)


def _note_lines(node: yaml.Node, path: KeyPath, file: Path, lines: dict[KeyPath, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            _note_lines(entry, (*path, index), file, lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here, line = (*path, key.value), key.start_mark.line + 1
            if here in lines:
                what = f"the key '{key.value}' is said twice, first in line {lines[here]}"
                raise UserError(what, where=f"{file}:{line}", fix="remove one of the two")
            lines[here] = line
            _note_lines(value, here, file, lines)
