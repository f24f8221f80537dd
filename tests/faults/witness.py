"""The world in which the faults happen, and which remembers what the program did to it and what it was shown."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from tests.faults import schedules
from tests.faults.faults import FLICKERING_S, KILL, MAY_BE_DENIED, MOVES, WRITES, Faults, Meddling, Moment
from tests.faults.offers import Unreadable, offers_in, read
from tests.faults.relay import Killed, Relay
from tests.faults.scenarios import Scenario
from tests.faults.tracks import Track, Update, view_in, view_of
from tests.faults.worlds import BROKEN, CANARY, CLUSTER, SLOW, THEIRS, Kept, image
from tests.simulator import AwsError, Call, Fault, World
from tests.simulator.definitions import Definition
from tests.simulator.errors import Dropped, Json
from tests.simulator.services import Deployment, Service
from tests.simulator.tasks import Task

NO_END_CALLS = 4000
A_LOOK_LASTS_S = 15.0
"""So long what was looked up may be acted upon, where the same write is tried again and again."""
LOOKS = (
    "DescribeServices", "ListServices", "ListServiceDeployments", "DescribeServiceDeployments",
    "DescribeServiceRevisions", "DescribeTaskDefinition", "ListTaskDefinitions",
)  # fmt: skip
HOUR_S = 3600.0


class Left(Dropped):
    """The program does not wait for the answer any more: a signal took it away, or killed it."""


class WatchedWorld(World):
    """A world that remembers what the program did to it and what it was shown, and in which the faults happen."""

    def __init__(self, made: Scenario, relay: Relay) -> None:
        super().__init__(seed=made.seed, wall_epoch_s=time.time())
        self.made, self.relay = made, relay
        self.page_size, self.settle_s = made.page_size, made.settle_s
        self.rollback_reuses_id, self.shows_releases = made.rollback_reuses_id, made.shows_releases
        self.run_task_visible_after_s = made.tasks_visible_after_s
        self.credentials_life_s = 1e6
        self._new: list[Definition] = []
        self._born: list[Task] = []
        self._run = 0
        """What was begun for one run does not happen in another."""
        self._furnish()
        self.disturb(made.faults, made.meddling)

    # --- What there is

    def _furnish(self) -> None:
        self.cluster(CLUSTER)
        current: dict[str, Definition] = {}
        for family in self.made.families:
            for number in range(family.older_revisions):
                self.register(family.definition(f"0.{number}"))
            current[family.name] = self.register(family.definition(family.tag))
        for kept in self.made.services:
            self._keep(kept, current[kept.family])
        for kept in self.made.neighbours:
            self._keep(kept, self.definitions.families[kept.family][0])
        self._live_the_past(current)
        schedules.furnish(self)
        for family in self.made.families:
            for name, scripts in family.scripts():
                for method, arguments in scripts:
                    getattr(self.image(name), method)(**arguments)

    def _keep(self, kept: Kept, definition: Definition) -> None:
        balancer = {"loadBalancerName": "classic", "containerName": "doorman", "containerPort": 80}
        members: Json = {"loadBalancers": [balancer]} if kept.classic_balancer else {}
        self.service(
            CLUSTER, kept.name, task_definition=definition, desired_count=kept.desired_count, drain_s=kept.drain_s,
            deploymentConfiguration=dict(kept.configuration), **members,
        )  # fmt: skip

    def _live_the_past(self, current: dict[str, Definition]) -> None:
        pasts = {kept.past for kept in self.made.services}
        for kept in self.made.services:
            service, family = self.services[CLUSTER, kept.name], self.made.family(kept.family)
            if kept.past == "failed":
                self.image(image(family.name, BROKEN)).crashes(after_s=1)
                service.deploy(self.register(family.definition(BROKEN)))
            elif kept.past == "dead":
                self.image(image(family.name, family.tag)).cannot_be_placed()
                for task in service.primary.staying:
                    task.stop("UserInitiated", "Task stopped by user")
        self.advance(150 if pasts & {"failed", "dead"} else 0)
        for kept in self.made.services:
            service, family = self.services[CLUSTER, kept.name], self.made.family(kept.family)
            if kept.past == "in progress":
                self.image(image(family.name, SLOW)).starts_after(45)
                service.deploy(self.register(family.definition(SLOW)))
            elif kept.past == "inactive":
                definition = current[kept.family]
                definition.status, definition.deregistered_s = "INACTIVE", self.now_s - self._age_s()
        self.advance(0.6 if "in progress" in pasts else 0)

    def _age_s(self) -> float:
        return HOUR_S if self.made.seed % 2 else 60.0

    def disturb(self, faults: Faults, meddling: tuple[Meddling, ...]) -> None:
        """Begin a run: forget what the last one did, and have these faults happen."""
        self.faults = faults
        self.is_calm = self._run > 0
        """Whether this is the run without faults."""
        self._run += 1
        self.allow(*(f"ecs:{action}" for action in MAY_BE_DENIED), "logs:GetLogEvents", "iam:PassRole")
        self.deny(*faults.denied)
        self.throttles, self.stale_reads = faults.throttles, faults.stale_reads
        for service in self.services.values():
            service.stale_reads_left = 0
        self.on_call = self._outcome
        self._rng = Random(self.made.seed + 1)
        self._counts: Counter[tuple[str, bool]] = Counter()
        self.first_call, self.begun_s = len(self.calls), self.now_s
        kept = [kept for kept in self.made.services if self.services[CLUSTER, kept.name].deployments]
        self.tracks = {one.name: Track(one, self.services[CLUSTER, one.name]) for one in kept}
        self.registered: list[Definition] = []
        self.started: list[Task] = []
        self.known: set[str] = set()
        self.acts: list[str] = []
        self.else_before, self.definitions_before = schedules.all_else(self), schedules.definitions(self)
        self.signalled: list[tuple[float, int, int]] = []
        """Each signal that was delivered: when, which, and how many calls there had been."""
        self.awake_since_s = 0.0
        """When the program last slept; since then no time has passed but in its calls."""
        self.wrongs: list[tuple[str, str]] = []
        self._due: list[tuple[float, int]] = []
        self._throttled_until_s = -1.0
        self._acts_due: list[Meddling] = []
        self._triggers: list[tuple[Moment, Callable[[], None]]] = []
        self._set_triggers(faults, meddling)
        self.take_run_task_failures(0)  # which forgets those that are left
        self.fail_run_task("RESOURCE:MEMORY", faults.run_task_failures)
        for track in self.tracks.values():
            track.note()

    def _set_triggers(self, faults: Faults, meddling: tuple[Meddling, ...]) -> None:
        if signals := faults.signals:
            self._triggers.append((signals.moment, partial(self._begin_signals, signals.numbers)))
        if throttling := faults.throttling:
            self._triggers.append((throttling.moment, partial(self._begin_throttling, throttling.seconds)))
        for one in meddling:
            self._triggers.append((one.moment, partial(self._begin_act, one)))

    def calm_down(self) -> None:
        """No fault and nobody's act happens any more."""
        self.faults, self.on_call, self.throttles, self.stale_reads = Faults(), None, False, 0
        self.allow(*(f"ecs:{action}" for action in MAY_BE_DENIED), "logs:GetLogEvents", "iam:PassRole")
        self._triggers, self._due, self._acts_due = [], [], []
        self._run += 1

    def sleep(self, seconds: float) -> None:
        """The program sleeps."""
        try:
            self.spend(seconds, self.relay.here)
        finally:
            self.awake_since_s = self.now_s

    def touch(self) -> None:
        """The program looks at the clock, or has written something: in between its calls."""
        if self.relay.dead:
            raise Killed
        self.reach("touch")
        self.spend(0, self.relay.here)

    def overwriting(self, text: str) -> Iterator[str]:
        """The commands in the text that would go over somebody else's deployment, where the program could know."""
        for line in offers_in(text):
            for track in self.tracks.values():
                if track.updates and track.is_theirs and self._would_overwrite(line, track):
                    yield f"{line!r}: the PRIMARY of {track.name} is {track.service.primary.id}, somebody else's"

    def _would_overwrite(self, line: str, track: Track) -> bool:
        try:
            offer = read(line)
        except Unreadable:
            return False
        if offer.operation not in ("UpdateService", "StopServiceDeployment"):
            return False
        if not offer.addresses(track.name, track.service.release.arn):
            return False
        if track.shown is not None and track.shown.deployment in {d.id for d in track.theirs}:
            return True
        last = self.calls[-1]
        return not (self.signalled or last.error_code or last.operation in LOOKS)

    def is_wrong(self, rule: str, what: str) -> None:
        self.wrongs.append((rule, what))

    # --- When it happens

    def reach(self, of: str, *, after: bool = False) -> None:
        """The program does something: begin whatever waits for that."""
        nth = self._counts[of, after]
        self._counts[of, after] += 1
        for trigger in list(self._triggers):
            moment, begin = trigger
            if (moment.of, moment.nth, moment.after) == (of, nth, after):
                self._triggers.remove(trigger)
                begin_later = partial(self._in_this_run, self._run, begin)
                self.timeline.after(moment.later_s, begin_later) if moment.later_s else begin()

    def hear(self, text: str) -> None:
        """The program writes something."""
        for words in {moment.of for moment, _ in self._triggers if moment.of.startswith("line ")}:
            if words.removeprefix("line ") in text:
                self.reach(words)

    def _in_this_run(self, run: int, act: Callable[[], None]) -> None:
        if run == self._run:
            act()

    def _begin_signals(self, numbers: tuple[tuple[float, int], ...]) -> None:
        self._due = sorted(self._due + [(self.now_s + later_s, number) for later_s, number in numbers])

    def _begin_throttling(self, seconds: float) -> None:
        self._throttled_until_s = self.now_s + seconds

    def _begin_act(self, meddling: Meddling) -> None:
        """Nobody can see a deployment that begins between a look and the update, so it waits for a reading call."""
        if meddling.moment.later_s:
            self.act(meddling.act, meddling.service)
        else:
            self._acts_due.append(meddling)

    def spend(self, seconds: float, deliver: Callable[[int], None]) -> None:
        """Let time pass; a signal that falls due is delivered, and may end it."""
        until_s = self.now_s + seconds
        while True:
            while self.timeline.next_s <= min(until_s, self._next_signal_s):  # which may bring a signal forward
                self.advance_to(self.timeline.next_s)
            self.advance_to(min(until_s, self._next_signal_s))
            self._note_run()
            if self._next_signal_s > until_s:
                return
            _, number = self._due.pop(0)
            self.signalled.append((self.now_s, number, len(self.calls)))
            deliver(number)

    @property
    def _next_signal_s(self) -> float:
        return self._due[0][0] if self._due else float("inf")

    # --- What goes wrong

    def _outcome(self, number: int, operation: str, _: Json) -> Fault | AwsError | None:
        """How the call ends; `number` counts the calls of all runs."""
        index, faults = number - self.first_call, self.faults
        nth = self._counts[operation, False] - 1
        if faults.expired_from_call is not None and index >= faults.expired_from_call:
            return Fault.EXPIRED
        if faults.bad_signature_at_call == index:
            return self._bad_signature()
        only_writes = faults.throttling is not None and faults.throttling.only_writes
        if self.now_s < self._throttled_until_s and (operation in (*WRITES, *MOVES) or not only_writes):
            return Fault.THROTTLED
        for aimed_operation, aimed_nth, fault in faults.aimed:
            if (operation, nth) == (aimed_operation, aimed_nth):
                return fault
        if faults.throttled_every and index % faults.throttled_every == faults.throttled_every - 1:
            return Fault.THROTTLED
        return self._chance(operation)

    def _bad_signature(self) -> AwsError:
        """Some refusals tell the canonical request, the session's token included."""
        message = (
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. The Canonical String for this request should have been 'POST\n/\n\n"
            f"content-type:application/x-amz-json-1.1\nx-amz-security-token:{CANARY}-session-token\n'"
        )
        return AwsError("InvalidSignatureException", message)

    def _chance(self, operation: str) -> Fault | None:
        for fault, share in self.faults.rates:
            if self._rng.random() < share:
                return fault
        updates = [update.at_s for track in self.tracks.values() for update in track.updates[-1:]]
        if operation != "DescribeServices" or not updates:
            return None
        since_s = self.now_s - max(updates)
        flickers = since_s < FLICKERING_S and self._rng.random() < self.faults.flickering
        lags = since_s < self.faults.stale[0] and self._rng.random() < self.faults.stale[1]
        return Fault.STALE if flickers or lags else None

    def issue_credentials(self, session: str) -> Json:
        """As `World.issue_credentials`, with canaries as secrets."""
        secrets = {"SecretAccessKey": f"{CANARY}-role-secret", "SessionToken": f"{CANARY}-session-token"}
        return {**super().issue_credentials(session), **secrets}

    # --- What others do

    def act(self, what: str, index: int) -> None:
        """Somebody else does something to one of the services, if it is still there."""
        tracks = list(self.tracks.values())
        if what == "stops a task" or not tracks:
            self._stop_a_task()
            return
        track = tracks[index % len(tracks)]
        found, family = track.service, self.made.family(track.kept.family)
        if found.status != "ACTIVE":
            return
        self.acts.append(what)
        track.acts.append(what)
        if what == "deploys":
            self.someone_deploys(CLUSTER, found.name, image(family.name, THEIRS))
        elif what == "goes back":
            found.deploy(track.old)
        elif what == "redeploys":
            found.deploy(found.primary.definition)
        elif what == "scales":
            found.scale(self._rng.choice((0, 1, 2, 4)))
        elif what == "edits":
            found.configuration = {**found.configuration, "minimumHealthyPercent": 10, "maximumPercent": 190}
        elif what == "registers":
            self.register(family.definition(THEIRS))
        else:
            self.delete_service(CLUSTER, found.name)
        if what in ("deploys", "goes back", "redeploys"):
            track.theirs.append(found.primary)

    def _stop_a_task(self) -> None:
        for task in self.started:
            if task.runs and task.stays:
                self.acts.append("stops a task")
                task.stop("SpotInterruption", "Your Spot Task was interrupted.")
                return

    # --- What is remembered of each call

    def register(self, params: Json) -> Definition:
        """As `World.register`, remembered."""
        definition = super().register(params)
        self._new.append(definition)
        return definition

    def new_task(
        self, cluster: str, definition: Definition, *, owner: Service | None = None, **members: object
    ) -> Task:
        """As `World.new_task`, remembered."""
        task = super().new_task(cluster, definition, owner=owner, **members)  # type: ignore[arg-type]
        if owner is None:
            self._born.append(task)
        return task

    def handle(self, service: str, operation: str, params: Json, access_key: str = "") -> Json:
        """As `World.handle`, with somebody watching, and with signals that may take the program away from it."""
        calls = len(self.calls)
        half_s = self._latency_s() / 2
        try:
            self._arrive(operation, half_s)
            try:
                answer = self._watched(service, operation, params, access_key)
            finally:
                self.reach("call", after=True)
                self.reach(operation, after=True)
                self._keep_views(half_s)
                self.spend(half_s, self._deliver)
            self._note_answer(operation, answer)
            return answer
        except Left:
            if len(self.calls) == calls:
                self.calls.append(Call(operation, params, self.now_s, service, access_key))
            self.calls[-1].error_code = "Dropped"
            raise
        finally:
            self.relay.acknowledge()

    def _latency_s(self) -> float:
        low_s, high_s = self.faults.latency_s
        return low_s * (high_s / low_s) ** self._rng.random() if high_s else 0.0

    def _deliver(self, number: int) -> None:
        if self.relay.there(number):
            raise Left

    def _arrive(self, operation: str, half_s: float) -> None:
        if self.relay.dead or len(self.calls) - self.first_call >= NO_END_CALLS:
            if not self.relay.dead:
                self.is_wrong("it ends", f"no end after {NO_END_CALLS} calls")
            self._deliver(KILL)
        self.reach("call")
        self.reach(operation)
        if operation not in WRITES:
            due, self._acts_due = self._acts_due, []
            for meddling in due:
                self.act(meddling.act, meddling.service)
        self.spend(half_s, self._deliver)

    def _watched(self, service: str, operation: str, params: Json, access_key: str) -> Json:
        self._new, self._born = [], []
        track = self._track_of(operation, params)
        before = track.service.primary if track else None
        self._forget_stale_reads()
        if track and operation == "UpdateService" and not track.updates:
            track.asked = track.asked or params
            track.latest = frozenset(d.arn for d in self.definitions.of_status(track.old.family, "ACTIVE")[-1:])
            track.prepare_way_back(self.now_s)
        goes_over = bool(track and track.updates and track.is_theirs and not self._looked(track, operation, params))
        used_by = self._users(params) if operation == "DeregisterTaskDefinition" else []
        answer: Json | None = None
        try:
            answer = super().handle(service, operation, params, access_key)
            return answer
        finally:
            self.registered += self._new
            self.started += self._born
            self._note_run()
            if track and before is not None and (answer is not None or before is not track.service.primary):
                self._note_write(track, operation, params, before, goes_over=goes_over, answered=answer is not None)
            elif used_by and self.calls[-1].error_code in (None, "Dropped"):
                self.is_wrong("destroys nothing", f"{params['taskDefinition']} was deregistered; used by {used_by}")

    def _keep_views(self, on_its_way_s: float) -> None:
        for track in self.tracks.values():
            track.at_last_call = view_of(track.service) if on_its_way_s else None

    def _forget_stale_reads(self) -> None:
        for track in self.tracks.values():
            if track.updates and self.now_s >= track.updates[-1].at_s + FLICKERING_S:
                track.service.stale_reads_left = 0

    def _track_of(self, operation: str, params: Json) -> Track | None:
        """The service that a call writes to."""
        if operation == "UpdateService":
            return self.tracks.get(str(params.get("service")).rpartition("/")[2])
        if operation == "StopServiceDeployment":
            release = self.find_release(params.get("serviceDeploymentArn", ""))
            return self.tracks.get(release.service.name) if release else None
        return None

    def _looked(self, track: Track, operation: str, params: Json) -> bool:
        """Whether the program looked right before this write, and could not see who else had deployed."""
        repeats = track.updates[-1].params == params and not track.updates[-1].answered
        shown = track.shown is not None and track.shown.deployment not in {d.id for d in track.theirs}
        for call in reversed(self.calls[self.first_call :]):
            tried = call.operation == operation and call.error_code
            looked_elsewhere = call.operation in LOOKS and track.looked_s < call.at_s
            if not tried and not looked_elsewhere:
                looked = call.operation in LOOKS and self.now_s - track.looked_s <= A_LOOK_LASTS_S
                return repeats or (looked and shown)
        return False

    def _users(self, params: Json) -> list[str]:
        """The deployments that use the revision, those left out that began since the program last looked."""
        definition = self.definitions.find(params.get("taskDefinition", ""))
        found: list[str] = []
        for service in self.services_of(CLUSTER):
            if service.status == "INACTIVE" or (
                service.name not in self.tracks and "ecs:ListServices" in self.faults.denied
            ):
                continue
            looked_s = self.tracks[service.name].looked_s if service.name in self.tracks else self.now_s
            used = [d for d in service.deployments if d.definition is definition]
            found += [f"{service.name} {d.id}" for d in used if not (d.created_s >= looked_s and self.acts)]
        return found

    def _note_write(
        self, track: Track, operation: str, params: Json, before: Deployment, *, goes_over: bool, answered: bool
    ) -> None:
        if goes_over:
            self.is_wrong(
                "respects others", f"{operation} on {track.name} goes over {before.id}, which is somebody else's"
            )
        track.shown = track.shown_fresh = None
        if operation == "StopServiceDeployment":
            track.stops += 1
            return
        definition = self.definitions.find(params["taskDefinition"]) if "taskDefinition" in params else None
        if definition and definition.status != "ACTIVE" and definition.arn not in track.way_back:
            self.is_wrong(
                "respects others", f"{track.name} was pointed at {definition.arn}, which is {definition.status}"
            )
        update = Update(self.now_s, params, before, track.service.primary, answered)
        track.updates.append(update)
        track.known_deployments.add(update.after.id)
        if update in track.rollbacks and "taskDefinition" in params and params["taskDefinition"] not in track.way_back:
            worked = ", ".join(sorted(track.way_back)) or "nothing"
            self.is_wrong("goes back to what worked", f"{params['taskDefinition']}, where {worked} did")
        self.reach("update")

    def _note_answer(self, operation: str, answer: Json) -> None:
        """What the program has been shown, now that the answer is with it."""
        if operation == "UpdateService":
            self._show(answer["service"])
        elif operation == "DescribeServices":
            for found in answer["services"]:
                self._show(found)
        elif operation == "RegisterTaskDefinition":
            self.known.add(answer["taskDefinition"]["taskDefinitionArn"])
        elif operation == "RunTask":
            self.known |= {task["taskArn"] for task in answer["tasks"]}
        elif operation == "DescribeTaskDefinition":
            self.known.add(answer["taskDefinition"]["taskDefinitionArn"])

    def _show(self, found: Json) -> None:
        track = self.tracks.get(found["serviceName"])
        if track is None:
            return
        track.shown, track.looked_s = view_in(found), self.now_s
        if found is not track.service.before_update:
            track.shown_fresh = track.shown

    def _note_run(self) -> None:
        for track in self.tracks.values():
            track.note()

    def uses_of(self, definition: Definition) -> list[str]:
        """The services of the cluster with a deployment of that definition."""
        active = [service for service in self.services_of(CLUSTER) if service.status != "INACTIVE"]
        return [s.name for s in active if any(d.definition is definition for d in s.deployments)]

    def is_ours(self, definition: Definition) -> bool:
        """Whether the program registered it."""
        return any(definition is found for found in self.registered)
