"""Every search algorithm of the registry keeps the contract, and so does one that is dropped in."""

from __future__ import annotations

import functools
import textwrap

import pytest

from keratune import algorithms
from keratune.testing import algorithms as contract


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", algorithms.available())
def test_each_algorithm_passes(name, check):
    check(functools.partial(algorithms.create, name))


def test_grid_and_random_search_are_there():
    assert {"grid", "random"} <= set(algorithms.available())
    assert "base" not in algorithms.available()


def test_an_unknown_algorithm_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of \[.*'grid'.*\]. Received: algorithm='gird'"):
        algorithms.create("gird")


@pytest.fixture
def dropped_in(tmp_path, monkeypatch):
    """A file in a folder that the registry looks into, and nothing else."""
    (tmp_path / "last_first.py").write_text(
        textwrap.dedent(
            '''
            """Takes each hyperparameter's last value first, then whatever is left."""

            from typing import final

            from keratune.algorithms.base import Algorithm, unseen_values


            @final
            class LastFirst(Algorithm):
                """Starts at the upper ends."""

                def __init__(self, patience=1):
                    """Keep the patience."""
                    self.patience = patience

                def suggest(self, history, rng):
                    """Return the upper ends, later anything that is left."""
                    if len(history) > self.patience:
                        return unseen_values(history, rng)
                    ends = history.space.copy()
                    ends.begin({}, None)
                    ends.ensure_active_values(lambda parameter: parameter.prob_to_value(1.0))
                    return dict(ends.values)
            '''
        ),
        encoding="utf-8",
    )
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])


def test_a_new_algorithm_is_one_file_in_the_folder(dropped_in):
    assert "last_first" in algorithms.available()
    assert algorithms.create("last_first", patience=3).patience == 3
    for check in contract.CHECKS:
        check(functools.partial(algorithms.create, "last_first"))
