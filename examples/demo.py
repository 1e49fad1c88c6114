"""The main job from set-up to explanation: ``make demo``.

Starts the embedded system in a directory of its own, drives it with the command line as a person
would, checks what it sees, and stops everything. Ends with 1 and the logs where a step fails.
"""

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import nats
import nats.errors

from trimtab.client import Client
from trimtab.embedded.directory import Directory
from trimtab.errors import TrimtabError
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.tokens import protocol

ROOT = Path(__file__).parent
PLACE = ["-p", "flyteexamples", "-d", "development"]
SCOPE = Scope("development", "flyteexamples")
DATA = Directory(Path(tempfile.gettempdir()) / f"trimtab-demo-{os.getpid()}")
QUOTA = DATA.cluster("embedded") / "flyteexamples-development" / "ResourceQuota-project-quota.yaml"
TRIMTAB = str(Path(sys.executable).with_name("trimtab"))


class StepFailed(Exception):
    """Something is not as the story says."""


FAILURES = (StepFailed, TrimtabError, nats.errors.Error, subprocess.SubprocessError, OSError)


def title(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise StepFailed(what)
    click.echo(f"   ok: {what}")


def until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StepFailed(f"{what}, within {seconds:.0f} s")
        time.sleep(0.005)


def trimtab(*arguments: str, code: int = 0) -> str:
    """Run the command line, show it and what it says, and return that."""
    return _finished(_started(*arguments), code)


def _started(*arguments: str) -> subprocess.Popen[str]:
    shown = [os.path.relpath(word) if word.startswith(str(ROOT)) else word for word in arguments]
    click.secho(f"\n$ trimtab {shlex.join(shown)}", bold=True)
    return subprocess.Popen(
        [TRIMTAB, *arguments],
        env={**os.environ, "TRIMTAB_DATA": str(DATA.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finished(process: subprocess.Popen[str], code: int) -> str:
    said, _ = process.communicate(timeout=90)
    click.echo(said, nl=False)
    if process.returncode != code:
        raise StepFailed(f"it ended with {process.returncode}, not with {code}")
    return said


@contextmanager
def running_system() -> Iterator[None]:
    """`trimtab up`, from ready to the end of everything that it started."""
    up = _started("up", "--data", str(DATA.path))
    ready = threading.Event()

    def show() -> None:
        assert up.stdout is not None
        for line in up.stdout:
            click.echo(f"   | {line}", nl=False)
            if line.startswith("  NATS"):
                ready.set()

    reader = threading.Thread(target=show)
    reader.start()
    try:
        until(lambda: ready.is_set() or up.poll() is not None, "the system is up", 90)
        expect(up.poll() is None, "the system is up")
        yield
        title("6. Stop everything")
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
        reader.join(10)
    expect(up.returncode == 0, "it ended with 0")
    expect(not _left_running(), "nothing is left running")


def _left_running() -> list[str]:
    """Processes that carry the data directory in their command or environment; on Linux only."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if process.name != str(os.getpid()) and any(os.fsencode(DATA.path) in t for t in texts):
            found.append(texts[0].replace(b"\0", b" ").decode(errors="replace"))
    return found


def apply_files() -> None:
    title("2. Register a project and apply the example files")
    trimtab("register", "project", "flyteexamples")
    until(QUOTA.exists, "the new project has its namespaces")
    for kind, file in (
        ("task-resource-attribute", "tra.yaml"),
        ("cluster-resource-attribute", "cra.yaml"),
        ("execution-cluster-label", "ec.yaml"),
    ):
        trimtab("update", kind, "--attrFile", str(ROOT / file), "--force")
    trimtab("get", "task-resource-attribute", *PLACE)


def show_namespace() -> None:
    title("3. The event has re-rendered the namespace")
    until(lambda: _quota_is("1000", "5Ti"), "the manifest has the new quota")
    click.echo(f"\n$ cat {QUOTA}\n{QUOTA.read_text()}")
    expect(_quota_is("1000", "5Ti"), "the quota is 1000 CPU and 5Ti")
    trimtab("get", "namespaces")
    click.echo("\nThe same change five times more, timed through the client:")
    for cpu in ("1001", "1002", "1003", "1004", "1000"):
        asked = asyncio.run(_put_quota(cpu))
        until(lambda cpu=cpu: _quota_is(cpu, "5Ti"), "the manifest follows")  # type: ignore[misc]
        millis = 1000 * (QUOTA.stat().st_mtime - asked)
        click.echo(f"   PUT projectQuotaCpu {cpu} -> manifest file after {millis:.0f} ms")


async def _put_quota(cpu: str) -> float:
    """Returns when it was asked for."""
    document = {"attributes": {"projectQuotaCpu": cpu, "projectQuotaMemory": "5Ti"}}
    async with Client(str(DATA.url()), DATA.token()) as client:
        stored = await client.records.get("cluster_resource", SCOPE)
        version = stored.version if stored else None
        asked = time.time()
        await client.records.put("cluster_resource", SCOPE, document, version=version)
    return asked


def _quota_is(cpu: str, memory: str) -> bool:
    text = QUOTA.read_text().replace('"', "").replace("'", "")
    return f"limits.cpu: {cpu}\n" in text and f"limits.memory: {memory}\n" in text


def run_workflow() -> str:
    """Returns the id of the run with an override."""
    title("4. Register a workflow, run it plain, then with a run-time override")
    trimtab("register", str(ROOT / "nightly.py"), *PLACE)
    trimtab("get", "pools")
    plain = _started("execute", "nightly", *PLACE)
    held = 0
    while plain.poll() is None:
        held = max(held, _held("warehouse"))
    _finished(plain, 0)
    expect(held == 1, "while its training ran, one token of the pool was held")
    override = json.dumps({"resources": {"requests": {"cpu": "2"}}})
    said = trimtab("execute", "nightly", *PLACE, "--override", f"trainer={override}")
    until(lambda: _held("warehouse") == 0, "every token is given back")
    expect(_held("warehouse") == 0, "no token is held")
    return said.split()[0]


def _held(pool: str) -> int:
    """What resmgr says is held, asked as any service asks it."""

    async def ask() -> int:
        client = await nats.connect(DATA.nats_file.read_text().strip())
        try:
            subject = subjects.resmgr("inspect", protocol.COHORT)
            body = protocol.Inspect(pool=pool).model_dump_json().encode()
            answer = await client.request(subject, body, timeout=5)
            return protocol.Inspected.model_validate_json(answer.data).held
        finally:
            await client.close()

    return asyncio.run(ask())


def explain(execution: str) -> None:
    title("5. Where every value came from, and what is refused")
    trimtab("explain", "execution", execution)
    said = json.loads(_quiet("explain", "execution", execution, "-o", "json"))
    cpu = [
        value
        for values in said["resolution"]["nodes"].values()
        for value in values
        if value["path"] == "resources.requests.cpu" and value["source"] == "execution override"
    ]
    expect([value["value"] for value in cpu] == ["2"], "CPU 2 came from the execution's override")
    override = json.dumps({"resources": {"requests": {"cpu": "3"}}})
    refusal = trimtab("execute", "nightly", *PLACE, "--override", f"trainer={override}", code=1)
    words = ("resources.requests.cpu", "3", "2", str(SCOPE))
    expect(all(word in refusal for word in words), "refused: field, value, limit and its scope")
    trimtab("get", "executions", *PLACE)
    expect(_held("warehouse") == 0, "no token is held")


def _quiet(*arguments: str) -> str:
    environment = {**os.environ, "TRIMTAB_DATA": str(DATA.path)}
    return subprocess.check_output([TRIMTAB, *arguments], env=environment, text=True)


def main() -> int:
    began = time.monotonic()
    try:
        title("1. Start NATS, Valkey and the four services")
        with running_system():
            apply_files()
            show_namespace()
            explain(run_workflow())
    except FAILURES as error:
        click.secho(f"\nFAILED: {error}", fg="red", bold=True)
        for log in sorted(DATA.log("admin").parent.glob("*.log")):
            click.echo(f"\n-- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]))
        return 1
    shutil.rmtree(DATA.path)
    click.secho(f"\nThe story is told, in {time.monotonic() - began:.0f} s.", bold=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
