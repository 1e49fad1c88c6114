"""The commands of docs/access.md work when they are followed in an empty directory."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.integration.embedded.running import SECONDS, TRIMTAB, Up
from tests.servers import free_port

PAGE = Path(__file__).parents[3] / "docs/access.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*?(?:<<END\n.*?^END)?)$(?=\n(?!    --))", re.MULTILINE | re.DOTALL)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command and the output that the page shows."""
    for block in BLOCK.findall(text):
        parts = COMMAND.split(block)[1:]
        yield from zip(parts[::2], parts[1::2], strict=True)


def test_each_command_ends_as_the_page_shows(tmp_path: Path) -> None:
    port = str(free_port())
    # Not every machine that runs the tests has curl.
    found = [step for step in steps(PAGE.read_text()) if not step[0].startswith("curl ")]
    script = "".join(f'(exit $last)\n{command}\nlast=$?\necho "== $last"\n' for command, _ in found)
    path = f"{Path(TRIMTAB).parent}:{os.environ['PATH']}"
    with Up(tmp_path / ".trimtab", "--port", port).ready():
        done = subprocess.run(
            ["sh", "-c", "last=0\n" + script.replace("8080", port)],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "TRIMTAB_CONFIG": os.devnull},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    codes = [int(code) for code in re.findall(r"== (\d+)$", done.stdout, re.MULTILINE)]
    failed = {command for (command, _), code in zip(found, codes, strict=True) if code}
    assert failed == {command for command, output in found if "\nError: " in f"\n{output}"}
    assert len(found) > 20
