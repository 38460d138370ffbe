"""Migrations of the registry's tables, run by `registry/migrate.py`."""
