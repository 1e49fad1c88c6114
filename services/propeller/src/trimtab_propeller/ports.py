"""Sets of TCP ports as texts: ``1-9999,27017``. Standard library only."""

DEFAULT = "1-9999"
"""The ports of nearly all services, without those of clients: all ports take ten times as long."""


def parse(text: str) -> set[int]:
    """Return the ports of a text such as ``1-9999,27017``. Raises ``ValueError``."""
    ports: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        first, is_range, last = part.partition("-")
        if not (first.strip().isdecimal() and (last.strip().isdecimal() or not is_range)):
            raise ValueError(f"{part!r} is not a port or a range of ports, such as 1-9999,27017")
        lowest, highest = int(first), int(last if is_range else first)
        if not 1 <= lowest <= highest <= 65_535:
            raise ValueError(f"{part!r} is not between 1 and 65535, the lower port first")
        ports.update(range(lowest, highest + 1))
    return ports
