"""``python -m trimtab.kinds`` prints the reference of the kinds that are installed here."""

import sys

from trimtab.kinds import reference, registered

sys.stdout.write(reference.page(registered().values()) + "\n")
