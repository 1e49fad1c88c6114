"""``crowded.py PORT PLACE ARGUMENT…``: the command line, where somebody was faster to take a port.

The first start draws PORT as its port number PLACE, as if it had been free.
"""

import sys
from collections.abc import Iterator
from itertools import chain, islice

from trimtab.cli.main import main
from trimtab.embedded import programs

draw = programs.free_ports


def crowded(port: int, place: int) -> Iterator[int]:
    programs.free_ports = draw
    free = draw()
    return chain(islice(free, place), [port], free)


if __name__ == "__main__":
    port, place = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    programs.free_ports = lambda: crowded(port, place)
    main()
