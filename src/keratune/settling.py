"""What follows from a build having read its values: the trial is settled, or repeats another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keratune import _json, parameters
from keratune.conditions import hold
from keratune.configurations import CONTINUES
from keratune.history import History, Record
from keratune.parameters import HyperParameter
from keratune.proposals import COLLISIONS
from keratune.storage.base import Event, TrialDiscarded, TrialSettled


def is_news(known: HyperParameter | None, declared: HyperParameter) -> bool:
    """Tell whether a declaration is unknown to the space, or known with another definition."""
    return known is None or known.definition() != declared.definition()


def variants(
    history: History, values: Mapping[str, Any], declared: Sequence[HyperParameter]
) -> dict[str, Any]:
    """Return, serialized, what was read and declared in another way than the space has it."""
    found = {}
    for parameter in declared:
        known = history.space.find(parameter)
        active = parameter.name in values and hold(parameter.conditions, values)
        if active and known is not None and is_news(known, parameter):
            found[parameter.name] = parameters.serialize(parameter)
    return found


def settled(
    history: History, number: int, values: Mapping[str, Any], variants: dict[str, Any], late: bool
) -> Sequence[Event]:
    """Return what follows from a build having read these values.

    Args:
        history: What has happened.
        number: The trial, which has not ended.
        values: What was read, in order.
        variants: See `variants`.
        late: Whether it was read while fitting, after the build.
    """
    record = history[number]
    encoded = _json.encoded(values)
    now = {name: _json.decode(value) for name, value in encoded.items()}
    as_chosen = list(now.items()) == list(record.values.items()) and not variants
    if as_chosen and record.origin != "enqueued":
        return []
    in_hand = number in history.running
    may_discard = not late and history.discarded.get(number, 0) < COLLISIONS
    if in_hand and may_discard and _repeats(history, record, now):
        return [TrialDiscarded(number)]
    return [TrialSettled(number, encoded, variants)]


def _repeats(history: History, record: Record, values: Mapping[str, Any]) -> bool:
    """Tell whether a trial with these values would repeat another one."""
    tree = history.tree
    tree.remove(record.values)
    repeats = CONTINUES not in record.values and tree.covers(values)
    tree.add(record.values, record.variants)
    return repeats
