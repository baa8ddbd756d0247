"""All configurations of a study as one tree of decisions.

A build is a walk through decisions: it reads a hyperparameter, goes one way or another, reads the
next. The tree holds one branch for each configuration, its values in the order in which they were
read. One question is then cheap, and exact for builds that depend on their hyperparameters alone:
has this configuration been tried? It has when some branch agrees with it to the branch's end: the
build would walk that branch again, whatever the configuration says about names that the branch
does not read.

The tree can be walked from its `root`, to find what has not been tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keratune import _json
from keratune.parameters import HyperParameter

Decision = tuple[str, Any]  # a name and the key of its value


# Values under this prefix say how long a trial trains, and from where; they are not searched.
SCHEDULE_PREFIX = "tuner/"
CONTINUES = "tuner/trial_id"  # the trial that a promoted one goes on from; they agree on purpose


def searched(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what a schedule has put beside it."""
    return {n: v for n, v in dict(values).items() if not n.startswith(SCHEDULE_PREFIX)}


def decisions(values: Mapping[str, Any]) -> tuple[Decision, ...]:
    """Return a configuration as a walk: names and value keys in order."""
    return tuple((name, _json.key(value)) for name, value in searched(values).items())


class Node:
    """A place in the tree.

    Attributes:
        passing: Number of configurations that pass or end here.
        ends: Number of configurations that end here.
        branches: Where they go on: name read next -> key of its value -> place.
        parameters: What the name read next may be, where builds that come here have declared it
            in another way than the study's space has it.
    """

    __slots__ = ("branches", "ends", "parameters", "passing")

    def __init__(self) -> None:
        """Start with nothing passing."""
        self.passing = 0
        self.ends = 0
        self.branches: dict[str, dict[Any, Node]] = {}
        self.parameters: dict[str, HyperParameter] = {}


class ConfigurationTree:
    """The configurations of a study's trials; adding, removing and asking cost O(length).

    Attributes:
        root: The place where all configurations begin; not to be changed from outside.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.root = Node()

    def __len__(self) -> int:
        """Return the number of configurations, repeats counted."""
        return self.root.passing

    def add(
        self, values: Mapping[str, Any], variants: Mapping[str, HyperParameter] | None = None
    ) -> None:
        """Add a configuration.

        Args:
            values: The values in the order in which they were read.
            variants: Hyperparameters that its build declared in another way than the space has.
        """
        node = self.root
        node.passing += 1
        for name, value in decisions(values):
            if variants and name in variants:
                node.parameters[name] = variants[name]
            node = node.branches.setdefault(name, {}).setdefault(value, Node())
            node.passing += 1
        node.ends += 1

    def remove(self, values: Mapping[str, Any]) -> None:
        """Take away a configuration that was added."""
        node = self.root
        node.passing -= 1
        for name, value in decisions(values):
            child = node.branches[name][value]
            child.passing -= 1
            if not child.passing:
                del node.branches[name][value]
                if not node.branches[name]:
                    del node.branches[name]
                    node.parameters.pop(name, None)
            node = child
        node.ends -= 1

    def covers(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a build with these values would repeat a configuration of the tree."""
        keys = dict(decisions(values))
        reached = [self.root]
        while reached:
            node = reached.pop()
            if node.ends:
                return True
            known = (name for name in node.branches if name in keys)
            children = (node.branches[name].get(keys[name]) for name in known)
            reached.extend(child for child in children if child is not None)
        return False
