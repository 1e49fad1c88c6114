"""Archives of bundles: the same bytes for the same files, and hostile ones."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.workflows.code import archives
from trimtab.workflows.code.archives import pack, read_archive
from trimtab.workflows.code.bundles import unpack

FILES = {"b/data.bin": bytes(range(256)), "a.py": b"x = 1\n", "ü.txt": b"", "b/__init__.py": b""}


def zipped(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive as other programs make it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for path, content in entries:
            archive.writestr(zipfile.ZipInfo(path), content, compress_type=compression)
    return buffer.getvalue()


def link(path: str, target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(path)
        info.create_system = 3
        info.external_attr = 0o120777 << 16
        archive.writestr(info, target)
    return buffer.getvalue()


def test_the_same_files_give_the_same_bytes_on_every_machine() -> None:
    packed = pack(FILES)
    assert packed == pack(dict(reversed(FILES.items())))
    # The hash is part of names of versions: another Python or machine must not change it.
    assert hashlib.sha256(packed).hexdigest() == (
        "309417c855e5a42e0d0e242aaa71e120dbfeb359fc06badbd32e0956cefe1a9f"
    )


def test_other_programs_read_the_archive() -> None:
    with zipfile.ZipFile(io.BytesIO(pack(FILES))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.py", "b/__init__.py", "b/data.bin", "ü.txt"]
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


PARTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda part: part not in (".", "..") and not set(part) & set("/\\")
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(PARTS.map(lambda part: part[:20]), st.binary(max_size=50), max_size=5))
def test_what_is_packed_is_read(files: dict[str, bytes]) -> None:
    files = {path: content for path, content in files.items() if path.casefold() == path}
    try:
        packed = pack(files)
    except Invalid:
        return
    assert read_archive(packed) == files


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_read_in_two_ways(content: bytes) -> None:
    """Arbitrary bytes, and archives with an arbitrary change, are refused or packed the same."""
    packed = pack({"a.py": b"x = 1\n", "b.py": b""})
    for each in (content, packed[: len(content)] + content, packed + content):
        try:
            files = read_archive(each)
        except Invalid:
            continue
        assert pack(files) == each


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.py", "a/../../x", "a//b", "a/", ".", "a\\b"])
def test_a_path_out_of_the_directory_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(Invalid, match="relative paths"):
        pack({path: b""})
    with pytest.raises(Invalid, match="relative paths"):
        unpack(zipped((path, b"x")), tmp_path / "code")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "paths",
    [("a.py", "A.py"), ("Pkg/a.py", "pkg/b.py"), ("\u00e9.py", "e\u0301.py"), ("a", "a/b")],
)
def test_names_that_some_file_systems_take_for_one_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        pack(dict.fromkeys(paths, b""))


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"", "an archive as"),
        (b"PK\3\4", "a whole archive"),
        (pack(FILES)[:-1], "an archive as"),
        (pack(FILES) + b"x", "an archive as"),
        (b"x" + pack(FILES), "an archive as"),
        (link("a", "/etc/passwd"), "an archive as"),
        (zipped(("a.py", b"0" * 50_000_000), compression=zipfile.ZIP_DEFLATED), "an archive as"),
        (zipped(("a.py", b"1"), ("b.py", b"2")), "an archive as"),
    ],
)
def test_an_archive_of_another_form_is_refused_and_leaves_nothing(
    tmp_path: Path, archive: bytes, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        unpack(archive, tmp_path / "code")
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_path_are_refused() -> None:
    one = pack({"a.py": b"1"})
    entry = one[: one.index(b"PK\1\2")]
    with pytest.raises(Invalid, match="one file of each path"):
        read_archive(entry + one)


def test_limits_name_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packed = pack({f"{n}.py": b"x" for n in range(5)})
    with pytest.raises(Invalid, match="at most 400 bytes"):
        pack({"/".join(["d" * 100] * 5): b""})
    with pytest.raises(Invalid, match="relative paths"):
        pack({"d" * 256: b""})
    monkeypatch.setattr(archives, "MAX_FILES", 4)
    with pytest.raises(Invalid, match=r"5 files.*at most 4 files"):
        unpack(packed, tmp_path / "code")
    monkeypatch.setattr(archives, "MAX_BUNDLE_BYTES", 300)
    for call in (lambda: pack({"a": b"x" * 301}), lambda: read_archive(packed)):
        with pytest.raises(Invalid, match="at most 300 bytes"):
            call()


def test_a_bundle_is_unpacked_into_a_new_directory_only(tmp_path: Path) -> None:
    code = tmp_path / "code"
    unpack(pack(FILES), code)
    found: dict[str, Any] = {
        path.relative_to(code).as_posix(): path.read_bytes()
        for path in code.rglob("*")
        if path.is_file()
    }
    assert found == FILES
    with pytest.raises(FileExistsError):
        unpack(pack(FILES), code)
