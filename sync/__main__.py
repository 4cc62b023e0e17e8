"""``python -m sync``."""

from sync.cli import main

main()
