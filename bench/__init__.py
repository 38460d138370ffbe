"""Measures how fast asof is, against other ways to do the same job. Start with README.md."""
