"""`python -m asof` is the `asof` command."""

from __future__ import annotations

from asof.cli import main

if __name__ == "__main__":
    main()
