"""How hard XLA tries follows from what a program is going to do."""

import pytest
from test_vectorized_fleet import compilations, member, on_jax, trained

jax = pytest.importorskip("jax")
compiling = pytest.importorskip("keratune.vectorized.compiling")
families = pytest.importorskip("keratune.vectorized.families")

pytestmark = on_jax


def levels(programs):
    (family,) = programs._families.values()
    (variant,) = family.variants
    return [epochs.level for epochs in variant.program._epochs.values()]


def work_of(function, *arguments):
    return compiling.work_of(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_loops_are_run_often_and_compiled_once():
    x = jax.numpy.ones((4, 5))

    def loop(x):
        return jax.lax.scan(lambda carry, _: (carry * 2, None), x, length=10)[0]

    assert work_of(loop, x) == compiling.Work(10 * 20, 1)
    assert work_of(lambda x: (x.T @ x).reshape(25), x).elements == 0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="levels are for the CPU")
def test_more_work_for_each_operation_leads_to_a_higher_level():
    many = [compiling.level_for(compiling.Work(10**power, 100)) for power in (6, 9, 10)]
    assert many == [0, 1, 2]
    assert compiling.level_for(compiling.Work(10**9, 10_000)) == 0


@pytest.mark.parametrize("level", range(len(compiling.LEVELS)))
def test_all_levels_compute_the_same(level):
    x = jax.numpy.linspace(-1, 1, 50)
    function = compiling.compiled(lambda x: jax.nn.softmax(jax.numpy.sin(x)), (x,), level)
    expected = jax.nn.softmax(jax.numpy.sin(x))
    assert jax.numpy.allclose(function(x), expected, rtol=1e-5, atol=0)


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    unknown = (1.0, {"xla_cpu_no_such_option": True})
    monkeypatch.setattr(compiling, "LEVELS", (unknown, compiling.LEVELS[-1]))
    assert compiling.compiled(lambda x: x + 1, (1.0,), 0)(1.0) == 2.0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="levels are for the CPU")
def test_a_program_that_is_used_for_long_is_compiled_better_once(monkeypatch):
    programs = families.Programs()
    trained(member(1, epochs=2), programs=programs)
    assert (levels(programs), compilations(programs)) == ([0], [1])
    (_, quick), *better = compiling.LEVELS
    monkeypatch.setattr(compiling, "LEVELS", ((1.0, quick), *better))
    trained(*(member(seed, epochs=4) for seed in (2, 3)), width=1, programs=programs)
    assert (levels(programs), compilations(programs)) == ([1], [2])
