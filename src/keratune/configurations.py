"""All configurations of a study as one tree of decisions.

A build is a walk through decisions: it reads a hyperparameter, goes one way or another, reads the
next. The tree holds one branch for each configuration, its values in the order in which they were
read. Two questions are then cheap, and exact for builds that depend on their hyperparameters alone:

- Has this configuration been tried? It has when some branch agrees with it to the branch's end:
  the build would walk that branch again, whatever the configuration says about names that the
  branch does not read.
- Has the walk that starts with these decisions been taken? It has when the tree has that prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keratune import _json

Decision = tuple[str, Any]  # a name and the key of its value


def decisions(values: Mapping[str, Any]) -> tuple[Decision, ...]:
    """Return a configuration as a walk: names and value keys in order."""
    return tuple((name, _json.key(value)) for name, value in dict(values).items())


class _Node:
    """A place in the tree: how many configurations pass and end here, and where they go on."""

    __slots__ = ("branches", "ends", "passing")

    def __init__(self) -> None:
        self.passing = 0
        self.ends = 0
        self.branches: dict[str, dict[Any, _Node]] = {}


class ConfigurationTree:
    """The configurations of a study's trials; adding, removing and asking cost O(length)."""

    def __init__(self) -> None:
        """Start empty."""
        self._root = _Node()

    def __len__(self) -> int:
        """Return the number of configurations, repeats counted."""
        return self._root.passing

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a configuration."""
        node = self._root
        node.passing += 1
        for name, value in decisions(values):
            node = node.branches.setdefault(name, {}).setdefault(value, _Node())
            node.passing += 1
        node.ends += 1

    def remove(self, values: Mapping[str, Any]) -> None:
        """Take away a configuration that was added."""
        node = self._root
        node.passing -= 1
        for name, value in decisions(values):
            child = node.branches[name][value]
            child.passing -= 1
            if not child.passing:
                del node.branches[name][value]
                if not node.branches[name]:
                    del node.branches[name]
            node = child
        node.ends -= 1

    def covers(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a build with these values would repeat a configuration of the tree."""
        return _covers(self._root, {n: _json.key(v) for n, v in dict(values).items()})

    def has_prefix(self, walk: Iterable[Decision]) -> bool:
        """Tell whether a configuration starts with these decisions."""
        node = self._root
        for name, value in walk:
            branch = node.branches.get(name, {}).get(value)
            if branch is None:
                return False
            node = branch
        return node.passing > 0


def _covers(node: _Node, keys: Mapping[str, Any]) -> bool:
    if node.ends:
        return True
    followed = (node.branches[name].get(keys[name]) for name in node.branches if name in keys)
    return any(_covers(child, keys) for child in followed if child is not None)
