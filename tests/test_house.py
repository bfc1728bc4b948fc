"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "diffusers", "transformers", "starlette", "fastapi", "uvicorn", "matplotlib", "openai", "PIL", "av")


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_imports_neither_torch_nor_a_web_framework() -> None:
    assert not modules_after("import sfumato") & set(HEAVY)


@pytest.mark.parametrize(
    "module",
    ["sfumato.core.serving", "sfumato.policies.sfumato", "sfumato.sim", "sfumato.models", "sfumato.runtime.engine"],
)
def test_what_the_controller_needs_is_free_of_torch(module: str) -> None:
    assert not modules_after(f"import {module}") & {"torch", "diffusers", "transformers"}


def test_the_server_process_never_imports_torch() -> None:
    loaded = modules_after("import sfumato.assemble, sfumato.cli.serve, sfumato.cli.session, sfumato.api.media")
    assert "torch" not in loaded


def test_help_imports_no_verb() -> None:
    loaded = modules_after("from sfumato.cli import cli; cli.main(['--help'], standalone_mode=False)")
    assert not {name for name in loaded if name.startswith("sfumato.cli.")}


@pytest.mark.parametrize("verb", ["serve", "generate", "bench", "profile", "simulate", "replay", "report"])
def test_every_verb_explains_itself(verb: str) -> None:
    run = subprocess.run([sys.executable, "-m", "sfumato", verb, "--help"], capture_output=True, text=True, check=True)
    assert f" {verb} [OPTIONS]" in run.stdout
    assert len(run.stdout.splitlines()) > 5


def test_the_readme_names_two_commands_that_make_knows() -> None:
    commands = re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test"} <= set(commands)
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


def test_the_architecture_page_knows_every_folder_of_the_package() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    folders = [path.name for path in (ROOT / "src" / "sfumato").iterdir() if (path / "__init__.py").exists()]
    assert [folder for folder in folders if f"`{folder}/`" not in page] == []


def test_the_architecture_page_knows_every_policy_and_verb() -> None:
    from sfumato.cli import VERBS
    from sfumato.policies import POLICIES

    page = (ROOT / "ARCHITECTURE.md").read_text() + (ROOT / "README.md").read_text()
    assert [name for name in (*POLICIES, *VERBS) if not re.search(rf"`(sfumato )?{name}\b", page)] == []


def test_no_function_is_longer_than_eighty_lines_and_no_file_than_four_hundred() -> None:
    import ast

    long = []
    for path in (ROOT / "src").rglob("*.py"):
        source = path.read_text()
        if len(source.splitlines()) > 400:
            long.append(str(path))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 80:
                    long.append(f"{path}:{node.name}")
    assert long == []


def test_a_users_mistake_is_one_line_and_exit_status_two() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sfumato", "generate", "x", "--policy", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("sfumato: policy: 'nonsense' is unknown; use one of")
    assert len(run.stderr.splitlines()) == 1
