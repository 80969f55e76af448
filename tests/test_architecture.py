"""The house: few rooms, imports point down only and never in a circle, and what is kept out stays out."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ncfm"
# From the ground up: a file imports from its own room and from those before it. A new file needs no edit here.
ROOMS = ("core", "run", "models", "datasets", "method", "stages", "campaign", "report", "outside", "cli")
PRIVATE = {"mlflow": "ncfm.run.sending", "snakemake": "", "dvc": "", "pickle": ""}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")  # the face, above all rooms
LINES, FUNCTION_LINES = 300, 60


def module_of(path: Path) -> str:
    """Return a file's module; a package's `__init__.py` has the package's name."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def imports_of(path: Path) -> set[str]:
    """Return the dotted names of everything that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules_imported(path: Path) -> set[str]:
    """Return the modules of this project that a file imports."""
    names = {name for name in imports_of(path) if name.startswith("ncfm.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} - {module_of(path)}


def room_of(module: str) -> int:
    return ROOMS.index(module.split(".")[1])


def test_the_rooms_are_few():
    assert {module.split(".")[1] for module in MODULES} == set(ROOMS) and len(ROOMS) <= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    module = module_of(path)
    above = {name for name in modules_imported(path) - {"ncfm"} if room_of(name) > room_of(module)}
    assert not above, f"{path} imports from above: {above}"
    outside = {name.split(".")[0] for name in imports_of(path)}
    for library, only in PRIVATE.items():
        assert library not in outside or module == only, f"{path} imports {library}"


def test_imports_have_no_circle():
    graph = {module_of(path): modules_imported(path) for path in FILES}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_check_sees_imports_at_any_depth(tmp_path):
    text = "def f():\n    from ncfm.cli import main\n    import mlflow.entities\n    from ncfm import cli\n"
    (tmp_path / "x.py").write_text(text)
    assert imports_of(tmp_path / "x.py") == {"ncfm.cli.main", "mlflow.entities", "ncfm.cli"}


def test_engines_read_campaigns_without_waiting_for_torch():
    names = "ncfm.campaign.campaign, ncfm.campaign.engines, ncfm.campaign.plan, ncfm.cli"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGE.parent).returncode == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_say_what_they_are_for(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
    assert len(text.splitlines()) <= LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < FUNCTION_LINES, f"{path}: {node.name} is too long"
