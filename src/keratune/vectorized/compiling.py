"""How hard XLA is to try: compiling takes seconds, and so does running what was compiled in haste.

On a CPU, the programs of small networks are compiled for longer than they are run. What a program
is going to do is estimated by its *elements*, the numbers that it computes one by one; products of
matrices are left out, as they are library calls at every level. What compiling takes is estimated
by its number of equations. Measured on 2 cores with JAX 0.10, a network of two hidden layers with
dropout and L2, 460 rows in batches of 32, 936 equations, 1.6e6 elements an epoch; compiling for
training and validation, and an epoch's training of 1 and 64 members:

=====  ==============================  =========  =======  =======
level  LLVM's level, fusion emitters   compiling  1        64
=====  ==============================  =========  =======  =======
0      0, without                      0.35 s     1.7 ms   69 ms
1      1, without                      0.9 s      0.5 ms   11 ms
2      1, with                         1.7 s      0.4 ms   8 ms
JAX's  3, with                         2.1 s      0.4 ms   10 ms
=====  ==============================  =========  =======  =======

An LSTM, deeper networks, and wide ones with normalisation compile in like proportions. An equation
takes about 0.8 ms longer to compile at each level than at the one before; an element takes about
0.8 ns longer at level 0 than at 1, and 0.05 ns longer at level 1 than at 2. Compiling in one piece
instead of many saves another 0.15 s at level 0, and 0.2 s at level 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

_QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}

# Up to how many elements for each equation a level pays, and XLA's options.
LEVELS: tuple[tuple[float, dict[str, Any]], ...] = (
    (1e6, {"xla_backend_optimization_level": 0, **_QUICK}),
    (1.5e7, {"xla_backend_optimization_level": 1, **_QUICK}),
    (math.inf, {"xla_backend_optimization_level": 1}),
)

# Moved or repeated, not computed; or computed by a library.
_FREE = frozenset({"broadcast_in_dim", "dot_general", "reshape", "squeeze", "transpose"})

# A random number is what twenty rounds of Threefry make of a position.
_DEAR = {"random_bits": 50}


@dataclasses.dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        elements: Numbers that are computed one by one.
        equations: Operations that are to be compiled.
    """

    elements: int
    equations: int

    def __add__(self, other: Work) -> Work:
        """Return both."""
        return Work(self.elements + other.elements, self.equations + other.equations)

    def times(self, count: int) -> Work:
        """Return the work of doing the same so often, in a loop."""
        return Work(count * self.elements, self.equations)


NO_WORK = Work(0, 0)


def level_for(work: Work) -> int:
    """Return the level that pays; 0 off the CPU."""
    if jax.default_backend() != "cpu":
        return 0
    each = work.elements / max(work.equations, 1)
    return next(level for level, (most, _) in enumerate(LEVELS) if each <= most)


def compiled(function: Callable[..., Any], arguments: Sequence[Any], level: int) -> Any:
    """Compile a function for arguments of one form, for good: clearing JAX's caches keeps it."""
    return _finished(jax.jit(function).lower(*arguments), level)


def all_compiled(
    functions: Sequence[tuple[Callable[..., Any], Sequence[Any]]], level: int
) -> list[Any]:
    """Compile functions, each for its arguments, side by side: XLA runs outside of Python's lock.

    Args:
        functions: Pairs of a function and arguments of the form that it is to be called with.
        level: How hard XLA is to try.
    """
    lowered = [jax.jit(function).lower(*arguments) for function, arguments in functions]
    with ThreadPoolExecutor(len(lowered)) as pool:
        return list(pool.map(lambda one: _finished(one, level), lowered))


def _finished(lowered: Any, level: int) -> Any:
    if jax.default_backend() != "cpu":
        return lowered.compile()
    try:
        return lowered.compile(LEVELS[level][1])
    except Exception as error:  # whatever a JAX raises that does not know an option
        if "compile option" not in str(error):
            raise
        return lowered.compile(LEVELS[-1][1])


def work_of(jaxpr: Any) -> Work:
    """Return what there is to do for a jaxpr."""
    work = NO_WORK
    for equation in jaxpr.eqns:
        inner = inner_jaxprs(equation)
        if inner:
            loop = sum(map(work_of, inner), NO_WORK)
            work += loop.times(equation.params.get("length", 1))
            continue
        name = equation.primitive.name
        forms = [out.aval for out in equation.outvars if hasattr(out.aval, "shape")]
        each = 0 if name in _FREE else _DEAR.get(name, 1)
        work += Work(each * sum(math.prod(form.shape) for form in forms), 1)
    return work


def inner_jaxprs(equation: Any) -> list[Any]:
    """Return the jaxprs that an equation runs, such as the body of a loop."""
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr)
    return [getattr(leaf, "jaxpr", leaf) for leaf in leaves if _is_jaxpr(leaf)]


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
