"""`admin:` the address that operators and scrapers use."""

from __future__ import annotations

from balancer.config.addresses import AdminAddress
from balancer.config.fields import Flag, Text, option
from balancer.config.sections.section import Section
from balancer.model import snapshot as model

_D = model.Admin()


class Admin(Section):
    """The admin server: /metrics, /healthz, /readyz, /api/v1."""

    short = "{{address: {}}}"

    address: AdminAddress = option(
        _D.address,
        "Where the admin server listens, or unix:/path; never on a public address. Needs a restart to change.",
        "127.0.0.1:9900",
    )
    insecure: Flag = option(
        _D.insecure,
        "Serve an address other than loopback without a token; say it only where a firewall stands before it.",
        True,
    )
    token: Text = option(
        _D.token, "What clients send as `Authorization: Bearer …`; better as ${file:…}.", "${file:/run/secrets/admin}"
    )
    token_file: Text = option("", "A file that holds the token; read again at each reload.", "/run/secrets/admin")
    hosts: tuple[Text, ...] = option(
        _D.hosts, "Further names that the Host header may carry, against DNS rebinding.", ["lb.example.com"]
    )
