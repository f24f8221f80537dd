"""Safety under every fault, and success when the faults are gone: 100 seeds here, any number by hand.

    python -m tests.test_faults --seeds 1000000 [--first N] [--jobs 2]

A failure prints its seed; `python -m tests.test_faults --first SEED --seeds 1` plays that one alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.faults import Campaign, Finding, environment, scenario
from tests.faults.offers import Unreadable, read
from tests.simulator import Simulator
from tests.simulator.errors import Json

CHUNK = 25
SEEDS = 100


@pytest.fixture
def campaign(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Campaign]:
    for name, value in environment(sim).items():
        monkeypatch.setenv(name, value)
    yield Campaign(sim)
    sim.reset()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_fault_makes_it_lie_or_leave_a_mess(campaign: Campaign, first: int) -> None:
    wrong = list(filter(None, (campaign.check(scenario(seed)) for seed in range(first, first + CHUNK))))

    assert wrong == [], "\n\n".join(finding.text for finding in wrong)


OFFERS = {
    "aws ecs update-service --cluster c --service s --desired-count 2 --force-new-deployment --region us-east-1": {
        "cluster": "c", "service": "s", "desiredCount": 2, "forceNewDeployment": True,
    },
    """aws ecs update-service --service s --deployment-configuration '{"maximumPercent": 150}' --profile p""": {
        "service": "s", "deploymentConfiguration": {"maximumPercent": 150},
    },
    "aws ecs update-service --service s --no-enable-execute-command": {"service": "s", "enableExecuteCommand": False},
    "aws ecs stop-task --cluster c --task arn:t --reason 'not any more'": {
        "cluster": "c", "task": "arn:t", "reason": "not any more",
    },
    "aws ecs update-service --service s --desired-count two": None,
    "aws ecs update-service --service s --desired-count": None,
    "aws ecs update-service --service s --task-def d": None,
    "aws ecs update-service --cluster c": None,
    "aws ecs undo-service --service s": None,
    "aws ecs stop-task --task 'arn:t": None,
    "aws logs tail group": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "params"), OFFERS.items(), ids=OFFERS)
def test_offers_are_read_as_strictly_as_the_aws_cli_reads_them(text: str, params: Json | None) -> None:
    if params is not None:
        assert read(text).params == params
        return
    with pytest.raises(Unreadable):
        read(text)


def test_a_seed_always_makes_the_same_scenario() -> None:
    assert [scenario(seed) for seed in range(50)] == [scenario(seed) for seed in range(50)]


def play(first: int, count: int) -> list[Finding]:
    """What is wrong with these seeds, in a process of its own."""
    with tempfile.TemporaryDirectory() as home, Simulator() as sim:
        for name in [name for name in os.environ if name.startswith(("AWS_", "BOTO", "GITHUB_", "INPUT_"))]:
            del os.environ[name]
        files = {"HOME": home, "AWS_CONFIG_FILE": f"{home}/none", "AWS_SHARED_CREDENTIALS_FILE": f"{home}/none"}
        os.environ.update({**environment(sim), **files})
        campaign = Campaign(sim)
        return [found for seed in range(first, first + count) if (found := campaign.check(scenario(seed)))]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.test_faults", description="Play seeds; print what is wrong.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="how many processes (default: %(default)s)")
    options = parser.parse_args(argv)
    starts = range(options.first, options.first + options.seeds, CHUNK)
    counts = [min(CHUNK, options.first + options.seeds - start) for start in starts]
    begun_s, wrong, rules = time.monotonic(), 0, Counter[str]()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, found in enumerate(pool.map(play, starts, counts), 1):
            wrong += len(found)
            rules.update(rule for finding in found for rule in finding.rules)
            print(*(finding.text for finding in found), sep="\n\n", end="\n\n" if found else "", flush=True)
            if sys.stderr.isatty():
                print(f"\r{sum(counts[:done])} seeds, {wrong} wrong", end="", file=sys.stderr, flush=True)
    for rule, count in rules.most_common():
        print(f"{count:6} × {rule}")
    spent_s = time.monotonic() - begun_s
    print(f"{options.seeds} seeds in {spent_s:.0f} s ({options.seeds / spent_s:.0f} a second), {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
