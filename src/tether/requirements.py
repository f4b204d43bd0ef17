"""``--require``: a measurement turned into a gate for somebody's CI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether import results
from tether.errors import RequirementNotMet, UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tether.config import Study

AXES = (*results.AXES, *results.SAFETY_PARTS, "drift")


@dataclass(frozen=True)
class Requirement:
    """A measurement that must hold: ``safety.delta>=-0.01``; ``METHOD:`` before it asks one method only.

    Attributes:
        text: As the user wrote it.
        method: The method it is asked of; None is every method.
        axis: One of AXES.
        field: A summary's field (after, delta ...), a metric, ci95.0 or ci95.1; of the drift of one model an
            anchor group.
        relation: ``>=``, ``<=``, ``>`` or ``<``.
        bound: The number.
    """

    text: str
    method: str | None
    axis: str
    field: str
    relation: str
    bound: float

    def failure(self, summary: Mapping[str, Any]) -> str | None:
        """Say how ``summary`` (axis -> fields) misses this, or None where it holds.

        Raises:
            UserError: The axis or field was not measured, so that nothing can be said.
        """
        value = self._value(summary)
        holds = {
            ">=": value >= self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            "<": value < self.bound,
        }
        return None if holds[self.relation] else f"{self.axis}.{self.field} is {value:.4g}, not {self.text}"

    def _value(self, summary: Mapping[str, Any]) -> float:
        fields = summary.get(self.axis)
        if not isinstance(fields, Mapping):
            known = did_you_mean(self.axis, summary)
            raise UserError(f"'{self.axis}' was not measured", where=f"--require {self.text}", fix=known)
        value: Any = {**(fields.get("metrics") or {}), **fields}
        for part in self.field.split("."):
            if isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            known = did_you_mean(self.field, [*fields, *(fields.get("metrics") or {})])
            what = f"'{self.axis}.{self.field}' was not measured"
            raise UserError(what, where=f"--require {self.text}", fix=known)
        return float(value)


_REQUIREMENT = re.compile(
    r"\s*(?:(?P<method>[\w.-]+):)?(?P<axis>\w+)\.(?P<field>[\w.^-]+?)\s*(?P<relation>>=|<=|>|<)\s*(?P<bound>\S+)\s*"
)


def parse_requirement(text: str) -> Requirement:
    """Read one ``--require``.

    Raises:
        UserError: It is not AXIS.FIELD, a relation and a number, or the axis is unknown.
    """
    where, example = f"--require {text}", "write for example --require 'safety.delta>=-0.01'"
    match = _REQUIREMENT.fullmatch(text)
    if not match:
        raise UserError("this is not AXIS.FIELD, one of >= <= > <, and a number", where=where, fix=example)
    if match["axis"] not in AXES:
        raise UserError(
            f"there is no axis '{match['axis']}'", where=where, fix=did_you_mean(match["axis"], AXES)
        )
    try:
        bound = float(match["bound"])
    except ValueError:
        raise UserError(f"'{match['bound']}' is no number", where=where, fix=example) from None
    return Requirement(text, match["method"], match["axis"], match["field"], match["relation"], bound)


def measured_in(study: Study) -> list[str]:
    """The axes that a study's report will have, as far as can be told before it is run."""
    axes = [axis for axis, sources in study.axes if sources]
    parts = {"safety": results.SAFETY_PARTS, "knowledge": ("knowledge_gain", "knowledge_f1")}
    return [*axes, *(part for axis in axes for part in parts.get(axis, ())), "drift"]


def check_askable(
    requirements: Sequence[Requirement], axes: Collection[str], methods: Collection[str]
) -> None:
    """See, before anything is run, that what is required will be measured.

    Args:
        requirements: What is required.
        axes: What will be measured, ``drift`` among it where it will be certified.
        methods: What it will be measured of.

    Raises:
        UserError: A requirement names something else.
    """
    for requirement in requirements:
        _check_method(requirement, methods)
        if requirement.axis not in axes:
            what, fix = f"'{requirement.axis}' is not measured here", did_you_mean(requirement.axis, axes)
            raise UserError(what, where=f"--require {requirement.text}", fix=fix)


def _check_method(requirement: Requirement, methods: Collection[str]) -> None:
    if requirement.method is not None and requirement.method not in methods:
        what, fix = f"there is no method '{requirement.method}'", did_you_mean(requirement.method, methods)
        raise UserError(what, where=f"--require {requirement.text}", fix=fix)


def check_requirements(
    requirements: Sequence[Requirement], summaries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Hold every requirement against the methods' summaries (method -> axis -> fields).

    Raises:
        RequirementNotMet: At least one is missed; all that are, are named.
        UserError: A requirement names a method, axis or field that was not measured.
    """
    failures: list[str] = []
    for requirement in requirements:
        _check_method(requirement, summaries)  # one may have been left out, for want of a key
        for method, summary in summaries.items():
            missed = requirement.failure(summary) if requirement.method in (None, method) else None
            if missed:
                failures.append(f"{method}: {missed}")
    if failures:
        raise RequirementNotMet("; ".join(failures))
