"""Shipped for users: cases, clocks, oracles, contract suites and data generators for tests and examples."""

from asof.define.case import Case

__all__ = ["Case"]
