"""Benchmarks: keratune beside its peers, both in one run.

    python benchmarks/run.py                 # all parts
    python benchmarks/run.py bookkeeping     # one part

Each part is a file of this folder with a `main()` that prints a table. Machines are noisy: read the
ratios, not the seconds.
"""

import importlib
import sys
from pathlib import Path

PARTS = sorted(
    file.stem
    for file in Path(__file__).parent.glob("*.py")
    if file.stem != "run" and not file.stem.startswith("_")
)


def main():
    wanted = sys.argv[1:] or PARTS
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        raise SystemExit(f"Unknown: {unknown}. Parts: {PARTS}.")
    for part in wanted:
        print(f"\n== {part}")
        importlib.import_module(part).main()


if __name__ == "__main__":
    main()
