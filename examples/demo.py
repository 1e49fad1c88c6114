"""The demo of ``make demo``: the main use of Trimtab from start to explanation.

It starts the embedded system in a temporary directory, runs commands as a user would, checks their
results, and stops the system. Where a step fails, it prints the logs and exits with 1. With
``--kubeconfig FILE`` the namespaces are those of a Kubernetes cluster, and are deleted at the end.
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
from demo_quota import Quota, QuotaFile, QuotaObject, limits_are
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from trimtab.client import Client
from trimtab.embedded.directory import Directory
from trimtab.errors import TrimtabError
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.tokens import protocol

ROOT = Path(__file__).parent
SCOPE_FLAGS = ["-p", "flyteexamples", "-d", "development"]
SCOPE = Scope("development", "flyteexamples")
WAIT_SECONDS = 90
"""How long each step may take: much longer than it does, also on a slow machine."""
DATA = Directory(Path(tempfile.gettempdir()) / f"trimtab-demo-{os.getpid()}")
TRIMTAB = str(Path(sys.executable).with_name("trimtab"))


class StepFailed(Exception):
    """The result of a step is not the expected one."""


FAILURES = (StepFailed, TrimtabError, nats.errors.Error, subprocess.SubprocessError, OSError)


def title(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def expect(condition: bool, fact: str) -> None:
    if not condition:
        raise StepFailed(fact)
    click.echo(f"   ok: {fact}")


def wait_until(condition: Callable[[], bool], fact: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StepFailed(f"{fact}, within {WAIT_SECONDS} s")
        time.sleep(0.005)


def trimtab(*arguments: str, code: int = 0) -> str:
    """Run a command, print it with its output, and return the output."""
    return _finish(_start(*arguments), code)


def _start(*arguments: str) -> subprocess.Popen[str]:
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


def _finish(process: subprocess.Popen[str], code: int) -> str:
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    click.echo(output, nl=False)
    if process.returncode != code:
        raise StepFailed(f"the exit code is {process.returncode}, not {code}")
    return output


@contextmanager
def running_system(quota: Quota) -> Iterator[None]:
    """Run `trimtab up`; enter when it is ready, and leave when all its processes have ended."""
    up = _start("up", "--data", str(DATA.path), *quota.options)
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
        wait_until(lambda: ready.is_set() or up.poll() is not None, "the system is up")
        expect(up.poll() is None, "the system is up")
        yield
        title("6. Stop everything")
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
        reader.join(10)
    expect(up.returncode == 0, "the exit code is 0")
    expect(not _left_running(), "nothing is left running")


def _left_running() -> list[str]:
    """Return processes with the data directory in command or environment; on Linux only."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if process.name != str(os.getpid()) and any(os.fsencode(DATA.path) in t for t in texts):
            found.append(texts[0].replace(b"\0", b" ").decode(errors="replace"))
    return found


def apply_files(quota: Quota) -> None:
    title("2. Register a project and apply the example files")
    trimtab("register", "project", "flyteexamples")
    wait_until(lambda: bool(quota.hard()), "the new project has its namespaces")
    for kind, file in (
        ("task-resource-attribute", "tra.yaml"),
        ("cluster-resource-attribute", "cra.yaml"),
        ("execution-cluster-label", "ec.yaml"),
    ):
        trimtab("update", kind, "--attrFile", str(ROOT / file), "--force")
    trimtab("get", "task-resource-attribute", *SCOPE_FLAGS)


def show_namespace(quota: Quota) -> None:
    title("3. The event has re-rendered the namespace")
    wait_until(lambda: limits_are(quota, "1000", "5Ti"), f"the {quota.kind} is the new one")
    quota.show()
    expect(limits_are(quota, "1000", "5Ti"), "the quota is 1000 CPU and 5Ti")
    trimtab("get", "namespaces")
    click.echo("\nThe same change five times more, timed through the client:")
    for cpu in ("1001", "1002", "1003", "1004", "1000"):
        written_at = asyncio.run(_put_quota(cpu))
        wait_until(lambda cpu=cpu: limits_are(quota, cpu, "5Ti"), f"the {quota.kind} follows")  # type: ignore[misc]
        millis = 1000 * (quota.changed_at() - written_at)
        click.echo(f"   PUT projectQuotaCpu {cpu} -> {quota.kind} after {millis:.0f} ms")


async def _put_quota(cpu: str) -> float:
    """Write the CPU quota of the namespace, and return the time just before the request."""
    document = {"attributes": {"projectQuotaCpu": cpu, "projectQuotaMemory": "5Ti"}}
    async with Client(str(DATA.url()), DATA.api_token()) as client:
        stored = await client.records.get("cluster_resource", SCOPE)
        version = stored.version if stored else None
        written_at = time.time()
        await client.records.put("cluster_resource", SCOPE, document, version=version)
    return written_at


def run_workflow() -> str:
    """Return the id of the execution with an override."""
    title("4. Register a workflow, run it plain, then with a run-time override")
    trimtab("register", str(ROOT / "nightly.py"), *SCOPE_FLAGS)
    trimtab("get", "pools")
    trimtab("form", "nightly", *SCOPE_FLAGS)
    fences = asyncio.run(_fences(lambda: trimtab("execute", "nightly", *SCOPE_FLAGS)))
    expect(len(fences) == 1, "one token of the pool was held while the model was trained")
    override = json.dumps({"resources": {"requests": {"cpu": "2"}}})
    output = trimtab("execute", "nightly", *SCOPE_FLAGS, "--override", f"trainer={override}")
    wait_until(lambda: _held("warehouse") == 0, "every token is released")
    expect(_held("warehouse") == 0, "no token is held")
    return output.split()[0]


async def _fences(run: Callable[[], object]) -> list[int]:
    """Return the fence of each token that an attempt starts with during the run."""
    events = []

    async def collect(message: Msg) -> None:
        events.append(json.loads(message.data))

    client = await _connect()
    try:
        await client.subscribe(subjects.ALL_EVENTS, cb=collect)
        await client.flush()
        await asyncio.to_thread(run)
    finally:
        await client.drain()
    return [event["fence"] for event in events if event.get("fence") is not None]


async def _connect() -> Nats:
    return await nats.connect(DATA.nats_file.read_text().strip(), connect_timeout=WAIT_SECONDS)


def _held(pool: str) -> int:
    """Request the held units of a pool from resmgr, as a service does."""

    async def request() -> int:
        client = await _connect()
        try:
            subject = subjects.resmgr("inspect", protocol.COHORT)
            body = protocol.Inspect(pool=pool).model_dump_json().encode()
            reply = await client.request(subject, body, timeout=WAIT_SECONDS)
            return protocol.Inspected.model_validate_json(reply.data).held
        finally:
            await client.close()

    return asyncio.run(request())


def explain(execution: str) -> None:
    title("5. Where every value came from, and what is refused")
    trimtab("explain", "execution", execution)
    explained = json.loads(_run_quietly("explain", "execution", execution, "-o", "json"))
    cpu = [
        value
        for values in explained["resolution"]["nodes"].values()
        for value in values
        if value["path"] == "resources.requests.cpu" and value["source"] == "execution override"
    ]
    expect([value["value"] for value in cpu] == ["2"], "CPU 2 came from the execution's override")
    override = json.dumps({"resources": {"requests": {"cpu": "3"}}})
    refusal = trimtab(
        "execute", "nightly", *SCOPE_FLAGS, "--override", f"trainer={override}", code=2
    )
    facts = ("overrides.trainer.resources.requests.cpu", "3", "2", str(SCOPE))
    expect(all(fact in refusal for fact in facts), "refused: field, value, limit and its scope")
    trimtab("get", "executions", *SCOPE_FLAGS)
    expect(_held("warehouse") == 0, "no token is held")


def _run_quietly(*arguments: str) -> str:
    environment = {**os.environ, "TRIMTAB_DATA": str(DATA.path)}
    return subprocess.check_output([TRIMTAB, *arguments], env=environment, text=True)


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, path_type=Path))
def main(kubeconfig: Path | None) -> None:
    """Exit with 1 where a step failed."""
    started_at = time.monotonic()
    quota = QuotaObject(kubeconfig) if kubeconfig else QuotaFile(DATA.cluster("embedded"))
    try:
        title("1. Start NATS, Valkey and the four services")
        with running_system(quota):
            apply_files(quota)
            show_namespace(quota)
            explain(run_workflow())
        quota.clean_up()
    except FAILURES as error:
        click.secho(f"\nFAILED: {error}", fg="red", bold=True)
        for log in sorted(DATA.log("admin").parent.glob("*.log")):
            click.echo(f"\n-- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]))
        sys.exit(1)
    shutil.rmtree(DATA.path)
    click.secho(f"\nThe demo is finished, in {time.monotonic() - started_at:.0f} s.", bold=True)


if __name__ == "__main__":
    main()
