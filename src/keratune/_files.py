"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# Drafts younger than these seconds may be another worker's, which is writing them.
YOUNG_DRAFT = 60.0


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes `target` when the block ends without an exception.

    A process killed in between leaves the old file, or none, and a draft that nobody reads. The
    draft's name ends like the target's, for libraries that go by the ending.
    """
    draft = target.with_name(f".draft.{os.getpid()}.{threading.get_ident()}.{target.name}")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path, older_than: float = 0.0) -> None:
    """Delete what killed processes were writing in a folder.

    Args:
        folder: A folder.
        older_than: Seconds; younger drafts may be others' that are being written.
    """
    for draft in folder.glob(".draft.*"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - draft.stat().st_mtime >= older_than:
                draft.unlink()
