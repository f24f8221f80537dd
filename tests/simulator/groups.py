"""Auto Scaling groups: how they launch, terminate, refresh and balance their instances; and their API."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

from tests.simulator.errors import AwsError, Json

if TYPE_CHECKING:
    from tests.simulator.instances import Instance, Instances

REACTION_S = 4.0
"""How long a group takes to notice that its capacity is not as desired."""
REFRESH_TICK_S = 2.0
DRAINING_TICK_S = 1.0
GROUP_TAG = "aws:autoscaling:groupName"
OPEN = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")


class Group:
    """An Auto Scaling group; `launch` is one of LaunchConfigurationName, LaunchTemplate and MixedInstancesPolicy."""

    def __init__(self, fleet: Instances, name: str, cluster: str, launch: Json, *, desired: int, maximum: int) -> None:
        self.fleet, self.name, self.cluster, self.launch = fleet, name, cluster, launch
        self.minimum, self.desired, self.maximum = 0, desired, maximum
        self.boots_s, self.registers_s = 12.0, 6.0
        self.deregisters_s, self.hook_s = 0.0, 0.0
        """How long a balancer keeps an instance that leaves, and how long a termination hook holds it after that."""
        self.target_groups: list[str] = []
        self.balancers: list[str] = []
        self.suspended: list[str] = []
        self.protects_new = False
        self.launches = True
        self.lists_late_s = 0.0
        """How long an instance that is being terminated is still listed as in service."""
        self.lists_refresh_late_s = 0.0
        """How long an instance refresh that was started is not listed yet."""
        self.capacity_type = ""
        self.tags: dict[str, str] = {}
        self.warm: list[Instance] = []
        self.managed_draining = False
        self.refreshes: list[Refresh] = []
        self.refresh_fails = ""
        """Why the refresh under way is to fail."""
        self.surge = 0
        """How much an instance refresh has it launch above its desired capacity."""
        self._launched = 0

    @property
    def arn(self) -> str:
        world = self.fleet.world
        path = f"autoScalingGroupName/{self.name}"
        return f"arn:aws:autoscaling:{world.region}:{world.account}:autoScalingGroup:{self.name}:{path}"

    @property
    def members(self) -> list[Instance]:
        return [instance for instance in self.fleet.all.values() if instance.group == self.name]

    @property
    def targets(self) -> list[Instance]:
        """What its balancers send requests to: whatever is in service."""
        return [instance for instance in self.members if instance.lifecycle == "InService"]

    @property
    def capacity(self) -> int:
        """What is in service, or will be."""
        counted = [i for i in self.members if i.lifecycle in ("InService", "Pending")]
        return sum(instance.weight or 1 for instance in counted)

    @property
    def refresh(self) -> Refresh | None:
        """The instance refresh that is under way."""
        return next((refresh for refresh in self.refreshes if refresh.status in OPEN), None)

    def outdated(self) -> list[Instance]:
        """The members that are not as it would launch them now."""
        current = [self.blueprint(number)[1] for number in range(len(self._overrides()))]
        return [instance for instance in self.members if instance.origin not in current]

    def reconcile(self) -> None:
        """Launch or terminate, until the capacity is as desired."""
        wanted = self.desired + self.surge
        while self.launches and "Launch" not in self.suspended and self.capacity < wanted:
            self.launch_one()
        in_service = [instance for instance in self.members if instance.lifecycle == "InService"]
        surplus = [i for i in in_service if self.managed_draining or not i.protected]  # ECS lifts what it has set
        while surplus and self.capacity - (surplus[0].weight or 1) >= wanted:
            self.terminate(surplus.pop(0))

    def soon(self) -> None:
        self.fleet.world.timeline.after(REACTION_S, self.reconcile)

    def launch_one(self, *, at_once: bool = False) -> Instance:
        """A new instance, or one of the warm pool; `at_once`: as if it had been there for long."""
        instance = self.warm.pop(0) if self.warm else self.new_instance()
        instance.group, instance.protected = self.name, self.protects_new
        instance.state, instance.lifecycle = "pending", "Pending"
        instance.tags[GROUP_TAG] = self.name
        if at_once:
            self._in_service(instance)
            self.fleet.register(instance)
        else:
            self.fleet.world.timeline.after(self.boots_s, partial(self._in_service, instance))
            self.fleet.world.timeline.after(self.boots_s + self.registers_s, partial(self.fleet.register, instance))
        return instance

    def new_instance(self) -> Instance:
        type_, origin, weight = self.blueprint(self._launched)
        self._launched += 1
        instance = self.fleet.new_instance(self.cluster, type_, origin)
        instance.weight = weight
        return instance

    def warm_up(self, count: int) -> None:
        """Fill the warm pool."""
        for _ in range(count):
            instance = self.new_instance()
            instance.state, instance.lifecycle = "stopped", "Warmed:Stopped"
            self.warm.append(instance)

    def _in_service(self, instance: Instance) -> None:
        if instance.state == "pending":
            instance.state = "running"
        if instance.group == self.name and instance.lifecycle == "Pending" and instance.state == "running":
            instance.lifecycle = "InService"

    def _overrides(self) -> list[Json]:
        policy = self.launch.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        return policy.get("Overrides") or [{}]

    def blueprint(self, number: int) -> tuple[str, Json, int]:
        """Type, origin and weight of an instance; the overrides of a policy take turns."""
        if "LaunchConfigurationName" in self.launch:
            return "t3.large", {"LaunchConfigurationName": self.launch["LaunchConfigurationName"]}, 0
        policy = self.launch.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        overrides = self._overrides()
        override = overrides[number % len(overrides)]
        template: Json = policy.get("LaunchTemplateSpecification") or self.launch["LaunchTemplate"]
        resolved = self.fleet.resolved(override.get("LaunchTemplateSpecification") or template)
        return override.get("InstanceType", "t3.large"), resolved, int(override.get("WeightedCapacity", 0))

    # --- Leaving: the balancers first, then the hook, then EC2

    def terminate(self, instance: Instance) -> None:
        if instance.state not in ("pending", "running"):
            return
        instance.lifecycle, instance.leaves_s = "Terminating", self.fleet.world.now_s
        self.soon()
        balanced = self.deregisters_s if self.target_groups or self.balancers else 0.0
        if balanced:
            self.fleet.world.timeline.after(balanced, partial(self._hook, instance))
        else:
            self._hook(instance)

    def _hook(self, instance: Instance) -> None:
        if instance.state not in ("pending", "running"):
            return
        if self.managed_draining and instance.container_status:
            instance.lifecycle = "Terminating:Wait"
            self.fleet.set_status(instance, "DRAINING")
            self._drained(instance)
        elif self.hook_s:
            instance.lifecycle = "Terminating:Wait"
            self.fleet.world.timeline.after(self.hook_s, partial(self._proceed, instance))
        else:
            self._proceed(instance)

    def _drained(self, instance: Instance) -> None:
        """ECS's own hook lets an instance go when its tasks are gone."""
        if self.fleet.kept_by(instance) and instance.state == "running":
            self.fleet.world.timeline.after(DRAINING_TICK_S, partial(self._drained, instance))
        else:
            self._proceed(instance)

    def _proceed(self, instance: Instance) -> None:
        if instance.state in ("pending", "running"):
            self.fleet.killed += self.fleet.kept_by(instance)
            self.fleet.shut_down(instance)

    # --- How it is described

    def _member(self, instance: Instance) -> Json:
        late = self.fleet.world.now_s < instance.leaves_s + self.lists_late_s
        return {**instance.member(), **({"LifecycleState": "InService"} if late else {})}

    def described(self) -> Json:
        suspended = [{"ProcessName": name, "SuspensionReason": "User suspended"} for name in self.suspended]
        named = {"ResourceId": self.name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
        warm = {"WarmPoolConfiguration": {"PoolState": "Stopped"}, "WarmPoolSize": len(self.warm)}
        return {
            "AutoScalingGroupName": self.name,
            "AutoScalingGroupARN": self.arn,
            "MinSize": self.minimum,
            "MaxSize": self.maximum,
            "DesiredCapacity": self.desired,
            "DefaultCooldown": 300,
            "AvailabilityZones": ["us-east-1a"],
            "LoadBalancerNames": self.balancers,
            "TargetGroupARNs": self.target_groups,
            "HealthCheckType": "EC2",
            "CreatedTime": self.fleet.world.stamp(0),
            "Instances": [self._member(instance) for instance in self.members],
            "SuspendedProcesses": suspended,
            "Tags": [{**named, "Key": key, "Value": value} for key, value in self.tags.items()],
            **(warm if self.warm else {}),
            **({"DesiredCapacityType": self.capacity_type} if self.capacity_type else {}),
            **self.launch,
        }


class Refresh:
    """An instance refresh: it launches what may be above the desired capacity, and terminates what that replaces."""

    def __init__(self, group: Group, id_: str, preferences: Json) -> None:
        self.group, self.id, self.preferences = group, id_, preferences
        self.status, self.reason = "Pending", ""
        self.begun_s = group.fleet.world.now_s
        self._there = [instance.id for instance in group.members]
        for number, instance in enumerate(group.warm):
            instance.origin = group.blueprint(number)[1]
        self._count = max(1, len(self._stale()))
        self._soon()

    def _soon(self) -> None:
        self.group.fleet.world.timeline.after(REFRESH_TICK_S, self.tick)

    def _stale(self) -> list[Instance]:
        """The members in service that it is to replace."""
        outdated = self.group.outdated()
        matching = self.preferences.get("SkipMatching", False)
        protected = self.preferences.get("ScaleInProtectedInstances", "Wait")
        return [
            instance
            for instance in self.group.members
            if instance.id in self._there
            and instance.lifecycle == "InService"
            and (instance in outdated or not matching)
            and not (instance.protected and protected != "Refresh")
        ]

    def _leaving(self) -> list[Instance]:
        return [instance for instance in self.group.members if instance.lifecycle.startswith("Terminating")]

    def _waits(self) -> bool:
        """Whether there is something that it may not touch, and was told to wait for."""
        protected = self.preferences.get("ScaleInProtectedInstances", "Wait") == "Wait"
        standby = self.preferences.get("StandbyInstances", "Wait") == "Wait"
        old = [instance for instance in self.group.outdated() if instance.id in self._there]
        return any((i.protected and protected) or (i.lifecycle == "Standby" and standby) for i in old)

    def tick(self) -> None:
        if self.status not in OPEN:
            return
        self._soon()
        if self.status == "Pending":
            self.status = "InProgress"
        if self.group.refresh_fails:
            self._end("Failed", self.group.refresh_fails)
        elif self.status == "Cancelling":
            if not self._leaving():
                self._end("Cancelled", "Cancelled due to user request.")
        elif self._stale() or self._leaving() or self._waits():
            self._replace(self._stale())
        else:
            self._end("Successful", "")

    def _replace(self, stale: list[Instance]) -> None:
        group = self.group
        lowest = ceil(group.desired * self.preferences.get("MinHealthyPercentage", 90) / 100)
        highest = max(group.desired, group.desired * self.preferences.get("MaxHealthyPercentage", 100) // 100)
        in_service = [i for i in group.members if i.lifecycle == "InService"]
        going = stale[: max(0, sum(i.weight or 1 for i in in_service) - lowest)]
        for instance in going:
            group.surge = max(0, group.surge - (instance.weight or 1))
            group.terminate(instance)
        left = sum(i.weight or 1 for i in stale[len(going) :])
        group.surge = max(group.surge, min(left, highest - group.desired))
        group.reconcile()

    def _end(self, status: str, reason: str) -> None:
        self.status, self.reason, self.group.surge = status, reason, 0
        self.group.soon()

    def described(self) -> Json:
        left = len(self._stale()) + len(self._leaving())
        done = self.status == "Successful"
        return {
            "InstanceRefreshId": self.id,
            "AutoScalingGroupName": self.group.name,
            "Status": self.status,
            "StartTime": self.group.fleet.world.stamp(self.begun_s),
            "PercentageComplete": 100 if done else max(0, 100 * (self._count - left) // self._count),
            "InstancesToUpdate": 0 if done else left,
            "Preferences": self.preferences,
            **({"StatusReason": self.reason} if self.reason else {}),
        }


class AutoScalingApi:
    """Auto Scaling as its API shows it."""

    def __init__(self, fleet: Instances) -> None:
        self.fleet = fleet

    def describe_auto_scaling_groups(self, params: Json) -> Json:
        names = params.get("AutoScalingGroupNames") or list(self.fleet.groups)
        found = [self.fleet.groups[name].described() for name in names if name in self.fleet.groups]
        return page(found, "AutoScalingGroups", params, self.fleet.world.page_size)

    def describe_warm_pool(self, params: Json) -> Json:
        warm = [instance.member() for instance in self._group(params).warm]
        return page(warm, "Instances", params, self.fleet.world.page_size)

    def set_desired_capacity(self, params: Json) -> Json:
        group = self._group(params)
        wanted = params["DesiredCapacity"]
        if not group.minimum <= wanted <= group.maximum:
            above = wanted > group.maximum
            limit = f"above max value {group.maximum}" if above else f"below min value {group.minimum}"
            raise _validation(f"New SetDesiredCapacity value {wanted} is {limit} for the AutoScalingGroup.")
        group.desired = wanted
        group.soon()
        return {}

    def terminate_instance_in_auto_scaling_group(self, params: Json) -> Json:
        instance = self.fleet.all.get(params["InstanceId"])
        if instance is None or not instance.group:
            raise _validation(
                f"Instance Id not found - No managed instance found for instance ID {params['InstanceId']}"
            )
        group = self.fleet.groups[instance.group]
        if instance.lifecycle.startswith("Terminating"):
            raise AwsError("ScalingActivityInProgress", f"The instance {instance.id} is being terminated.")
        if params["ShouldDecrementDesiredCapacity"]:
            if group.desired - (instance.weight or 1) < group.minimum:
                raise _validation(
                    f"Currently, desiredSize equals minSize ({group.minimum}). Terminating instance without"
                    " replacement will violate group's min size constraint."
                )
            group.desired -= instance.weight or 1
        if not group.managed_draining:
            self.fleet.killed += self.fleet.kept_by(instance)
        group.terminate(instance)
        activity = {
            "ActivityId": self.fleet.world.new_uuid(),
            "AutoScalingGroupName": group.name,
            "Description": f"Terminating EC2 instance: {instance.id}",
            "Cause": "instance was taken out of service in response to a user request.",
            "StartTime": self.fleet.world.stamp(self.fleet.world.now_s),
            "StatusCode": "InProgress",
        }
        return {"Activity": activity}

    # Tags of groups

    def create_or_update_tags(self, params: Json) -> Json:
        for tag in params["Tags"]:
            self._tagged(tag).tags[tag["Key"]] = tag.get("Value", "")
        return {}

    def delete_tags(self, params: Json) -> Json:
        for tag in params["Tags"]:
            self._tagged(tag).tags.pop(tag["Key"], None)
        return {}

    def _tagged(self, tag: Json) -> Group:
        if tag.get("ResourceType") != "auto-scaling-group":
            raise _validation("The resource type of a tag is auto-scaling-group.")
        return self._group({"AutoScalingGroupName": tag["ResourceId"]})

    # Instance refreshes

    def start_instance_refresh(self, params: Json) -> Json:
        group, preferences = self._group(params), params.get("Preferences", {})
        if group.refresh:
            message = "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."
            raise AwsError("InstanceRefreshInProgress", message)
        lowest = preferences.get("MinHealthyPercentage", 90)
        highest = preferences.get("MaxHealthyPercentage", 100)
        if not (0 <= lowest <= 100 <= highest <= 200 and highest - lowest <= 100):
            raise _validation("The healthy percentages are out of range, or more than 100 apart.")
        refresh = Refresh(group, self.fleet.world.new_uuid(), preferences)
        group.refreshes.insert(0, refresh)
        return {"InstanceRefreshId": refresh.id}

    def describe_instance_refreshes(self, params: Json) -> Json:
        wanted = params.get("InstanceRefreshIds")
        group = self._group(params)
        listed = [r for r in group.refreshes if r.begun_s + group.lists_refresh_late_s <= self.fleet.world.now_s]
        found = [refresh.described() for refresh in listed if not wanted or refresh.id in wanted]
        return page(found, "InstanceRefreshes", params, self.fleet.world.page_size)

    def cancel_instance_refresh(self, params: Json) -> Json:
        refresh = self._open_refresh(params)
        refresh.status = "Cancelling"
        return {"InstanceRefreshId": refresh.id}

    def rollback_instance_refresh(self, params: Json) -> Json:
        """Only a refresh with a desired configuration can be rolled back, and none here has one."""
        self._open_refresh(params)
        raise AwsError("IrreversibleInstanceRefresh", "The instance refresh has no desired configuration.")

    def _open_refresh(self, params: Json) -> Refresh:
        refresh = self._group(params).refresh
        if refresh is None or refresh.status == "Cancelling":
            message = "No in progress or pending Instance Refresh found for this Auto Scaling group."
            raise AwsError("ActiveInstanceRefreshNotFound", message)
        return refresh

    def _group(self, params: Json) -> Group:
        name = params["AutoScalingGroupName"]
        if name not in self.fleet.groups:
            raise _validation(f"AutoScalingGroup name not found - null ({name})")
        return self.fleet.groups[name]


def page(items: list[Any], member: str, params: Json, size: int) -> Json:
    """One page of an answer of Auto Scaling or EC2."""
    start = int(params.get("NextToken", "0"))
    token = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return {member: items[start : start + size], **token}


def _validation(message: str) -> AwsError:
    return AwsError("ValidationError", message)
