"""`access_log:` where finished requests are written."""

from __future__ import annotations

from typing import Annotated

from balancer.config.fields import Read, Text, choice, option
from balancer.config.sections.section import Section
from balancer.model import snapshot as model

_D = model.AccessLog()
_FORMATS = ("json",)

Format = Annotated[str, Read(choice(_FORMATS), {"type": "string", "enum": list(_FORMATS)})]


class AccessLog(Section):
    """Where finished requests are written, one line each; `access_log: off` writes none."""

    short = "{{path: {}}}"

    path: Text = option(_D.path, "A file, or - for standard output.", "/var/log/balancer/access.log")
    format: Format = option(_D.format, "How a line looks: json is one object.", "json")
