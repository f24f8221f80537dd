"""One task from PROVISIONING to STOPPED."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tests.simulator.behaviours import ContainerRun
from tests.simulator.definitions import Definition, digest_of
from tests.simulator.errors import Json
from tests.simulator.timeline import Timeline

RETENTION_S = 3600.0
"""How long a stopped task can still be described."""


class TaskOwner(Protocol):
    """A service, told of what its tasks do."""

    settle_s: float

    def task_changed(self, task: Task) -> None: ...
    def task_settled(self, task: Task) -> None: ...
    def task_stopped(self, task: Task, *, by_itself: bool) -> None: ...


class Host(Protocol):
    """The instance that a task runs on, where there are instances."""

    id: str
    arn: str

    @property
    def draining(self) -> bool: ...


@dataclass
class Container:
    name: str
    image: str
    essential: bool
    run: ContainerRun
    health_checked: bool
    log_stream: tuple[str, str] | None
    """The log group and stream it writes to, where it logs with awslogs."""
    exit_code: int | None = None
    reason: str = ""
    exited: bool = False


class Task:
    """A task lives by the timeline: `launch` puts its start, its exits and its health into it."""

    def __init__(
        self,
        timeline: Timeline,
        arn: str,
        cluster_arn: str,
        definition: Definition,
        runs: list[ContainerRun],
        *,
        group: str,
        started_by: str,
        owner: TaskOwner | None = None,
        members: Json | None = None,
    ) -> None:
        self.timeline, self.arn, self.cluster_arn, self.definition = timeline, arn, cluster_arn, definition
        self.group, self.started_by, self.owner, self.members = group, started_by, owner, members or {}
        self.id = arn.rpartition("/")[2]
        self.containers = [_container(raw, run, self.id) for raw, run in zip(definition.containers, runs, strict=True)]
        self.host: Host | None = None
        self.created_s = timeline.now_s
        self.start_s = max(container.run.start_s for container in self.containers)
        self.running_s: float | None = None
        self.stopping_s: float | None = None
        self.stopped_s: float | None = None
        self.drain_s = 0.0
        self.healthy_s: float | None = None
        self.health = "UNKNOWN"
        self.settled = False
        self.stop_code = ""
        self.stopped_reason = ""

    # --- What it is now

    @property
    def runs(self) -> bool:
        """Whether it has reached RUNNING and has not stopped; one that drains still runs."""
        return self.running_s is not None and self.stopped_s is None

    @property
    def stays(self) -> bool:
        """Whether nobody has told it to stop."""
        return self.stopping_s is None and self.stopped_s is None

    @property
    def must_move(self) -> bool:
        """Whether its instance drains."""
        return self.host is not None and self.host.draining

    @property
    def host_arn(self) -> str:
        return self.host.arn if self.host else ""

    @property
    def healthy(self) -> bool:
        """Whether it counts for the minimum healthy percent."""
        return self.runs and self.stays and (not self.definition.health_checks or self.health == "HEALTHY")

    @property
    def last_status(self) -> str:
        age_s = self.timeline.now_s - self.created_s
        if self.stopped_s is not None:
            return "STOPPED"
        if self.stopping_s is not None:
            return "DEACTIVATING" if self.timeline.now_s < self.stopping_s + self.drain_s / 2 else "STOPPING"
        if self.running_s is not None:
            return "RUNNING"
        return "PROVISIONING" if age_s < self.start_s / 4 else "PENDING" if age_s < self.start_s * 0.9 else "ACTIVATING"

    # --- What happens to it

    def launch(self) -> None:
        self.timeline.after(self.start_s, self._start)

    def start_at_once(self) -> None:
        """As if it had been running and healthy for long."""
        self._start()
        self.health = "HEALTHY" if self.definition.health_checks else "UNKNOWN"
        self.settled = True

    def stop(self, stop_code: str, reason: str, *, drain_s: float = 0.0) -> None:
        """Tell it to stop: at once where it does not run yet, else after it has drained."""
        if not self.stays:
            return
        self.stopping_s, self.stop_code, self.stopped_reason = self.timeline.now_s, stop_code, reason
        self.drain_s = drain_s if self.runs else 0.0
        if self.drain_s:
            self.timeline.after(self.drain_s, self._end)
        else:
            self._end()

    def _start(self) -> None:
        if not self.stays:
            return
        broken = [container for container in self.containers if container.run.pull_error]
        if broken:
            for container in broken:
                container.reason = container.run.pull_error
            self._fail("TaskFailedToStart", broken[0].run.pull_error)
            return
        self.running_s = self.timeline.now_s
        for container in self.containers:
            if container.run.exit_after_s is not None:
                self.timeline.after(container.run.exit_after_s, partial(self._container_exits, container))
        self._watch_health()
        if self.owner:
            self.owner.task_changed(self)

    def _watch_health(self) -> None:
        checks = self.definition.health_checks
        if not checks:
            if self.owner:
                self.timeline.after(self.owner.settle_s, self._settle)
            return
        checked = [container.run for container in self.containers if container.health_checked]
        delays = [run.healthy_after_s for run in checked if run.healthy_after_s is not None]
        if len(delays) == len(checked):
            self.timeline.after(max(delays), self._settle)
        else:
            patience = [c.get("startPeriod", 0) + c.get("interval", 30) * c.get("retries", 3) for c in checks]
            self.timeline.after(min(patience), self._becomes_unhealthy)

    def _settle(self) -> None:
        """It has run long enough, or is healthy: from now on its end is no failure to start."""
        if not (self.runs and self.stays):
            return
        self.settled = True
        if self.definition.health_checks:
            self.health, self.healthy_s = "HEALTHY", self.timeline.now_s
        if self.owner:
            self.owner.task_settled(self)

    def _becomes_unhealthy(self) -> None:
        if self.runs and self.stays:
            self.health = "UNHEALTHY"
            if self.owner:
                self._fail("ServiceSchedulerInitiated", "Task failed container health checks")

    def _container_exits(self, container: Container) -> None:
        if not (self.runs and self.stays):
            return
        container.exited, container.exit_code = True, container.run.exit_code
        container.reason = container.run.exit_reason
        if container.essential:
            self._fail("EssentialContainerExited", "Essential container in task exited")

    def _fail(self, stop_code: str, reason: str) -> None:
        self.stop_code, self.stopped_reason, self.stopping_s = stop_code, reason, self.timeline.now_s
        self._end(by_itself=True)

    def _end(self, *, by_itself: bool = False) -> None:
        self.stopped_s = self.timeline.now_s
        for container in self.containers:
            if self.running_s is not None and not container.exited:
                container.exit_code = 0
            container.exited = True
        if self.owner:
            self.owner.task_stopped(self, by_itself=by_itself)

    # --- How it is described

    def described(self, epoch_s: float) -> Json:
        """The Task of an answer."""
        times = {
            "createdAt": self.created_s,
            "startedAt": self.running_s,
            "stoppingAt": self.stopping_s,
            "stoppedAt": self.stopped_s,
            "executionStoppedAt": self.stopped_s if self.running_s is not None else None,
        }
        texts = {"startedBy": self.started_by, "stopCode": self.stop_code, "stoppedReason": self.stopped_reason}
        return {
            "taskArn": self.arn,
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.definition.arn,
            "group": self.group,
            "lastStatus": self.last_status,
            "desiredStatus": "RUNNING" if self.stays else "STOPPED",
            "healthStatus": self.health,
            "containers": [self._described_container(container) for container in self.containers],
            "overrides": {"containerOverrides": [], "inferenceAcceleratorOverrides": []},
            "version": 1,
            **{name: text for name, text in texts.items() if text},
            **({"containerInstanceArn": self.host_arn} if self.host else {}),
            **{name: round(epoch_s + at_s, 3) for name, at_s in times.items() if at_s is not None},
            **self.members,
        }

    def _described_container(self, container: Container) -> Json:
        described: Json = {
            "containerArn": f"{self.arn.replace(':task/', ':container/')}/{container.name}",
            "taskArn": self.arn,
            "name": container.name,
            "image": container.image,
            "lastStatus": "STOPPED" if container.exited else "RUNNING" if self.runs else "PENDING",
            "healthStatus": self.health if container.health_checked else "UNKNOWN",
        }
        if self.running_s is not None:
            described["imageDigest"] = digest_of(container.image)
        if container.exit_code is not None:
            described["exitCode"] = container.exit_code
        if container.reason:
            described["reason"] = container.reason
        return described


def _container(raw: Json, run: ContainerRun, task_id: str) -> Container:
    name, logs = raw["name"], raw.get("logConfiguration", {})
    options = logs.get("options", {})
    stream = None
    if logs.get("logDriver") == "awslogs":
        stream = (options.get("awslogs-group", ""), f"{options.get('awslogs-stream-prefix', '')}/{name}/{task_id}")
    return Container(name, raw.get("image", ""), raw.get("essential", True), run, "healthCheck" in raw, stream)
