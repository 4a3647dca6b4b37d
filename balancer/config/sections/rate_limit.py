"""`rate_limit:` how many requests one client, or one value of a header field, may send."""

from __future__ import annotations

from typing import Annotated

from balancer.config.fields import WRITTEN, Rate, needed, option, whole
from balancer.config.http_words import RateKey
from balancer.config.sections.section import Section
from balancer.model import snapshot as model

_D = model.RateLimit(1.0, 1)
Burst = Annotated[int, whole(1, 1_000_000)]


class RateLimit(Section):
    """A bucket for each client: `burst` requests at once, `rate` after that; the rest gets 429 with Retry-After."""

    short = "{{rate: {}}}"

    rate: Rate = needed("What comes back to the bucket in time; counted over all workers.", "100/s")
    burst: Annotated[Burst | None, WRITTEN] = option(
        None, "What a full bucket holds; left out: what two seconds bring, at least 1.", 200
    )
    key: RateKey = option(
        _D.key,
        "Whose bucket: client_ip (IPv6 by /64), or header:x; without that field the address.",
        "header:x-api-key",
    )
