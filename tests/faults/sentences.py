"""What the program says of AWS's state, and what must hold when it says so: one table, a row per sentence.

A sentence that says "last seen" speaks of the newest answer that the program had received after its last write; every
other one of the state itself. Add a row where a new sentence is made; the pattern's named groups reach the check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.faults import WRITES
from tests.faults.schedules import definitions
from tests.faults.tracks import Track, View, view_of
from tests.faults.witness import WatchedWorld
from tests.faults.worlds import CONTAINER

ARN = r"arn:[\w:/.-]*[\w]"
ALL_DONE = "all else is done and stays"
LAST_SEEN = re.compile(r"\b(?:as|when) last seen\b|\blast seen\b")


@dataclass(frozen=True)
class Claim:
    """One sentence that was said: its parts, its line, and the service that it is about, as that is held to be."""

    world: WatchedWorld
    parts: dict[str, str]
    line: str
    track: Track | None
    view: View | None

    def __getitem__(self, name: str) -> str:
        return self.parts.get(name) or ""

    @property
    def of(self) -> Track:
        assert self.track is not None
        return self.track

    @property
    def seen(self) -> View:
        assert self.view is not None
        return self.view


@dataclass(frozen=True)
class Sentence:
    """A pattern of one sentence, and when it is true; `of_service`: whether it is about a service."""

    pattern: re.Pattern[str]
    holds: Callable[[Claim], bool]
    of_service: bool = True


def _row(pattern: str, holds: Callable[[Claim], bool], *, of_service: bool = True) -> Sentence:
    return Sentence(re.compile(pattern.replace("ARN", ARN), re.MULTILINE), holds, of_service)


def _is_on(claim: Claim) -> bool:
    return claim.seen.definition == claim["arn"]


def _is_back(claim: Claim) -> bool:
    service = claim.of.service  # where ECS tells no state, all that runs is all that can be known
    counted = service.hides_rollout_state and claim.seen.running == claim.seen.desired
    return claim.seen.definition == claim["arn"] and (claim.seen.completed or counted)


def _did_not_complete(claim: Claim) -> bool:
    """The service is not back, or goes; or it is back only since ECS took it there from a rollback that failed."""
    failed = any(update.after.rollout_state == "FAILED" for update in claim.of.rollbacks)
    return not _is_back(claim) or failed or claim.seen.status != "ACTIVE"


def _goes_on(claim: Claim) -> bool:
    primary = claim["id"] in ("", claim.seen.deployment)
    return primary and claim.seen.state == "IN_PROGRESS" and claim["arn"] in ("", claim.seen.definition)


def _is_complete(claim: Claim) -> bool:
    return claim["id"] in ("", claim.seen.deployment) and claim.seen.completed and _is_on(claim)


def _was_complete(claim: Claim) -> bool:
    """Ours; of a command that only looks, the one that it saw."""
    looks = claim.world.made.command.name == "status"
    return claim.of.ever_complete or (looks and (claim.seen.completed or claim.of.service.hides_rollout_state))


def _runs_unchanged(claim: Claim) -> bool:
    return claim.seen.completed and claim.seen.running >= claim.seen.desired


def _is_on_its_way_back(claim: Claim) -> bool:
    ours, release = claim.of.ours, claim.of.service.release
    return (ours is not None and claim.seen.deployment != ours.id) or release.status.startswith("ROLLBACK")


def _was_sent(claim: Claim) -> bool:
    return bool(claim.of.rollbacks or claim.of.stops)


def _is_scheduled(claim: Claim) -> bool:
    arns = definitions(claim.world)[claim["name"]]
    return set(claim["what"].split(", ")) <= {arn.rpartition("/")[2] for arn in arns}


def _nothing_ran(claim: Claim) -> bool:
    """No task of the deployment (of the rollback's, where that is what the sentence is about) did so in that time."""
    updates = claim.of.rollbacks if "rollback to" in claim.line else claim.of.forward
    if not updates:
        return True
    update, until_s = updates[-1], updates[-1].at_s + float(claim["seconds"])
    tasks = [task for task in claim.world.tasks.values() if task.started_by == update.after.id]
    healthy = claim["what"] == "healthy" and bool(update.after.definition.health_checks)
    times = [task.healthy_s if healthy else task.running_s for task in tasks]
    return not any(at_s is not None and update.at_s <= at_s <= until_s for at_s in times)


def _was_superseded(claim: Claim) -> bool:
    repeated = len(claim.of.forward) > 1  # its answer was lost
    return bool(claim.of.theirs) or repeated


def _is_not_ours(claim: Claim) -> bool:
    ours = claim.of.ours
    return ours is not None and claim.seen.deployment != ours.id


def _was_deregistered(claim: Claim) -> bool:
    """It is INACTIVE; if it is said to have failed, then no deployment of it ever completed."""
    definition = claim.world.definitions.find(claim["name"])
    if definition is None or definition.status == "ACTIVE":
        return False
    if claim["why"] == "that failed":
        return not any(
            d.definition is definition for t in claim.world.tracks.values() for _, d in t.service.completions
        )
    return claim["why"] == "" or not claim.world.uses_of(definition)


def _task_runs(claim: Claim) -> bool:
    """It runs, or stopped while the answers of calls were on their way that came after the last look at it."""
    task = claim.world.tasks.get(claim["arn"])
    return task is not None and (task.stays or (task.stopping_s or 0) >= claim.world.awake_since_s)


def _task_was_told(claim: Claim) -> bool:
    task = claim.world.tasks.get(claim["arn"])
    return task is not None and not task.stays


def _task_ended_well(claim: Claim) -> bool:
    task = claim.world.tasks.get(claim["arn"])
    if task is None or task.stopped_s is None:
        return False
    codes = [container.exit_code for container in task.containers if container.name == CONTAINER]
    return codes == [0] and task.stop_code == "EssentialContainerExited"


def _task_is_unknown(claim: Claim) -> bool:
    return claim.world.find_task(claim["arn"].split("/")[-2], claim["arn"]) is None


def _so_many_started(claim: Claim) -> bool:
    known = [task for task in claim.world.started if task.arn in claim.world.known]
    return claim.world.made.command.name == "app" or len(known) == int(claim["count"])


def _nothing_was_changed(claim: Claim) -> bool:
    calls = claim.world.calls[claim.world.first_call :]
    return not any(call.operation in WRITES and call.error_code is None for call in calls)


def _is_used(claim: Claim) -> bool:
    return claim["arn"] in claim.seen.used


def _is_all_done(claim: Claim) -> bool:
    """Every service that was updated runs our deployment, and every rule and schedule that was to run it does."""
    world = claim.world
    updated = [track for track in world.tracks.values() if track.updates]
    here = all(track.ever_ran or track.ever_complete or track.service.desired_count == 0 for track in updated)
    ours = {definition.arn for definition in world.registered}
    return here and (not world.made.scheduled or all(ours & set(arns) for arns in definitions(world).values()))


def _is_registered(claim: Claim) -> bool:
    definition = claim.world.definitions.find(claim["name"])
    return definition is not None and definition.status == "ACTIVE"


def _is_deleted(claim: Claim) -> bool:
    return claim.seen.status != "ACTIVE"


SENTENCES = (
    _row(r"still points at (?P<arn>ARN)", _is_on),
    _row(r"is back on (?P<arn>ARN), and stable", _is_back),
    _row(r"(?:failed and was|^  (?P<service>[\w-]+):) rolled back", lambda claim: claim.of.went_back),
    _row(r"unchanged, and stable", _runs_unchanged),
    _row(r"(?:deployment (?P<id>ecs-svc/\d+)[^\n]*)?\bgoes on(?:, as last seen)?,? to (?P<arn>ARN)", _goes_on),
    _row(r"(?:deployment (?P<id>ecs-svc/\d+)[^\n]*)?\bis complete, on (?P<arn>ARN)", _is_complete),
    _row(r"the rollback of deployment \S+ of service (?P<service>\S+) was sent", _was_sent),
    _row(r"the rollback was sent", _was_sent),
    _row(r"is going back already|the service is going back|the service went back", _is_on_its_way_back),
    _row(r"Not rolled back: (?P<id>ecs-svc/\d+) is the service's PRIMARY", lambda c: c.seen.deployment == c["id"]),
    _row(r"our deployment is not the service's PRIMARY any more", _is_not_ours),
    _row(r"Somebody else deployed in the meantime|was superseded", _was_superseded),
    _row(r"Service deployment successful\.", _was_complete),
    _row(r"The rollback to (?P<arn>ARN) did not complete", _did_not_complete),
    _row(r"no task of the new deployment was (?P<what>running|healthy) within (?P<seconds>[\d.]+)", _nothing_ran),
    _row(r"(?P<arn>ARN) is left ACTIVE: a deployment of the service still uses it", _is_used),
    _row(r"the service was deleted|the service is being deleted|The service \S+ was deleted", _is_deleted),
    _row(
        r"Deregistered (?P<name>[\w:-]+)(?:, a revision (?P<why>that failed|that no service uses|that nothing uses))?",
        _was_deregistered,
        of_service=False,
    ),
    _row(r"The new revision (?P<name>\S+) stays registered", _is_registered, of_service=False),
    _row(r"the task (?P<arn>ARN) goes on|Task (?P<arn_2>ARN) did not stop within", _task_runs, of_service=False),
    _row(r"the task (?P<arn>ARN) is being stopped", _task_was_told, of_service=False),
    _row(r"Task (?P<arn>ARN) executed successfully!", _task_ended_well, of_service=False),
    _row(r"ECS does not know the task (?P<arn>ARN)", _task_is_unknown, of_service=False),
    _row(r"(?P<count>\d+) of \d+ tasks were started", _so_many_started, of_service=False),
    _row(ALL_DONE, _is_all_done, of_service=False),
    _row(r"[Nn]othing was changed", _nothing_was_changed, of_service=False),
    _row(
        r"^The (?P<name>(?:rule|schedule) \S+) (?:was put back: it )?runs (?P<what>\S+:\d+(?:, \S+:\d+)*)(?: again)?\.",
        _is_scheduled,
        of_service=False,
    ),
)


def untrue(world: WatchedWorld, text: str) -> Iterator[str]:
    """The sentences of the text that do not hold now, each with what is so instead."""
    for sentence in SENTENCES:
        for match in sentence.pattern.finditer(text):
            if wrong := _untrue(world, text, sentence, match):
                yield wrong


def _untrue(world: WatchedWorld, text: str, sentence: Sentence, match: re.Match[str]) -> str:
    parts = {name.removesuffix("_2"): value for name, value in match.groupdict().items() if value}
    tracks = _tracks_of(world, text, match) if sentence.of_service else [None]
    line = text[text.rfind("\n", 0, match.start()) + 1 :].partition("\n")[0]
    claims = [Claim(world, parts, line, track, view) for track in tracks for view in _views(track, line)]
    if not claims or any(sentence.holds(claim) for claim in claims):
        return ""
    so = "; ".join(f"{track.name} is {view_of(track.service)}" for track in tracks if track)
    return f"{match[0]!r} {so}".rstrip()


def _views(track: Track | None, line: str) -> list[View | None]:
    """As what the service counts: as it is, or as it was on the answer's way; where that is said, as it was shown."""
    if track is None:
        return [None]
    views: list[View | None] = [view_of(track.service)]
    if LAST_SEEN.search(line):
        return [*views, track.shown, track.shown_fresh] if track.shown else views
    return [*views, track.at_last_call] if track.at_last_call else views


def _tracks_of(world: WatchedWorld, text: str, match: re.Match[str]) -> list[Track]:
    """The service that a sentence is about: named in it, in its line, or nearest to it; all where none is named."""
    tracks = list(world.tracks.values())
    if len(tracks) == 1:
        return tracks
    named = match.groupdict().get("service")
    lines = text.split("\n")
    here = text.count("\n", 0, match.start())
    nearest = [lines[here], *lines[max(0, here - 1) : here], *lines[here + 1 : here + 4], *reversed(lines[:here])]
    for line in [named or "", *nearest]:
        if found := [track for track in tracks if _names(line, track)]:
            return found[:1]
    return tracks


def _names(line: str, track: Track) -> bool:
    ids = set(re.findall(r"ecs-svc/\d+", line)) & track.known_deployments
    words = rf"(?:^|\bservice[ /]|--service ){re.escape(track.name)}(?=[\s:,.;]|$)"
    return bool(ids or re.search(words, line.strip()))
