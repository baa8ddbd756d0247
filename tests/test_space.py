"""Claims about the search space that a build declares by running."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from keratune import parameters
from keratune.parameters import Boolean, Choice, Float, Int
from keratune.space import HyperParameters


def relu(x):
    return max(x, 0)


def trial(space, values, choose=None):
    """A container as a trial's build gets it."""
    hp = space.copy()
    hp.begin(values, choose)
    return hp


# Declaring and reading


def test_the_first_call_declares_and_every_call_returns_the_value():
    hp = HyperParameters()
    assert hp.Int("units", 8, 128, step=8) == 8
    hp.values["units"] = 64
    assert hp.Int("units", 8, 128, step=8) == 64
    assert hp.get("units") == hp["units"] == 64
    assert [p.name for p in hp.space] == ["units"]
    assert len(hp) == 1


def test_every_kind_returns_its_default_first():
    hp = HyperParameters()
    assert hp.Choice("c", ["a", "b"]) == "a"
    assert hp.Int("i", 1, 5, default=3) == 3
    assert hp.Float("f", 0.5, 1.0) == 0.5
    assert hp.Boolean("b") is False
    assert hp.Fixed("x", 7) == 7
    assert dict(hp.values) == {"c": "a", "i": 3, "f": 0.5, "b": False, "x": 7}


def test_an_empty_container_is_true_because_it_was_given():
    assert HyperParameters()


def test_values_put_in_ahead_win_over_defaults():
    hp = HyperParameters()
    hp.values["units"] = 32
    assert hp.Int("units", 8, 128) == 32


def test_values_may_be_replaced_by_a_plain_dict():
    hp = HyperParameters()
    hp.values = {"units": 32}
    assert hp.Int("units", 8, 128) == 32
    assert hp.reads == ()


def test_asking_for_what_is_not_there_says_why():
    hp = HyperParameters()
    hp.Choice("model", ["cnn", "mlp"])
    hp.Int("layers", 1, 3, parent_name="model", parent_values=["mlp"])
    with pytest.raises(KeyError, match="units does not exist"):
        hp.get("units")
    with pytest.raises(ValueError, match="layers is currently inactive"):
        hp.get("layers")
    assert "model" in hp and "layers" not in hp and "units" not in hp


def test_a_repeat_with_other_arguments_is_refused_and_both_are_shown():
    hp = HyperParameters()
    hp.Int("units", 1, 10)
    with pytest.raises(ValueError, match=r"Received: Int.*20.*30.*before: Int.*1, max_value: 10"):
        hp.Int("units", 20, 30)
    with pytest.raises(ValueError, match="Give one of them another name"):
        hp.Choice("units", ["a"])


def test_a_repeat_that_spells_out_the_standard_arguments_is_the_same():
    hp = HyperParameters()
    hp.Int("units", 1, 10)
    assert hp.Int("units", 1, 10, step=1, sampling="linear", default=1) == 1


def test_the_next_build_may_declare_with_other_arguments():
    hp = HyperParameters()
    hp.Int("units", 1, 10)
    again = trial(hp, {"units": 4})
    assert again.Int("units", 1, 20) == 4
    assert again.space[0].max_value == 20
    assert hp.space[0].max_value == 10


def test_a_value_that_the_new_range_lacks_is_chosen_anew():
    hp = HyperParameters()
    hp.Int("units", 1, 10)
    assert trial(hp, {"units": 4}).Int("units", 20, 30) == 20
    assert trial(hp, {"units": 4}, lambda p: p.max_value).Int("units", 20, 30) == 30


def test_what_a_build_declares_only_now_is_chosen_by_the_trial():
    seen = []
    hp = trial(HyperParameters(), {}, lambda p: seen.append(p.name) or 5)
    assert hp.Int("units", 1, 10) == 5
    assert hp.Int("units", 1, 10) == 5
    assert seen == ["units"]


def test_a_build_remembers_what_it_has_read_in_order():
    hp = HyperParameters()
    hp.Int("a", 1, 3)
    hp.Int("b", 1, 3)
    hp.Int("c", 1, 3)
    run = trial(hp, {"a": 1, "b": 2, "c": 3})
    assert run.reads == ()
    run.get("c")
    run.Int("a", 1, 3)
    dict(run.values), list(run.values.items()), "b" in run, run.copy(), run.get_config()
    run.is_active("b")
    assert run.reads == ("c", "a")
    assert [p.name for p in run.declared] == ["a"]


def test_opening_a_conditional_scope_reads_the_parent():
    hp = HyperParameters()
    hp.Boolean("deep")
    run = trial(hp, {"deep": True})
    with run.conditional_scope("deep", True):
        pass
    assert run.reads == ("deep",)


# Plain Python


def looped(hp):
    return [hp.Int(f"units_{i}", 1, 9) for i in range(hp.Int("layers", 1, 3))]


def test_a_loop_declares_as_many_as_it_runs():
    hp = HyperParameters()
    assert looped(hp) == [1]
    assert looped(trial(hp, {"layers": 3, "units_2": 7})) == [1, 1, 7]


def test_two_plain_branches_may_give_one_name_two_ranges():
    def build(hp):
        if hp.Choice("optimizer", ["sgd", "adam"]) == "sgd":
            return hp.Float("rate", 0.1, 1.0)
        return hp.Float("rate", 0.001, 0.01)

    space = HyperParameters()
    assert build(space) == 0.1
    assert build(trial(space, {"optimizer": "adam", "rate": 0.005})) == 0.005
    assert build(trial(space, {"optimizer": "adam", "rate": 0.5})) == 0.001


def test_one_name_may_have_two_types_in_two_plain_branches():
    def build(hp):
        return hp.Choice("k", ["1", "2"]) if hp.Boolean("text") else hp.Int("k", 1, 5)

    space = HyperParameters()
    build(trial(space, {"text": True}))
    space.merge([Boolean("text"), Choice("k", ["1", "2"])])
    stored = json.loads(json.dumps({"text": False, "k": 2}))
    run = trial(space, space.live(stored), lambda p: pytest.fail("the value was there"))
    assert build(run) == 2


# Scopes


def test_a_name_scope_prefixes_names():
    hp = HyperParameters()
    with hp.name_scope("encoder"):
        hp.Int("units", 1, 9)
        with hp.name_scope("head"):
            hp.Int("units", 1, 5)
            assert hp.get("units") == 1
            assert "units" in hp
        assert hp.is_active("head/units")
    assert [p.name for p in hp.space] == ["encoder/units", "encoder/head/units"]
    assert "units" not in hp


def test_a_scope_is_closed_again_after_an_error():
    hp = HyperParameters()
    hp.Boolean("deep")
    with pytest.raises(RuntimeError), hp.name_scope("a"), hp.conditional_scope("deep", True):
        raise RuntimeError
    hp.Int("units", 1, 2)
    assert hp.space[-1].name == "units"
    assert hp.space[-1].conditions == []


def conditional(hp):
    """Two branches, a scope in a scope on another parent."""
    hp.Choice("model", ["cnn", "mlp"])
    with hp.conditional_scope("model", ["cnn"]):
        filters = hp.Int("filters", 1, 3)
        hp.Boolean("pool")
        with hp.conditional_scope("pool", True):
            size = hp.Int("size", 2, 3)
    with hp.conditional_scope("model", ["mlp"]):
        units = hp.Int("units", 1, 3)
    return filters, size, units


def test_inside_a_closed_scope_everything_is_none():
    hp = HyperParameters()
    assert conditional(hp) == (1, None, None)
    assert conditional(trial(hp, {"model": "cnn", "pool": True})) == (1, 2, None)
    assert conditional(trial(hp, {"model": "mlp"})) == (None, None, 1)


def test_scopes_are_listed_as_open_or_closed():
    hp = HyperParameters()
    conditional(hp)
    assert [repr(s[-1]) for s in hp.active_scopes] == ["Parent(name='model', values=['cnn'])"]
    assert [repr(s[-1]) for s in hp.inactive_scopes] == [
        "Parent(name='pool', values=[True])",
        "Parent(name='model', values=['mlp'])",
    ]
    assert len(hp.inactive_scopes[0]) == 2


def test_a_scope_may_stand_inside_one_on_the_same_parent():
    hp = HyperParameters()
    hp.Choice("size", ["s", "m", "l"])
    with hp.conditional_scope("size", ["m", "l"]):
        hp.Int("units", 1, 9)
        with hp.conditional_scope("size", ["l"]):
            hp.Int("more_units", 1, 9)
    hp.values["size"] = "l"
    hp.ensure_active_values()
    assert set(hp.values) == {"size", "units", "more_units"}


def test_a_parent_may_have_been_declared_further_out():
    hp = HyperParameters()
    hp.Boolean("deep", default=True)
    hp.Boolean("wide", default=True)
    with hp.name_scope("block"), hp.conditional_scope("deep", True):
        hp.Int("layers", 1, 3)
        with hp.conditional_scope("wide", True):
            assert hp.Int("units", 1, 3) == 1
        assert hp.Int("heads", 1, 3, parent_name="layers", parent_values=[1]) == 1
    names = [[c.name for c in p.conditions] for p in hp.space]
    assert names == [[], [], ["deep"], ["deep", "wide"], ["deep", "block/layers"]]


def test_the_nearest_parent_of_that_name_counts():
    hp = HyperParameters()
    hp.Boolean("on")
    with hp.name_scope("block"):
        hp.Boolean("on", default=True)
        assert hp.Int("units", 1, 3, parent_name="on", parent_values=True) == 1
    assert hp.space[-1].conditions[0].name == "block/on"


def test_an_unknown_parent_is_named_with_the_known_ones():
    hp = HyperParameters()
    hp.Boolean("deep")
    with pytest.raises(ValueError, match=r"named: dep not defined.*\['deep'\]"):
        with hp.conditional_scope("dep", True):
            pass
    with pytest.raises(ValueError, match="not defined"):
        hp.Int("units", 1, 3, parent_name="dep", parent_values=True)


def test_a_parent_from_a_closed_branch_is_not_visible_outside():
    hp = HyperParameters()
    hp.Boolean("deep")
    with hp.conditional_scope("deep", True):
        hp.Boolean("wide")
    with pytest.raises(ValueError, match="not defined"), hp.conditional_scope("wide", True):
        pass


def test_a_child_may_not_bear_its_parents_name():
    hp = HyperParameters()
    hp.Choice("a", [1, 2])
    with hp.conditional_scope("a", [1]):
        with pytest.raises(ValueError, match="cannot have the same name as its parent"):
            hp.Choice("a", [1, 2])


@pytest.mark.parametrize("value", [None, (3, 3), relu])
def test_a_scope_may_hang_on_none_a_tuple_or_a_function(value):
    hp = HyperParameters()
    hp.Choice("kind", [relu, (3, 3), None], default=(3, 3))
    hp.values["kind"] = value
    with hp.conditional_scope("kind", [value]):
        assert hp.Int("units", 1, 3) == 1
    twin = HyperParameters.from_config(json.loads(json.dumps(hp.get_config())))
    assert twin.is_active("units")


# The same name in several declared branches


def namesakes(hp):
    model = hp.Choice("model", [1, 2])
    one = hp.Int("k", 1, 5, parent_name="model", parent_values=[1])
    two = hp.Int("k", 100, 200, parent_name="model", parent_values=[2])
    return model, one, two


def test_namesakes_in_two_branches_do_not_take_each_others_value():
    space = HyperParameters()
    assert namesakes(space) == (1, 1, None)
    for model, value in [(1, 3), (2, 150)]:
        run = trial(space, {"model": model, "k": value})
        run.ensure_active_values()
        assert dict(run.values) == {"model": model, "k": value}
        assert namesakes(run) == ((1, 3, None) if model == 1 else (2, None, 150))


def test_every_random_configuration_of_namesakes_is_complete_and_in_range():
    space = HyperParameters()
    namesakes(space)
    for seed in range(20):
        run = trial(space, {})
        run.ensure_active_values(lambda p, seed=seed: p.random_sample(seed))
        low, high = (1, 5) if run.values["model"] == 1 else (100, 200)
        assert low <= run.values["k"] <= high
        assert [p.name for p in run.active()] == ["model", "k"]


def test_namesakes_of_two_types_keep_their_type_through_a_file():
    hp = HyperParameters()
    hp.Choice("model", [1, 2])
    hp.Choice("k", ["1", "2"], parent_name="model", parent_values=[1])
    hp.Int("k", 1, 5, parent_name="model", parent_values=[2])
    hp.values = {"model": 2, "k": 2}
    twin = HyperParameters.from_config(json.loads(json.dumps(hp.get_config())))
    assert twin.get("k") == 2 and type(twin.get("k")) is int


# Activity


def test_active_values_are_filled_in_and_inactive_ones_taken_away():
    hp = HyperParameters()
    conditional(hp)
    hp.values["model"] = "mlp"
    hp.ensure_active_values()
    assert set(hp.values) == {"model", "units"}
    assert 1 <= hp.values["units"] <= 3
    hp.values.update({"model": "cnn", "pool": True})
    hp.ensure_active_values(lambda p: p.default)
    assert dict(hp.values) == {"model": "cnn", "pool": True, "filters": 1, "size": 2}


def test_children_listed_before_their_parent_get_a_value_too():
    hp = HyperParameters()
    donor = HyperParameters()
    conditional(donor)
    hp.merge(reversed(donor.space))
    run = trial(hp, {})
    run.ensure_active_values(lambda p: p.grid_value(0))
    assert dict(run.values) == {"model": "cnn", "filters": 1, "pool": True, "size": 2}


def test_foreign_values_are_left_alone():
    hp = HyperParameters()
    hp.Int("units", 1, 3)
    hp.values["tuner/epochs"] = 3
    hp.ensure_active_values()
    assert hp.values["tuner/epochs"] == 3
    assert not hp.is_active("tuner/epochs")


# The space as a whole


def test_a_copy_shares_nothing_and_has_read_nothing():
    hp = HyperParameters()
    conditional(hp)
    twin = hp.copy()
    assert twin.reads == () and twin.declared == []
    assert twin.values == hp.values
    twin.Int("new", 1, 3)
    twin.values["model"] = "mlp"
    assert "new" not in hp and hp.values["model"] == "cnn"


@pytest.mark.parametrize("way", [copy.deepcopy, lambda hp: pickle.loads(pickle.dumps(hp))])
def test_a_container_can_be_copied_deeply_and_pickled(way):
    hp = HyperParameters()
    conditional(hp)
    twin = way(hp)
    assert twin.get_config() == hp.get_config()
    assert twin.reads == hp.reads
    assert twin.get("model") == "cnn"


def test_a_configuration_survives_json_and_is_left_as_it_was():
    hp = HyperParameters()
    conditional(hp)
    hp.Choice("kernel", [(3, 3), None], default=None)
    stored = json.loads(json.dumps(hp.get_config()))
    before = copy.deepcopy(stored)
    for _ in range(2):
        twin = HyperParameters.from_config(stored)
        assert twin.get_config() == hp.get_config()
        assert twin.values == hp.values
    assert stored == before
    assert list(stored) == ["space", "values"]


def test_functions_come_back_to_life_when_the_code_declares_them_again():
    hp = HyperParameters()
    hp.Choice("activation", [relu, None])
    stored = json.loads(json.dumps(hp.get_config()))
    twin = HyperParameters.from_config(stored)
    assert twin.Choice("activation", [relu, None]) is relu
    hp.values.clear()
    assert hp.live({"activation": {"object": f"{__name__}.relu"}}) == {"activation": relu}


def test_merging_adds_what_is_new_and_resets_what_is_known():
    hp = HyperParameters()
    hp.Int("a", 1, 5)
    hp.values["a"] = 4
    other = HyperParameters()
    other.Int("a", 1, 9, default=7)
    other.Int("b", 1, 5)
    hp.merge(other)
    assert dict(hp.values) == {"a": 7, "b": 1}
    assert [p.name for p in hp.space] == ["a", "b"]
    assert len(hp.named("a")) == 1


def test_merging_without_overwriting_keeps_what_is_known():
    hp = HyperParameters()
    hp.Int("a", 1, 5)
    hp.values["a"] = 4
    hp.merge([Int("a", 1, 9, default=7), Int("b", 1, 5)], overwrite=False)
    assert dict(hp.values) == {"a": 4, "b": 1}
    assert hp.space[0].max_value == 5


def test_hyperparameters_declared_ahead_win_over_the_build():
    space = HyperParameters()
    space.merge([Float("rate", 0.1, 0.2)])
    space.override(space.space)
    run = trial(space, {"rate": 0.15})
    assert run.Float("rate", 1e-4, 1e-2) == 0.15
    assert run.space[0].max_value == 0.2
    assert trial(space, {}).Float("rate", 1e-4, 1e-2) == 0.1
    assert trial(space.copy(), {}).Float("rate", 1e-4, 1e-2) == 0.1
    assert run.Float("other", 1e-4, 1e-2) == 1e-4


def test_a_fixed_value_declared_ahead_wins_over_the_build():
    space = HyperParameters()
    space.merge([parameters.Fixed("units", 64)])
    space.override(space.space)
    assert trial(space, {"units": 64}).Int("units", 8, 32) == 64


def test_a_space_of_hundreds_of_hyperparameters_is_quickly_filled():
    hp = HyperParameters()
    for i in range(400):
        hp.Int(f"u{i}", 1, 9)
    checks = []
    original = hp.is_active
    hp.is_active = lambda p: checks.append(0) or original(p)
    hp.values.clear()
    hp.ensure_active_values(lambda p: p.default)
    assert len(hp.values) == 400
    assert len(checks) < 400 * 5
