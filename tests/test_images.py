"""Image references: which texts are some, which are the same repository, what a tag does to them."""

from __future__ import annotations

import os
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ecs_deploy
from ecs_deploy import ImageReference, UsageError
from tests.conftest import Cli
from tests.simulator import Simulator

DIGEST = "sha256:" + "0123456789abcdef" * 4

# (text, name, tag, digest)
READABLE = [
    ("mariadb", "mariadb", "", ""),
    ("mariadb:latest", "mariadb", "latest", ""),
    ("mariadb:10.11-jammy", "mariadb", "10.11-jammy", ""),
    ("mariadb:_underscore.First-9", "mariadb", "_underscore.First-9", ""),
    ("mariadb:" + "t" * 128, "mariadb", "t" * 128, ""),
    ("shop/web:1", "shop/web", "1", ""),
    ("shop/team/web/runner:1", "shop/team/web/runner", "1", ""),
    ("my_shop/web__worker-1.x--y:1", "my_shop/web__worker-1.x--y", "1", ""),
    ("localhost/web:1", "localhost/web", "1", ""),
    ("localhost:5000/web", "localhost:5000/web", "", ""),
    ("registry.example/web:1", "registry.example/web", "1", ""),
    ("registry.example:8000/web", "registry.example:8000/web", "", ""),
    ("registry.example:8000/shop/web:1", "registry.example:8000/shop/web", "1", ""),
    ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web", "1", ""),
    ("10.0.0.1:5000/web:1", "10.0.0.1:5000/web", "1", ""),
    ("[2001:db8::1]:5000/web:1", "[2001:db8::1]:5000/web", "1", ""),
    ("web@" + DIGEST, "web", "", DIGEST),
    ("web:1@" + DIGEST, "web", "1", DIGEST),
    ("registry.example:8000/shop/web:1@" + DIGEST, "registry.example:8000/shop/web", "1", DIGEST),
    ("web@sha512+b64:abc", "web", "", "sha512+b64:abc"),
    ("Shop/Web:1", "Shop/Web", "1", ""),
]

UNREADABLE = [
    pytest.param("web:", id="an empty tag"),
    pytest.param(":1", id="no name"),
    pytest.param("web:1:2", id="two tags"),
    pytest.param("web:-1", id="a tag that begins with a dash"),
    pytest.param("web:a b", id="a blank in the tag"),
    pytest.param("web :1", id="a blank in the name"),
    pytest.param(" web:1", id="a blank before"),
    pytest.param("web:1\n", id="a line end"),
    pytest.param("web:" + "t" * 129, id="a tag of 129 characters"),
    pytest.param("web@", id="an empty digest"),
    pytest.param("web@sha256", id="a digest without a value"),
    pytest.param("web@sha256:xyz", id="a digest that is not hexadecimal"),
    pytest.param("web@" + DIGEST + ":1", id="a tag after the digest"),
    pytest.param("/web", id="a slash before"),
    pytest.param("shop/", id="a slash at the end"),
    pytest.param("shop//web", id="two slashes"),
    pytest.param("-web", id="a dash before"),
    pytest.param("web-", id="a dash at the end"),
    pytest.param("shop/we___b", id="three underscores"),
    pytest.param("registry.example:port/web", id="a port that is no number"),
    pytest.param("https://registry.example/web:1", id="a URL"),
    pytest.param("wéb:1", id="a letter outside ASCII"),
    pytest.param("web:$TAG", id="a variable that nobody set"),
]

SAME = [
    pytest.param("web", "web:1", id="whatever the tag"),
    pytest.param("web:1", "web@" + DIGEST, id="whatever the digest"),
    pytest.param("redis", "library/redis:7", id="the namespace of official images"),
    pytest.param("redis", "docker.io/redis:7", id="the registry that is meant where there is none"),
    pytest.param("redis", "index.docker.io/library/redis", id="its older name"),
    pytest.param("redis", "registry-1.docker.io/library/redis", id="the host that it is pulled from"),
    pytest.param("shop/web", "docker.io/shop/web:1", id="a user's repository there"),
    pytest.param("Registry.Example/web", "registry.example/web:1", id="a host name in other letters"),
]

DIFFERENT = [
    pytest.param("api", "admin-api:1", id="the end of a longer name"),
    pytest.param("api", "api-admin:1", id="the beginning of a longer name"),
    pytest.param("api", "shop/api:1", id="another namespace"),
    pytest.param("registry.example/api", "api:1", id="another registry"),
    pytest.param("registry.example/api", "registry.example:5000/api:1", id="another port"),
    pytest.param("localhost/api", "docker.io/localhost/api:1", id="a registry of this machine"),
    pytest.param("registry/api", "registry:5000/api:1", id="a namespace called like a registry"),
    pytest.param("registry.example/a.b", "registry.example/axb:1", id="a dot that is no wildcard"),
    pytest.param("shop/web", "shop/Web:1", id="a path in other letters"),
]


@pytest.mark.parametrize(("text", "name", "tag", "digest"), READABLE, ids=[text[:60] for text, *_ in READABLE])
def test_a_reference_has_a_name_a_tag_and_a_digest(text: str, name: str, tag: str, digest: str) -> None:
    reference = ImageReference.parse(text)

    assert (reference.name, reference.tag, reference.digest) == (name, tag, digest)
    assert str(reference) == text


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_reference_is_refused_before_anything_is_called(cli: Cli, text: str) -> None:
    result = cli("-c", "prod", "-n", "web", f"--image={text}")

    assert result.code == 13
    assert result.err == (
        f"ERROR: Unable to parse image name: {text}\n"
        "The format is [domain][:port][/repo][/]image[:tag][@digest], for example"
        " private.registry.com:8000/repo/image:tag\n"
    )
    assert result.calls == ()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("redis", ("docker.io", "library/redis")),
        ("shop/web:1", ("docker.io", "shop/web")),
        ("Index.Docker.io/redis", ("docker.io", "library/redis")),
        ("localhost/web", ("localhost", "web")),
        ("Registry.Example:5000/Shop/Web@" + DIGEST, ("registry.example:5000", "Shop/Web")),
        ("web:a b", ("", "")),
    ],
)
def test_an_image_is_of_a_registry_and_a_repository(text: str, meant: tuple[str, str]) -> None:
    assert ecs_deploy.repository_of(text) == meant


@pytest.mark.parametrize(("given_image", "live_image"), SAME)
def test_the_image_of_the_same_repository_is_replaced(
    sim: Simulator, cli: Cli, given_image: str, live_image: str
) -> None:
    sim.task_definition("job", live_image)

    result = cli("-d", "job", "-i", given_image)

    expected = given_image if ":" in given_image else f"{given_image}:latest"
    assert result.code == 0
    assert images(result.requests("RegisterTaskDefinition")) == [expected]


@pytest.mark.parametrize(("given_image", "live_image"), DIFFERENT)
def test_the_image_of_another_repository_is_left_alone(
    sim: Simulator, cli: Cli, given_image: str, live_image: str
) -> None:
    containers = [
        {"name": "ours", "image": f"{given_image}:1", "memory": 64},
        {"name": "other", "image": live_image, "memory": 64},
    ]
    sim.task_definition("job", containers=containers)

    result = cli("-d", "job", "-i", f"{given_image}:2")

    assert result.code == 0
    assert images(result.requests("RegisterTaskDefinition")) == [f"{given_image}:2", live_image]


def test_an_image_that_cannot_be_read_is_of_no_repository(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "strange image!")

    result = cli("-d", "job", "-i", "web:2")

    assert result.code == 14
    assert result.err.splitlines()[0] == (
        "ERROR: No container of the task definition uses the image web: job runs strange image!"
    )
    assert result.changes == []


@pytest.mark.parametrize(
    ("given_image", "sent"),
    [
        pytest.param("web", "web:latest", id="no tag is latest"),
        pytest.param("web@" + DIGEST, "web@" + DIGEST, id="a digest needs no tag"),
        pytest.param("web:2@" + DIGEST, "web:2@" + DIGEST, id="both travel"),
    ],
)
def test_what_is_sent_is_what_was_given(sim: Simulator, cli: Cli, given_image: str, sent: str) -> None:
    sim.task_definition("job", "web:1")

    result = cli("-d", "job", "-i", given_image)

    assert result.lines[0] == f"Using image name: {sent}"
    assert images(result.requests("RegisterTaskDefinition")) == [sent]


# --- -e


@pytest.mark.parametrize("given_image", ["web", "web:1", "web@" + DIGEST, "web:1@" + DIGEST])
def test_the_tag_of_the_environment_wins(sim: Simulator, cli: Cli, given_image: str) -> None:
    sim.task_definition("job", "web:1")

    result = cli("-d", "job", "-i", given_image, "-e", "RELEASE", env={"RELEASE": "v7"})

    assert images(result.requests("RegisterTaskDefinition")) == ["web:v7"]


@pytest.mark.parametrize(("environment", "what"), [({}, "not set"), ({"RELEASE": ""}, "empty")])
def test_a_variable_without_a_tag_is_named(cli: Cli, environment: dict[str, str], what: str) -> None:
    result = cli("-d", "job", "-i", "web", "-e", "RELEASE", env=environment)

    assert result.code == 3
    assert result.err == f"ERROR: -e RELEASE: the environment variable is {what}\n"


def test_the_environment_is_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE", "v7")
    err = StringIO()

    code = ecs_deploy.main(["-d", "job", "-i", "web", "-e", "RELEASE"], env={}, out=StringIO(), err=err)

    assert code == 3
    assert "ERROR: -e RELEASE: the environment variable is not set\n" in err.getvalue()


def test_a_tag_of_the_environment_that_is_no_tag_is_refused(cli: Cli) -> None:
    result = cli("-d", "job", "-i", "web", "-e", "RELEASE", env={"RELEASE": "feature/x"})

    assert result.code == 13
    assert result.err == "ERROR: Unable to parse image tag: feature/x\n"


# --- -to


@pytest.mark.parametrize(
    ("live_image", "sent"),
    [
        pytest.param("web", "web:2", id="no tag"),
        pytest.param("web:1", "web:2", id="a tag"),
        pytest.param("web@" + DIGEST, "web:2", id="a digest"),
        pytest.param("web:1@" + DIGEST, "web:2", id="a tag and a digest"),
        pytest.param("registry.example:5000/web", "registry.example:5000/web:2", id="a port and no tag"),
        pytest.param("registry.example:5000/shop/web:1", "registry.example:5000/shop/web:2", id="a port and a tag"),
    ],
)
def test_a_tag_alone_goes_on_every_image(sim: Simulator, cli: Cli, live_image: str, sent: str) -> None:
    containers = [
        {"name": "first", "image": live_image, "memory": 64},
        {"name": "second", "image": "other:1", "memory": 64},
    ]
    sim.task_definition("job", containers=containers)

    result = cli("-d", "job", "-to", "2")

    assert result.code == 0
    assert images(result.requests("RegisterTaskDefinition")) == [sent, "other:2"]


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(["--container", "first", "--container", "third"], id="repeated"),
        pytest.param(["-toc", "first,third"], id="with commas"),
        pytest.param(["--tag-only-container-names", " first , third,"], id="with blanks"),
        pytest.param(["--tag_only_container_names=third", "--container=first"], id="both"),
    ],
)
def test_a_tag_alone_can_be_limited_to_some_containers(sim: Simulator, cli: Cli, limits: list[str]) -> None:
    names = ("first", "second", "third")
    sim.task_definition("job", containers=[{"name": name, "image": "web:1", "memory": 64} for name in names])

    result = cli("-d", "job", "-to", "2", *limits)

    assert images(result.requests("RegisterTaskDefinition")) == ["web:2", "web:1", "web:2"]


def test_a_tag_alone_cannot_be_put_on_an_image_that_cannot_be_read(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "strange image!")

    result = cli("-d", "job", "-to", "2")

    assert result.code == 13
    assert "Unable to parse image name: strange image!" in result.err
    assert result.changes == []


@pytest.mark.parametrize("image", ["registry.example/shop/web:1", "web", "no image at all!"])
def test_an_image_beside_a_tag_alone_is_not_used_and_that_is_said(sim: Simulator, cli: Cli, image: str) -> None:
    sim.task_definition("job", "shop/job:1")

    result = cli("-d", "job", "-to", "2", "-i", image)

    assert result.code == 0
    assert sim.definitions.find("job").images == ["shop/job:2"]
    said = f"--image {image} is not used: --tag-only changes the tag of every image (or of each --container)."
    assert f"Warning: {said}" in result.err.splitlines()


# --- --eval-image, with the real bash


@pytest.mark.parametrize(
    ("image", "sent"),
    [
        pytest.param("web:`echo 2`", "web:2", id="backquotes"),
        pytest.param("web:$(echo 2)", "web:2", id="dollar and brackets"),
        pytest.param("web:$RELEASE", "web:v7", id="a variable"),
        pytest.param("web:${RELEASE#v}", "web:7", id="an expansion"),
        pytest.param("web:2", "web:2", id="nothing to run"),
    ],
)
def test_a_command_in_the_image_is_run_when_asked_for(sim: Simulator, cli: Cli, image: str, sent: str) -> None:
    sim.task_definition("job", "web:1")

    result = cli("-d", "job", "-i", image, "--eval-image", env={"RELEASE": "v7"})

    assert result.code == 0
    assert result.lines[0] == f"Using image name: {sent}"


def test_a_file_in_the_image_is_read_when_asked_for(sim: Simulator, cli: Cli, tmp_path: Any) -> None:
    (tmp_path / "VERSION").write_text("1.2.3\n")
    sim.task_definition("job", "web:1")

    result = cli("-d", "job", "-i", f"web:$(< {tmp_path}/VERSION)", "--eval-image")

    assert result.lines[0] == "Using image name: web:1.2.3"


def test_a_variable_in_the_image_is_the_callers() -> None:
    options = ecs_deploy.parse("", ["-d", "job", "-i", "web:$RELEASE", "--eval-image"], {**os.environ, "RELEASE": "v7"})

    assert options.edits.image == ImageReference("web", "v7")


@pytest.mark.skipif(os.name == "nt", reason="there is no kill")
def test_an_interrupt_while_a_command_in_the_image_runs_is_no_bug(cli: Cli) -> None:
    result = cli("-d", "job", "-i", "web:$(kill -INT $PPID)", "--eval-image")

    assert (result.code, result.operations) == (130, [])
    assert result.err == "Interrupted.\n"


def test_a_command_in_the_image_takes_nothing_from_what_the_program_was_given_to_read(cli: Cli) -> None:
    theirs, ours = os.dup(0), os.pipe()
    os.write(ours[1], b"7\n")
    os.close(ours[1])
    os.dup2(ours[0], 0)
    try:
        result = cli("-d", "job", "-i", "web:$(cat)", "--eval-image")
        left = os.read(0, 9)
    finally:
        os.dup2(theirs, 0)
        os.close(theirs)
        os.close(ours[0])

    assert (result.code, left) == (13, b"7\n")


@pytest.mark.parametrize("image", ["web:`echo 2`", "web:$(echo 2)"])
def test_a_command_in_the_image_is_not_run_unasked(cli: Cli, image: str) -> None:
    result = cli("-d", "job", "-i", image)

    assert result.code == 13
    assert result.err.splitlines() == [
        f"ERROR: The image contains a command, which is not run: {image}",
        f'Let your shell run it, in double quotes: -i "{image}"; or give --eval-image.',
    ]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        pytest.param("web:$(exit 3)", "A command in the image failed: web:$(exit 3)", id="a command that fails"),
        pytest.param("web:$(no-such-command-here)", "no-such-command-here: command not found", id="no such command"),
        pytest.param('web:1" ; echo "2', "Unable to parse image name", id="more than an image"),
        pytest.param("web:$(echo)", "Unable to parse image name: web:", id="a command that prints nothing"),
    ],
)
def test_a_command_that_gives_no_image_is_refused(cli: Cli, image: str, said: str) -> None:
    result = cli("-d", "job", "-i", image, "--eval-image")

    assert result.code == 13
    assert said in result.err
    assert result.calls == ()


def test_without_bash_a_command_cannot_be_run(cli: Cli, tmp_path: Any) -> None:
    result = cli("-d", "job", "-i", "web:`echo 2`", "--eval-image", env={"PATH": str(tmp_path)})

    assert result.code == 4
    assert result.err == "ERROR: --eval-image needs bash: No such file or directory\n"


# --- Properties

COMPONENTS = st.from_regex(r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*", fullmatch=True)
HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.[a-z]{2,3}(:[0-9]{1,5})?", fullmatch=True),
    st.just("localhost:5000"),
)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@st.composite
def references(draw: st.DrawFn) -> ImageReference:
    """Any reference that the grammar allows."""
    host = draw(st.one_of(st.just(""), HOSTS.map(lambda text: text + "/")))
    path = "/".join(draw(st.lists(COMPONENTS, min_size=1, max_size=4)))
    tag, digest = draw(st.one_of(st.just(""), TAGS)), draw(st.one_of(st.just(""), DIGESTS))
    return ImageReference(host + path, tag, digest)


@given(references())
def test_a_reference_is_read_back_from_its_spelling(reference: ImageReference) -> None:
    assert ImageReference.parse(str(reference)) == reference


@given(references(), TAGS)
def test_a_tag_changes_neither_registry_nor_repository(reference: ImageReference, tag: str) -> None:
    tagged = reference.with_tag(tag)

    assert tagged.repository() == reference.repository()
    assert (tagged.name, tagged.tag, tagged.digest) == (reference.name, tag, "")
    assert tagged.with_tag(tag) == tagged


@given(references())
def test_the_spelled_out_repository_is_the_same_repository(reference: ImageReference) -> None:
    spelled_out = ImageReference("/".join(reference.repository()))

    assert spelled_out.repository() == reference.repository()


@given(st.text("ab1/:@.-_ ", max_size=16))
def test_any_text_is_a_reference_or_refused_by_name(text: str) -> None:
    try:
        spelling = str(ImageReference.parse(text))
    except UsageError as error:
        spelling = error.message.removeprefix("Unable to parse image name: ")
    assert spelling == text


def images(requests: list[dict[str, Any]]) -> list[str]:
    """The images of the one definition that was sent."""
    (definition,) = requests
    return [container["image"] for container in definition["containerDefinitions"]]
