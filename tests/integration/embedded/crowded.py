"""``crowded.py PORT INDEX ARGUMENT…``: the command line, when another program takes a port.

The first start draws PORT, which is taken, as its port number INDEX.
"""

import sys
from collections.abc import Iterator
from itertools import chain, islice

from trimtab.cli.main import main
from trimtab.embedded import programs

draw = programs.free_ports


def crowded(port: int, index: int) -> Iterator[int]:
    programs.free_ports = draw
    free = draw()
    return chain(islice(free, index), [port], free)


if __name__ == "__main__":
    port, index = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    programs.free_ports = lambda: crowded(port, index)
    main()
