"""A task of the executor ``process`` reaches what it needs, and nothing else, on a real kernel.

A task is forked, or has an interpreter of its own: both are restricted.
"""

import asyncio
import errno
import os
import platform
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.propeller.harness import data_next_to
from tests.integration.propeller.test_process_executor import of
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.port import AttemptRejected, Failed, Outcome, Returned
from trimtab_propeller.executors.process import ProcessExecutor

WAYS: Mapping[str, Mapping[str, str]] = {
    "forked": {},
    "own interpreter": {"PYTHONHASHSEED": "0"},
}


class Tasks:
    """Runs bodies of tasks that no admin of the platform requested."""

    def __init__(
        self, data: Path, environment: Mapping[str, str], confinement: Confinement | None = None
    ) -> None:
        self.data = data
        self.executor = ProcessExecutor(data, confinement=confinement)
        self._environment = environment
        self._number = 0

    async def run(self, body: str, *, by_platform_admin: bool = False) -> Outcome:
        self._number += 1
        fields = {"environment": dict(self._environment), "by_platform_admin": by_platform_admin}
        wanted = of(body, self._number, **fields)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.executor.start(wanted)
            return await self.executor.wait(wanted)

    async def error(self, body: str) -> str:
        outcome = await self.run(body)
        assert isinstance(outcome, Failed), outcome
        return outcome.error


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    return dict(request.param)


@pytest.fixture
def tasks(tmp_path: Path, environment: Mapping[str, str]) -> Iterator[Tasks]:
    made = Tasks(data_next_to(tmp_path), environment)
    yield made
    made.executor.close()


def listening(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    return server


async def test_a_task_reads_no_file_of_the_system_or_of_another_attempt(
    tasks: Tasks, tmp_path: Path
) -> None:
    (tasks.data / "token").write_text("secret")
    (tmp_path / "valkey.conf").write_text("requirepass secret")
    assert await tasks.run("Path('mine').write_text('secret'); return 1") == Returned(1)
    others = tasks.data / "executions" / "e1" / "n0" / "1" / "work" / "mine"
    assert others.read_text() == "secret"
    for path in (tasks.data / "token", tmp_path / "valkey.conf", others, "/etc/shadow"):
        error = await tasks.error(f"return Path({str(path)!r}).read_text()")
        assert error.startswith("PermissionError: [Errno 13]"), path
        error = await tasks.error(f"return subprocess.check_output(['cat', {str(path)!r}])")
        assert "returned non-zero exit status" in error, path


async def test_a_task_lists_no_directory_of_the_system(tasks: Tasks) -> None:
    for path in (tasks.data, "/", "/root", "/tmp", "/etc"):
        assert "PermissionError" in await tasks.error(f"return os.listdir({str(path)!r})"), path


async def test_a_task_writes_nowhere_but_to_its_own_directories(tasks: Tasks) -> None:
    inside = """
Path("own").write_text("1")
Path(os.environ["TMPDIR"], "own").write_text("1")
os.mkdir("directory")
os.rename("own", "directory/own")
os.link("directory/own", "linked")
shutil.move("directory/own", os.environ["TMPDIR"] + "/moved")
return sorted(os.listdir(os.environ["TMPDIR"]))
"""
    assert await tasks.run(inside) == Returned(["moved", "own"])
    for path in ("../exit.json", "../started", "../../x", "/tmp/x", "/usr/x", "/proc/self/comm"):
        error = await tasks.error(f"open({path!r}, 'a').write('x')")
        assert error.startswith("PermissionError"), path
    for call in ("os.rmdir('../work')", "os.rename('../lock', 'lock')", "os.mkfifo('../control2')"):
        assert (await tasks.error(call)).startswith("PermissionError"), call


async def test_the_temporary_directory_is_removed_at_the_end(tasks: Tasks) -> None:
    body = """
import tempfile
Path(tempfile.mkdtemp(), "file").write_text("text")
return os.environ["TMPDIR"]
"""
    outcome = await tasks.run(body)
    assert isinstance(outcome, Returned)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while Path(str(outcome.output)).exists():
            await asyncio.sleep(0.02)


async def test_a_task_reads_the_environment_of_no_other_process(tasks: Tasks) -> None:
    for pid in (str(os.getpid()), "os.getppid()"):
        error = await tasks.error(f"return open('/proc/%d/environ' % {pid}).read()")
        assert error.startswith("PermissionError"), pid
    assert isinstance(await tasks.run("return len(open('/proc/self/environ').read())"), Returned)


async def test_a_task_ends_no_process_of_the_system(tasks: Tasks) -> None:
    with ended(subprocess.Popen(["sleep", "600"])) as service:
        for body in (
            f"os.kill({service.pid}, signal.SIGKILL)",
            f"import resource; resource.prlimit({service.pid}, resource.RLIMIT_CPU, (0, 0))",
            f"os.kill({os.getpid()}, 0)",
            "os.kill(os.getppid(), signal.SIGKILL)",
        ):
            assert (await tasks.error(body)).startswith("PermissionError"), body
        assert service.poll() is None
    assert await tasks.run("""
child = subprocess.Popen(["sleep", "600"])
child.kill()
return child.wait()
""") == Returned(-9)


CONNECT = {
    "TCP": "socket.create_connection(('127.0.0.1', PORT))",
    "MPTCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', PORT))",
    "IPv6": "socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', PORT))",
    "a message that connects": (
        "socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', PORT))"
    ),
    "a vector that connects": (
        "socket.socket().sendmsg([b'x'], [], socket.MSG_FASTOPEN, ('127.0.0.1', PORT))"
    ),
    "io_uring": "import ctypes; assert ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0",
}


@pytest.mark.parametrize("call", CONNECT.values(), ids=CONNECT)
async def test_a_task_connects_to_no_closed_port(
    tmp_path: Path, environment: Mapping[str, str], call: str
) -> None:
    with (
        listening(socket.AF_INET, ("127.0.0.1", 0)) as closed,
        listening(socket.AF_INET, ("127.0.0.1", 0)) as service,
    ):
        closed_port, port = (each.getsockname()[1] for each in (closed, service))
        confinement = replace(
            Confinement.of_this_kernel(), ports=f"1-{2**16 - 1}", closed_ports=str(closed_port)
        )
        tasks = Tasks(data_next_to(tmp_path), environment, confinement)
        try:
            assert await tasks.error(call.replace("PORT", str(closed_port)))
            assert await tasks.run(f"{CONNECT['TCP'].replace('PORT', str(port))}\nreturn 1") == (
                Returned(1)
            )
        finally:
            tasks.executor.close()
        closed.setblocking(False)
        with pytest.raises(BlockingIOError):
            closed.accept()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
async def test_a_task_has_no_protocol_that_falls_back_to_tcp(tasks: Tasks, family: str) -> None:
    """Whatever this kernel has of them: it would refuse the last number as invalid."""
    for protocol in (256, 262, 300):
        error = await tasks.error(f"socket.socket(socket.{family}, socket.SOCK_STREAM, {protocol})")
        assert "Protocol not supported" in error, protocol
    error = await tasks.error(f"socket.socket(socket.{family}).setsockopt(6, 31, b'smc')")
    assert error.startswith("PermissionError")


async def test_a_task_listens_on_no_closed_port(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """The clients of a server that restarts would send it their credentials."""
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    ports = {"ports": f"1-{2**16 - 1}", "closed_ports": str(closed)}
    tasks = Tasks(
        data_next_to(tmp_path), environment, replace(Confinement.of_this_kernel(), **ports)
    )
    try:
        for host in ("127.0.0.1", "0.0.0.0"):
            error = await tasks.error(f"socket.create_server(({host!r}, {closed}))")
            assert error.startswith("PermissionError"), host
    finally:
        tasks.executor.close()


async def test_a_task_has_no_keys_of_the_session_or_of_the_user(tasks: Tasks) -> None:
    add_key, request_key, keyctl = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[
        platform.machine()
    ]
    call = "import ctypes; found = ctypes.CDLL(None, use_errno=True).syscall{}; {}"
    answer = "return [found, ctypes.get_errno()]"
    for arguments in (
        f"({keyctl}, 0, -3, 0)",
        f"({keyctl}, 0, -4, 1)",
        f"({add_key}, b'user', b'name', b'value', 5, -4)",
        f"({request_key}, b'user', b'name', None, -4)",
    ):
        assert await tasks.run(call.format(arguments, answer)) == Returned([-1, errno.ENOSYS])


async def test_a_task_connects_to_no_abstract_socket_of_another_process(tasks: Tasks) -> None:
    name = f"\0trimtab-test-{os.getpid()}"
    with listening(socket.AF_UNIX, name):
        error = await tasks.error(f"socket.socket(socket.AF_UNIX).connect({name!r})")
    assert error.startswith("PermissionError")


async def test_a_task_has_no_capability_by_which_root_could_leave(tasks: Tasks) -> None:
    body = "return [line.split()[1] for line in open('/proc/self/status') if 'CapEff' in line]"
    outcome = await tasks.run(body)
    assert isinstance(outcome, Returned)
    assert isinstance(outcome.output, list)
    assert int(str(outcome.output[0]), 16) in (0, 1 << 1)  # CAP_DAC_OVERRIDE, of root


WORKS = {
    "threads": """
found = []
threads = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
return len(found)
""",
    "programs": "return int(subprocess.check_output(['sh', '-c', 'ls /usr >&2; echo 8']))",
    "another interpreter": """
return int(subprocess.check_output([sys.executable, "-c", "import trimtab, asyncio; print(8)"]))
""",
    "processes": """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool, multiprocessing.Manager() as manager:
    return manager.list(pool.map(abs, [-8]))[0]
""",
    "shared memory": """
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=8)
memory.close()
memory.unlink()
return 8
""",
    "certificates": """
import ssl
assert ssl.create_default_context().get_ca_certs() or not ssl.get_default_verify_paths().cafile
return 8
""",
    "numpy": """
import numpy
square = numpy.random.default_rng(1).random((500, 500))
assert (square @ square).shape == square.shape
return int(numpy.linalg.norm(numpy.ones((64, 1))))
""",
    "names of hosts and users": """
import pwd
assert socket.getaddrinfo("localhost", 80) and pwd.getpwuid(os.getuid())
return 8
""",
    "files of its own": """
import tempfile
with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as file:
    file.write(os.urandom(8))
    file.flush()
    assert directory.startswith(os.environ["TMPDIR"])
    return os.fstat(file.fileno()).st_size
""",
    "a server of its own on a port": """
with socket.create_server(("127.0.0.1", 0)) as server:
    assert server.getsockname()[1]
with socket.socket() as server:
    server.listen()
return 8
""",
    "a server of its own": """
import asyncio
async def answer(reader, writer): writer.write(b"8"); writer.close()
async def main():
    server = await asyncio.start_unix_server(answer, "socket")
    reader, _ = await asyncio.open_unix_connection("socket")
    found = int(await reader.read())
    server.close()
    return found
return asyncio.run(main())
""",
}


@pytest.mark.parametrize("body", WORKS.values(), ids=WORKS)
async def test_what_tasks_are_made_of_works(tasks: Tasks, body: str) -> None:
    assert await tasks.run(body) == Returned(8)


async def test_a_task_reads_and_writes_what_the_configuration_adds(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    data = {name: tmp_path / name for name in ("readable", "writable")}
    for path in data.values():
        path.mkdir()
        (path / "file").write_text("data")
    confinement = replace(
        Confinement.of_this_kernel(),
        readable=(str(data["readable"]),),
        writable=(str(data["writable"]),),
    )
    tasks = Tasks(data_next_to(tmp_path), environment, confinement)
    try:
        for path in data.values():
            assert await tasks.run(f"return open({str(path / 'file')!r}).read()") == (
                Returned("data")
            )
        write = "open({!r}, 'w').write('new')"
        assert "PermissionError" in await tasks.error(write.format(f"{data['readable']}/new"))
        assert isinstance(await tasks.run(write.format(f"{data['writable']}/new")), Returned)
    finally:
        tasks.executor.close()


async def test_a_task_that_cannot_be_restricted_does_not_run(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    confinement = replace(Confinement.of_this_kernel(), writable=(str(loop), str(tmp_path)))
    tasks = Tasks(data_next_to(tmp_path), environment, confinement)
    try:
        error = await tasks.error(f"Path({str(tmp_path / 'ran')!r}).touch()")
    finally:
        tasks.executor.close()
    assert error.startswith("the task cannot be restricted: ")
    assert not (tmp_path / "ran").exists()


async def test_only_admins_execute_where_a_kernel_restricts_too_little(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """Another propeller, on another kernel, may have admitted the execution."""
    tasks = Tasks(data_next_to(tmp_path), environment, Confinement(abi=3))
    try:
        with pytest.raises(AttemptRejected, match="Landlock ABI 3 does not restrict TCP, signals"):
            await tasks.run("return 1")
        assert await tasks.run("return 1", by_platform_admin=True) == Returned(1)
    finally:
        tasks.executor.close()
