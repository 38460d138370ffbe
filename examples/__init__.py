"""Worked examples: each is a package to run (`python -m examples.NAME --help`) and a project folder to open."""
