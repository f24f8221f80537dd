"""Credentials, regions, errors of AWS in one sentence, and how often a call is tried."""

from __future__ import annotations

import io
import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ecs_deploy
from tests.conftest import Cli, SimClock
from tests.simulator import AwsError, Call, Fault, Simulator
from tests.vocabulary import NO_UTF_8

Json = dict[str, Any]
DEPLOY = ("-c", "prod", "-n", "web", "-i", "app:2")
ROLE = "arn:aws:iam::123456789012:role/deployer"
SETTINGS = "Check the profile, the credentials and the region."
NETWORK = "Check the network, the proxy and the region's name, and try again."
BUDGET = "Other programs use the same account's budget of calls; try again in a minute."
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.fixture
def web(sim: Simulator) -> Simulator:
    """A service of one task."""
    sim.service("prod", "web", image="app:1")
    return sim


def keys(calls: tuple[Call, ...], service: str = "ecs") -> set[str]:
    """The access keys that the calls were signed with."""
    return {call.access_key for call in calls if call.service == service}


def write_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Have the AWS configuration file say that."""
    file = tmp_path / "config"
    file.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))


# --- Credentials


def test_credentials_come_from_the_environment(web: Simulator, cli: Cli) -> None:
    assert keys(cli(*DEPLOY).calls) == {"AKIASIMULATED"}


def test_keys_that_are_given_win_over_the_environment(web: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "-k", "AKIAGIVEN", "-s", "given-secret-canary", "-v")

    assert result.code == 0
    assert keys(result.calls) == {"AKIAGIVEN"}
    assert "given-secret-canary" not in result.out + result.err


def test_a_profile_of_the_configuration_file_is_used(
    web: Simulator, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = "[profile staging]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\nregion = us-east-1\n"
    write_config(monkeypatch, tmp_path, profile)

    result = cli(*DEPLOY, "-p", "staging", env={**NO_KEYS, "AWS_DEFAULT_REGION": None})

    assert result.code == 0
    assert keys(result.calls) == {"AKIAPROFILE"}


def test_a_profile_that_does_not_exist_is_an_error(cli: Cli) -> None:
    result = cli(*DEPLOY, "-p", "nobody")

    assert result.code == 24
    assert result.err.splitlines() == [
        "ERROR: AWS cannot be used with these settings: The config profile (nobody) could not be found",
        SETTINGS,
    ]


def test_only_the_role_of_the_instance_is_used_where_that_is_asked_for(web: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "--aws-instance-profile", env=web.environment(metadata=True))

    (key,) = keys(result.calls)
    assert result.code == 0
    assert key.startswith("ASIA")


def test_the_role_of_a_container_is_used_too(web: Simulator, cli: Cli) -> None:
    result = cli(
        *DEPLOY, "--aws-instance-profile", env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{web.url}/v2/credentials/x"}
    )

    (key,) = keys(result.calls)
    assert result.code == 0
    assert key.startswith("ASIA")


def test_without_a_role_the_environment_is_no_substitute(cli: Cli) -> None:
    result = cli(*DEPLOY, "--aws-instance-profile")

    assert result.code == 24
    assert "ERROR: No AWS credentials were found" in result.err


@pytest.mark.parametrize("role", [[], ["-a", ROLE]], ids=["plain", "with a role to assume"])
def test_without_credentials_it_says_where_to_put_them(web: Simulator, cli: Cli, role: list[str]) -> None:
    result = cli(*DEPLOY, *role, env=NO_KEYS)

    assert result.code == 24
    assert result.err.splitlines() == [
        "ERROR: No AWS credentials were found",
        "Give -k and -s or -p, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role.",
    ]
    assert result.calls == ()


def test_half_a_key_in_the_environment_is_an_error(cli: Cli) -> None:
    result = cli(*DEPLOY, env={"AWS_SECRET_ACCESS_KEY": ""})

    assert result.code == 24
    assert "ERROR: No AWS credentials were found" in result.err


# --- Roles


def test_a_role_is_assumed_first(web: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "-a", ROLE)

    (request,) = result.requests("AssumeRole")
    assert result.code == 0
    assert (request["RoleArn"], request["RoleSessionName"]) == (ROLE, "ecs-deploy")
    assert keys(result.calls, "sts") == {"AKIASIMULATED"}
    assert keys(result.calls) == {key for key in keys(result.calls) if key.startswith("ASIA")}


def test_a_role_is_assumed_with_the_keys_that_are_given(web: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "-a", ROLE, "-k", "AKIAGIVEN", "-s", "x")

    assert result.code == 0
    assert keys(result.calls, "sts") == {"AKIAGIVEN"}


def test_a_role_is_assumed_by_a_profile(
    web: Simulator, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(monkeypatch, tmp_path, "[profile ci]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n")

    result = cli(*DEPLOY, "-a", ROLE, "-p", "ci")

    assert result.code == 0
    assert keys(result.calls, "sts") == {"AKIAPROFILE"}


def test_the_credentials_of_a_role_renew_themselves_during_the_wait(web: Simulator, cli: Cli) -> None:
    """botocore compares their end with the wall clock: credentials that end in a minute are renewed at each call."""
    web.world.credentials_life_s = 60
    web.image("app:2").starts_after(40)

    result = cli(*DEPLOY, "-a", ROLE)

    assert result.code == 0
    assert len(result.requests("AssumeRole")) > 1
    assert not [call for call in result.calls if call.error_code]


def test_a_role_that_may_not_be_assumed_is_an_error(web: Simulator, cli: Cli) -> None:
    web.deny("sts:AssumeRole")

    result = cli(*DEPLOY, "-a", ROLE)

    assert result.code == 24
    assert re.fullmatch(
        r"ERROR: AWS denied AssumeRole: User: \S+ is not authorized to perform: sts:AssumeRole on .*\n"
        r"Allow sts:AssumeRole in the IAM policy of these credentials\.\n",
        result.err,
    )
    assert result.operations == ["AssumeRole"]


@pytest.mark.parametrize("options", [(), ("-a", ROLE)], ids=["own keys", "a role"])
def test_a_refusal_that_repeats_the_credentials_is_shown_without_them(
    web: Simulator, cli: Cli, options: tuple[str, ...]
) -> None:
    def repeat(_index: int, operation: str, _params: Json) -> AwsError | None:
        message = f"The canonical string was: {web.senders[-1].session_token}/x, 12345"
        return AwsError("InvalidSignatureException", message, 403) if operation == "DescribeServices" else None

    web.world.on_call = repeat

    result = cli(*DEPLOY, *options, env={"AWS_SECRET_ACCESS_KEY": "12345", "AWS_SESSION_TOKEN": "canary-token"})

    assert result.code == 24
    assert "The canonical string was: ***/x, ***)" in result.err


# --- Regions


def test_a_region_that_is_given_wins(web: Simulator, cli: Cli) -> None:
    result = cli("-c", "nowhere", "-n", "web", "-i", "app:2", "-r", "eu-central-1")

    assert result.code == 24
    assert "The cluster nowhere was not found in eu-central-1" in result.err


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_region_comes_from_the_environment(web: Simulator, cli: Cli, name: str) -> None:
    result = cli("-c", "nowhere", "-n", "web", "-i", "app:2", env={"AWS_DEFAULT_REGION": "", name: "eu-north-1"})

    assert result.code == 24
    assert "The cluster nowhere was not found in eu-north-1" in result.err


def test_without_a_region_it_says_how_to_give_one(cli: Cli) -> None:
    result = cli(*DEPLOY, env={"AWS_DEFAULT_REGION": ""})

    assert result.code == 24
    assert result.err.splitlines() == [
        "ERROR: No AWS region is set",
        "Give -r REGION, or set AWS_DEFAULT_REGION.",
    ]


@pytest.mark.parametrize("region", ["us east 1", "us-east-1/../x"])
def test_a_region_that_cannot_be_one_is_an_error(cli: Cli, region: str) -> None:
    result = cli(*DEPLOY, "-r", region)

    assert result.code == 24
    said = f"Provided region_name '{region}' doesn't match a supported format."
    assert result.err.splitlines() == [f"ERROR: AWS cannot be used with these settings: {said}", SETTINGS]


# --- Errors


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        pytest.param(
            AwsError("ExpiredTokenException", "The security token included in the request is expired"),
            [
                "ERROR: The AWS credentials have expired (DescribeServices)",
                "Get new credentials and run again. With -a/--aws-assume-role they renew themselves during the wait.",
            ],
            id="expired",
        ),
        *(
            pytest.param(
                AwsError(code, "too late", 403),
                [
                    "ERROR: The AWS credentials have expired (DescribeServices)",
                    "Get new credentials and run again."
                    " With -a/--aws-assume-role they renew themselves during the wait.",
                ],
                id=f"expired as {code}",
            )
            for code in ("ExpiredToken", "RequestExpired")
        ),
        *(
            pytest.param(
                AwsError(code, "who is this", 401),
                [
                    "ERROR: AWS does not accept these credentials (DescribeServices: who is this)",
                    "Check the access key, the secret key and the session token; they must belong together.",
                ],
                id=f"unknown key as {code}",
            )
            for code in ("InvalidClientTokenId", "AuthFailure")
        ),
        pytest.param(
            AwsError("UnrecognizedClientException", "The security token included in the request is invalid."),
            [
                "ERROR: AWS does not accept these credentials (DescribeServices: The security token included in the"
                " request is invalid.)",
                "Check the access key, the secret key and the session token; they must belong together.",
            ],
            id="unknown key",
        ),
        pytest.param(
            AwsError("SignatureDoesNotMatch", "no match", 403),
            [
                "ERROR: AWS does not accept these credentials (DescribeServices: no match)",
                "Check the access key, the secret key and the session token; they must belong together.",
            ],
            id="wrong secret",
        ),
        pytest.param(
            AwsError("RequestTimeTooSkewed", "The difference is too large.", 403),
            [
                "ERROR: AWS refused DescribeServices: this machine's clock is wrong (The difference is too large.)",
                "Set the clock.",
            ],
            id="a wrong clock",
        ),
        pytest.param(
            AwsError("InvalidSignatureException", "Signature expired: 20261121T1 is now earlier than 20261121T2", 403),
            [
                "ERROR: AWS refused DescribeServices: this machine's clock is wrong"
                " (Signature expired: 20261121T1 is now earlier than 20261121T2)",
                "Set the clock.",
            ],
            id="a clock that is late",
        ),
        pytest.param(
            AwsError("InvalidSignatureException", "Signature not yet current: 20261121T2 is still later", 403),
            [
                "ERROR: AWS refused DescribeServices: this machine's clock is wrong"
                " (Signature not yet current: 20261121T2 is still later)",
                "Set the clock.",
            ],
            id="a clock that is early",
        ),
        pytest.param(
            AwsError("AccessDeniedException", "explicit deny in a service control policy"),
            [
                "ERROR: AWS denied DescribeServices: explicit deny in a service control policy",
                "Allow ecs:DescribeServices in the IAM policy of these credentials.",
            ],
            id="denied, no action named",
        ),
        pytest.param(
            AwsError("AccessDenied", "no", 403),
            [
                "ERROR: AWS denied DescribeServices: no",
                "Allow ecs:DescribeServices in the IAM policy of these credentials.",
            ],
            id="denied in fewer words",
        ),
        pytest.param(
            AwsError("UnauthorizedOperation", "no", 403),
            [
                "ERROR: AWS denied DescribeServices: no",
                "Allow ecs:DescribeServices in the IAM policy of these credentials.",
            ],
            id="denied as EC2 says it",
        ),
        pytest.param(
            AwsError("AccessDeniedException", "User: x is not authorized to perform: kms:Decrypt on resource: y"),
            [
                "ERROR: AWS denied DescribeServices: User: x is not authorized to perform: kms:Decrypt on resource: y",
                "Allow kms:Decrypt in the IAM policy of these credentials.",
            ],
            id="denied, another action named",
        ),
        pytest.param(
            AwsError("InvalidParameterException", "Identifier is for 123. Your accountId is 456"),
            [
                "ERROR: AWS refused DescribeServices: Identifier is for 123. Your accountId is 456"
                " (InvalidParameterException)"
            ],
            id="anything else",
        ),
    ],
)
def test_an_error_of_aws_is_one_sentence_and_what_to_do_next(
    web: Simulator, cli: Cli, error: AwsError, lines: list[str]
) -> None:
    web.world.on_call = lambda index, operation, params: error

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.err.splitlines() == lines
    assert result.operations == ["DescribeServices"]


@pytest.mark.parametrize(
    ("fault", "said", "hint"),
    [
        pytest.param(
            Fault.THROTTLED, "AWS throttled DescribeServices (Rate exceeded)", BUDGET, id="throttled",
        ),
        pytest.param(
            AwsError("RequestThrottled", "too fast"), "AWS throttled DescribeServices (too fast)", BUDGET,
            id="another throttle",
        ),
        pytest.param(
            AwsError("Busy", "too fast", 429), "AWS throttled DescribeServices (too fast)", BUDGET, id="status 429"
        ),
        pytest.param(
            Fault.SERVER_ERROR,
            "AWS had an error of its own in DescribeServices: Service Unavailable. Please try again later."
            " (ServerException)", "Try again.", id="an error of AWS",
        ),
        pytest.param(
            Fault.DROP_BEFORE,
            "AWS was not reached (DescribeServices): Connection was closed before we received a valid response from"
            ' endpoint URL: "{url}/".', NETWORK, id="a closed connection",
        ),
        pytest.param(
            NO_UTF_8, "An answer cannot be read (DescribeServices); something between here and AWS may have"
            " replaced it", NETWORK, id="a page of a proxy",
        ),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_five_times(
    web: Simulator, cli: Cli, clock: SimClock, fault: Any, said: str, hint: str
) -> None:
    web.world.on_call = lambda index, operation, params: fault

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.operations == ["DescribeServices"] * 5
    assert result.err.splitlines() == [f"ERROR: {said.format(url=web.url)}", hint]
    assert len(clock.slept) == len(result.calls) - 1


def test_before_each_further_attempt_it_waits_a_part_of_twice_as_long_up_to_eight_seconds(
    web: Simulator, cli: Cli, clock: SimClock
) -> None:
    web.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR
    random.seed(8)
    parts = [random.random() for _ in range(6)]
    random.seed(8)

    result = cli(*DEPLOY, env={"AWS_MAX_ATTEMPTS": "7"})

    assert result.code == 24
    assert clock.slept == [part * longest for part, longest in zip(parts, (1, 2, 4, 8, 8, 8), strict=True)]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("TooManyRequestsException", 400),
        ("RequestLimitExceeded", 503),
        ("SlowDown", 503),
        ("Throttling", 400),
        ("Busy", 429),
    ],
)
def test_a_throttle_is_one_by_whatever_name(web: Simulator, cli: Cli, code: str, status: int) -> None:
    refusal = AwsError(code, "Not so fast", status)
    web.world.on_call = lambda index, operation, params: refusal if operation == "RegisterTaskDefinition" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "ERROR: AWS throttled RegisterTaskDefinition (Not so fast)\n" in result.err
    assert result.operations.count("RegisterTaskDefinition") > 20  # for ten minutes


def test_what_passes_in_time_is_not_an_error(web: Simulator, cli: Cli) -> None:
    web.world.on_call = lambda index, operation, params: Fault.THROTTLED if index < 4 else None

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.operations[:6] == ["DescribeServices"] * 5 + ["DescribeTaskDefinition"]


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"AWS_MAX_ATTEMPTS": "2"}, id="attempts"),
        pytest.param({"AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "adaptive"}, id="adaptive"),
        pytest.param({"AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "legacy"}, id="legacy"),
    ],
)
def test_the_attempts_of_the_environment_are_kept(web: Simulator, cli: Cli, environment: dict[str, str]) -> None:
    web.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR

    result = cli(*DEPLOY, env=environment)

    assert result.code == 24
    assert result.operations == ["DescribeServices"] * 2


def test_attempts_that_are_no_number_are_an_error(cli: Cli) -> None:
    result = cli(*DEPLOY, env={"AWS_MAX_ATTEMPTS": "many"})

    assert result.code == 24
    said = "invalid literal for int() with base 10: 'many'"
    assert result.err.splitlines() == [f"ERROR: AWS cannot be used with these settings: {said}", SETTINGS]


def test_a_long_list_is_read_to_its_end(sim: Simulator, cli: Cli) -> None:
    for number in range(7):
        sim.cluster(f"cluster-{number}")

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.operations == ["DescribeServices"] + ["ListClusters"] * 4
    assert "cluster-0, cluster-1, cluster-2, cluster-3, cluster-4, cluster-5, cluster-6" in result.err


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of this machine at which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def test_an_address_that_nobody_answers_at_is_an_error(cli: Cli, clock: SimClock, silent_port: int) -> None:
    result = cli(*DEPLOY, env={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent_port}"})

    assert result.code == 24
    said = f'Could not connect to the endpoint URL: "http://127.0.0.1:{silent_port}/"'
    assert result.err.splitlines() == [f"ERROR: AWS was not reached (DescribeServices): {said}", NETWORK]
    assert len(clock.slept) == 4


def test_an_address_that_is_none_is_an_error(cli: Cli) -> None:
    result = cli(*DEPLOY, env={"AWS_ENDPOINT_URL": "not an address"})

    assert result.code == 24
    said = "AWS cannot be used with these settings: Invalid endpoint: not an address"
    assert result.err.splitlines() == [f"ERROR: {said}", SETTINGS]


# --- Without boto3, and as a command


def test_without_botocore_nothing_is_called(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    result = cli(*DEPLOY)

    assert result.code == 4
    assert "please install boto3" in result.err


@pytest.mark.slow
def test_without_boto3_it_says_how_to_install_it(tmp_path: Path) -> None:
    for name in ("boto3", "botocore"):
        (tmp_path / f"{name}.py").write_text(
            f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, ecs_deploy.__file__, *DEPLOY], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 4
    assert "ERROR: Some of the required software is not installed: please install boto3" in done.stderr
    assert "pip install boto3   (No module named 'boto" in done.stderr


@pytest.mark.slow
def test_the_file_itself_is_the_command() -> None:
    """In real time, against a local ECS of its own."""
    with Simulator(real_time=True, rate=20) as simulator:
        simulator.service("prod", "web", image="app:1")
        environment = {"PATH": os.environ["PATH"], **simulator.environment()}
        done = subprocess.run(
            [sys.executable, ecs_deploy.__file__, *DEPLOY], env=environment, capture_output=True, text=True, check=False
        )

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Service deployment successful.")


def test_real_time_and_the_streams_of_the_process_are_the_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Simulator(real_time=True, rate=100) as simulator:
        simulator.service("prod", "web", image="app:1")
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["ecs-deploy", *DEPLOY, "--skip-deployments-check"])
        with pytest.raises(SystemExit) as ended:
            ecs_deploy.command()

    captured = capsys.readouterr()
    assert ended.value.code == 0
    assert "Service updated successfully, new task definition running.\n" in captured.out
    assert "] new: " in captured.err


def test_nothing_is_read_from_the_input(web: Simulator, cli: Cli) -> None:
    assert cli(*DEPLOY, stdin="").code == 0
    assert isinstance(sys.stdin, io.StringIO)
    assert sys.stdin.tell() == 0


def test_the_command_ignores_empty_variables_that_would_hide_a_profiles_settings(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sim.service("prod", "web")
    config = tmp_path / "config"
    config.write_text("[default]\nregion = us-east-1\n")
    settings = {**sim.environment(), "AWS_CONFIG_FILE": str(config), "AWS_DEFAULT_REGION": "", "AWS_PROFILE": ""}
    for name, value in {**settings, "RELEASE": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["ecs-deploy", "-c", "prod", "-n", "web", "-i", "app:2", "--dry-run"])

    with pytest.raises(SystemExit) as ended:
        ecs_deploy.command()

    assert ended.value.code == 0
    assert "Dry run: nothing was changed." in capsys.readouterr().out
    assert os.environ["RELEASE"] == ""


@pytest.mark.slow
def test_a_reader_that_leaves_early_does_not_change_the_exit_code(sim: Simulator) -> None:
    env = {"PATH": os.environ["PATH"], **sim.environment()}
    command = f"{sys.executable} {Path(ecs_deploy.__file__)} --help | head -n 1; exit ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_instances_role_is_not_looked_for_in_a_profile(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web")
    env = {**sim.environment(metadata=True, keys=False), "AWS_PROFILE": "nope", "AWS_ACCESS_KEY_ID": None}

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "--aws-instance-profile", env=env)

    assert result.code == 0


def test_a_stream_that_is_closed_does_not_change_the_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    closed = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "argv", ["ecs-deploy", "--version"])

    with pytest.raises(SystemExit) as ended:
        ecs_deploy.command()

    assert ended.value.code == 0
    closed.close()
