"""What a live Keras model consists of: a structure that models can share, and numbers that differ.

A model's compiled step depends on the Python objects that it meets while it is traced: layers,
regularizers, the optimizer, losses, metrics, functions and what these have closed over. `dissect`
walks them all. Everything found joins the *structure*, a tuple that is equal for two models with
the same program; only each `float` becomes a *leaf*, a number with the place that it is kept in.
The serialised config would show less: a layer may keep what it has worked out of its arguments, a
`train_step` may read attributes that no config has, a loss may be a closure.

Variables count by shape and type, for their values are the program's state. Names count, since the
keys of the history depend on them. An object that the walk cannot look into, such as an array's
buffer or a C extension's object, is equal only to itself.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import sys
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keratune.training import keras_variables

# What Keras keeps on its objects for other ends than a training step, or knows by `id`.
NOT_ANATOMY = frozenset(
    {
        "_auto_config",
        "_build_shapes_dict",
        "_call_signature",
        "_compile_config",
        "_compiled_trainable_state",
        "_eval_epoch_iterator",
        "_exclude_from_weight_decay_cache",
        "_inbound_nodes",
        "_initial_epoch",
        "_jax_state",
        "_jax_state_synced",
        "_keras_history",
        "_lock",
        "_loss_ids",
        "_losses",
        "_losses_override",
        "_nodes",
        "_operations_by_depth",
        "_outbound_nodes",
        "_record_history",
        "_tracker",
        "_trainable_variables_indices",
        "fit",
        "history",
        "predict_function",
        "stop_evaluating",
        "stop_predicting",
        "stop_training",
        "test_function",
        "train_function",
    }
)

# On Keras's own objects: a seed acts through the state of a generator, which is a variable, and
# containers know who watches over them.
NOT_KERAS_ANATOMY = NOT_ANATOMY | {"seed", "_init_seed", "_initial_seed", "tracker"}

# Arrays up to this size are compared by content, larger ones by identity: hashing 4 MiB takes 5 ms.
LARGEST_HASHED = 4 * 2**20  # bytes

ATOMS = (bool, int, str, bytes, complex, type(None), type(Ellipsis), type(NotImplemented))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a number is kept, and how to keep another one there."""

    get: Callable[[], Any]
    put: Callable[[Any], None]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A number of a model.

    Attributes:
        path: Where it was found, for messages: `layers[1].rate`.
        value: The number.
        place: Where it is kept.
    """

    path: str
    value: float
    place: Place


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """What a model consists of.

    Attributes:
        structure: Equal for two models that differ in nothing but leaves and variables' values.
        leaves: Its numbers, in the order in which they were found.
    """

    structure: tuple[Any, ...]
    leaves: list[Leaf]

    @property
    def values(self) -> tuple[float, ...]:
        """The leaves' values."""
        return tuple(leaf.value for leaf in self.leaves)

    def without_model(self) -> Anatomy:
        """Return a copy that does not keep the model alive, whose numbers cannot be replaced."""
        leaves = [dataclasses.replace(leaf, place=_nowhere) for leaf in self.leaves]
        return Anatomy(self.structure, leaves)


class Same:
    """Equal only where the very same object is meant."""

    def __init__(self, value: Any) -> None:
        """Hold the object, so that its identity is not given to another."""
        self.value = value

    def __eq__(self, other: object) -> bool:
        """Compare identities."""
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        """Hash the identity."""
        return id(self.value)


def dissect(model: Any) -> Anatomy:
    """Return what a model consists of.

    Args:
        model: A compiled model whose variables, metrics and optimizer are built.
    """
    walk = _Walk()
    for group in state_variables(model):
        walk.tokens.append(("state", len(group)))
        for variable in group:
            walk.visit(variable, "", _nowhere)
            walk.of_state.add(id(variable))
    walk.visit(model, "model", _nowhere)
    return Anatomy(tuple(walk.tokens), walk.leaves)


def state_variables(model: Any) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Return a model's variables in the four groups that Keras's steps take on JAX."""
    optimizer = [] if model.optimizer is None else list(model.optimizer.variables)
    return (
        list(model.trainable_variables),
        list(model.non_trainable_variables),
        optimizer,
        list(model.metrics_variables),
    )


def _immutable(_: Any) -> None:
    raise TypeError("This number is kept where no other can be put.")


_nowhere = Place(lambda: None, _immutable)


class _Walk:
    """One walk over a model's objects, in an order that equal models have in common."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.leaves: list[Leaf] = []
        self.of_state: set[int] = set()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no `id` is used twice during the walk
        self._in_schedule = 0

    def visit(self, value: Any, path: str, place: Place) -> None:
        """Add the tokens of a value, and its leaves."""
        kind = type(value)
        is_schedule_number = self._in_schedule and kind is int
        if kind is float or is_schedule_number:
            self.tokens.append(kind.__name__)
            self.leaves.append(Leaf(path, value, place))
        elif kind in ATOMS:
            self.tokens.append((kind.__name__, value))
        elif id(value) in self._seen:
            self.tokens.append(("again", self._seen[id(value)]))
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._visit_object(value, path, place)

    def _visit_object(self, value: Any, path: str, place: Place) -> None:
        for kinds, method in _VISITORS:
            if isinstance(value, kinds):
                method(self, value, path, place)
                return
        if keras.ops.is_tensor(value) or isinstance(value, (np.ndarray, np.generic)):
            self.visit_array(value, path, place)
        elif hasattr(value, "__wrapped__") and callable(value) and not _attributes(value):
            self.tokens.append(type(value).__name__)  # a function compiled by JAX
            self.visit(value.__wrapped__, path, _nowhere)
        else:
            self._visit_attributes(value, path)

    def _visit_attributes(self, value: Any, path: str) -> None:
        self.visit(type(value), path, _nowhere)
        attributes = _attributes(value)
        if attributes is None:
            if not isinstance(value, (list, dict)):
                self.tokens.append(Same(value))
                return
            attributes = {}
        skipped = NOT_KERAS_ANATOMY if _is_of_keras(type(value)) else NOT_ANATOMY
        schedule = isinstance(value, keras.optimizers.schedules.LearningRateSchedule)
        self._in_schedule += schedule
        for name in sorted(attributes):
            if name not in skipped:
                self.tokens.append(name)
                self.visit(attributes[name], f"{path}.{name}", _item_place(attributes, name))
        self._in_schedule -= schedule
        if isinstance(value, list):
            self.visit_list(value, path, _nowhere)
        elif isinstance(value, dict):
            self.visit_dict(value, path, _nowhere)

    # ------------------------------------------------------------------ kinds of objects

    def visit_variable(self, value: Any, path: str, place: Place) -> None:
        """A variable counts by its form if it is part of the state, else by its value too."""
        form = (tuple(value.shape), str(value.dtype), bool(value.trainable), value.name)
        self.tokens.append(("variable", *form))
        if path:  # met outside the state
            self.visit_array(keras_variables.to_numpy(value), path, place)

    def visit_array(self, value: Any, path: str, place: Place) -> None:
        """An array counts by its content."""
        array = np.asarray(keras.ops.convert_to_numpy(value))
        self.tokens.append(("array", array.shape, str(array.dtype)))
        if array.dtype.hasobject or array.nbytes > LARGEST_HASHED:
            self.tokens.append(Same(value))
        else:
            self.tokens.append(hashlib.blake2b(array.tobytes(), digest_size=16).digest())

    def visit_list(self, value: Any, path: str, place: Place) -> None:
        """A list counts by its items."""
        self.tokens.append(("list", len(value)))
        for index, item in enumerate(value):
            self.visit(item, f"{path}[{index}]", _item_place(value, index))

    def visit_tuple(self, value: Any, path: str, place: Place) -> None:
        """A tuple counts by its items; to put another number in, it is replaced."""
        self.visit(type(value), path, _nowhere)
        self.tokens.append(len(value))
        for index, item in enumerate(value):
            self.visit(item, f"{path}[{index}]", _tuple_place(place, index))

    def visit_dict(self, value: Any, path: str, place: Place) -> None:
        """A dict counts by its items in their order."""
        self.tokens.append(("dict", len(value)))
        for key, item in list(value.items()):
            self.visit(key, path, _nowhere)
            self.visit(item, f"{path}[{key!r}]", _item_place(value, key))

    def visit_set(self, value: Any, path: str, place: Place) -> None:
        """A set counts by its items, sorted by what they look like."""
        self.tokens.append(("set", len(value)))
        for item in sorted(value, key=repr):
            self.visit(item, path, _nowhere)

    def visit_function(self, value: Any, path: str, place: Place) -> None:
        """A function counts by its code, its defaults, and what it has closed over."""
        code = value.__code__
        self.tokens.append(code)
        self.visit(value.__defaults__, f"{path} defaults", _attribute_place(value, "__defaults__"))
        self.visit(value.__kwdefaults__, f"{path} defaults", _nowhere)
        for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
            if _is_filled(cell):
                self.visit(cell.cell_contents, f"{path} {name}", _attribute_place(cell))
        if _is_user_code(value.__module__):
            for name in code.co_names:
                if name in value.__globals__:
                    self._visit_global(value.__globals__, name, path)

    def _visit_global(self, home: dict[str, Any], name: str, path: str) -> None:
        """A global variable counts by its content if that is plain, else it is itself.

        The objects of a script lead everywhere, to the data and the tuner too.
        """
        content = home[name]
        if isinstance(content, (float, *ATOMS, tuple, list, dict, type, types.FunctionType)):
            self.visit(content, f"{path} {name}", _item_place(home, name))
        else:
            self.tokens.append(Same(content))

    def visit_method(self, value: Any, path: str, place: Place) -> None:
        """A bound method counts by its function and its object."""
        self.visit(value.__func__, path, _nowhere)
        self.visit(value.__self__, path, _nowhere)

    def visit_partial(self, value: Any, path: str, place: Place) -> None:
        """A partial counts by its function and its arguments."""
        self.visit(value.func, path, _nowhere)
        self.visit(value.args, f"{path} arguments", _nowhere)
        self.visit(value.keywords, f"{path} arguments", _nowhere)

    def visit_class(self, value: Any, path: str, place: Place) -> None:
        """A class is itself; one that a function has defined counts by its methods."""
        if not _is_user_code(value.__module__):
            self.tokens.append(value)
            return
        is_local = "<locals>" in value.__qualname__
        self.tokens.append(value.__qualname__ if is_local else value)
        self.visit(value.__bases__, path, _nowhere)
        for name, item in sorted(vars(value).items()):
            function = getattr(item, "fget", getattr(item, "__func__", item))
            if isinstance(function, types.FunctionType) or (is_local and not name[:2] == "__"):
                self.tokens.append(name)
                self.visit(function, f"{path}.{name}", _nowhere)

    def visit_named(self, value: Any, path: str, place: Place) -> None:
        """Constants of the language and the libraries are themselves."""
        self.tokens.append(Same(value))

    def visit_nothing(self, value: Any, path: str, place: Place) -> None:
        """An initializer has done its work when the variables are there."""
        self.tokens.append(type(value).__name__)

    def visit_symbol(self, value: Any, path: str, place: Place) -> None:
        """A symbolic tensor counts by its form; which one it is shows where it comes again."""
        self.tokens.append(("symbol", tuple(value.shape), str(value.dtype)))

    def visit_node(self, value: Any, path: str, place: Place) -> None:
        """A node of a graph counts by its operation and what goes in and comes out."""
        self.tokens.append("node")
        self.visit(value.operation, path, _nowhere)
        self.visit(value.arguments.args, path, _attribute_place(value.arguments, "args"))
        self.visit(value.arguments.kwargs, path, _nowhere)
        self.visit(list(value.outputs), path, _nowhere)


def _kind(module: str, name: str) -> tuple[type, ...]:
    """Return a class of Keras's insides, () where it has moved."""
    found = getattr(sys.modules.get(module), name, None)
    return (found,) if isinstance(found, type) else ()


_BUILTINS = (types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc, property)
_VISITORS: list[tuple[tuple[type, ...], Callable[..., None]]] = [
    ((keras.Variable,), _Walk.visit_variable),
    ((keras.initializers.Initializer,), _Walk.visit_nothing),
    ((keras.KerasTensor,), _Walk.visit_symbol),
    (_kind("keras.src.ops.node", "Node"), _Walk.visit_node),
    ((enum.Enum, np.dtype, types.ModuleType, *_BUILTINS), _Walk.visit_named),
    ((type,), _Walk.visit_class),
    ((types.FunctionType,), _Walk.visit_function),
    ((types.MethodType,), _Walk.visit_method),
    ((functools.partial,), _Walk.visit_partial),
    ((tuple,), _Walk.visit_tuple),
]


def _exact(method: Callable[..., None], *kinds: type) -> Callable[..., None]:
    """Lead the built-in kind to its method, and a subclass of it, which may have more, around."""

    def visit(walk: _Walk, value: Any, path: str, place: Place) -> None:
        if type(value) in kinds:
            method(walk, value, path, place)
        else:
            walk._visit_attributes(value, path)

    return visit


_VISITORS += [
    ((list,), _exact(_Walk.visit_list, list)),
    ((dict,), _exact(_Walk.visit_dict, dict)),
    ((set, frozenset), _Walk.visit_set),
]


def _attributes(value: Any) -> dict[str, Any] | None:
    """Return an object's attributes; None where it is closed."""
    own = getattr(value, "__dict__", None)
    slots = [
        name
        for cls in type(value).__mro__
        for name in _names(getattr(cls, "__slots__", ()))
        if name not in ("__dict__", "__weakref__")
    ]
    if not slots:
        return own if isinstance(own, dict) else None
    return {**(own or {}), **{name: getattr(value, name, None) for name in slots}}


def _names(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def _item_place(container: Any, key: Any) -> Place:
    """A place within a dict or list; Keras's tracking of such containers is passed by."""
    if isinstance(container, dict):
        return Place(
            lambda: dict.__getitem__(container, key),
            lambda new: dict.__setitem__(container, key, new),
        )
    return Place(
        lambda: list.__getitem__(container, key), lambda new: list.__setitem__(container, key, new)
    )


def _tuple_place(outer: Place, index: int) -> Place:
    def put(new: Any) -> None:
        whole = outer.get()
        items = (*whole[:index], new, *whole[index + 1 :])
        outer.put(type(whole)(*items) if hasattr(whole, "_fields") else tuple(items))

    return Place(lambda: outer.get()[index], put)


def _attribute_place(owner: Any, name: str = "cell_contents") -> Place:
    return Place(lambda: getattr(owner, name), lambda new: setattr(owner, name, new))


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises
    except ValueError:
        return False
    return True


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"


@functools.cache
def _is_user_code(module: str | None) -> bool:
    """Tell whether a module is neither of the language nor an installed package."""
    name = (module or "").partition(".")[0]
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return name == "__main__"
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def differing(anatomies: list[Anatomy]) -> list[int]:
    """Return which leaves differ among models of one structure."""
    columns = zip(*(anatomy.values for anatomy in anatomies), strict=True)
    return [index for index, column in enumerate(columns) if len({*map(repr, column)}) > 1]


def difference(one: Anatomy, other: Anatomy) -> str:
    """Return where two structures part, as far as their tokens tell, for a message."""
    pairs = zip(one.structure, other.structure)  # noqa: B905  # one may end before the other
    index = next((i for i, (mine, their) in enumerate(pairs) if mine != their), -1)
    names = [token for token in one.structure[:index] if isinstance(token, str)]
    found = [str(getattr(a.structure[index], "value", a.structure[index])) for a in (one, other)]
    return f"behind `{'.'.join(names[-2:])}`: {found[0]:.80} against {found[1]:.80}"
