"""Shipped for users: clocks, oracles, contract suites and data generators for tests and examples."""
