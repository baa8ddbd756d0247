"""Where a study is, as a person writes it on a command line.

=============================================  =================================================
`runs/pima`                                    the project `pima` in the folder `runs`
`postgresql+psycopg://user@host/db#pima`       the study `pima` of a database; what training
                                               leaves on disk goes to the project's folder
=============================================  =================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from keratune.errors import StudyMismatchError
from keratune.history import History
from keratune.journal import Journal
from keratune.storage import JOURNAL_FILE, Storage, open_storage


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a study is.

    Attributes:
        directory: The folder of projects.
        name: The project's name, and the study's in a database.
        url: The database; None: the journal is in the project's folder.
    """

    directory: Path
    name: str
    url: str | None = None

    @classmethod
    def of(cls, text: str, study: str | None = None, directory: Path | None = None) -> Place:
        """Return the place that a person means.

        Args:
            text: A project's folder, or the URL of a database.
            study: The study's name in the database, where the URL does not end in `#name`.
            directory: Where the project's folder is to be, beside a database; default: here.

        Raises:
            ValueError: It is the URL of a database, and the study has no name; or it is a folder,
                and something is said that goes with a database.
        """
        if "://" in text:
            url, _, name = text.partition("#")
            if not (study or name):
                shown = _shown(url)
                raise ValueError(
                    f"A database may hold many studies. Received: {shown!r} alone. Name the study: "
                    f"{shown}#pima, or --study pima."
                )
            return cls(directory or Path(), study or name, url)
        if study or directory:
            raise ValueError(
                "--study and --directory go with the URL of a database; a folder says both itself. "
                f"Received: {text!r}. Pass the project's folder alone, such as runs/pima."
            )
        folder = Path(text).absolute()
        return cls(folder.parent, folder.name)

    def __str__(self) -> str:
        """Show it as a person would write it, without a password."""
        return f"{_shown(self.url)}#{self.name}" if self.url else str(self.folder)

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.directory / self.name

    def find(self) -> Found | None:
        """Return the study, None where there is none."""
        if self.url is None and not (self.folder / JOURNAL_FILE).exists():
            return None
        storage = open_storage(self.url, self.folder, self.name)
        journal = Journal(storage)
        if journal.sync():
            return Found(storage, journal)
        storage.close()
        return None

    def open(self) -> Found:
        """Return the study.

        Raises:
            StudyMismatchError: There is none.
        """
        found = self.find()
        if found is None:
            raise StudyMismatchError(
                f"There is no study at {self}. `keratune list FOLDER` shows those of a folder."
            )
        return found


@dataclasses.dataclass(frozen=True)
class Found:
    """A study that was opened to be looked at, without the code that it tunes.

    Attributes:
        storage: Where it is.
        journal: What was read of it.
    """

    storage: Storage
    journal: Journal

    @property
    def history(self) -> History:
        """What has happened."""
        return self.journal.history

    @property
    def max_trials(self) -> int | None:
        """How many trials it may have; None: as many as something else allows."""
        limit: int | None = self.journal.settings.get("max_trials")
        return limit

    def close(self) -> None:
        """Give back files and connections."""
        self.journal.close()


def places_in(folder: Path) -> Iterator[Place]:
    """Yield the projects of a folder that hold a study, by name."""
    for path in sorted(folder.glob(f"*/{JOURNAL_FILE}")):
        yield Place(folder.absolute(), path.parent.name)


def _shown(url: str) -> str:
    from keratune.storage.database import shown

    return shown(url)
