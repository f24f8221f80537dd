"""The world: clusters, services, tasks, and the one door for API calls. No I/O, no wall clock."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulator.behaviours import Behaviour
from tests.simulator.checks import answer_faults, request_faults
from tests.simulator.definitions import Definition, DefinitionStore
from tests.simulator.ecs_api import EcsApi
from tests.simulator.errors import AwsError, Call, Dropped, Fault, Json, invalid
from tests.simulator.groups import AutoScalingApi
from tests.simulator.instances import Ec2Api, Instances
from tests.simulator.limits import Throttles, iam_actions
from tests.simulator.other_apis import LogsApi, StsApi, TargetsApi, iso_time
from tests.simulator.registries import EcrApi, Registries, SecretsManagerApi, SsmApi
from tests.simulator.releases import Release
from tests.simulator.schedules import EventsApi, SchedulerApi
from tests.simulator.services import Service
from tests.simulator.tasks import RETENTION_S, Task
from tests.simulator.timeline import Timeline

VIRTUAL_EPOCH_S = 1_750_000_000.0
Outcome = Fault | AwsError | None
FAULT_ANSWERS = {
    Fault.THROTTLED: ("Rate exceeded", 400),
    Fault.SERVER_ERROR: ("Service Unavailable. Please try again later.", 500),
    Fault.EXPIRED: ("The security token included in the request is expired", 400),
}


class World:
    """One account in one region. Time stands still until `advance`.

    Scripts set the public attributes and call the methods of the first sections; API calls come in through `handle`.
    """

    def __init__(
        self, *, epoch_s: float = VIRTUAL_EPOCH_S, wall_epoch_s: float = VIRTUAL_EPOCH_S, seed: int = 0
    ) -> None:
        self.timeline = Timeline()
        self.epoch_s = epoch_s
        self.wall_epoch_s = wall_epoch_s
        """The wall clock's time at world time zero: SDKs hold the expiry of credentials against their own clock."""
        self.account, self.region = "123456789012", "us-east-1"
        self.page_size = 2
        self.settle_s = 10.0
        """How long a task without health checks must run for its end to be no failure; new services copy it."""
        self.rollback_reuses_id = True
        self.stale_reads = 0
        self.shows_releases = True
        """Whether a service names its current service deployment, or leaves it to ListServiceDeployments."""
        self.releases_listed_after_s = 0.0
        """How old a service deployment is before ListServiceDeployments knows it."""
        self.throttles = False
        self.future_members: set[str] = set()
        self.on_call: Callable[[int, str, Json], Outcome] | None = None
        self.run_task_visible_after_s = 0.0
        self.credentials_life_s = 3600.0
        self.caller_arn = f"arn:aws:sts::{self.account}:assumed-role/deployer/session"
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.tags: dict[str, list[Json]] = {}
        self.clusters: list[str] = []
        self.services: dict[tuple[str, str], Service] = {}
        self.tasks: dict[str, Task] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.definitions = DefinitionStore(self.arn_prefix)
        self.answers_stale = self.answers_missing = False
        self.leaves_out: list[str] = []
        """Operations whose next answer describes one thing less than it was asked for, and says that it is MISSING."""
        self._denied: set[str] = set()
        self._run_task_failures: list[Json] = []
        self._expiries: dict[str, float] = {}
        self._random = Random(seed)
        self._buckets = Throttles()
        self.instances = Instances(self)
        self.registries = Registries(self.account, self.region)
        self.events, self.scheduler = EventsApi(self), SchedulerApi(self)
        self._apis: dict[str, object] = {
            "events": self.events, "scheduler": self.scheduler,
            "ecs": EcsApi(self), "sts": StsApi(self), "logs": LogsApi(self),
            "autoscaling": AutoScalingApi(self.instances), "ec2": Ec2Api(self.instances),
            "elbv2": TargetsApi(self),
            "ecr": EcrApi(self.registries, self.stamp), "ssm": SsmApi(self.registries),
            "secretsmanager": SecretsManagerApi(self.registries, self.stamp),
        }  # fmt: skip

    # --- Time

    @property
    def now_s(self) -> float:
        return self.timeline.now_s

    def advance(self, seconds: float) -> None:
        self.timeline.advance(seconds)

    def advance_to(self, at_s: float) -> None:
        self.timeline.advance_to(at_s)

    def at(self, at_s: float, act: Callable[[], object]) -> None:
        """Have `act` called at that time."""
        self.timeline.at(at_s, act)

    def stamp(self, at_s: float) -> float:
        """The timestamp of an answer."""
        return round(self.epoch_s + at_s, 3)

    # --- Scripting: what there is

    def image(self, image: str) -> Behaviour:
        """The behaviour of containers of that image, to be scripted; it is looked up when a task starts."""
        return self.behaviours.setdefault(image, Behaviour(image))

    def repair(self, image: str) -> None:
        """Forget what was scripted: the image starts, runs and is healthy."""
        self.behaviours.pop(image, None)

    def cluster(self, name: str) -> str:
        """Make a cluster, if there is none of that name, and return its ARN."""
        if name not in self.clusters:
            self.clusters.append(name)
        return self.cluster_arn(name)

    def task_definition(
        self,
        family: str,
        image: str = "app:1",
        *,
        containers: list[Json] | None = None,
        health_check: bool = False,
        tags: list[Json] | None = None,
        **members: Any,
    ) -> Definition:
        """Register a revision: of one container named after the family, or of the raw `containers`."""
        if containers is None:
            containers = [{"name": family, "image": image, "memory": 128, "essential": True}]
            if health_check:
                containers[0]["healthCheck"] = {"command": ["CMD", "true"], "interval": 5, "retries": 3}
        raw = {"family": family, "containerDefinitions": containers, **members}
        return self.register({**raw, "tags": tags} if tags else raw)

    def service(
        self,
        cluster: str,
        name: str,
        image: str = "app:1",
        *,
        containers: list[Json] | None = None,
        task_definition: Json | Definition | None = None,
        desired_count: int = 1,
        family: str | None = None,
        health_check: bool = False,
        drain_s: float = 1.0,
        **members: Any,
    ) -> Service:
        """A service that has long been steady; its cluster is made if need be. `members` are those of CreateService."""
        self.cluster(cluster)
        if isinstance(task_definition, Definition):
            definition = task_definition
        elif task_definition is not None:
            definition = self.register({"family": family or name, **task_definition})
        else:
            definition = self.task_definition(family or name, image, containers=containers, health_check=health_check)
        if "capacityProviderStrategy" not in members:
            members.setdefault("launchType", "EC2")
        tags = members.pop("tags", None)
        made = Service(self, cluster, name, definition, desired_count, members, drain_s=drain_s)
        self.services[cluster, name] = made
        self.advance(0)
        if tags:
            self.tags[made.arn] = tags
        return made

    # --- Scripting: what others do

    def someone_deploys(self, cluster: str, service: str, image: str, **members: Any) -> Definition:
        """Another actor registers a revision with `image` in its first container, and updates the service to it."""
        found = self.services[cluster, service]
        raw = dict(found.primary.definition.raw)
        first, *others = raw["containerDefinitions"]
        definition = self.register({**raw, "containerDefinitions": [{**first, "image": image}, *others]})
        self._ecs.update(found, members, definition)
        return definition

    def scale_service(self, cluster: str, service: str, desired_count: int) -> None:
        self.services[cluster, service].scale(desired_count)

    def delete_service(self, cluster: str, service: str) -> None:
        """DRAINING at once, INACTIVE when its tasks have stopped."""
        self.services[cluster, service].delete()

    def fail_run_task(self, reason: str = "RESOURCE:MEMORY", count: int = 1, detail: str = "") -> None:
        """Have the next RunTask answer that many `failures` instead of tasks."""
        self._run_task_failures += [{"reason": reason, **({"detail": detail} if detail else {})}] * count

    def deny(self, *actions: str) -> None:
        """Take away permissions, such as "ecs:TagResource"."""
        self._denied.update(actions)

    def allow(self, *actions: str) -> None:
        self._denied.difference_update(actions)

    # --- Judging: what holds now

    def running(self, cluster: str, service: str) -> dict[str, int]:
        """How many tasks run each image, those that drain left out."""
        return self.services[cluster, service].running_images()

    def steady(self, cluster: str, service: str) -> bool:
        """Whether what is desired runs, of one deployment that is COMPLETED, and nothing else."""
        return self.services[cluster, service].is_steady

    def active_revisions(self, family: str) -> list[int]:
        return [definition.revision for definition in self.definitions.of_status(family, "ACTIVE")]

    def calls_of(self, *operations: str) -> list[Call]:
        return [call for call in self.calls if call.operation in operations]

    def mutating_calls(self) -> list[Call]:
        return [call for call in self.calls if call.mutates]

    def actions_used(self) -> set[str]:
        """The IAM actions that the calls so far needed."""
        return {action for call in self.calls for action in call.actions}

    # --- The door for API calls

    def handle(self, service: str, operation: str, params: Json, access_key: str = "") -> Json:
        """Carry out a call and return its answer; raises AwsError, or Dropped where no answer is to be given."""
        index = len(self.calls)
        call = Call(operation, params, self.now_s, service, access_key)
        self.calls.append(call)
        try:
            if service not in self._apis:
                raise AwsError("UnknownOperationException", f"The simulator does not know {service}:{operation}.")
            outcome = self.on_call(index, operation, params) if self.on_call else None
            return self._answer(call, outcome)
        except AwsError as error:
            call.error_code = error.code
            raise
        except Dropped:
            call.error_code = "Dropped"
            raise

    def _answer(self, call: Call, outcome: Outcome) -> Json:
        if outcome is Fault.DROP_BEFORE:
            raise Dropped
        if isinstance(outcome, AwsError):
            raise outcome
        if outcome in FAULT_ANSWERS:
            raise _fault_error(outcome)
        self._refuse(call)
        self.answers_stale, self.answers_missing = outcome is Fault.STALE, outcome is Fault.MISSING
        answer = self._carry_out(call)
        if outcome is Fault.DROP_AFTER:
            raise Dropped
        return answer

    def _refuse(self, call: Call) -> None:
        """Raise what stands between a call and its being carried out."""
        if self.now_s >= self._expiries.get(call.access_key, float("inf")):
            raise _fault_error(Fault.EXPIRED)
        if self.throttles and not self._buckets.allow(call.operation, self.now_s):
            raise _fault_error(Fault.THROTTLED)
        if faults := request_faults(call.service, call.operation, call.params, self.future_members):
            raise invalid("; ".join(faults))
        call.actions = iam_actions(call.service, call.operation, call.params)
        for action in call.actions:
            if action in self._denied:
                raise self._denial(action, call.params)

    def _denial(self, action: str, params: Json) -> AwsError:
        code = "AccessDenied" if action.startswith("sts:") else "AccessDeniedException"
        resource = "*"
        if "service" in params:
            resource = f"{self.arn_prefix}:service/{params.get('cluster', 'default')}/{params['service']}"
        elif targets := [t for t in [*params.get("Targets", []), params.get("Target")] if t and "RoleArn" in t]:
            resource = targets[0]["RoleArn"]
        elif "family" in params:
            resource = f"{self.arn_prefix}:task-definition/{params['family']}:*"
        return AwsError(
            code,
            f"User: {self.caller_arn} is not authorized to perform: {action} on resource: {resource} because no "
            f"identity-based policy allows the {action} action",
        )

    def _carry_out(self, call: Call) -> Json:
        method = getattr(self._apis[call.service], _snake_case(call.operation), None)
        if method is None:
            raise AwsError("UnknownOperationException", f"The simulator does not know {call.service}:{call.operation}.")
        answer: Json = method(call.params)
        if call.operation in self.leaves_out and _leave_one_out(answer):
            self.leaves_out.remove(call.operation)
        faults = answer_faults(call.service, call.operation, answer, self.future_members)
        if faults:
            self.violations += [f"{call.operation}: {fault}" for fault in faults]
            raise AwsError("ServerException", f"The simulator answered wrongly: {faults[0]}", 500)
        return answer

    # --- For the APIs and the scheduler

    @property
    def _ecs(self) -> EcsApi:
        api = self._apis["ecs"]
        assert isinstance(api, EcsApi)
        return api

    @property
    def arn_prefix(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}"

    @property
    def root_arn(self) -> str:
        return f"arn:aws:iam::{self.account}:root"

    def cluster_arn(self, name: str) -> str:
        return f"{self.arn_prefix}:cluster/{name}"

    def task_arn(self, cluster: str, task_id: str) -> str:
        return f"{self.arn_prefix}:task/{cluster}/{task_id}"

    def new_hex(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def new_uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def new_number(self) -> str:
        return str(self._random.randrange(10**18, 10**19))

    def register(self, params: Json) -> Definition:
        """Store a new revision, and its tags beside it."""
        definition = self.definitions.register(params, now_s=self.now_s, registered_by=self.caller_arn)
        if params.get("tags"):
            self.tags[definition.arn] = params["tags"]
        return definition

    def new_task(
        self,
        cluster: str,
        definition: Definition,
        *,
        started_by: str,
        owner: Service | None = None,
        group: str = "",
        members: Json | None = None,
    ) -> Task:
        """A task that is not launched yet."""
        runs = [self.image(image).next_run(standalone=owner is None) for image in definition.images]
        if owner:
            group = f"service:{owner.name}"
            members = {name: owner.members[name] for name in ("launchType", "platformVersion") if name in owner.members}
        arn = self.task_arn(cluster, self.new_hex())
        task = Task(
            self.timeline,
            arn,
            self.cluster_arn(cluster),
            definition,
            runs,
            group=group,
            started_by=started_by,
            owner=owner,
            members=members,
        )
        if task.members.get("launchType") != "FARGATE":
            task.host = self.instances.host_for(cluster)
        self.tasks[arn] = task
        return task

    def can_place(self, definition: Definition, cluster: str) -> bool:
        return self.instances.has_room(cluster) and all(self.image(image).placeable for image in definition.images)

    def take_run_task_failures(self, count: int) -> list[Json]:
        taken, self._run_task_failures = self._run_task_failures[:count], []
        return taken

    def described_cluster(self, name: str) -> Json:
        tasks = [task for task in self.tasks_of(name) if task.stopped_s is None]
        return {
            "clusterArn": self.cluster_arn(name),
            "clusterName": name,
            "status": "ACTIVE",
            "registeredContainerInstancesCount": len(self.instances.registered(name)),
            "runningTasksCount": sum(task.runs for task in tasks),
            "pendingTasksCount": sum(not task.runs for task in tasks),
            "activeServicesCount": sum(found.status == "ACTIVE" for found in self.services_of(name)),
            "capacityProviders": self.instances.providers_of(name),
        }

    def services_of(self, cluster: str) -> list[Service]:
        return [service for (owner, _), service in self.services.items() if owner == cluster]

    def find_service(self, cluster: str, reference: str) -> Service | None:
        found = self.services.get((cluster, reference.rpartition("/")[2]))
        return None if reference.startswith("arn:") and found and found.arn != reference else found

    def find_release(self, arn: str) -> Release | None:
        return next((r for service in self.services.values() for r in service.releases if r.arn == arn), None)

    def tasks_of(self, cluster: str) -> list[Task]:
        """The tasks that can still be described, oldest first."""
        arn = self.cluster_arn(cluster)
        oldest_s = self.now_s - RETENTION_S
        return [
            task
            for task in self.tasks.values()
            if task.cluster_arn == arn and (task.stopped_s is None or task.stopped_s > oldest_s)
        ]

    def find_task(self, cluster: str, reference: str) -> Task | None:
        task = self.tasks.get(self.task_arn(cluster, reference.rpartition("/")[2]))
        forgotten = task and task.stopped_s is not None and task.stopped_s <= self.now_s - RETENTION_S
        return None if forgotten else task

    def issue_credentials(self, session: str) -> Json:
        """New temporary credentials, refused again after `credentials_life_s`."""
        access_key = f"ASIA{self._random.getrandbits(64):016X}"
        self._expiries[access_key] = self.now_s + self.credentials_life_s
        return {
            "AccessKeyId": access_key,
            "SecretAccessKey": self.new_hex(),
            "SessionToken": f"{session}/{self.new_hex()}",
            "Expiration": iso_time(self.wall_epoch_s + self.now_s + self.credentials_life_s),
        }


def _fault_error(fault: Fault) -> AwsError:
    message, http_status = FAULT_ANSWERS[fault]
    return AwsError(fault.value, message, http_status)


_DESCRIBED = {
    "tasks": "taskArn",
    "services": "serviceArn",
    "containerInstances": "containerInstanceArn",
    "capacityProviders": "capacityProviderArn",
}


def _leave_one_out(answer: Json) -> bool:
    """Move what is described first to the failures; False if nothing is."""
    for member, arn in _DESCRIBED.items():
        if answer.get(member):
            answer["failures"] = [*answer["failures"], {"arn": answer[member][0][arn], "reason": "MISSING"}]
            answer[member] = answer[member][1:]
            return True
    return False


def _snake_case(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
