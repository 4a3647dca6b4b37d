"""The profiles of hypothesis: `ci` where CI is set, `nightly` on request (HYPOTHESIS_PROFILE), else `dev`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Two cores are shared by everything that runs beside: a slow example is no fault.
_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("dev", max_examples=200, **_QUIET)  # type: ignore[arg-type]
settings.register_profile("ci", max_examples=200, derandomize=True, **_QUIET)  # type: ignore[arg-type]
settings.register_profile("nightly", max_examples=20_000, **_QUIET)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
