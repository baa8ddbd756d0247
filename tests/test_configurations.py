"""Claims about the tree of configurations, beside a list that is searched from end to end."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")
from hypothesis import given
from hypothesis import strategies as st

from keratune import _json
from keratune.configurations import ConfigurationTree
from keratune.parameters import Int

names = st.sampled_from(["a", "b", "c", "d"])
values = st.sampled_from([0, 1, 1.0, True, "1", None, (1, 2)])


@st.composite
def walks(draw):
    """A configuration, its names in the order in which they were read."""
    order = draw(st.permutations(["a", "b", "c", "d"]))[: draw(st.integers(0, 4))]
    return {name: draw(values) for name in order}


def keys(configuration):
    return {name: _json.key(value) for name, value in configuration.items()}


def naively_covers(listed, configuration):
    wanted = keys(configuration)
    return any(
        all(wanted.get(name) == key for name, key in keys(known).items()) for known in listed
    )


@given(st.lists(walks(), max_size=8), walks())
def test_a_configuration_is_covered_when_a_known_one_agrees_to_its_end(known, asked):
    tree = ConfigurationTree()
    for configuration in known:
        tree.add(configuration)
    assert tree.covers(asked) == naively_covers(known, asked)
    assert len(tree) == len(known)


@given(st.lists(walks(), min_size=1, max_size=8), st.data())
def test_what_is_taken_away_leaves_no_trace(known, data):
    tree, listed = ConfigurationTree(), list(known)
    for configuration in known:
        tree.add(configuration)
    while listed:
        gone = listed.pop(data.draw(st.integers(0, len(listed) - 1)))
        tree.remove(gone)
        asked = data.draw(walks())
        assert tree.covers(asked) == naively_covers(listed, asked)
    assert len(tree) == 0
    assert not tree.root.branches


def test_what_a_branch_does_not_read_is_irrelevant_to_it():
    tree = ConfigurationTree()
    tree.add({"model": "mlp", "units": 3})
    assert tree.covers({"filters": 9, "units": 3, "model": "mlp"})
    assert not tree.covers({"filters": 9, "units": 4, "model": "mlp"})
    assert not tree.covers({"model": "mlp"})


def test_an_empty_configuration_covers_everything():
    tree = ConfigurationTree()
    assert not tree.covers({"a": 1})
    tree.add({})
    assert tree.covers({}) and tree.covers({"a": 1})


def test_numbers_booleans_and_texts_that_look_alike_differ():
    tree = ConfigurationTree()
    tree.add({"a": 1})
    assert not any(tree.covers({"a": other}) for other in (1.0, True, "1", None))
    tree.add({"a": "1b=2"})
    assert not tree.covers({"a": "1", "b": 2})


def test_a_place_remembers_how_its_name_was_declared_while_it_lasts():
    tree = ConfigurationTree()
    wide = Int("units", 100, 200)
    tree.add({"model": "b", "units": 150}, {"units": wide})
    [place] = tree.root.branches["model"].values()
    assert place.parameters == {"units": wide}
    tree.add({"model": "b", "units": 160})
    tree.remove({"model": "b", "units": 150})
    assert place.parameters == {"units": wide}
    tree.remove({"model": "b", "units": 160})
    assert not place.parameters


def test_a_configuration_may_have_thousands_of_values():
    tree = ConfigurationTree()
    configuration = {f"u{i}": i for i in range(5000)}
    tree.add(configuration)
    assert tree.covers(configuration)
    tree.remove(configuration)
    assert len(tree) == 0
