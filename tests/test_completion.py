"""Shell completion: what the scripts offer, in the shells that are there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import ecs_deploy
from tests.conftest import Cli

COMMANDS = ["app", "status", "rollback", "replace-instances"]


def completed(shell: str, script: str, file: Path) -> str:
    """What the shell prints of the script, which is given the completion's file as its argument."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, "-c", script, shell, str(file)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(["ro"], ["rollback"], id="a command"),
        pytest.param(["app"], ["app"], id="a whole command, which is no file's beginning"),
        pytest.param([""], [*COMMANDS, "-c"], id="anything"),
        pytest.param(["-c", "prod", "--enable"], ["--enable-rollback"], id="an option"),
        pytest.param(["-c", "prod", "--batch"], [], id="an option of another command"),
        pytest.param(["replace-instances", "--bat"], ["--batch"], id="an option of that command"),
        pytest.param(["app", "-f", "pro"], [], id="a file, which is left to bash"),
    ],
)
def test_bash_is_offered_what_belongs_to_the_command(
    cli: Cli, tmp_path: Path, words: list[str], offered: list[str]
) -> None:
    file = tmp_path / "completion"
    file.write_text(cli("--completion", "bash").out)
    line = " ".join(f"'{word}'" for word in ["ecs-deploy", *words])
    script = (
        f'source "$1"; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _ecs_deploy; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )

    found = completed("bash", script, file).split()

    assert found[: len(offered)] == offered
    assert found or not offered
    assert all(word.startswith(words[-1]) for word in found)


def test_fish_is_offered_what_belongs_to_the_command(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(cli("--completion", "fish").out)
    lines = ["ecs-deploy ro", "ecs-deploy app --image", "ecs-deploy -c prod --enable"]
    asked = "; ".join(f"complete -C '{line}'" for line in lines)

    found = completed("fish", f"source $argv[2]; {asked}", file).splitlines()

    assert [line.partition("\t")[0] for line in found] == ["rollback", "--image-tag", "--enable-rollback"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("", "-o to -l tag-only -r -d 'put this tag on every image of the definition'"),
        ("app", "-s h -l help -d 'print this help'"),
        ("status", "-l wait -d 'follow what is in progress to its end, as a deployment is followed'"),
    ],
)
def test_fish_is_told_of_each_option_in_a_line(cli: Cli, word: str, told: str) -> None:
    assert f"complete -c ecs-deploy -n '__ecs_deploy_is {word}' {told}" in cli("--completion", "fish").lines


def test_zsh_can_read_its_script(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(cli("--completion", "zsh").out)

    assert completed("zsh", 'zsh -n "$1"', file) == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_is_in_the_script_of_every_shell(cli: Cli, shell: str) -> None:
    script = cli("--completion", shell).out

    for word in ["", *COMMANDS]:
        for option in ecs_deploy.options_of(word):
            assert option.name.lstrip("-") in script


def test_another_shell_is_a_usage_error(cli: Cli) -> None:
    result = cli("--completion", "tcsh")

    assert (result.code, result.out) == (3, "")
    assert "--completion is for bash, zsh or fish, not for 'tcsh'" in result.err
