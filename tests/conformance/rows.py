"""The rows."""


def written() -> str:
    return ""
