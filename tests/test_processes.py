"""Workers are told apart by their names, and a name is looked up only where it means something."""

import os

import pytest

from keratune import _processes
from keratune._processes import Presence, presence_of, worker_name


@pytest.fixture
def on(tmp_path, monkeypatch):
    """Be on a machine with these numbers: of the installation, and of the kernel's present run."""

    def move(*numbers):
        files = tuple(tmp_path / f"{len(list(tmp_path.iterdir()))}-{n}" for n in range(2))
        for file, number in zip(files, numbers, strict=True):
            if number is not None:
                file.write_text(number)
        monkeypatch.setattr(_processes, "IDENTITIES", files)

    return move


def test_two_machines_with_one_host_name_are_two_places(on):
    on("a\n", "boot 1\n")
    name = worker_name("x")
    assert presence_of(name) is Presence.OWN
    on("b\n", "boot 1\n")
    assert presence_of(name) is Presence.ELSEWHERE


def test_what_ran_before_a_machine_was_started_anew_is_dead(on):
    on("a", "boot 1")
    place, process, _, label = worker_name("x").split("|")
    on("a", "boot 2")
    assert presence_of(f"{place}|{process}|1|{label}") is Presence.DEAD


@pytest.mark.parametrize("missing", [None, "", "uninitialized\n"])
def test_without_a_number_of_its_own_a_container_goes_by_its_kernels(on, missing):
    on(missing, "boot 1")
    name = worker_name("x")
    on(missing, "boot 2")
    assert presence_of(name) is Presence.ELSEWHERE


def test_a_system_without_any_number_has_names_too(on):
    on(None, None)
    assert presence_of(worker_name("x")) is Presence.OWN
    assert worker_name("x").split("|")[1] == str(os.getpid())


def test_the_number_of_a_machine_is_not_shown(on):
    on("0123456789abcdef", "boot 1")
    assert "0123456789abcdef" not in worker_name("x")
