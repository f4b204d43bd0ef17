"""A study as its file says it: what is wrong there is told with file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tether.config import Study
from tether.errors import UserError
from tether.strict import fault
from tether.yamlfile import read_yaml

if TYPE_CHECKING:
    from pathlib import Path


def load_study(path: Path) -> Study:
    """Read a study.

    Raises:
        UserError: It is no YAML, or says something that a study cannot; with the file and line of the key.
    """
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise UserError(
            "a study is a mapping with the keys base, data and methods",
            where=document.place(()),
            fix="start from studies/demo.yaml",
        )
    try:
        study = Study.model_validate(document.data)
    except ValidationError as error:
        key_path, text = fault(error)
        raise UserError(text, where=document.place(key_path)) from error
    for name in study.methods:
        try:
            study.plan(name)
        except UserError as error:
            key = (error.where or "").rsplit(".", 1)[-1]
            raise UserError(
                error.what, where=document.place(("methods", name, key)), fix=error.fix
            ) from error
    return study
