"""One service of a run: what it is, what the program did to it, and what the program was shown of it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.worlds import Kept
from tests.simulator.errors import Json
from tests.simulator.services import Deployment, Service


@dataclass(frozen=True)
class View:
    """What a service looks like: as it is, or as an answer showed it."""

    status: str
    deployment: str
    definition: str
    state: str
    running: int
    desired: int
    used: tuple[str, ...]

    @property
    def completed(self) -> bool:
        return self.state == "COMPLETED"


def view_of(service: Service) -> View:
    """The service as it is now."""
    primary, used = service.primary, tuple(d.definition.arn for d in service.deployments)
    state, running = primary.rollout_state, primary.running_count
    return View(service.status, primary.id, primary.definition.arn, state, running, service.desired_count, used)


def view_in(answer: Json) -> View:
    """The service as an answer showed it."""
    deployments = answer.get("deployments") or [{}]
    primary, used = deployments[0], tuple(str(d.get("taskDefinition")) for d in deployments)
    running, desired = primary.get("runningCount", 0), answer["desiredCount"]
    settled = "COMPLETED" if len(deployments) == 1 and running == desired else "IN_PROGRESS"
    state = primary.get("rolloutState", settled)
    found = str(primary.get("id")), str(primary.get("taskDefinition"))
    return View(answer["status"], *found, state, running, desired, used)


@dataclass
class Update:
    """One UpdateService of the program that was carried out, with the PRIMARY deployments around it."""

    at_s: float
    params: Json
    before: Deployment
    after: Deployment
    answered: bool


class Track:
    """One service of the command: what it was, what the program did to it, what the program was shown of it."""

    def __init__(self, kept: Kept, service: Service) -> None:
        self.kept, self.name, self.service = kept, kept.name, service
        self.old, self.old_count = service.primary.definition, service.desired_count
        self.old_configuration = dict(service.configuration)
        self.updates: list[Update] = []
        self.asked: Json | None = None
        """The program's first UpdateService, whether or not that was carried out."""
        self.latest: frozenset[str] = frozenset()
        """The newest ACTIVE revision of the family, as it was right before the first update."""
        self.stops = 0
        self.theirs: list[Deployment] = []
        self.acts: list[str] = []
        self.worked: frozenset[str] = frozenset()
        """The definitions of before: what worked last, or where nothing is known to have worked, what was there."""
        self.way_back: frozenset[str] = frozenset()
        """Those of them that a service can still be pointed at."""
        self.must_go_back = False
        """Whether one of these is ACTIVE, so that nothing but a fault can keep a rollback from being begun."""
        self.shown: View | None = None
        self.shown_fresh: View | None = None
        self.at_last_call: View | None = None
        """What it was when the last call was carried out, whose answer may have been long on its way."""
        self.looked_s = 0.0
        self.ever_ran = self.ever_complete = self.ever_full = False
        self.known_deployments: set[str] = set()

    @property
    def ours(self) -> Deployment | None:
        """The deployment that the program asked for: of its last update that is no rollback."""
        forward = self.forward
        return forward[-1].after if forward else None

    @property
    def forward(self) -> list[Update]:
        return [update for update in self.updates if update.params == self.asked]

    @property
    def rollbacks(self) -> list[Update]:
        return [update for update in self.updates if update.params != self.asked]

    @property
    def redeploys(self) -> bool:
        """Whether the deployment that was asked for runs the definition that was there before."""
        return bool(self.updates) and self.updates[0].after.definition is self.updates[0].before.definition

    @property
    def is_theirs(self) -> bool:
        """Whether the PRIMARY deployment is one that somebody else began after our update."""
        return self.service.primary in self.theirs and self.service.primary is not self.updates[0].before

    @property
    def went_back(self) -> bool:
        """Whether a deployment other than ours and theirs completed after ours had begun."""
        if not self.updates:
            return False
        ours = {update.after.id for update in self.forward}
        since_s, not_back = self.updates[0].at_s, ours | {deployment.id for deployment in self.theirs}
        return any(at_s >= since_s and d.id not in not_back for at_s, d in self.service.completions)

    def prepare_way_back(self, now_s: float) -> None:
        """Right before the first update: to where a rollback may lead."""
        before, last = self.service.primary, self.service.last_completed
        found = [before] if before.rollout_state == "COMPLETED" or last is None else [last]
        if found[0] not in self.service.deployments or not found[0].definition.usable_at(now_s):
            found.append(before)  # nobody who asks ECS alone would know better
        self.worked = frozenset(d.definition.arn for d in found)
        self.way_back = frozenset(d.definition.arn for d in found if d.definition.usable_at(now_s))
        self.must_go_back = any(d.definition.status == "ACTIVE" for d in found)

    def note(self) -> None:
        """Whether our deployment was ever seen to run, and to be all there is."""
        service = self.service
        self.ever_full = self.ever_full or service.primary.running_count >= service.desired_count
        ours = self.ours
        if ours is None:
            return
        checks = bool(ours.definition.health_checks)
        tasks = [task for task in ours.tasks.values() if task.runs]
        self.ever_ran = self.ever_ran or any(task.health == "HEALTHY" or not checks for task in tasks)
        alone = len(service.deployments) == 1 and ours is service.primary
        self.ever_complete = self.ever_complete or any(d is ours for _, d in service.completions) or (
            service.hides_rollout_state and alone and ours.running_count == service.desired_count
        )  # fmt: skip
