"""Who reads and projects history. `scan.py` says what may be asked; `duckdb.py` is the embedded engine."""
