"""What the terminal stands on, and that its registries hang together."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tui.actions import ACTIONS, ANYWHERE
from tui.screens.base import ElcanoScreen
from tui.tabs import TABS

ROOT = Path(__file__).parents[2]
TUI = sorted((ROOT / "tui").rglob("*.py"))
MAY_IMPORT = {"daemon.messages", "daemon.bus", "daemon.errors"}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", TUI, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_terminal_knows_messages_and_bus_only(path: Path) -> None:
    ours = {".".join(name.split(".")[:2]) for name in imports_of(path) if name.split(".")[0] == "daemon"}
    assert ours <= MAY_IMPORT


@pytest.mark.parametrize("path", [path for path in TUI if "core" in path.parts], ids=lambda path: path.stem)
def test_the_core_draws_nothing(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports_of(path)} & {"textual", "rich", "nats"}
    assert not {name for name in imports_of(path) if name.startswith("tui.") and not name.startswith("tui.core")}


def test_the_core_runs_without_textual() -> None:
    script = (
        "import sys; import tui.core.model, tui.core.selection, tui.core.forms; "
        "sys.exit(str({'textual', 'rich', 'nats', 'numpy'} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nats_is_not_imported_for_the_first_paint() -> None:
    script = "import sys; import tui.app; sys.exit(str({'nats', 'numpy', 'torch'} & set(sys.modules) or '') or 0)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_app_stays_small() -> None:
    assert len((ROOT / "tui" / "app.py").read_text(encoding="utf-8").splitlines()) <= 150


def screens() -> dict[str, type[ElcanoScreen]]:
    for path in TUI:
        if "screens" in path.parts and path.stem != "__init__":
            __import__(f"tui.screens.{path.stem}")
    found: dict[str, type[ElcanoScreen]] = {}
    pending = [ElcanoScreen]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.NAME:
            found[kind.NAME] = kind
    return found


def test_every_action_can_be_done_on_its_screens() -> None:
    known = screens()
    for action in ACTIONS:
        for name in action.screens:
            kinds = known.values() if name == ANYWHERE else [known[name]]
            assert all(hasattr(kind, f"do_{action.name}") for kind in kinds), (action.name, name)


def test_no_key_means_two_things_on_a_screen() -> None:
    tabs = [tab.key for tab in TABS]
    for name in screens():
        here = [key for a in ACTIONS if {name, ANYWHERE} & set(a.screens) for key in a.keys.split(",")]
        assert len(here + tabs) == len(set(here + tabs)), name


def test_what_changes_something_is_for_operators_and_asks_first() -> None:
    for action in ACTIONS:
        assert action.confirm <= (action.who == "operator"), action.name


def test_every_tab_can_be_built() -> None:
    for tab in TABS:
        assert isinstance(tab.build(), ElcanoScreen)
    assert [tab.key for tab in TABS] == sorted(tab.key for tab in TABS)
