"""Where a study's journal is kept.

`open_storage` turns what a user writes for `storage=` into a `Storage`.
"""

from __future__ import annotations

from pathlib import Path

from keratune.storage.base import Storage
from keratune.storage.memory import MemoryStorage
from keratune.storage.project_folder import JOURNAL_FILE, ORACLE_FILE

__all__ = ["JOURNAL_FILE", "ORACLE_FILE", "MemoryStorage", "Storage", "open_storage"]


def open_storage(url: str | Storage | None, folder: Path | None, study: str) -> Storage:
    """Return the storage of a study.

    Args:
        url: A SQLAlchemy URL, a `Storage`, or None for SQLite in the study's folder.
        folder: The study's folder; None keeps the journal in memory.
        study: Name of the study inside a database that holds several.

    Returns:
        The storage; a database is created when it does not exist.
    """
    if isinstance(url, Storage):
        return url
    if url is None and folder is None:
        return MemoryStorage()
    from keratune.storage.sql import SqlStorage

    if url is None and folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        begun = (folder / ORACLE_FILE).exists()
        return SqlStorage.at(folder / JOURNAL_FILE, begun=begun)
    return SqlStorage(str(url), study=study)
