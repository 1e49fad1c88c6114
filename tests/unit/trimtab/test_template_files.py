"""A set of templates is read whole and unmixed, or not at all."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.errors import Rejected
from trimtab.templates import files
from trimtab.templates.files import TemplateSet, look, read_templates, refuse_shrunken
from trimtab.templates.parsing import BadTemplate
from trimtab.templates.rendering import Source

LONG_AGO = 1_600_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    path.mkdir()
    return path


def write(directory: Path, name: str, text: str = "a: 1\n") -> None:
    (directory / name).write_text(text)
    settle(directory)


def settle(directory: Path) -> None:
    """Make everything in a directory old, so that no test waits for it to settle."""
    for path in (*directory.iterdir(), directory):
        if path.exists():
            os.utime(path, (LONG_AGO, LONG_AGO))


def test_files_are_read_in_the_order_of_their_names_and_others_are_ignored(directory: Path) -> None:
    for name in (
        "b.yaml",
        "a.yaml",
        "B.yaml",
        "c.yml",
        "README.md",
        ".yaml",
        "._a.yaml",
        "a.yaml~",
    ):
        write(directory, name, f"# {name}")
    (directory / ".#a.yaml").symlink_to("me@host.1:1")  # while an editor has the file open
    assert [file for file, _ in read_templates([directory]).sources] == [
        "B.yaml",
        "a.yaml",
        "b.yaml",
    ]


def test_later_directories_add_files(directory: Path, tmp_path: Path) -> None:
    write(directory, "b.yaml", "first")
    other = tmp_path / "other"
    other.mkdir()
    write(other, "a.yaml", "second")
    assert [text for _, text in read_templates([directory, other]).sources] == ["first", "second"]
    write(other, "b.yaml")
    with pytest.raises(BadTemplate, match=rf"b.yaml: is in {directory} and in {other}"):
        read_templates([directory, other])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "is a directory; only regular files are read"),
        (os.mkfifo, "is a FIFO; only regular files are read"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device; only regular files are read"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file or directory"),
        (lambda path: path.symlink_to("a.yaml"), "cannot be read: Too many levels"),
        (lambda path: path.write_bytes(b"\xff"), "is not UTF-8"),
        (lambda path: os.truncate(path, 5 * 10**6), "has more than"),
    ],
)
def test_what_is_no_text_file_is_refused_by_name(
    directory: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = directory / "a.yaml"
    if reason == "has more than":
        path.touch()
    make(path)
    settle(directory)
    with pytest.raises(Rejected, match=reason):
        read_templates([directory])


def test_a_socket_is_refused_by_name(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("a.yaml")
        settle(directory)
        with pytest.raises(BadTemplate, match=r"a.yaml: is a socket"):
            read_templates([directory])


def test_large_sets_are_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_SET_BYTES", 9)
    write(directory, "a.yaml", "12345")
    assert read_templates([directory]).sources
    write(directory, "b.yaml", "12345")
    with pytest.raises(Rejected, match="have more than 9 bytes or 500 files"):
        read_templates([directory])
    monkeypatch.undo()
    assert read_templates([directory]).sources
    monkeypatch.setattr(files, "MAX_FILES", 1)
    with pytest.raises(Rejected, match="or 1 files"):
        read_templates([directory])


def test_a_directory_without_templates_is_an_error(directory: Path) -> None:
    settle(directory)
    with pytest.raises(Rejected, match=f"templates {directory} contain no"):
        read_templates([directory])
    directory.rmdir()
    with pytest.raises(Rejected, match="cannot be read: No such file"):
        read_templates([directory])


def test_a_change_while_the_set_is_read_is_read_too(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap replaces all its files by exchanging one link."""
    for version in ("1", "2"):
        (directory / f"..{version}").mkdir()
        for name in ("a.yaml", "b.yaml"):
            write(directory / f"..{version}", name, version)
    (directory / "..data").symlink_to("..1")
    for name in ("a.yaml", "b.yaml"):
        (directory / name).symlink_to(f"..data/{name}")
    settle(directory)
    read = files.regular_files.read_text

    def read_and_swap(path: Path, max_bytes: int) -> str:
        text = read(path, max_bytes)
        if path.name == "a.yaml" and text == "1":
            (directory / "new").symlink_to("..2")
            (directory / "new").rename(directory / "..data")
            os.utime(directory, (LONG_AGO, LONG_AGO))
        return text

    monkeypatch.setattr(files.regular_files, "read_text", read_and_swap)
    assert [text for _, text in read_templates([directory]).sources] == ["2", "2"]


def test_a_file_that_was_just_written_is_read_after_it_has_settled(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish_writing(seconds: float) -> None:
        if seconds > 0:
            assert seconds <= files.SETTLING_SECONDS
            write(directory, "a.yaml", "whole")

    write(directory, "a.yaml", "ha")
    os.utime(directory / "a.yaml")
    monkeypatch.setattr(time, "sleep", finish_writing)
    assert [text for _, text in read_templates([directory]).sources] == ["whole"]


def test_a_look_differs_after_every_change(directory: Path) -> None:
    write(directory, "a.yaml")
    first = look([directory])
    assert look([directory]) == first
    write(directory, "b.yaml")
    second = look([directory])
    (directory / "b.yaml").rename(directory / "a.yaml")
    settle(directory)
    assert len({first, second, look([directory])}) == 3


def test_sets_with_the_same_files_have_the_same_digest() -> None:
    sets = [
        TemplateSet((Source("a", "b"),)),
        TemplateSet((Source("ab", ""),)),
        TemplateSet((Source("a", "b"), Source("c", "d"))),
    ]
    assert len({found.digest for found in sets}) == 3
    assert sets[0].digest == TemplateSet((Source("a", "b"),)).digest


def test_a_set_of_less_than_half_the_known_objects_is_refused() -> None:
    found = TemplateSet((Source("a.yaml", "a: 1\n---\na: 2"),))
    for known in (0, 2, 4):
        refuse_shrunken(found, known)
    with pytest.raises(Rejected, match="have 2 objects and had 5"):
        refuse_shrunken(found, 5)
