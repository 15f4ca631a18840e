"""Writing: an exception at any point leaves what was there."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from roadworthy.core.files import replacing_file, replacing_folder

CONTENT = st.dictionaries(st.sampled_from(["a", "b", "sub/c"]), st.binary(max_size=20))
STEPS = st.lists(st.tuples(CONTENT, st.booleans()), min_size=1, max_size=5)


class InterruptedWriteError(Exception):
    """Somebody pulled the plug."""


def write(folder: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def read(folder: Path) -> dict[str, bytes]:
    return {
        str(item.relative_to(folder)): item.read_bytes()
        for item in folder.rglob("*")
        if item.is_file()
    }


@given(steps=STEPS)
def test_a_folder_holds_the_last_content_that_was_finished(
    steps: list[tuple[dict[str, bytes], bool]], tmp_path_factory
) -> None:
    root = tmp_path_factory.mktemp("files")
    expected: dict[str, bytes] | None = None
    for content, finished in steps:
        try:
            with replacing_folder(root / "bundle") as partial:
                write(partial, content)
                if not finished:
                    raise InterruptedWriteError
            expected = content
        except InterruptedWriteError:
            pass
        assert (read(root / "bundle") if expected is not None else None) == expected
        assert [item.name for item in root.iterdir()] == ["bundle"] * (expected is not None)


@given(steps=st.lists(st.tuples(st.binary(max_size=50), st.booleans()), min_size=1, max_size=5))
def test_a_file_holds_the_last_content_that_was_finished(
    steps: list[tuple[bytes, bool]], tmp_path_factory
) -> None:
    root = tmp_path_factory.mktemp("files")
    expected: bytes | None = None
    for content, finished in steps:
        try:
            with replacing_file(root / "a") as partial:
                partial.write_bytes(content)
                if not finished:
                    raise InterruptedWriteError
            expected = content
        except InterruptedWriteError:
            pass
        assert [item.read_bytes() for item in root.iterdir()] == (
            [] if expected is None else [expected]
        )
