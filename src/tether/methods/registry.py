"""One line registers a method; its options are its signature."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from tether.chatdata.preferences import are_preferences
from tether.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tether.chatdata.chats import Chat
    from tether.hosted.services import Service
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned

Data = Literal["chats", "preferences"]
INSTEAD: dict[Data, str] = {
    "chats": 'give rows {"prompt", "chosen", "rejected"}, or builtin:hotels-preferences',
    "preferences": "take dpo or tether-dpo, or give chats",
}
"""The way out where a method is given what it does not learn from."""

_METHODS: dict[str, Method] = {}


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        name: As studies and the command line name it.
        paper: Where it was published, empty if nowhere.
        doc: One sentence.
        options: Default of each option.
        function: Takes a Run and the options, and leaves a tuned model in the run's folder.
        service: The service that fine-tunes a model of its own; None trains here.
        data: What it learns from.
    """

    name: str
    paper: str
    doc: str
    options: Mapping[str, Any]
    function: Callable[..., Tuned]
    service: Service | None = None
    data: Data = "chats"

    def check_data(self, chats: Sequence[Chat]) -> None:
        """See that these are what the method learns from.

        Raises:
            UserError: They are not.
        """
        given: Data = "preferences" if are_preferences(chats) else "chats"
        if given != self.data:
            raise UserError(
                f"'{self.name}' learns from {self.data}, and these are {given}",
                where=chats[0].source,
                fix=INSTEAD[given],
            )

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the method's signature types them.

        Raises:
            UserError: An option is unknown to this method, or has a value that its type cannot take.
        """
        for key in options:
            if key not in self.options:
                raise UserError(
                    f"the method '{self.name}' has no option '{key}'", fix=did_you_mean(key, self.options)
                )
        hints = get_type_hints(self.function, {**self.function.__globals__, "Run": Any, "Tuned": Any})
        fields: dict[str, Any] = {name: (hints[name], default) for name, default in self.options.items()}
        try:
            model = create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)(**options)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(str(part) for part in fault["loc"])
            raise UserError(f"{self.name}.{key}: {fault['msg']}, not {fault['input']!r}") from error
        return {name: getattr(model, name) for name in options}

    def __call__(self, run: Run, options: Mapping[str, Any]) -> Tuned:
        """Fine-tune."""
        self.check_data(run.train)
        return self.function(run, **self.checked(options))


def method(
    name: str, *, paper: str = "", service: Service | None = None, data: Data = "chats"
) -> Callable[[Callable[..., Tuned]], Callable[..., Tuned]]:
    """Register a method: its keyword-only parameters are its options, its docstring tells of it."""

    def register(function: Callable[..., Tuned]) -> Callable[..., Tuned]:
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        doc = (function.__doc__ or "").strip().split("\n")[0]
        _METHODS[name] = Method(name, paper, doc, options, function, service, data)
        return function

    return register


def registry() -> list[Method]:
    """All methods, in the order in which a reader meets them."""
    # Importing registers.
    from tether.methods import (  # noqa: F401
        asft,
        baselines,
        dpo,
        fixed,
        null_space,
        openai,
        peft_adapters,
        penalties,
        replay,
        scaled,
        sdft,
        spectral,
        tether,
        together,
        weighted,
    )

    order = [found for found in _METHODS.values() if found.service is None]
    return order + [found for found in _METHODS.values() if found.service is not None]


def find(name: str) -> Method:
    """The method called ``name``.

    Raises:
        UserError: There is none.
    """
    methods = {known.name: known for known in registry()}
    if name not in methods:
        raise UserError(f"there is no method '{name}'", fix=did_you_mean(name, methods))
    return methods[name]
