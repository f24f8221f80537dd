"""What must hold at the end of a run, whatever happened: judged from the simulator's own state, one function a rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ecs_deploy import Exit
from tests.faults.faults import MOVES, WRITES, Faults
from tests.faults.offers import offers_in
from tests.faults.runs import Run
from tests.faults.schedules import judged
from tests.faults.tracks import Track
from tests.faults.worlds import CANARY, CONTAINER, NEW, OLD, SERVICE, image
from tests.simulator.errors import Json

RETRY_DELAY_S = 15.0
"""The longest delay after one failed attempt."""
UNREACHED_S = 15.0
"""The longest that all attempts of a call take together which AWS never sees, so that none of them is counted."""
RETRIED = ("ThrottlingException", "ServerException", "Dropped")
SLACK_S = 5.0


def judge(run: Run) -> None:
    """Add to `run.wrongs` what must not be, whatever happened."""
    run.wrongs += run.world.wrongs
    run.wrongs += [("the simulator answers as ECS would", violation) for violation in run.world.violations]
    for rule in _RULES:
        name = rule.__name__.strip("_").replace("_", " ")
        run.wrongs += [(name, wrong) for wrong in rule(run)]


# --- What it prints


def _keeps_secrets(run: Run) -> Iterator[str]:
    said = run.said + run.written
    if CANARY in said:
        found = said[max(0, said.index(CANARY) - 100) :][:180]
        yield f"a secret was printed: {found!r}"


def _knows_what_it_does(run: Run) -> Iterator[str]:
    if "Traceback (most recent call last)" in run.said or run.code == Exit.BUG:
        yield "a traceback"
    if run.code is not None and run.code not in set(Exit) and "--propagate-exit-code" not in run.argv:
        yield f"{run.code} is no documented exit code"
    if run.wants_json:
        try:
            document = json.loads(run.out)
        except ValueError as error:
            yield f"stdout is no JSON document: {error}"
            return
        if document["exit_code"] != run.code:
            yield f"the document says {document['exit_code']}, the exit code is {run.code}"


_QUOTES = re.compile(
    r"^> \w+ \{|^ *(?:[0-9a-f]{8} )?(?:[\w-]+ )?\| |event: |^ *(?:[\w -]+: +)?[~+-] |^Would (?:register|send \w+): "
    r"|(?:stopped|failed|ended well|rolled back|rollback|going back|went back(?: to this)?): |\d+ × |did not complete: "
    r"|AWS (?:refused|denied|throttled|does not accept|had an error|was not reached|cannot be used)"
    r"|^x-amz-[\w-]+:"  # a line of the request that a refusal of AWS repeats
)
"""What comes before the words of somebody else: AWS's, a log's, a request's, a definition's."""
_OWN_MEMBERS = ("verdict", "service", "cluster", "deployment_id", "exit_code", "name", "result", "new_task_definition")


def _prints_its_own_words_whole(run: Run) -> Iterator[str]:
    if not run.world.made.is_wordy:
        return
    for line in run.said.splitlines() if not run.wants_json else run.err.splitlines():
        if "***" in line and not _QUOTES.search(line[: line.index("***")]):
            yield f"masked in our own words: {line[:160]!r}"
    for offer in offers_in(run.said):
        if "***" in offer:
            yield f"masked in a command: {offer!r}"
    if run.wants_json:
        yield from _masked_members(json.loads(run.out))


def _masked_members(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            if "***" in name or (name in _OWN_MEMBERS and "***" in str(member)):
                yield f"masked in the document: {name}: {str(member)[:80]}"
            yield from _masked_members(member)
    elif isinstance(value, list):
        for member in value:
            yield from _masked_members(member)


def _names_it_in_the_document(run: Run) -> Iterator[str]:
    """Whatever was begun in AWS stands in the JSON document, however the run ended."""
    if not run.wants_json:
        return
    for track in run.world.tracks.values():
        if track.forward and track.forward[-1].answered and track.forward[-1].after.id not in run.out:
            yield f"the document does not name the deployment {track.forward[-1].after.id} of {track.name}"
    for task in run.world.started:
        if task.arn in run.world.known and task.stays and task.arn not in run.out:
            yield f"the document does not name the task {task.arn}"
    previous = json.loads(run.out).get("previous_task_definition")
    if run.world.made.command.name == "service" and previous is not None:
        [track] = run.world.tracks.values()
        if previous != track.old.arn and not track.acts:
            yield f"the document says that {previous} ran before; it was {track.old.arn}"


# --- How it ends


def _exits_0_only_if_asked_for_state_was_there(run: Run) -> Iterator[str]:
    world, made = run.world, run.world.made
    if run.code != Exit.OK:
        return
    if made.has("--dry-run"):
        if any(call.operation in (*WRITES, *MOVES) for call in world.calls[world.first_call :]):
            yield "a dry run changed something"
        return
    for track in world.tracks.values():
        yield from (_DAY_AFTER.get(made.command.name) or _as_asked)(run, track)
    yield from _tasks_as_asked(run)
    if made.command.name == "definition" and not world.registered:
        yield "nothing was registered"


def _as_asked(run: Run, track: Track) -> Iterator[str]:
    """The deployment was complete (the service runs, where nothing was to change), and all is as asked."""
    made, ours = run.world.made, track.ours
    if not _is_touched(run, track):
        if not track.ever_full:
            yield f"{track.name} is unchanged, and only {track.service.primary.running_count} of its tasks ran"
        return
    if ours is None:
        yield f"no update of {track.name} was carried out"
        return
    reached = track.ever_complete or ours.definition is track.updates[0].before.definition
    if made.has("--skip-deployments-check"):
        reached = reached or track.ever_ran or track.service.desired_count == 0 or "scales" in track.acts
    if not reached:
        yield f"our deployment {ours.id} is {ours.rollout_state}, of the service's {len(track.service.deployments)}"
    if made.command.name == "service":
        yield from _numbers_as_asked(run, track)


def _is_steady(run: Run, track: Track) -> Iterator[str]:
    """What was shown last of a service that is told to be steady was so; --wait is content with a good end."""
    shown = track.shown_fresh or track.shown
    if (
        shown is not None
        and not run.world.made.has("--wait")
        and not (shown.completed and shown.running >= shown.desired)
    ):
        yield f"{track.name} was told to be steady; it was shown as {shown}"


def _is_gone_back(run: Run, track: Track) -> Iterator[str]:
    """What was gone back to completed; or nothing was sent, and it runs, or ECS goes back by itself."""
    made, ours = run.world.made, track.ours
    if made.has("--list") or made.has("--no-wait") or track.stops:
        return
    if ours is not None and not track.ever_complete:
        yield f"the way back {ours.id} of {track.name} is {ours.rollout_state}"
    if ours is None and not track.ever_full:
        yield f"{track.name} was left alone, and only {track.service.primary.running_count} of its tasks ran"


_DAY_AFTER = {"status": _is_steady, "rollback": _is_gone_back}


def _changes_nothing_where_it_only_looks(run: Run) -> Iterator[str]:
    if run.world.made.command.name == "status" or "--list" in run.argv:
        calls = run.world.calls[run.world.first_call :]
        yield from (f"{call.operation} was called" for call in calls if call.operation in WRITES)


def _is_touched(run: Run, track: Track) -> bool:
    made = run.world.made
    changed = track.old.images[0] != image(track.old.family, NEW)
    return made.command.name != "app" or changed or track.name in made.line.forced


def _numbers_as_asked(run: Run, track: Track) -> Iterator[str]:
    """Count and percentages are as on the command line, unless somebody else changed them."""
    made = run.world.made
    if not {"scales", "deletes"} & set(track.acts):
        wanted = int(made.option("-D") or track.old_count)
        if track.service.desired_count != wanted:
            yield f"desired are {track.service.desired_count} tasks instead of {wanted}"
    if "edits" not in track.acts:
        given = {"-m": "minimumHealthyPercent", "-M": "maximumPercent"}
        asked = {member: int(made.option(option) or -1) for option, member in given.items() if made.option(option)}
        if track.service.configuration != {**track.old_configuration, **asked}:
            yield f"the configuration is {track.service.configuration}"


def _tasks_as_asked(run: Run) -> Iterator[str]:
    world, made = run.world, run.world.made
    wanted = sum(count for _, count in (*made.line.tasks_before, *made.line.tasks_after))
    if made.command.name == "task":
        wanted = int(made.option("--count") or 1)
    if len(world.started) != wanted:
        yield f"{len(world.started)} tasks were started instead of {wanted}"
    if made.command.name == "task" and not made.has("--wait-for-success"):
        return
    for task in world.started:
        codes = [container.exit_code for container in task.containers if container.name == CONTAINER]
        if codes != [0] or task.stop_code != "EssentialContainerExited":
            yield f"{task.arn} is {task.last_status}: {task.stop_code} {codes}"


def _exits_0_if_asked_for_state_is_there(run: Run) -> Iterator[str]:
    world, made = run.world, run.world.made
    quiet = made.is_quiet or world.faults == Faults()
    if not quiet or world.acts or run.code == Exit.OK or made.has("--dry-run") or made.command.name != "service":
        return
    if all(track.ever_complete for track in world.tracks.values()):
        yield f"our deployment is complete, but the exit code is {run.code}"


def _exits_20_only_if_service_is_back_and_stable(run: Run) -> Iterator[str]:
    if run.code != Exit.ROLLED_BACK:
        return
    if "--enable-rollback" not in run.argv:
        yield "no rollback was asked for"
    for track in run.world.tracks.values():
        if track.updates and not track.theirs and "deletes" not in track.acts:
            yield from _is_back(track)


def _is_back(track: Track) -> Iterator[str]:
    service = track.service
    if service.primary.definition.arn not in track.worked and not track.redeploys:
        yield f"{track.name} runs {service.primary.definition.arn}"
    if service.primary.rollout_state != "COMPLETED" and not service.hides_rollout_state:
        yield f"the PRIMARY deployment of {track.name} is {service.primary.rollout_state}"
    if service.desired_count != track.old_count and "scales" not in track.acts:
        yield f"desired are {service.desired_count} tasks, before it were {track.old_count}"
    if service.configuration != track.old_configuration and "edits" not in track.acts:
        yield f"the configuration is {service.configuration}, before it was {track.old_configuration}"


def _registers_once_and_points_at_old_or_new(run: Run) -> Iterator[str]:
    world = run.world
    ours = world.registered
    lost = any(c.operation == "RegisterTaskDefinition" and c.error_code for c in world.calls[world.first_call :])
    texts = [json.dumps([d.raw, world.tags.get(d.arn, [])], sort_keys=True) for d in ours]
    if len(set(texts)) < len(texts) and not (lost and {"registers", "deploys"} & set(world.acts)):
        yield f"{len(ours)} revisions were registered, of {len(set(texts))} kinds"
    for track in world.tracks.values():
        theirs = [deployment.definition for deployment in track.theirs]
        latest = track.latest if "--use-latest-task-def" in run.argv else frozenset[str]()
        allowed = {d.arn for d in [track.old, *ours, *theirs]} | track.worked | latest
        primary = track.service.primary.definition
        as_asked = world.made.command.name == "app" and primary.images[0] == image(primary.family, NEW)
        as_asked = as_asked or (world.made.command.name == "rollback" and primary.revision < track.old.revision)
        if primary.arn not in allowed and not as_asked:
            yield f"{track.name} points at {track.service.primary.definition.arn}"
    if world.made.command.name != "app":
        for definition in ours:
            bases = world.definitions.families[definition.family]
            if not any(_edited(base.raw, run.argv) == definition.raw for base in bases):
                yield f"{definition.arn} is no copy with only the asked-for edits: {definition.raw}"


def _edited(raw: Json, argv: tuple[str, ...]) -> Json:
    """What the new revision must be, made from an old one in another way than the program's."""
    container, *others = raw["containerDefinitions"]
    tag = OLD if image(SERVICE, OLD) in argv else NEW
    entries = container["environment"]
    changed = {"--container-envvar": "new-variable", "--env-file": "file-variable"}
    for option, value in changed.items():
        if option in argv:
            entries = [{**e, "value": f"{CANARY}-{value}"} if e["name"] == "KEY" else e for e in entries]
    if "-to" in argv:
        others = [{**other, "image": image("sidecar", tag)} for other in others]
    mine = {**container, "image": image(raw["family"], tag), "environment": entries}
    return {**raw, "containerDefinitions": [mine, *others]}


def _says_why_it_ended(run: Run) -> Iterator[str]:
    """Each code only where there was a reason for it."""
    world, made, argv, faults = run.world, run.world.made, run.argv, run.world.faults
    tracks = list(world.tracks.values())
    if run.code in (Exit.SIGINT, Exit.SIGTERM) and not world.signalled:
        yield "interrupted without a signal"
    repeated = any(len(track.forward) > 1 for track in tracks)  # its answer was lost
    if run.code == Exit.SUPERSEDED and not any(track.theirs for track in tracks) and not repeated:
        yield "superseded by nobody"
    if run.code == Exit.AWS and not faults.of_calls and "deletes" not in world.acts and not _is_refused(run):
        yield "an error of AWS without one"
    if made.command.name != "service":
        return
    [kept] = made.services
    there = "deletes" not in world.acts and world.registered and any(track.must_go_back for track in tracks)
    if run.code == Exit.FAILED and "--enable-rollback" in argv and there and "could not be moved" not in run.said:
        yield "failed, and not rolled back"
    if run.code in (Exit.ROLLED_BACK, Exit.ROLLBACK_FAILED) and "--enable-rollback" not in argv and not kept.past:
        yield "a rollback that was not asked for"
    may_fail = kept.past or made.family(kept.family).old_image or not _had_time(run)
    if run.code == Exit.ROLLBACK_FAILED and made.is_quiet and not may_fail:
        yield "the rollback failed, though nothing kept it from succeeding"


def _waits_while_it_is_throttled(run: Run) -> Iterator[str]:
    """Throttling that ends within the time-out ends neither the wait nor the way back."""
    world, made = run.world, run.world.made
    throttling = made.faults.throttling
    only = throttling is not None and made.faults == Faults(throttling=throttling) and not world.is_calm
    if not only or throttling is None or throttling.moment.of != "update" or made.command.name != "service":
        return
    [track] = world.tracks.values()
    passes = throttling.moment.later_s + throttling.seconds + 2 * RETRY_DELAY_S < made.timeout_s
    if run.code == Exit.AWS and passes and "deletes" not in world.acts and not _is_refused(run):
        yield f"an error of AWS after {world.now_s - world.begun_s:.0f} s, throttled for {throttling.seconds:.0f} s"
    tried = track.rollbacks or track.stops or track.theirs or "deletes" in track.acts
    if run.code == Exit.ROLLBACK_FAILED and passes and track.must_go_back and not tried and _is_ours(track):
        yield f"gave the way back up; throttled for {throttling.seconds:.0f} s"


def _is_ours(track: Track) -> bool:
    return track.service.primary is track.ours


def _is_refused(run: Run) -> bool:
    """Whether ECS has a reason of its own to refuse something."""
    world, made = run.world, run.world.made
    calls = world.calls[world.first_call :]
    percents = bool({"-m", "-M"} & set(run.argv)) and any(c.error_code == "InvalidParameterException" for c in calls)
    gone = {"failed", "in progress", "inactive"} & {kept.past for kept in made.services}
    return percents or bool(gone) or not made.reaches_aws


def _had_time(run: Run) -> bool:
    """Whether the time-out is long enough for any rollback of a healthy small service."""
    [track] = run.world.tracks.values()
    small = max(track.old_count, int(run.world.made.option("-D") or 0)) <= 3
    return run.world.made.timeout_s >= 45 and small and may_succeed(run)


def _ends_in_time(run: Run) -> Iterator[str]:
    """Each wait its time-out, and the delays after calls that failed; after a signal only the latter."""
    world, made = run.world, run.world.made
    calls = world.calls[world.first_call :]
    waits = {"service": 2, "definition": 0, "task": 1, "app": 1, "status": 4, "rollback": 2}[made.command.name]
    waits *= 2 if "--enable-rollback" in run.argv else 1
    timeout_s = 400.0 if made.command.name == "app" else float(made.option("-t") or 90)
    if world.is_calm:
        return  # the same again, with all the time in the world
    bound_s = waits * timeout_s + _delays_s(run, 0) + SLACK_S + (0.0 if made.reaches_aws else UNREACHED_S)
    spent_s = world.now_s - world.begun_s
    if made.command.name == "app":
        bound_s += 200.0 + sum(call.operation == "DeregisterTaskDefinition" for call in calls)
    if spent_s > bound_s:
        yield f"it took {spent_s:.1f} s, more than {bound_s:.1f} s"
    if world.signalled and run.code in (Exit.SIGINT, Exit.SIGTERM):
        at_s, _, number = world.signalled[0]
        bound_s = _delays_s(run, number - world.first_call)
        if world.now_s - at_s > bound_s + SLACK_S:
            yield f"it went on for {world.now_s - at_s:.1f} s after the signal"


def _delays_s(run: Run, first: int) -> float:
    """How long the calls from that one on may have taken, with the pauses after those that failed."""
    calls = run.world.calls[run.world.first_call + first :]
    each_s = run.world.faults.latency_s[1]
    return RETRY_DELAY_S * sum(call.error_code in RETRIED for call in calls) + each_s * (len(calls) + 2)


def _moves_all_schedules_and_nothing_else_of_them(run: Run) -> Iterator[str]:
    yield from judged(run)


_RULES: tuple[Callable[[Run], Iterator[str]], ...] = (
    _keeps_secrets,
    _knows_what_it_does,
    _prints_its_own_words_whole,
    _names_it_in_the_document,
    _exits_0_only_if_asked_for_state_was_there,
    _exits_0_if_asked_for_state_is_there,
    _changes_nothing_where_it_only_looks,
    _exits_20_only_if_service_is_back_and_stable,
    _registers_once_and_points_at_old_or_new,
    _says_why_it_ended,
    _moves_all_schedules_and_nothing_else_of_them,
    _waits_while_it_is_throttled,
    _ends_in_time,
)


# --- Whether the same can succeed


def may_succeed(run: Run) -> bool:
    """Whether the same command can succeed at all: all that it names is there, and tasks can be replaced."""
    world, made = run.world, run.world.made
    if made.is_unreadable or made.surroundings == "user info in a proxy" or made.command.name in _DAY_AFTER:
        return False  # a second rollback goes further back, and what is told of a service is what it is
    if any(track.service.status != "ACTIVE" for track in world.tracks.values()) or len(world.tracks) < len(
        made.services
    ):
        return False
    families = {family for family, _ in (*made.line.tasks_before, *made.line.tasks_after)}
    families |= {SERVICE} if made.command.name in ("task", "definition") or made.has("--use-latest-task-def") else set()
    if any(not world.definitions.of_status(family, "ACTIVE") for family in families):
        return False
    return made.has("--dry-run") or all(_may_be_replaced(run, track) for track in world.tracks.values())


def _may_be_replaced(run: Run, track: Track) -> bool:
    made, service = run.world.made, track.service
    runs_new = service.primary.definition.images[0] == image(service.primary.definition.family, NEW)
    stays = made.command.name == "app" and runs_new and track.name not in made.line.forced
    if stays and service.primary.rollout_state == "FAILED":
        return False  # nothing changes in it, so it is not deployed again
    desired = int(made.option("-D") or service.desired_count)
    minimum = int(made.option("-m") or service.configuration["minimumHealthyPercent"])
    maximum = int(made.option("-M") or service.configuration["maximumPercent"])
    if minimum == maximum == 100:
        return False  # ECS refuses that
    if service.is_native:
        return True
    return desired == 0 or desired * maximum // 100 > desired or -(-desired * minimum // 100) < desired
