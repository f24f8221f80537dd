"""What a release decides and what it writes into its files.

python .github/release.py check TAG < TAGS     say what TAG is a release of, TAGS being those that there are
python .github/release.py stamp OWNER/NAME TAG [IMAGE]
                                               name the repository, the tag and the image in the files
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:(?:a|b|rc)\d+)?")
FINAL = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
PLACE = "OWNER/ecs-deploy"


def mistake(tag: str, version: str, tags: Iterable[str]) -> str:
    """Why there can be no release of this name; empty if there can."""
    if not TAG.fullmatch(tag):
        return f"{tag} is not a version: v1.2.3, or v1.2.3rc1 for a pre-release"
    if tag != f"v{version}":
        return f"{tag} is not the program's version, which is {version} (ecs_deploy.py, __version__)"
    return f"{tag} was released already" if tag in set(tags) else ""


def moved(tag: str, tags: Iterable[str]) -> str:
    """The major tag that this release moves: none for a pre-release, or where a newer one of its major exists."""
    if not FINAL.fullmatch(tag):
        return ""
    major = tag.partition(".")[0]
    others = [other for other in tags if FINAL.fullmatch(other) and other.startswith(f"{major}.")]
    return major if all(_order(other) <= _order(tag) for other in others) else ""


def _order(tag: str) -> tuple[int, ...]:
    return tuple(map(int, tag.removeprefix("v").split(".")))


def check(tag: str) -> int:
    """Print the outputs of the workflow's first job, or say what is wrong."""
    version = subprocess.run(
        [sys.executable, str(ROOT / "ecs_deploy.py"), "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    tags = sys.stdin.read().split()
    if said := mistake(tag, version, tags):
        print(f"::error::{said}", file=sys.stderr)
        return 1
    print(f"version={version}\nmajor={moved(tag, tags)}")
    return 0


def stamp(repository: str, tag: str, image: str = "") -> int:
    """Write the repository into README.md and pyproject.toml, and the image, if there is one, into action.yml."""
    _rewrite("README.md", lambda text: absolute(text, repository, tag).replace(PLACE, repository))
    _rewrite("pyproject.toml", lambda text: text.replace(PLACE, repository))
    if image:
        _rewrite("action.yml", lambda text: text.replace("\n  image: Dockerfile\n", f"\n  image: docker://{image}\n"))
    return 0


def absolute(text: str, repository: str, tag: str) -> str:
    """The text with its links to files and pictures of the repository as PyPI needs them."""
    picture, page = (
        f"https://raw.githubusercontent.com/{repository}/{tag}",
        f"https://github.com/{repository}/blob/{tag}",
    )
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{picture}/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\1{page}/", text)


def _rewrite(name: str, change: Callable[[str], str]) -> None:
    file = ROOT / name
    before = file.read_text(encoding="utf-8")
    after = change(before)
    if after == before:
        raise SystemExit(f"::error::nothing to write in {name}")
    file.write_text(after, encoding="utf-8")


def main(argv: list[str]) -> int:
    match argv:
        case ["check", tag]:
            return check(tag)
        case ["stamp", repository, tag, *image] if len(image) < 2:
            return stamp(repository, tag, *image)
    print(__doc__, file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
