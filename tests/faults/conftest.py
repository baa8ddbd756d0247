"""What the tests of faults share."""

import cheap_search
import pytest


@pytest.fixture
def search(tmp_path):
    """Return a function that makes a search; its processes are killed in the end."""
    made = []

    def make(**options):
        made.append(cheap_search.Search(tmp_path / "search", **options))
        return made[-1]

    yield make
    for each in made:
        each.end_all()
