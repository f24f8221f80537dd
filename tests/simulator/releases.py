"""Service deployments, as DescribeServiceDeployments tells them, and the stages of blue/green, linear and canary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulator.errors import AwsError, Json, client_error

if TYPE_CHECKING:
    from tests.simulator.services import Deployment, Service

STAGE_S = 1.0
"""How long a stage lasts that has nothing to wait for."""
MINUTE_S = 60.0
HOOK_TIMEOUT_MINUTES = 1440
HISTORY_S = 90 * 86_400.0
"""How long a service deployment is remembered."""
OPEN_STATUSES = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
Condition = Callable[[], bool]


@dataclass
class Hook:
    """One PAUSE hook that the release has reached."""

    id: str
    stage: str
    expires_s: float
    timeout_action: str
    status: str = "AWAITING_ACTION"


class Release:
    """The service deployment around one `Deployment`, rolling or native."""

    def __init__(self, service: Service, target: Deployment, source: Deployment | None) -> None:
        self.service, self.target, self.source = service, target, source
        world = service.world
        self.arn = f"{world.arn_prefix}:service-deployment/{service.cluster}/{service.name}/{world.new_hex()[:22]}"
        self.configuration = dict(service.configuration)
        self.desired_count = service.desired_count
        self.created_s = self.updated_s = world.now_s
        self.started_s: float | None = None
        self.ended_s: float | None = None
        self.status, self.reason, self.stage = "PENDING", "", ""
        self.leads = False
        """Whether its stages, and not the rolling rules, say which tasks run."""
        self.production_percent = self.test_percent = 0.0
        self.hooks: list[Hook] = []
        self.rollback: Json | None = None
        self.breaker_status = "MONITORING" if self._enabled("deploymentCircuitBreaker") else "DISABLED"
        self.alarm_status = "MONITORING" if self._enabled("alarms") else "DISABLED"
        self._script: Iterator[Condition] | None = None
        self._may_go_on: Condition = lambda: True

    # --- What happens to it

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    def begin(self) -> None:
        self.leads = self.service.is_native and self.source is not None
        self.service.world.timeline.after(STAGE_S / 2, self._start)

    def _start(self) -> None:
        if self.status != "PENDING":
            return
        self._becomes("IN_PROGRESS")
        self.started_s = self.service.world.now_s
        if self.leads:
            self._script = self._stages()
            self.service.reconcile()

    def completes(self) -> None:
        """Its deployment, or the one it went back to, has completed."""
        if self.is_open:
            went_back = self.status == "ROLLBACK_IN_PROGRESS"
            self.ends("ROLLBACK_SUCCESSFUL" if went_back else "SUCCESSFUL", self.reason)

    def fails(self, reason: str, *, was_rollback: bool) -> None:
        self.ends("ROLLBACK_FAILED" if was_rollback else "STOPPED", reason)

    def ends(self, status: str, reason: str) -> None:
        self._becomes(status, reason)
        self.ended_s = self.service.world.now_s
        self.leads, self._script = False, None
        if status == "SUCCESSFUL":
            self.production_percent = self.test_percent = 100.0
        if self.breaker_status == "MONITORING":
            self.breaker_status = "MONITORING_COMPLETE"
        if self.alarm_status == "MONITORING":
            self.alarm_status = "MONITORING_COMPLETE"

    def rolls_back(self, restored: Deployment, reason: str) -> None:
        self._becomes("ROLLBACK_IN_PROGRESS", reason)
        self.leads, self._script, self.stage = False, None, ""
        self.production_percent = self.test_percent = 0.0
        started_at = self.service.world.stamp(self.service.world.now_s)
        self.rollback = {"reason": reason, "startedAt": started_at, "serviceRevisionArn": restored.revision_arn}

    def stop(self, stop_type: str) -> None:
        """StopServiceDeployment."""
        if self.status not in ("PENDING", "IN_PROGRESS"):
            raise AwsError("ConflictException", f"Service deployment is in status {self.status} and cannot be stopped.")
        if stop_type == "ABORT":
            self._becomes("STOP_REQUESTED")
            self.service.world.timeline.after(STAGE_S, self._abort)
        else:
            self._becomes("ROLLBACK_REQUESTED")
            self.service.world.timeline.after(STAGE_S, self._roll_back_as_asked)

    def resolve_hook(self, hook_id: str, action: str) -> None:
        """ContinueServiceDeployment."""
        hook = next((found for found in self.hooks if found.id == hook_id), None)
        if hook is None or hook.status != "AWAITING_ACTION":
            raise client_error(f"The lifecycle hook {hook_id} is not awaiting an action.")
        self._settle_hook(hook, action, "SUCCEEDED" if action == "CONTINUE" else "FAILED")

    def _abort(self) -> None:
        if self.status == "STOP_REQUESTED":
            self.target.becomes("FAILED", "Service deployment was stopped.", self.service.world.now_s)
            self.ends("STOPPED", "Service deployment was stopped.")

    def _roll_back_as_asked(self) -> None:
        if self.status == "ROLLBACK_REQUESTED":
            self.service.roll_back("ECS deployment stopped", "service deployment rollback was requested.")

    def _becomes(self, status: str, reason: str = "") -> None:
        self.status, self.reason, self.updated_s = status, reason or self.reason, self.service.world.now_s

    def _enabled(self, monitor: str) -> bool:
        return bool(self.configuration.get(monitor, {}).get("enable"))

    # --- The stages of a native strategy

    def wanted(self, deployment: Deployment) -> int:
        """How many tasks of that deployment run at this stage."""
        before, after = ("", "RECONCILE_SERVICE", "PRE_SCALE_UP"), ("CLEAN_UP",)
        if deployment is self.target:
            return 0 if self.stage in before else self.service.desired_count
        return self.service.desired_count if deployment is self.source and self.stage not in after else 0

    def look(self) -> None:
        """Go on through the stages as far as it goes now."""
        while self._script is not None and self.status == "IN_PROGRESS" and self._may_go_on():
            try:
                self._may_go_on = next(self._script)
            except StopIteration:
                self._script, self.leads = None, False
                self.service.complete()

    def _stages(self) -> Iterator[Condition]:
        yield from self._brief("RECONCILE_SERVICE")
        yield from self._brief("PRE_SCALE_UP")
        self._enter("SCALE_UP")
        yield lambda: self.target.settled_count >= self.service.desired_count
        yield from self._brief("POST_SCALE_UP")
        self.test_percent = 100.0
        yield from self._brief("TEST_TRAFFIC_SHIFT")
        yield from self._brief("POST_TEST_TRAFFIC_SHIFT")
        yield from self._traffic_shift()
        yield from self._brief("POST_PRODUCTION_TRAFFIC_SHIFT")
        self._enter("BAKE_TIME")
        yield self._wait(MINUTE_S * self.configuration.get("bakeTimeInMinutes", 0))
        self._enter("CLEAN_UP")
        yield lambda: not any(d.tasks for d in self.service.deployments if d is not self.target)

    def _traffic_shift(self) -> Iterator[Condition]:
        for percent, bake_minutes in self._steps():
            yield from self._pause("PRE_PRODUCTION_TRAFFIC_SHIFT")
            self.production_percent = percent
            yield from self._brief("PRODUCTION_TRAFFIC_SHIFT")
            yield self._wait(MINUTE_S * bake_minutes)

    def _steps(self) -> list[tuple[float, float]]:
        """The shares of production traffic, each with the minutes to wait after it."""
        linear = self.configuration.get("linearConfiguration", {})
        canary = self.configuration.get("canaryConfiguration", {})
        if self.configuration.get("strategy") == "CANARY":
            return [(canary.get("canaryPercent", 5.0), canary.get("canaryBakeTimeInMinutes", 10)), (100.0, 0)]
        if self.configuration.get("strategy") == "LINEAR":
            step, minutes = linear.get("stepPercent", 10.0), linear.get("stepBakeTimeInMinutes", 6)
            return [(step * index, minutes) for index in range(1, int(-(-100 // step)))] + [(100.0, 0)]
        return [(100.0, 0)]

    def _brief(self, stage: str) -> Iterator[Condition]:
        self._enter(stage)
        yield from self._pause(stage)
        yield self._wait(STAGE_S)

    def _pause(self, stage: str) -> Iterator[Condition]:
        """Wait at each PAUSE hook of the stage; Lambda hooks succeed at once."""
        for config in self.configuration.get("lifecycleHooks", []):
            if config.get("targetType") == "PAUSE" and stage in config.get("lifecycleStages", []):
                hook = self._reach_hook(stage, config.get("timeoutConfiguration", {}))
                yield lambda reached=hook: reached.status != "AWAITING_ACTION"  # type: ignore[misc]

    def _reach_hook(self, stage: str, timeout: Json) -> Hook:
        world = self.service.world
        expires_s = world.now_s + MINUTE_S * timeout.get("timeoutInMinutes", HOOK_TIMEOUT_MINUTES)
        hook = Hook(world.new_uuid(), stage, expires_s, timeout.get("action", "ROLLBACK"))
        self.hooks.append(hook)
        world.timeline.at(expires_s, lambda: self._time_out(hook))
        return hook

    def _time_out(self, hook: Hook) -> None:
        if hook.status == "AWAITING_ACTION" and self.status == "IN_PROGRESS":
            self._settle_hook(hook, hook.timeout_action, "TIMED_OUT")

    def _settle_hook(self, hook: Hook, action: str, status: str) -> None:
        hook.status = status
        if action == "ROLLBACK":
            self._becomes("ROLLBACK_REQUESTED")
            self.service.world.timeline.after(STAGE_S, self._roll_back_as_asked)
        else:
            self.service.world.timeline.after(0, self.service.reconcile)

    def _enter(self, stage: str) -> None:
        self.stage, self.updated_s = stage, self.service.world.now_s
        self.service.world.timeline.after(0, self.service.reconcile)

    def _wait(self, seconds: float) -> Condition:
        world = self.service.world
        until_s = world.now_s + seconds
        world.timeline.at(until_s, self.service.reconcile)
        return lambda: world.now_s >= until_s

    # --- How it is described

    def brief(self) -> Json:
        """The ServiceDeploymentBrief of ListServiceDeployments."""
        return {
            "serviceDeploymentArn": self.arn,
            "serviceArn": self.service.arn,
            "clusterArn": self.service.world.cluster_arn(self.service.cluster),
            "targetServiceRevisionArn": self.target.revision_arn,
            "status": self.status,
            **self._dates("createdAt", "startedAt", "finishedAt"),
            **({"statusReason": self.reason} if self.reason else {}),
        }

    def described(self) -> Json:
        """The ServiceDeployment of DescribeServiceDeployments."""
        optional = {
            "lifecycleStage": self.stage if self.is_open else "",
            "statusReason": self.reason,
            "rollback": self.rollback,
            "lifecycleHookDetails": [self._described_hook(hook) for hook in self.hooks],
        }
        threshold = self.service.breaker_threshold()
        breaker = {"status": self.breaker_status, "failureCount": self.target.failed_tasks, "threshold": threshold}
        names = self.configuration.get("alarms", {}).get("alarmNames", [])
        triggered = names if self.alarm_status == "TRIGGERED" else []
        return {
            "serviceDeploymentArn": self.arn,
            "serviceArn": self.service.arn,
            "clusterArn": self.service.world.cluster_arn(self.service.cluster),
            "status": self.status,
            "sourceServiceRevisions": self._sources(),
            "targetServiceRevision": self._revision(self.target, self.production_percent, self.test_percent),
            "deploymentConfiguration": self.configuration,
            "deploymentCircuitBreaker": breaker,
            "alarms": {"status": self.alarm_status, "alarmNames": names, "triggeredAlarmNames": triggered},
            **self._dates("createdAt", "startedAt", "finishedAt", "stoppedAt", "updatedAt"),
            **{name: value for name, value in optional.items() if value},
        }

    def _sources(self) -> list[Json]:
        if self.source is None:
            return []
        return [self._revision(self.source, 100 - self.production_percent, 100 - self.test_percent)]

    def _dates(self, *names: str) -> Json:
        stopped = self.status == "STOPPED"
        dates = {
            "createdAt": self.created_s,
            "startedAt": self.started_s,
            "updatedAt": self.updated_s,
            "finishedAt": self.ended_s,
            "stoppedAt": self.ended_s if stopped else None,
        }
        return {name: self.service.world.stamp(at_s) for name in names if (at_s := dates[name]) is not None}

    def _revision(self, deployment: Deployment, production_percent: float, test_percent: float) -> Json:
        return {
            "arn": deployment.revision_arn,
            "requestedTaskCount": self.wanted(deployment) if self.leads else self.service.desired_count,
            "runningTaskCount": deployment.running_count,
            "pendingTaskCount": deployment.pending_count,
            "requestedProductionTrafficWeight": float(production_percent),
            "requestedTestTrafficWeight": float(test_percent),
        }

    def _described_hook(self, hook: Hook) -> Json:
        return {
            "hookId": hook.id,
            "targetType": "PAUSE",
            "status": hook.status,
            "expiresAt": self.service.world.stamp(hook.expires_s),
            "timeoutAction": hook.timeout_action,
        }
