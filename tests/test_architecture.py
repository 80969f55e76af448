"""The house: imports point down only, methods never import each other, and what is kept out stays out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ncfm"

# From the ground up. A room imports only rooms on lower floors; the files of a package may import each other.
FLOORS: tuple[set[str], ...] = (
    {"errors", "layout", "seeding", "progress", "torchvision_shim"},
    {"artifacts"},
    {"params", "records", "checkpoint", "pictures"},
    {"initialisation", "campaign_file"},
    {"campaign_layers"},
    {"discrepancy", "frequencies", "augmentation", "multiformation"},
    {"datasets", "models"},
    {"compute", "costs"},
    {"campaign_checks", "training", "distilled", "runs"},
    {"campaign_cells", "extractors", "exchange", "initial_images"},
    {"campaign", "losses"},
    {"plan"},
    {"distill", "selection", "curate", "evaluate", "continual", "search"},
    {"report", "tracking"},
    {"recording"},
    {"adhoc"},
    {"protocols"},
    {"cli_campaigns", "cli_sets"},
    {"cli"},
)
# Rooms that see less than their floor allows.
NARROW = {
    "discrepancy": set(),
    "augmentation": set(),
    "multiformation": set(),
    "frequencies": {"initialisation"},
    "models": {"errors", "initialisation", "torchvision_shim"},
    "report": {"artifacts", "costs", "datasets", "errors", "layout", "models", "params", "pictures", "plan", "records"},
}
PRIVATE = {"mlflow": {"tracking"}, "snakemake": set(), "dvc": set(), "pickle": set()}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")  # the face, above all floors


def imports_of(path: Path) -> set[str]:
    """Return the dotted names of everything that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            text = ast.unparse(node.args[0]).strip("f'\"")
            found |= {text} if text.startswith("ncfm.") else set()
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_of(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports_of(path) if name.startswith("ncfm.")}
    return names - {room_of(path)} - {"ncfm"}


def test_every_room_has_a_floor():
    rooms = [room for floor in FLOORS for room in floor]
    assert sorted(rooms) == sorted({room_of(path) for path in FILES})
    assert set(NARROW) <= set(rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    room = room_of(path)
    height = next(height for height, floor in enumerate(FLOORS) if room in floor)
    below = set().union(*FLOORS[:height])
    assert rooms_of(path) <= NARROW.get(room, below) & below, f"{path} imports from above or beside"
    outside = {name.split(".")[0] for name in imports_of(path)}
    for library, rooms in PRIVATE.items():
        assert library not in outside or room in rooms, f"{path} imports {library}"


def test_the_check_sees_imports_at_any_depth(tmp_path):
    text = "def f():\n    from ncfm.cli import main\n    import mlflow.entities\n    from ncfm import tracking\n"
    (tmp_path / "x.py").write_text(text)
    assert imports_of(tmp_path / "x.py") == {"ncfm.cli.main", "mlflow.entities", "ncfm.run.tracking"}


def test_engines_read_campaigns_without_waiting_for_torch():
    code = "import sys, ncfm.campaign.campaign, ncfm.cli, ncfm.campaign.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGE.parent).returncode == 0


def test_every_file_says_what_it_is_for():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
