"""EC2 instances in Auto Scaling groups, and how they serve a cluster: launched, registered, drained, terminated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulator.errors import AwsError, Json, invalid
from tests.simulator.services import SCHEDULER_DELAY_S, Service
from tests.simulator.tasks import Task

if TYPE_CHECKING:
    from tests.simulator.model import World

REACTION_S = 4.0
"""How long a group takes to notice that its capacity is not as desired."""
ATTACHING_S = 2.0
SHUTDOWN_S = 8.0
GROUP_TAG = "aws:autoscaling:groupName"


@dataclass
class Instance:
    """One EC2 instance; `container_status` is the cluster's word for it, empty while it is not registered."""

    id: str
    arn: str
    cluster: str
    type: str
    origin: Json
    launched_s: float
    group: str = ""
    lifecycle: str = "Pending"
    state: str = "pending"
    protected: bool = False
    agent_connected: bool = True
    container_status: str = ""
    weight: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def draining(self) -> bool:
        return self.container_status == "DRAINING"

    @property
    def takes_tasks(self) -> bool:
        return self.container_status == "ACTIVE" and self.agent_connected

    def member(self) -> Json:
        """The instance in the answer of DescribeAutoScalingGroups."""
        weight = {"WeightedCapacity": str(self.weight)} if self.weight else {}
        return {
            "InstanceId": self.id,
            "InstanceType": self.type,
            "AvailabilityZone": "us-east-1a",
            "LifecycleState": self.lifecycle,
            "HealthStatus": "Healthy",
            "ProtectedFromScaleIn": self.protected,
            **self.origin,
            **weight,
        }


class Group:
    """An Auto Scaling group; `launch` is one of LaunchConfigurationName, LaunchTemplate and MixedInstancesPolicy."""

    def __init__(self, fleet: Instances, name: str, cluster: str, launch: Json, *, desired: int, maximum: int) -> None:
        self.fleet, self.name, self.cluster, self.launch = fleet, name, cluster, launch
        self.minimum, self.desired, self.maximum = 0, desired, maximum
        self.boots_s, self.registers_s, self.detaches_s = 12.0, 6.0, 3.0
        self.suspended: list[str] = []
        self.protects_new = False
        self.launches = True
        self.capacity_type = ""
        self._launched = 0

    @property
    def members(self) -> list[Instance]:
        return [instance for instance in self.fleet.all.values() if instance.group == self.name]

    @property
    def capacity(self) -> int:
        """What is in service, or will be."""
        counted = [i for i in self.members if i.lifecycle in ("InService", "Pending")]
        return sum(instance.weight or 1 for instance in counted)

    def reconcile(self) -> None:
        """Launch or terminate, until the capacity is as desired."""
        if not self.launches or "Launch" in self.suspended:
            return
        while self.capacity < self.desired:
            self.launch_one()
        surplus = [i for i in self.members if i.lifecycle == "InService" and not i.protected]
        while self.capacity > self.desired and surplus:
            self.fleet.terminate(surplus.pop(0), by_call=False)

    def soon(self) -> None:
        self.fleet.world.timeline.after(REACTION_S, self.reconcile)

    def launch_one(self, *, at_once: bool = False) -> Instance:
        """A new instance; `at_once`: as if it had been there for long."""
        type_, origin, weight = self._blueprint()
        self._launched += 1
        instance = self.fleet.new_instance(self.cluster, type_, origin)
        instance.group, instance.weight, instance.protected = self.name, weight, self.protects_new
        instance.tags[GROUP_TAG] = self.name
        if at_once:
            self._in_service(instance)
            self.fleet.register(instance)
        else:
            self.fleet.world.timeline.after(self.boots_s, partial(self._in_service, instance))
            self.fleet.world.timeline.after(self.boots_s + self.registers_s, partial(self.fleet.register, instance))
        return instance

    def _in_service(self, instance: Instance) -> None:
        if instance.state == "pending":
            instance.state = "running"
        if instance.group == self.name and instance.lifecycle == "Pending" and instance.state == "running":
            instance.lifecycle = "InService"

    def _blueprint(self) -> tuple[str, Json, int]:
        """Type, origin and weight of the next instance; the overrides of a policy take turns."""
        if "LaunchConfigurationName" in self.launch:
            return "t3.large", {"LaunchConfigurationName": self.launch["LaunchConfigurationName"]}, 0
        policy = self.launch.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        overrides = policy.get("Overrides") or [{}]
        override = overrides[self._launched % len(overrides)]
        template: Json = policy.get("LaunchTemplateSpecification") or self.launch["LaunchTemplate"]
        resolved = self.fleet.resolved(override.get("LaunchTemplateSpecification") or template)
        return override.get("InstanceType", "t3.large"), resolved, int(override.get("WeightedCapacity", 0))

    def attached(self, instance: Instance) -> None:
        if instance.lifecycle == "Pending" and instance.group == self.name:
            instance.lifecycle = "InService"

    def described(self) -> Json:
        suspended = [{"ProcessName": name, "SuspensionReason": "User suspended"} for name in self.suspended]
        return {
            "AutoScalingGroupName": self.name,
            "MinSize": self.minimum,
            "MaxSize": self.maximum,
            "DesiredCapacity": self.desired,
            "DefaultCooldown": 300,
            "AvailabilityZones": ["us-east-1a"],
            "HealthCheckType": "EC2",
            "CreatedTime": self.fleet.world.stamp(0),
            "Instances": [instance.member() for instance in self.members],
            "SuspendedProcesses": suspended,
            **({"DesiredCapacityType": self.capacity_type} if self.capacity_type else {}),
            **self.launch,
        }


@dataclass
class Template:
    """A launch template, of which only the versions matter here."""

    id: str
    name: str
    latest: int = 1
    default: int = 1


class Instances:
    """All instances, groups and launch templates of the world, and what scripts do with them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all: dict[str, Instance] = {}
        self.groups: dict[str, Group] = {}
        self.templates: dict[str, Template] = {}
        self.killed: list[Task] = []
        """Tasks of services that ran on an instance while a call terminated it."""

    # --- Scripting

    def template(self, name: str) -> Json:
        """The specification of a launch template's latest version, which is made if need be."""
        made = self.templates.setdefault(name, Template(f"lt-{len(self.templates):017x}", name))
        return {"LaunchTemplateId": made.id, "LaunchTemplateName": name, "Version": "$Latest"}

    def new_version(self, name: str, *, default: bool = False) -> None:
        """Publish another version of a launch template."""
        template = self.templates[name]
        template.latest += 1
        template.default = template.latest if default else template.default

    def group(
        self, name: str, cluster: str, launch: Json | None = None, *, desired: int = 3, maximum: int = 20
    ) -> Group:
        """A group whose instances have long been registered in the cluster."""
        self.world.cluster(cluster)
        launch = launch or {"LaunchTemplate": self.template(name)}
        made = self.groups[name] = Group(self, name, cluster, launch, desired=desired, maximum=maximum)
        while made.capacity < desired:
            made.launch_one(at_once=True)
        return made

    def daemon(self, cluster: str, name: str) -> Service:
        """A service that runs one task on every instance of the cluster."""
        definition = self.world.task_definition(name)
        made = DaemonService(self.world, cluster, name, definition, 0, {"schedulingStrategy": "DAEMON"}, drain_s=1.0)
        self.world.services[cluster, name] = made
        made.reconcile()
        self.world.advance(5)
        return made

    def vanish(self, instance: Instance) -> None:
        """A spot instance is taken away, or somebody terminates it."""
        self.terminate(instance, by_call=False)

    def alive(self) -> list[Instance]:
        """The instances that cost money."""
        return [instance for instance in self.all.values() if instance.state in ("pending", "running")]

    def tasks_on(self, instance: Instance) -> list[Task]:
        """The tasks there that have not stopped."""
        return [t for t in self.world.tasks.values() if t.host is instance and t.stopped_s is None]

    # --- What happens to an instance

    def new_instance(self, cluster: str, type_: str, origin: Json) -> Instance:
        arn = f"{self.world.arn_prefix}:container-instance/{cluster}/{self.world.new_hex()}"
        instance = Instance(f"i-{len(self.all):017x}", arn, cluster, type_, origin, self.world.now_s)
        self.all[instance.id] = instance
        return instance

    def register(self, instance: Instance) -> None:
        """Its agent has joined the cluster."""
        if instance.state == "running" and not instance.container_status:
            instance.container_status = "ACTIVE"
            self._wake(instance.cluster)

    def set_status(self, instance: Instance, status: str) -> None:
        instance.container_status = status
        self._wake(instance.cluster)

    def terminate(self, instance: Instance, *, by_call: bool = True) -> None:
        if instance.state not in ("pending", "running"):
            return
        instance.state = "shutting-down"
        if instance.group:
            instance.lifecycle = "Terminating"
        for task in self.tasks_on(instance):
            if by_call and isinstance(task.owner, Service) and not isinstance(task.owner, DaemonService):
                self.killed.append(task)
            task.stop("TerminationNotice", f"Host EC2 (instance {instance.id}) terminated.")
        self.world.timeline.after(SHUTDOWN_S, partial(self._terminated, instance))
        if instance.group:
            self.groups[instance.group].soon()

    def _terminated(self, instance: Instance) -> None:
        instance.state, instance.group = "terminated", ""
        instance.container_status = "INACTIVE" if instance.container_status else ""
        self._wake(instance.cluster)

    def _wake(self, cluster: str) -> None:
        for service in self.world.services_of(cluster):
            self.world.timeline.after(SCHEDULER_DELAY_S, service.reconcile)

    # --- Placement

    def registered(self, cluster: str) -> list[Instance]:
        return [i for i in self.all.values() if i.cluster == cluster and i.container_status not in ("", "INACTIVE")]

    def host_for(self, cluster: str) -> Instance | None:
        """The instance with the fewest tasks that takes one more."""
        hosts = [instance for instance in self.registered(cluster) if instance.takes_tasks]
        return min(hosts, key=lambda host: len(self.tasks_on(host)), default=None)

    def has_room(self, cluster: str) -> bool:
        """False where the cluster has instances, but none that takes tasks."""
        return self.host_for(cluster) is not None or not any(i.cluster == cluster for i in self.all.values())

    def resolved(self, specification: Json) -> Json:
        """Where an instance that is launched from there says that it comes from."""
        template = self.templates[specification["LaunchTemplateName"]]
        versions = {"$Latest": template.latest, "$Default": template.default}
        version = str(versions.get(specification.get("Version", "$Default"), specification.get("Version")))
        return {"LaunchTemplate": {**specification, "Version": version}}


class DaemonService(Service):
    """One task on every instance that is ACTIVE; on one that drains it stays to the end."""

    def reconcile(self) -> None:
        self._reconcile_is_due = False
        hosts = [i for i in self.world.instances.registered(self.cluster) if i.takes_tasks]
        self.desired_count = len(hosts)
        covered = {task.host.id for task in self.primary.staying if task.host}
        for host in hosts:
            if host.id not in covered:
                self._launch(self.primary).host = host


class ContainerInstancesApi:
    """The operations of ECS that are about instances."""

    def __init__(self, fleet: Instances) -> None:
        self.fleet = fleet

    def arns(self, cluster: str, status: str | None) -> list[str]:
        return [i.arn for i in self.fleet.registered(cluster) if status in (None, i.container_status)]

    def described(self, cluster: str, references: list[str]) -> Json:
        if not 1 <= len(references) <= 100:
            raise invalid("Between 1 and 100 container instances can be described in a single operation.")
        found, failures = self._find(cluster, references)
        return {"containerInstances": [self._describe(instance) for instance in found], "failures": failures}

    def update_state(self, cluster: str, references: list[str], status: str) -> Json:
        if not 1 <= len(references) <= 10:
            raise invalid("Between 1 and 10 container instances can be updated in a single operation.")
        if status not in ("ACTIVE", "DRAINING"):
            raise invalid("Container instance status must be one of ACTIVE or DRAINING.")
        found, failures = self._find(cluster, references)
        for instance in found:
            self.fleet.set_status(instance, status)
        return {"containerInstances": [self._describe(instance) for instance in found], "failures": failures}

    def _find(self, cluster: str, references: list[str]) -> tuple[list[Instance], list[Json]]:
        known = {instance.arn: instance for instance in self.fleet.registered(cluster)}
        missing = [{"arn": arn, "reason": "MISSING"} for arn in references if arn not in known]
        return [known[arn] for arn in references if arn in known], missing

    def _describe(self, instance: Instance) -> Json:
        tasks = self.fleet.tasks_on(instance)
        return {
            "containerInstanceArn": instance.arn,
            "ec2InstanceId": instance.id,
            "status": instance.container_status,
            "agentConnected": instance.agent_connected,
            "runningTasksCount": sum(task.runs for task in tasks),
            "pendingTasksCount": sum(not task.runs for task in tasks),
            "attributes": [{"name": "ecs.instance-type", "value": instance.type}],
            "registeredAt": self.fleet.world.stamp(instance.launched_s),
            "version": 1,
        }


class AutoScalingApi:
    """Auto Scaling as its API shows it."""

    def __init__(self, fleet: Instances) -> None:
        self.fleet = fleet

    def describe_auto_scaling_groups(self, params: Json) -> Json:
        names = params.get("AutoScalingGroupNames") or list(self.fleet.groups)
        found = [self.fleet.groups[name].described() for name in names if name in self.fleet.groups]
        return _page(found, "AutoScalingGroups", params, self.fleet.world.page_size)

    def describe_auto_scaling_instances(self, params: Json) -> Json:
        wanted = params.get("InstanceIds") or list(self.fleet.all)
        found = [self.fleet.all[i] for i in wanted if i in self.fleet.all and self.fleet.all[i].group]
        described = [{**i.member(), "AutoScalingGroupName": i.group} for i in found]
        return _page(described, "AutoScalingInstances", params, self.fleet.world.page_size)

    def detach_instances(self, params: Json) -> Json:
        group = self._group(params)
        chosen = self._instances(params)
        for instance in chosen:
            if instance.group != group.name or instance.lifecycle not in ("InService", "Standby"):
                raise _validation(f"The instance {instance.id} is not part of Auto Scaling group {group.name}.")
        if params["ShouldDecrementDesiredCapacity"]:
            lowered = group.desired - sum(instance.weight or 1 for instance in chosen)
            if lowered < group.minimum:
                raise _validation("The desired capacity would fall below the minimum size.")
            group.desired = lowered
        for instance in chosen:
            instance.lifecycle = "Detaching"
            self.fleet.world.timeline.after(group.detaches_s, partial(self._detached, instance))
        group.soon()
        return {"Activities": []}

    def _detached(self, instance: Instance) -> None:
        if instance.lifecycle == "Detaching":
            instance.group, instance.lifecycle, instance.origin = "", "", {}
            instance.tags.pop(GROUP_TAG, None)

    def attach_instances(self, params: Json) -> Json:
        group = self._group(params)
        chosen = self._instances(params)
        for instance in chosen:
            if instance.group:
                raise _validation(f"The instance {instance.id} is already part of AutoScalingGroup {instance.group}.")
            if instance.state != "running":
                raise _validation(f"The instance {instance.id} is not in correct state.")
        raised = group.desired + sum(instance.weight or 1 for instance in chosen)
        if raised > group.maximum:
            raise _validation(f"The desired capacity {raised} would exceed the maximum size {group.maximum}.")
        group.desired = raised
        for instance in chosen:
            instance.group, instance.lifecycle = group.name, "Pending"
            instance.tags[GROUP_TAG] = group.name
            self.fleet.world.timeline.after(ATTACHING_S, partial(group.attached, instance))
        return {}

    def _group(self, params: Json) -> Group:
        name = params["AutoScalingGroupName"]
        if name not in self.fleet.groups:
            raise _validation(f"AutoScalingGroup name not found - null ({name})")
        return self.fleet.groups[name]

    def _instances(self, params: Json) -> list[Instance]:
        ids = params.get("InstanceIds") or []
        if len(ids) > 20:
            raise _validation("At most 20 instances can be named in one call.")
        unknown = [instance_id for instance_id in ids if instance_id not in self.fleet.all]
        if unknown:
            raise _validation(f"Invalid Instance ID(s): {unknown}")
        return [self.fleet.all[instance_id] for instance_id in ids]


class Ec2Api:
    """EC2 as its API shows it."""

    def __init__(self, fleet: Instances) -> None:
        self.fleet = fleet

    def describe_instances(self, params: Json) -> Json:
        chosen = [i for i in self.fleet.all.values() if all(_matches(i, f) for f in params.get("Filters", []))]
        reservations = [
            {
                "ReservationId": f"r-{instance.id[2:]}",
                "OwnerId": self.fleet.world.account,
                "Instances": [
                    {
                        "InstanceId": instance.id,
                        "InstanceType": instance.type,
                        "State": {"Name": instance.state},
                        "Tags": [{"Key": key, "Value": value} for key, value in instance.tags.items()],
                    }
                ],
            }
            for instance in chosen
        ]
        return _page(reservations, "Reservations", params, self.fleet.world.page_size)

    def describe_launch_templates(self, params: Json) -> Json:
        known = {template.id: template for template in self.fleet.templates.values()}
        wanted = params.get("LaunchTemplateIds") or list(known)
        if unknown := [template_id for template_id in wanted if template_id not in known]:
            raise AwsError("InvalidLaunchTemplateId.NotFound", f"The template {unknown[0]} does not exist.")
        found = [
            {
                "LaunchTemplateId": known[template_id].id,
                "LaunchTemplateName": known[template_id].name,
                "LatestVersionNumber": known[template_id].latest,
                "DefaultVersionNumber": known[template_id].default,
            }
            for template_id in wanted
        ]
        return _page(found, "LaunchTemplates", params, self.fleet.world.page_size)

    def create_tags(self, params: Json) -> Json:
        for instance in self._instances(params["Resources"]):
            instance.tags.update({tag["Key"]: tag.get("Value", "") for tag in params["Tags"]})
        return {}

    def delete_tags(self, params: Json) -> Json:
        for instance in self._instances(params["Resources"]):
            for tag in params.get("Tags", []):
                instance.tags.pop(tag["Key"], None)
        return {}

    def terminate_instances(self, params: Json) -> Json:
        for instance in (chosen := self._instances(params["InstanceIds"])):
            self.fleet.terminate(instance)
        return {"TerminatingInstances": [{"InstanceId": i.id, "CurrentState": {"Name": i.state}} for i in chosen]}

    def _instances(self, ids: Iterable[str]) -> list[Instance]:
        wanted = list(ids)
        if unknown := [instance_id for instance_id in wanted if instance_id not in self.fleet.all]:
            raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{unknown[0]}' does not exist")
        return [self.fleet.all[instance_id] for instance_id in wanted]


def _matches(instance: Instance, filter_: Json) -> bool:
    name, values = filter_["Name"], filter_["Values"]
    if name.startswith("tag:"):
        return instance.tags.get(name.removeprefix("tag:")) in values
    return {"instance-id": instance.id, "instance-state-name": instance.state}[name] in values


def _page(items: list[Any], member: str, params: Json, size: int) -> Json:
    start = int(params.get("NextToken", "0"))
    token = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return {member: items[start : start + size], **token}


def _validation(message: str) -> AwsError:
    return AwsError("ValidationError", message)
