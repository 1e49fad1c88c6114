"""The files that Git ignores, by the ``.gitignore`` files around them."""

from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import Rejected

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class GitIgnore:
    """The ``.gitignore`` files of a directory, of those below it, and of those above it up to the
    top of its repository."""

    def __init__(self, root: Path) -> None:
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._top = next((d for d in (root, *root.parents) if (d / ".git").exists()), root)
        # A user who names an ignored directory wants its files.
        if root != self._top and any(
            self.ignores(directory, True)
            for directory in (root, *root.parents)
            if directory != self._top and directory.is_relative_to(self._top)
        ):
            self._top = root

    def ignores(self, path: Path, is_directory: bool) -> bool:
        """Return whether a file is ignored, provided that no directory above it is."""
        for directory in path.parents:
            if (spec := self._spec(directory)) is not None:
                name = path.relative_to(directory).as_posix()
                ignored = spec.check_file(f"{name}/" if is_directory else name).include
                if ignored is not None:
                    return ignored
            if directory == self._top:
                break
        return False

    def _spec(self, directory: Path) -> "GitIgnoreSpec | None":
        if directory not in self._specs:
            try:
                text = (directory / ".gitignore").read_text(encoding="utf-8", errors="replace")
            except OSError:
                self._specs[directory] = None
            else:
                self._specs[directory] = _parse(text)
        return self._specs[directory]


def _parse(text: str) -> "GitIgnoreSpec":
    try:
        # Only code of several files needs it, and the library alone has no such dependency.
        from pathspec import GitIgnoreSpec  # noqa: PLC0415
    except ImportError as error:
        raise Rejected("code of several files needs pathspec: install trimtab[client]") from error
    return GitIgnoreSpec.from_lines(text.splitlines())
