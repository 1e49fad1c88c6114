"""Files and directories that inputs and outputs name by URI."""

from pathlib import Path

import pytest

from trimtab import Directory, File
from trimtab.errors import Rejected


def test_a_path_becomes_a_uri_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows of 100%.csv"
    path.write_text("1")
    reference = File("rows of 100%.csv")
    assert str(reference) == path.as_uri()
    assert reference.path == path
    assert Path(reference) == path
    assert reference == File(path) == File(path.as_uri()) == File(reference)
    with open(reference) as file:
        assert file.read() == "1"


@pytest.mark.parametrize("uri", ["s3://bucket/rows.csv", "file://host/rows.csv", "gs://b/a b"])
def test_a_file_elsewhere_has_no_path(uri: str) -> None:
    reference = File(uri)
    assert str(reference) == uri
    with pytest.raises(Rejected, match=f"the file {uri} has no path on this machine"):
        _ = reference.path


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert Directory(tmp_path) != File(tmp_path)
    assert len({Directory(tmp_path), File(tmp_path), Directory(str(tmp_path))}) == 2
    assert Directory("file://localhost/data").path == Path("/data")
    assert repr(Directory("s3://b/x")) == "Directory('s3://b/x')"
