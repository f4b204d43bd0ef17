"""What `--set` and `--budget` say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tether.config import Budget, Training, lay_over
from tether.errors import UserError
from tether.yamlfile import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def split_settings(settings: Mapping[str, Any]) -> tuple[Training, int, dict[str, Any]]:
    """Sort what ``--set`` says into training keys, the seed, and the method's own options.

    Raises:
        UserError: A training key or the seed has a value it cannot have.
    """
    rest = dict(settings)
    seed = rest.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed is a whole number from 0, not {seed!r}", where="--set seed")
    training, options = lay_over(Training(), rest, "--set")
    return training, seed, options


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``--set key=value``; a value is read as YAML reads it.

    Raises:
        UserError: A pair has no ``=``, its value is no YAML, or a key is said twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(
                f"'{pair}' is not key=value", where="--set", fix="write for example --set rank=16"
            )
        if key in settings:
            raise UserError(f"'{key}' is set twice", where="--set", fix="keep one of the two")
        try:
            settings[key] = scalar(text)
        except yaml.YAMLError as error:
            raise UserError(f"'{text}' is not a value", where=f"--set {key}", fix="quote it") from error
    return settings


def parse_budget(text: str) -> Budget:
    """Read ``--budget``: ``0.02`` for every anchor group, or ``general=0.02,safety=0.005``.

    Returns:
        Nats per token, one number or one by group.

    Raises:
        UserError: It is neither.
    """
    if "=" not in text:
        return _nats(text)
    budget: dict[str, float] = {}
    for part in text.split(","):
        group, _, number = part.partition("=")
        if not group.strip() or group.strip() in budget:
            raise UserError(f"'{text}' is no budget", where="--budget", fix="name each group once")
        budget[group.strip()] = _nats(number)
    return budget


def _nats(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise UserError(
            f"'{text.strip()}' is no budget",
            where="--budget",
            fix="give nats per token above zero: 0.02, or general=0.02,safety=0.005",
        )
    return number
