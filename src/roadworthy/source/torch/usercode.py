"""Run the user's own code: import it, call it, and tell in our words when it fails.

While user code runs, what it prints goes to standard error: with `--json`, standard output is one
JSON document and nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from roadworthy.core.errors import RoadworthyError, UsageError


@contextlib.contextmanager
def import_path(folder: Path) -> Iterator[None]:
    """Put `folder` first on the import path; write no bytecode; keep standard output clean.

    Modules of other folders that are already imported under the name of a file in this folder
    (another network's `layers.py`) step aside and come back afterwards.
    """
    entry = str(folder)
    aside = _namesakes(folder)
    for name in aside:
        del sys.modules[name]
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # What the user's code warns of is for them to read, and never an error of ours.
            warnings.simplefilter("default")
            for outdated in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
                warnings.simplefilter("ignore", outdated)
            yield
    finally:
        sys.dont_write_bytecode = written
        with contextlib.suppress(ValueError):  # user code may have removed it
            sys.path.remove(entry)
        sys.modules.update(aside)


def _namesakes(folder: Path) -> dict[str, ModuleType]:
    """Find imported user modules, and their submodules, that would hide a file of `folder`."""
    here = {item.stem for item in folder.iterdir() if item.suffix == ".py" or item.is_dir()}
    found = {}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top not in here or top in sys.stdlib_module_names or top == "__main__":
            continue
        file = getattr(sys.modules.get(top), "__file__", None)
        if file and not _is_installed(Path(file)) and folder not in Path(file).resolve().parents:
            found[name] = module
    return found


def _is_installed(file: Path) -> bool:
    """Tell whether a module comes with Python, an installed package, or roadworthy itself."""
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots.add(str(Path(__file__).parents[2]))
    return any(str(file).startswith(root) for root in roots)


def import_file(path: Path) -> ModuleType:
    """Import a Python file under a name of its own; call inside `import_path`."""
    name = f"_roadworthy_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path.name} isn't a Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


@contextlib.contextmanager
def told_as_usage(doing: str, where: str, remedy: str | None = None) -> Iterator[None]:
    """Turn whatever user code raises into a `UsageError` that names the user's file and line.

    Args:
        doing: what failed, e.g. "importing net.py failed".
        where: the place to name when the error has no frame in user code.
        remedy: what to do about it; found from the error when None.
    """
    try:
        yield
    except RoadworthyError:
        raise
    except (Exception, SystemExit) as error:  # a script without a main guard calls sys.exit()
        raise UsageError(
            f"{doing}: {describe(error)}",
            where=user_line(error) or where,
            remedy=remedy or _remedy(error),
        ) from error


def describe(error: BaseException) -> str:
    """Return the exception's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def user_line(error: BaseException) -> str | None:
    """Return `file:line` of the innermost frame that is the user's own code, if there is one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not _is_installed(file):
            return f"{frame.filename}:{frame.lineno}"
    return None


def current_line() -> str | None:
    """Return `file:line` of the innermost caller that is the user's own code, if there is one."""
    for frame in reversed(traceback.extract_stack()):
        file = Path(frame.filename)
        if file.is_file() and not _is_installed(file):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install {error.name!r}, or start where Python can import it"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "name it as package.module:factory, so that relative imports work"
    if isinstance(error, SystemExit):
        return 'put what the script does behind `if __name__ == "__main__":`'
    return "correct it there; the original error is chained to this one"
