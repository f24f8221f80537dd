"""The service scheduler: rolling deployments, the circuit breaker, alarms, roll-backs."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import TYPE_CHECKING

from tests.simulator.definitions import Definition, digest_of
from tests.simulator.errors import Json
from tests.simulator.releases import Release
from tests.simulator.tasks import Task

if TYPE_CHECKING:
    from tests.simulator.model import World

SCHEDULER_DELAY_S = 0.5
"""From UpdateService to the scheduler's first act."""
LONGEST_BACKOFF_S = 60.0
DEFAULT_CONFIGURATION: Json = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
}
NATIVE_STRATEGIES = ("BLUE_GREEN", "LINEAR", "CANARY")


class Deployment:
    """One deployment of a service, and its tasks that have not stopped."""

    def __init__(self, deployment_id: str, revision_arn: str, definition: Definition, now_s: float) -> None:
        self.id, self.revision_arn, self.definition = deployment_id, revision_arn, definition
        self.created_s = self.updated_s = now_s
        self.status = "PRIMARY"
        self.rollout_state = "IN_PROGRESS"
        self.rollout_reason = f"ECS deployment {self.id} in progress."
        self.is_rollback = False
        self.failed_tasks = 0
        self.tasks: dict[str, Task] = {}
        self.backoff_until_s = 0.0
        self._backoff_rounds = 0

    @property
    def staying(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.stays]

    @property
    def running_count(self) -> int:
        return sum(task.runs for task in self.tasks.values())

    @property
    def pending_count(self) -> int:
        return len(self.tasks) - self.running_count

    @property
    def settled_count(self) -> int:
        return sum(task.settled and task.stays for task in self.tasks.values())

    def becomes(self, rollout_state: str, reason: str, now_s: float) -> None:
        self.rollout_state, self.rollout_reason, self.updated_s = rollout_state, reason, now_s

    def backs_off(self, now_s: float) -> None:
        """Wait longer before each new round of tasks; failures of one round count once."""
        if now_s >= self.backoff_until_s:
            self._backoff_rounds += 1
            self.backoff_until_s = now_s + min(LONGEST_BACKOFF_S, 2.0**self._backoff_rounds)

    def recovers(self) -> None:
        self._backoff_rounds, self.backoff_until_s = 0, 0.0

    def described(self, service: Service) -> Json:
        """The Deployment of an answer."""
        desired_count = service.desired_count if self.status == "PRIMARY" else len(self.staying)
        rollout = {"rolloutState": self.rollout_state, "rolloutStateReason": self.rollout_reason}
        kept = ("launchType", "capacityProviderStrategy", "platformVersion", "networkConfiguration")
        return {
            "id": self.id,
            "status": self.status,
            "taskDefinition": self.definition.arn,
            "desiredCount": desired_count,
            "pendingCount": self.pending_count,
            "runningCount": self.running_count,
            "failedTasks": self.failed_tasks,
            "createdAt": service.world.stamp(self.created_s),
            "updatedAt": service.world.stamp(self.updated_s),
            **{name: service.members[name] for name in kept if name in service.members},
            **({} if service.hides_rollout_state else rollout),
        }


class Service:
    """A service and its scheduler; scripts may change its public attributes at any time."""

    def __init__(
        self,
        world: World,
        cluster: str,
        name: str,
        definition: Definition,
        desired_count: int,
        members: Json,
        *,
        drain_s: float,
    ) -> None:
        self.world, self.cluster, self.name, self.desired_count = world, cluster, name, desired_count
        self.configuration: Json = {**DEFAULT_CONFIGURATION, **members.pop("deploymentConfiguration", {})}
        self.controller: str = members.pop("deploymentController", {"type": "ECS"})["type"]
        self.members = members
        self.drain_s = drain_s
        self.settle_s = world.settle_s
        self.arn = f"{world.arn_prefix}:service/{cluster}/{name}"
        self.status = "ACTIVE"
        self.created_s = world.now_s
        self.stale_reads_left = 0
        self.before_update: Json | None = None
        self.events: deque[Json] = deque(maxlen=100)
        self.deployments: list[Deployment] = []
        self.releases: list[Release] = []
        self.last_completed: Deployment | None = None
        self.completions: list[tuple[float, Deployment]] = []
        """When which deployment completed, or a rollback to it."""
        self._reconcile_is_due = False
        self._steady_is_announced = True
        self._begin_settled(definition)

    # --- What it is now

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    @property
    def release(self) -> Release:
        return self.releases[0]

    @property
    def is_native(self) -> bool:
        return self.configuration.get("strategy", "ROLLING") in NATIVE_STRATEGIES

    @property
    def hides_rollout_state(self) -> bool:
        """Behind a Classic Load Balancer there is no rolloutState."""
        return any("loadBalancerName" in balancer for balancer in self.members.get("loadBalancers", []))

    @property
    def is_steady(self) -> bool:
        """Whether exactly what is desired runs, of one definition, and nothing is under way."""
        return (
            self.status == "ACTIVE"
            and len(self.deployments) == 1
            and self.primary.rollout_state == "COMPLETED"
            and self.primary.settled_count == len(self.primary.tasks) == self.desired_count
        )

    def running_images(self) -> dict[str, int]:
        """How many tasks run each image, leaving out those that were told to stop."""
        found: dict[str, int] = {}
        for deployment in self.deployments:
            for task in deployment.tasks.values():
                for image in task.definition.images if task.runs and task.stays else []:
                    found[image] = found.get(image, 0) + 1
        return found

    # --- What is done to it

    def deploy(self, definition: Definition) -> Deployment:
        """Begin a new deployment; the one before it is superseded."""
        if self.release.is_open:
            self.release.ends("STOPPED", "Service deployment was replaced by a newer service deployment.")
        for older in self.deployments:
            older.status = "ACTIVE"
        deployment = self._new_deployment(definition)
        self.deployments.insert(0, deployment)
        self.releases.insert(0, Release(self, deployment, self.last_completed))
        self.release.begin()
        self._soon(SCHEDULER_DELAY_S)
        return deployment

    def scale(self, desired_count: int) -> None:
        if desired_count != self.desired_count:
            self.desired_count, self._steady_is_announced = desired_count, False
            self._soon(SCHEDULER_DELAY_S)

    def delete(self) -> None:
        """DRAINING while its tasks stop, then INACTIVE."""
        self.status, self.desired_count = "DRAINING", 0
        self._soon(0)

    def alarm_fires(self, at_s: float) -> None:
        """One of the deployment alarms goes off at that time; it matters only to a deployment under way."""
        self.world.timeline.at(at_s, self._alarm)

    def roll_back(self, why: str, failure: str) -> bool:
        """Mark the deployment under way as failed and bring back the last completed one; False where there is none."""
        failed, restored = self.primary, self.last_completed
        now_s = self.world.now_s
        failed.becomes("FAILED", f"{why}: {failure}", now_s)
        self.add_event(f"(deployment {failed.id}) deployment failed: {failure}")
        if restored is None or restored is failed or failed.is_rollback:
            self.release.fails(f"{why}: {failure}", was_rollback=failed.is_rollback)
            return False
        if not self.world.rollback_reuses_id:
            restored = self._new_deployment(restored.definition)
        self._restore(restored, why)
        self.release.rolls_back(restored, f"{why}: {failure}")
        return True

    def _restore(self, restored: Deployment, why: str) -> None:
        for deployment in self.deployments:
            deployment.status = "ACTIVE"
        if restored in self.deployments:
            self.deployments.remove(restored)
        self.deployments.insert(0, restored)
        restored.status, restored.is_rollback, restored.failed_tasks = "PRIMARY", True, 0
        restored.recovers()
        restored.becomes("IN_PROGRESS", f"{why}: rolling back to deploymentId {restored.id}", self.world.now_s)
        self.add_event(f"rolling back to deployment {restored.id}.")
        self._soon(SCHEDULER_DELAY_S)

    def complete(self) -> None:
        """The deployment under way has succeeded."""
        primary = self.primary
        primary.becomes("COMPLETED", f"ECS deployment {primary.id} completed.", self.world.now_s)
        primary.is_rollback = False
        primary.recovers()
        self.last_completed, self._steady_is_announced = primary, False
        self.completions.append((self.world.now_s, primary))
        self.add_event(f"(deployment {primary.id}) deployment completed.")
        self.release.completes()

    def add_event(self, text: str) -> None:
        message = f"(service {self.name}) {text}"
        stamp = self.world.stamp(self.world.now_s)
        self.events.appendleft({"id": self.world.new_uuid(), "createdAt": stamp, "message": message})

    # --- What its tasks report

    def task_changed(self, task: Task) -> None:
        self._soon(0)

    def task_settled(self, task: Task) -> None:
        deployment = self._deployment_of(task)
        if deployment and self.configuration.get("deploymentCircuitBreaker", {}).get("resetOnHealthyTask", True):
            deployment.failed_tasks = 0
        self._soon(0)

    def task_stopped(self, task: Task, *, by_itself: bool) -> None:
        deployment = self._deployment_of(task)
        if deployment:
            del deployment.tasks[task.arn]
            if by_itself and self.world.now_s - task.created_s > LONGEST_BACKOFF_S:
                deployment.recovers()
            elif by_itself:
                deployment.backs_off(self.world.now_s)
            if by_itself and not task.settled:
                self._count_failure(deployment)
        self._soon(0)

    def _deployment_of(self, task: Task) -> Deployment | None:
        return next((found for found in self.deployments if task.arn in found.tasks), None)

    def _count_failure(self, deployment: Deployment) -> None:
        deployment.failed_tasks += 1
        breaker = self.configuration.get("deploymentCircuitBreaker", {})
        trips = deployment is self.primary and deployment.rollout_state == "IN_PROGRESS" and breaker.get("enable")
        if trips and deployment.failed_tasks >= self.breaker_threshold():
            self.release.breaker_status = "TRIGGERED"
            self._give_up("ECS deployment circuit breaker", "tasks failed to start.", bool(breaker.get("rollback")))

    def breaker_threshold(self) -> int:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html"""
        scripted = self.configuration.get("deploymentCircuitBreaker", {}).get("thresholdConfiguration")
        kind, value = (scripted["type"], scripted["value"]) if scripted else ("BOUNDED_PERCENT", 50)
        if kind == "COUNT":
            return int(value)
        share = ceil(self.desired_count * value / 100)
        return share if kind == "UNBOUNDED_PERCENT" else min(200, max(3, share))

    def _alarm(self) -> None:
        alarms = self.configuration.get("alarms", {})
        if self.status == "ACTIVE" and alarms.get("enable") and self.primary.rollout_state == "IN_PROGRESS":
            self.release.alarm_status = "TRIGGERED"
            self._give_up("ECS deployment alarms", "alarm detected.", bool(alarms.get("rollback")))

    def _give_up(self, why: str, failure: str, rollback: bool) -> None:
        if rollback:
            self.roll_back(why, failure)
            return
        self.primary.becomes("FAILED", f"{why}: {failure}", self.world.now_s)
        self.add_event(f"(deployment {self.primary.id}) deployment failed: {failure}")
        self.release.fails(f"{why}: {failure}", was_rollback=self.primary.is_rollback)

    # --- The scheduler

    def _soon(self, delay_s: float) -> None:
        """Have the scheduler look, once for all that happens at one time."""
        if delay_s:
            self.world.timeline.after(delay_s, self.reconcile)
        elif not self._reconcile_is_due:
            self._reconcile_is_due = True
            self.world.timeline.after(0, self.reconcile)

    def reconcile(self) -> None:
        """Start and stop what the deployments ask for, and note what is done."""
        self._reconcile_is_due = False
        if self.status != "ACTIVE":
            self._wind_down()
            return
        if self.release.leads:
            self._follow_release()
        else:
            self._replace_old_tasks()
        self.deployments[1:] = [deployment for deployment in self.deployments[1:] if deployment.tasks]
        self.release.look()
        if self.primary.rollout_state == "IN_PROGRESS" and not self.release.leads and self._rollout_is_done():
            self.complete()
        self._announce_steady()

    def _replace_old_tasks(self) -> None:
        """A rolling step within the minimum and maximum percent."""
        primary, desired = self.primary, self.desired_count
        if primary.rollout_state == "FAILED":
            return
        staying = [task for task in primary.staying if not task.must_move]
        self._stop(staying[desired:])
        upper = desired * int(self.configuration.get("maximumPercent", 200)) // 100
        room = upper - sum(len(deployment.tasks) for deployment in self.deployments)
        self._start(primary, min(desired - len(staying), room))
        self._stop(self._dispensable())

    def _dispensable(self) -> list[Task]:
        """The tasks that may go, old or on an instance that drains: all without work, and the healthy ones to spare."""
        old = [task for d in self.deployments for task in d.staying if d is not self.primary or task.must_move]
        healthy = [task for task in old if task.healthy]
        ready = sum(task.healthy and not task.must_move for task in self.primary.tasks.values())
        lower = ceil(self.desired_count * int(self.configuration.get("minimumHealthyPercent", 100)) / 100)
        spare = max(0, len(healthy) + ready - lower)
        return [task for task in old if not task.healthy] + healthy[:spare]

    def _follow_release(self) -> None:
        """Blue/green: both revisions run in full until the release says otherwise."""
        for deployment in list(self.deployments):
            if not self.release.leads:
                return
            wanted = self.release.wanted(deployment)
            staying = deployment.staying
            self._stop(staying[wanted:])
            self._start(deployment, wanted - len(staying))

    def _rollout_is_done(self) -> bool:
        early = self.configuration.get("earlySuccessCriteria", {})
        old_ones_left = any(deployment.tasks for deployment in self.deployments[1:])
        if early.get("enable"):
            enough = ceil(self.desired_count * early.get("healthyPercent", 100) / 100)
            deferred = early.get("sourceServiceRevisionCleanup") == "DEFERRED"
            return self.primary.settled_count >= enough and (deferred or not old_ones_left)
        return not old_ones_left and self.primary.settled_count == len(self.primary.tasks) == self.desired_count

    def _announce_steady(self) -> None:
        if not self._steady_is_announced and self.is_steady:
            self._steady_is_announced = True
            self.add_event("has reached a steady state.")

    def _wind_down(self) -> None:
        for deployment in self.deployments:
            self._stop(deployment.staying)
        if not any(deployment.tasks for deployment in self.deployments):
            self.status = "INACTIVE"

    def _start(self, deployment: Deployment, count: int) -> None:
        if count <= 0:
            return
        if self.world.now_s < deployment.backoff_until_s:
            self.world.timeline.at(deployment.backoff_until_s, lambda: self._soon(0))
            return
        if not self.world.can_place(deployment.definition, self.cluster):
            self._note_unplaceable(deployment)
            return
        self._steady_is_announced = False
        started = [self._launch(deployment) for _ in range(count)]
        self.add_event(f"has started {count} tasks: {_names(started)}.")

    def _launch(self, deployment: Deployment) -> Task:
        task = self.world.new_task(self.cluster, deployment.definition, started_by=deployment.id, owner=self)
        deployment.tasks[task.arn] = task
        task.launch()
        return task

    def _note_unplaceable(self, deployment: Deployment) -> None:
        self.add_event(
            "was unable to place a task because no container instance met all of its requirements. Reason: No "
            "Container Instances were found in your cluster. For more information, see the Troubleshooting section of "
            "the Amazon ECS Developer Guide."
        )
        deployment.backs_off(self.world.now_s)
        self._count_failure(deployment)
        self.world.timeline.at(deployment.backoff_until_s, lambda: self._soon(0))

    def _stop(self, tasks: list[Task]) -> None:
        for task in tasks:
            task.stop(
                "ServiceSchedulerInitiated",
                f"Scaling activity initiated by (deployment {self.primary.id})",
                drain_s=self.drain_s,
            )
        if tasks:
            self.add_event(f"has stopped {len(tasks)} running tasks: {_names(tasks)}.")

    def _new_deployment(self, definition: Definition) -> Deployment:
        revision_arn = f"{self.world.arn_prefix}:service-revision/{self.cluster}/{self.name}/{self.world.new_number()}"
        return Deployment(f"ecs-svc/{self.world.new_number()}", revision_arn, definition, self.world.now_s)

    def _begin_settled(self, definition: Definition) -> None:
        """The first deployment is there already, completed, with its tasks running."""
        deployment = self._new_deployment(definition)
        self.deployments, self.releases = [deployment], [Release(self, deployment, None)]
        for _ in range(self.desired_count):
            task = self.world.new_task(self.cluster, definition, started_by=deployment.id, owner=self)
            deployment.tasks[task.arn] = task
            task.start_at_once()
        self.complete()
        self._announce_steady()

    # --- How it is described

    def revisions(self) -> list[Deployment]:
        """Every deployment that there ever was; each made a revision of the service."""
        return [release.target for release in self.releases]

    def described_revision(self, deployment: Deployment) -> Json:
        """The ServiceRevision of DescribeServiceRevisions."""
        images = [
            {"containerName": c["name"], "image": c["image"], "imageDigest": digest_of(c["image"])}
            for c in deployment.definition.containers
        ]
        return {
            "serviceRevisionArn": deployment.revision_arn,
            "serviceArn": self.arn,
            "clusterArn": self.world.cluster_arn(self.cluster),
            "taskDefinition": deployment.definition.arn,
            "containerImages": images,
            "createdAt": self.world.stamp(deployment.created_s),
        }

    def described(self, *, with_tags: bool = False) -> Json:
        """The Service of an answer."""
        gone = self.status == "INACTIVE"
        by_ecs = self.controller == "ECS"
        return {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.world.cluster_arn(self.cluster),
            "status": self.status,
            "desiredCount": self.desired_count,
            "runningCount": sum(deployment.running_count for deployment in self.deployments),
            "pendingCount": sum(deployment.pending_count for deployment in self.deployments),
            **({} if self.controller == "EXTERNAL" else {"taskDefinition": self.primary.definition.arn}),
            "deploymentConfiguration": self.configuration,
            "deploymentController": {"type": self.controller},
            "deployments": [d.described(self) for d in self.deployments] if by_ecs and not gone else [],
            "events": list(self.events),
            "createdAt": self.world.stamp(self.created_s),
            "createdBy": self.world.root_arn,
            "loadBalancers": [],
            "serviceRegistries": [],
            "placementConstraints": [],
            "placementStrategy": [],
            "schedulingStrategy": "REPLICA",
            "enableECSManagedTags": False,
            "propagateTags": "NONE",
            "enableExecuteCommand": False,
            **({"currentServiceDeployment": self.release.arn} if by_ecs and self.world.shows_releases else {}),
            **({} if by_ecs else {"taskSets": []}),
            **self.members,
            **({"tags": self.world.tags.get(self.arn, [])} if with_tags else {}),
        }


def _names(tasks: list[Task]) -> str:
    """The first ten of the tasks, as ECS writes them into events."""
    return " ".join(f"(task {task.id})" for task in tasks[:10]) + (" ..." if len(tasks) > 10 else "")
