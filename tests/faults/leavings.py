"""What a run leaves behind that it began: undone, or named with a command that undoes it, which is carried out here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ecs_deploy import Exit
from tests.faults.faults import KILL
from tests.faults.offers import Offer, Unreadable, offers_in, read
from tests.faults.runs import Run
from tests.faults.scenarios import PROFILE
from tests.faults.schedules import definitions
from tests.faults.sentences import ALL_DONE
from tests.faults.tracks import Track
from tests.simulator import AwsError
from tests.simulator.definitions import Definition
from tests.simulator.tasks import Task

RULE = "says what it leaves"
SETTLES_S = 5.0
"""So long after the command its effect is looked at."""


@dataclass(frozen=True)
class Leaving:
    """One thing that was begun and is not over: how the output may call it, and what undoes it."""

    what: str
    names: tuple[str, ...]
    operations: tuple[str, ...]
    addressed_as: tuple[str, ...]
    is_undone: Callable[[Offer], bool]
    can_be_undone: bool = True


def judge_leavings(run: Run, rerun: Callable[[Sequence[str]], int]) -> None:
    """Add to the run's wrongs what it left unsaid; this carries out what it offered, so it comes last."""
    if run.code is None and run.world.signalled and run.world.signalled[0][1] == KILL:
        return  # killed out of the blue: nobody can say anything
    offers = list(_readable(run))
    left = list(_leavings(run))
    run.world.calm_down()
    for one in left:
        if wrong := _unsaid(run, one, offers, rerun):
            run.wrongs.append((RULE, f"{one.what}: {wrong}"))


def _readable(run: Run) -> Iterator[Offer]:
    """The commands that were offered; those that would not work anywhere are wrong at once."""
    for text in dict.fromkeys(offers_in(run.said)):
        try:
            offer = read(text)
        except (Unreadable, AwsError) as error:
            run.wrongs.append(("offers what works", f"{text!r}: {error}"))
            continue
        wanted = PROFILE if run.world.made.credentials == "profile" else ""
        if (offer.region, offer.profile) != (run.world.region, wanted):
            run.wrongs.append(("offers what works", f"{text!r}: region {offer.region!r}, profile {offer.profile!r}"))
        yield offer


def _unsaid(run: Run, left: Leaving, offers: Sequence[Offer], rerun: Callable[[Sequence[str]], int]) -> str:
    """What is missing, or does not work; empty if all is well."""
    fitting = [o for o in offers if o.operation in ("", *left.operations) and o.addresses(*left.addressed_as)]
    if not fitting and not left.can_be_undone:
        return "" if any(name in run.said for name in left.names) else "not named"
    if not fitting:
        return "no command is offered that undoes it"
    error = fitting[-1].carry_out(run.world, rerun)
    run.world.advance(SETTLES_S)
    if error:
        return f"the offered command fails: {fitting[-1].text}: {error}"
    return "" if left.is_undone(fitting[-1]) else f"the offered command does not undo it: {fitting[-1].text}"


def _leavings(run: Run) -> Iterator[Leaving]:
    for track in run.world.tracks.values():
        if _goes_on(run, track):
            yield _deployment(track)
    for task in run.world.started:
        if task.stays and task.arn in run.world.known:
            yield _task(task, can_be_undone=_is_waited_for(run))
    ours = {definition.arn for definition in run.world.registered}
    for name, arns in definitions(run.world).items():
        if run.code != Exit.OK and ours & set(arns) and run.world.made.scheduled and ALL_DONE not in run.said:
            yield _schedule(run, name)
    for definition in run.world.registered:
        if definition.status == "ACTIVE" and _is_in_vain(run, definition):
            yield _revision(run, definition)


def _schedule(run: Run, name: str) -> Leaving:
    """A rule or schedule that runs our revision although the run failed; one with two targets has two commands."""
    before = run.world.definitions_before[name]
    return Leaving(
        f"the {name} runs {definitions(run.world)[name]}",
        (name,),
        ("PutTargets", "UpdateSchedule"),
        (name,),
        lambda _: any(arn in before for arn in definitions(run.world)[name]),
    )


def _goes_on(run: Run, track: Track) -> bool:
    """Whether a deployment that this run began is PRIMARY and not completed, unless that was all that was asked for."""
    service, ours = track.service, track.ours
    if ours is None or service.status != "ACTIVE" or service.primary is not ours or ours.rollout_state == "COMPLETED":
        return False
    if service.hides_rollout_state and track.ever_complete:
        return False  # nobody outside of ECS can tell more
    if ("stays deployed" in run.said or ALL_DONE in run.said) and run.world.made.has("--skip-deployments-check"):
        return False
    if run.code == Exit.OK or service.release.status.startswith("ROLLBACK_"):
        return False
    return run.code is not None or track.forward[-1].answered


def _deployment(track: Track) -> Leaving:
    ours, release = track.ours, track.service.release
    assert ours is not None
    asked = track.updates[0].params

    def is_undone(offer: Offer) -> bool:
        there = track.service.primary.definition.arn in track.way_back
        if offer.operation == "StopServiceDeployment":
            return there
        scaled = "desiredCount" in asked and not {"scales"} & set(track.acts)
        edited = "deploymentConfiguration" in asked and not {"edits"} & set(track.acts)
        count = not scaled or track.service.desired_count == track.old_count
        return there and count and (not edited or track.service.configuration == track.old_configuration)

    return Leaving(
        f"the deployment {ours.id} of {track.name} to {ours.definition.arn} is {ours.rollout_state}",
        (ours.id, f"service {track.name}"),
        ("UpdateService", "StopServiceDeployment"),
        (track.name, release.arn),
        is_undone,
        can_be_undone=not track.redeploys and track.must_go_back and ours.definition.arn not in track.way_back,
    )


def _is_waited_for(run: Run) -> bool:
    """Without --wait-for-success the tasks were started to be left, and `Executed task:` is enough of a name."""
    return run.world.made.command.name == "app" or run.world.made.has("--wait-for-success")


def _task(task: Task, *, can_be_undone: bool) -> Leaving:
    names = (task.arn,)
    return Leaving(f"the task {task.arn} runs", names, ("StopTask",), names, lambda _: not task.stays, can_be_undone)


def _is_in_vain(run: Run, definition: Definition) -> bool:
    """Whether nothing uses a revision; one that was registered for its own sake has to be named as well."""
    world, made = run.world, run.world.made
    if world.uses_of(definition) or (definition.arn not in world.known and (run.code is None or _is_wanted(run))):
        return False
    if any(task.definition is definition for task in world.started) and not _is_wanted(run):
        return False
    was_used = any(update.after.definition is definition for t in world.tracks.values() for update in t.updates)
    return not (was_used and made.has("--keep-failed-revision"))


def _is_wanted(run: Run) -> bool:
    return run.world.made.command.name in ("definition", "task")


def _revision(run: Run, definition: Definition) -> Leaving:
    """One whose registration was never answered can't be named by its ARN; that there may be one can be said."""
    known = definition.arn in run.world.known
    views = [track.shown for track in run.world.tracks.values() if track.shown]
    let_go = any(view.definition == definition.arn for view in views)  # by ECS, after all that was shown
    return Leaving(
        f"the revision {definition.arn} is ACTIVE, and nothing uses it",
        (definition.arn,) if known else (" may ",),
        ("DeregisterTaskDefinition",),
        (definition.arn,),
        lambda _: definition.status != "ACTIVE",
        can_be_undone=known and not _is_wanted(run) and not let_go,
    )
