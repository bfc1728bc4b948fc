"""What comes with the package is found by its name, in a checkout and in an installed package alike."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import click
import pytest

from sfumato.cli import shipped
from sfumato.cli.shipped import PROFILE, WORKLOAD
from sfumato.cost import read_profile

ROOT = Path(__file__).parents[2]


def test_every_workload_and_profile_of_the_repository_has_a_name() -> None:
    assert WORKLOAD.known()["demo"] == ROOT / "recipes" / "workloads" / "demo.toml"
    assert len(WORKLOAD.known()) == len(list((ROOT / "recipes" / "workloads").glob("*.toml")))
    for path in PROFILE.known().values():
        assert read_profile(path).points


def test_a_path_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("")
    assert WORKLOAD.convert("demo", None, None) == Path("demo")
    assert PROFILE.convert(str(tmp_path), None, None) == tmp_path


def test_what_is_neither_is_an_error_with_the_names() -> None:
    with pytest.raises(click.BadParameter, match=r"'h1000' is neither a path nor one of: .*h100-flux1-dev"):
        PROFILE.convert("h1000", None, None)
    with pytest.raises(click.BadParameter, match="demo"):
        WORKLOAD.convert(str(ROOT), None, None)  # a folder is no workload


def test_an_installed_package_has_them_in_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in build["force-include"].items():
        shutil.copytree(ROOT / source, tmp_path / target)
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "sfumato")
    for name, path in WORKLOAD.known().items():
        assert tmp_path in path.parents, name
        for model in tomllib.loads(path.read_text()).get("models", []):
            profiles = model.get("profile", [])
            for profile in [profiles] if isinstance(profiles, str) else profiles:
                assert (path.parent / profile).is_file(), profile
    assert "h100-flux1-dev" in PROFILE.known()
