"""Models that refuse what they do not know, and what pydantic found wrong in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from tether.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic import ValidationError

    from tether.yamlfile import KeyPath


class Strict(BaseModel):
    """Frozen; a key that it does not know is refused, the nearest one named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                text = f"there is no key '{key}' here; {did_you_mean(str(key), cls.model_fields)}"
                raise PydanticCustomError("unknown_key", "{text}", {"text": text, "key": key})
        return data


def fault(error: ValidationError) -> tuple[KeyPath, str]:
    """The first thing that pydantic found wrong: its path in the document, and a sentence."""
    found = error.errors(include_url=False)[0]
    context = found.get("ctx", {})
    path = tuple(context.get("path", found["loc"]))
    if found["type"] == "unknown_key":
        return (*path, context["key"]), str(context["text"])
    if "text" in context:
        return path, str(context["text"])
    name = ".".join(str(part) for part in path)
    if found["type"] == "missing":
        return path[:-1], f"the key '{name}' is missing"
    message = found["msg"][0].lower() + found["msg"][1:]
    return path, message if found["type"] == "two_ends" else f"{name}: {message}, not {found['input']!r}"
