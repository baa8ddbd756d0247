"""`python -m keratune` is the command `keratune`."""

from keratune.cli import main

if __name__ == "__main__":
    main()
