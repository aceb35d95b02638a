"""Rules of the house that no linter knows (the import contracts stand in pyproject.toml)."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "daemon").rglob("*.py"), *(ROOT / "tui").rglob("*.py")])
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
TOP_LEVEL = {
    *("daemon", "tui", "systemd", "tests", "benchmarks", "docs", "requirements", ".ci"),
    *("config.toml", "pyproject.toml", "README.md", "LICENSE", "Makefile", ".gitignore"),
}


def tracked_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    return listed.stdout.splitlines()


def test_top_level_is_fixed() -> None:
    assert {Path(name).parts[0] for name in tracked_files()} <= TOP_LEVEL


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, "a module has at most 400 lines: split it by meaning"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines, 60 are allowed"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_is_inside(path: Path) -> None:
    names = {path.stem, *(part.name for part in path.relative_to(ROOT).parents)}
    assert not names & BANNED
    if path.stem not in {"__init__", "__main__"} and path.parent == ROOT / "daemon":
        assert path.stem not in sys.stdlib_module_names


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_nothing_heavy_is_imported_for_help() -> None:
    script = (
        "import sys; import daemon.cli.app; "
        "heavy = {'torch', 'numpy', 'duckdb', 'nats', 'textual', 'pydantic', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        # What `config check`, `doctor` and `run` read first: the parameters of every stage.
        ("daemon.app.parameters, daemon.config.loader", {"torch", "scipy", "duckdb", "nats", "matplotlib"}),
        # What `status`, `import`, `retry`, `close` and `query` need to ask a running daemon.
        ("daemon.cli.options, daemon.config.loader, daemon.bus.client", {"torch", "scipy", "duckdb", "numpy"}),
        # What `query` needs without one.
        ("daemon.store.store, daemon.store.snapshot_query", {"torch", "scipy", "nats"}),
    ],
    ids=["configuration", "asking", "query"],
)
def test_commands_load_only_what_they_need(modules: str, unwanted: set[str]) -> None:
    script = (
        f"import sys; import {modules}; "
        "stages = sys.modules.get('daemon.app.parameters'); "
        "stages and stages.stage_parameters(); "
        f"heavy = {unwanted!r} & set(sys.modules); sys.exit(f'imported: {{sorted(heavy)}}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_numerics_stand_alone() -> None:
    """Numerics run on a machine that has torch, numpy, scipy and jaxtyping and nothing else of ours."""
    allowed = {"torch", "numpy", "scipy", "jaxtyping", "cupy", "numba", "llvmlite", "daemon", *sys.stdlib_module_names}
    for path in (ROOT / "daemon" / "numerics").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.name} imports {name}"
                if name.startswith("daemon"):
                    assert name.startswith("daemon.numerics"), f"{path.name} imports {name}"


def test_no_unsafe_loading() -> None:
    """Pickles of others are never loaded, YAML only safely, nothing is run through a shell."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in {"pickle.load", "pickle.loads", "yaml.load", "eval", "exec", "os.system"}, path
            for keyword in node.keywords:
                is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                assert not (keyword.arg in {"shell", "allow_pickle"} and is_true), path


def test_dependencies_are_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    locked = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {name.split(">")[0].split("=")[0].split("[")[0].strip().lower().replace("_", "-") for name in wanted}
    assert names <= locked
