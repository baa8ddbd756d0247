"""What a search needs comes over whole, large arrays by files that are shared."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

from keratune._processes import worker_name
from keratune.errors import FatalTypeError
from keratune.execution import packing

LARGE = packing.SHARED_FROM


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder of its own for what is packed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def sent(parts):
    packed = packing.pack(parts)
    return packed, packing.unpack(packed.file)


def files_of(packed):
    return sorted(file.name for file in packed.folder.glob("*.npy"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["float32", "int8", "complex64", "U4", "datetime64[s]"])
def test_a_large_array_comes_over_as_it_is(temporary, kind, order):
    array = np.arange(2 * LARGE).astype("int64").reshape(2, -1).astype(kind).copy(order)
    packed, parts = sent({"data": array})
    assert files_of(packed) == ["0.npy"]
    assert type(parts["data"]) is np.ndarray and parts["data"].dtype == array.dtype
    np.testing.assert_array_equal(parts["data"], array)


def test_an_array_of_a_kind_that_numpy_files_do_not_know_comes_over(temporary):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = np.arange(LARGE).astype(bfloat16)
    packed, parts = sent({"data": array})
    assert files_of(packed) == ["0.npy"]
    assert parts["data"].dtype == bfloat16
    np.testing.assert_array_equal(parts["data"].astype("float32"), array.astype("float32"))


def test_an_array_is_written_once_wherever_it_is_found(temporary):
    array = np.ones(LARGE, "uint8")
    packed, parts = sent(
        {"fit_args": (array, array), "fit_kwargs": {"x": array}, "build": lambda hp: array.sum()}
    )
    assert files_of(packed) == ["0.npy"]
    assert parts["fit_args"][0] is parts["fit_args"][1] is parts["fit_kwargs"]["x"]
    assert parts["build"](None) == LARGE
    assert packed.file.stat().st_size < 10_000


def test_small_arrays_and_arrays_of_objects_go_with_the_rest(temporary):
    objects = np.array([{"a": 1}] * LARGE, dtype=object)
    packed, parts = sent({"data": (np.arange(3), objects[:10])})
    assert files_of(packed) == []
    np.testing.assert_array_equal(parts["data"][0], [0, 1, 2])
    assert parts["data"][1][9] == {"a": 1}


def test_writing_to_an_array_changes_nobody_elses(temporary):
    packed, parts = sent({"data": np.zeros(LARGE, "uint8")})
    parts["data"][:] = 1
    assert packing.unpack(packed.file)["data"].max() == 0


def test_the_columns_of_a_data_frame_are_shared(temporary):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(LARGE), "b": np.arange(LARGE) / 2})
    packed, parts = sent({"x": frame})
    assert files_of(packed)
    pandas.testing.assert_frame_equal(parts["x"], frame)


def test_a_tensor_of_pytorch_is_shared(temporary):
    torch = pytest.importorskip("torch")
    tensor = torch.arange(LARGE)
    packed, parts = sent({"x": tensor})
    assert files_of(packed) == ["0.npy"]
    assert torch.equal(parts["x"], tensor)


def test_an_array_of_jax_comes_over(temporary):
    numpy = pytest.importorskip("jax").numpy
    packed, parts = sent({"x": numpy.arange(LARGE)})
    assert files_of(packed) == ["0.npy"]
    np.testing.assert_array_equal(parts["x"], np.arange(LARGE))


def test_only_the_user_may_look_at_what_is_packed(temporary):
    packed, _ = sent({"x": 1})
    assert stat.S_IMODE(packed.folder.stat().st_mode) == 0o700


def test_what_is_packed_is_removed_and_mapped_arrays_stay_readable(temporary):
    packed, parts = sent({"data": np.ones(LARGE, "uint8")})
    packed.remove()
    assert not packed.folder.exists()
    assert parts["data"].sum() == LARGE


def test_what_a_killed_parent_has_left_goes_away_with_the_next_search(temporary):
    stale, alive = (temporary / f"{packing.PREFIX}{name}" for name in ("stale", "alive"))
    for folder in (stale, alive):
        folder.mkdir()
    (stale / packing.OWNER_FILE).write_text(stale_owner())
    (alive / packing.OWNER_FILE).write_text(worker_name("parent"))
    packing.pack({}).remove()
    assert alive.exists() and not stale.exists()


def ends(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(5)
    return not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_an_owner_holds_nobody_up(temporary):
    folder = temporary / f"{packing.PREFIX}pipe"
    folder.mkdir()
    os.mkfifo(folder / packing.OWNER_FILE)
    assert ends(packing.remove_stale)
    assert folder.exists()


def stale_owner():
    host, process, _, label = worker_name("parent").split("|")
    return "|".join([host, process, "1", label])


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system knows no users")
def test_the_folders_of_another_user_stay(temporary, monkeypatch):
    folder = temporary / f"{packing.PREFIX}other"
    folder.mkdir()
    (folder / packing.OWNER_FILE).write_text(stale_owner())
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    packing.remove_stale()
    assert folder.exists()


def test_an_owner_that_is_no_text_is_passed_over(temporary):
    folder = temporary / f"{packing.PREFIX}other"
    folder.mkdir()
    (folder / packing.OWNER_FILE).write_bytes(b"\xff")
    packing.remove_stale()
    assert folder.exists()


class Owner:
    def __init__(self, **attributes):
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"fit_kwargs": {"x": 1, "y": open}, "fit_args": (1, (i for i in []))}, "Argument 2 of"),
        ({"fit_kwargs": {"x": (i for i in [])}}, "`x`"),
        ({"tuner": Owner(hypermodel=(i for i in []))}, "`tuner.hypermodel`"),
    ],
)
def test_what_cannot_be_sent_is_named_and_nothing_is_left(temporary, parts, name):
    with pytest.raises(FatalTypeError, match="cannot pickle") as raised:
        packing.pack(parts)
    assert str(raised.value).startswith(name)
    assert "`x=lambda hp: make_dataset()`" in str(raised.value)
    assert not list(temporary.iterdir())


def test_a_data_set_of_tensorflow_is_named(temporary):
    tensorflow = pytest.importorskip("tensorflow")
    data = tensorflow.data.Dataset.range(3)
    with pytest.raises(FatalTypeError, match="`x` cannot be sent"):
        packing.pack({"fit_kwargs": {"x": data}})


SETTINGS = """
import json, pathlib, sys
from keratune.execution.packing import unpack
parts = unpack(pathlib.Path(sys.argv[1]))
import keras
print(json.dumps({
    "floatx": keras.config.floatx(),
    "policy": keras.config.dtype_policy().name,
    "path": sys.path,
    "objects": sorted(keras.saving.get_custom_objects()),
    "found": parts["x"](3),
}))
"""


def test_another_process_takes_on_the_path_and_the_settings_of_keras(temporary, monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(sys, "path", [*sys.path, "/somewhere"])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with keras.saving.custom_object_scope({}):
            keras.saving.get_custom_objects()["twice"] = twice = lambda x: 2 * x
            packed = packing.pack({"x": twice})
    finally:
        keras.config.set_dtype_policy("float32")
        keras.saving.get_custom_objects().pop("twice", None)
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS, str(packed.file)],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["policy"] == "mixed_bfloat16"
    assert "/somewhere" in told["path"]
    assert "twice" in told["objects"]
    assert told["found"] == 6


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("kind", ["float32", "complex64", "U4", "datetime64[s]", "bfloat16"])
def test_a_parcel_has_large_arrays_beside_it_as_views_of_its_bytes(kind, order):
    if kind == "bfloat16":
        kind = pytest.importorskip("ml_dtypes").bfloat16
    array = np.arange(4 * LARGE).reshape(2, -1).astype("int64").astype(kind)
    array = array[:, ::2] if order == "strided" else array.copy(order)
    parcel = packing.parcel({"data": array, "again": array, "small": np.ones(3)})
    assert len(parcel.content) < LARGE
    assert [beside.nbytes for beside in parcel.arrays] == [array.nbytes]
    parts = packing.unpack_parcel(parcel)
    assert parts["data"] is parts["again"] and parts["data"].dtype == array.dtype
    assert np.shares_memory(parts["data"], parcel.arrays[0])
    np.testing.assert_array_equal(parts["data"], array)
    np.testing.assert_array_equal(parts["small"], np.ones(3))


def test_what_cannot_go_into_a_parcel_is_named():
    with pytest.raises(FatalTypeError, match="`data` cannot be sent to a worker process"):
        packing.parcel({"fit_kwargs": {"data": (i for i in range(3))}})
