"""Hypothesis profiles: `dev` by default, `ci` when CI=true, `soak` when ASOF_HYPOTHESIS_PROFILE=soak. And the servers
of services.py.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.services import dynamodb, kafka, postgres, redis_cluster, redis_server

__all__ = ["dynamodb", "kafka", "postgres", "redis_cluster", "redis_server"]

# No deadlines: the first call of a kernel compiles it, and shared machines stall.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.differing_executors]}

settings.register_profile("dev", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=100, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("soak", max_examples=5_000, print_blob=True, **_COMMON)
settings.load_profile(
    os.environ.get("ASOF_HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev")
)
