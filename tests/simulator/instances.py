"""EC2 instances, and how they serve a cluster: registered, drained, shut down."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.simulator.errors import AwsError, Json, invalid
from tests.simulator.groups import Group, page
from tests.simulator.services import SCHEDULER_DELAY_S, Service
from tests.simulator.tasks import Task

if TYPE_CHECKING:
    from tests.simulator.model import World

SHUTDOWN_S = 8.0


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
    leaves_s: float = float("-inf")
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
        self.providers: dict[str, Json] = {}
        self.killed: list[Task] = []
        """Tasks, those of daemons left out, that were on an instance while it was terminated by a call or a group."""

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

    def capacity_provider(
        self, name: str, group: Group, *, managed_draining: bool = True, termination_protection: bool = False
    ) -> None:
        """Give the group's cluster a capacity provider of that group."""
        words = {True: "ENABLED", False: "DISABLED"}
        group.managed_draining = managed_draining
        if termination_protection:
            group.protects_new = True
            for instance in group.members:
                instance.protected = True
        self.providers[name] = {
            "capacityProviderArn": f"{self.world.arn_prefix}:capacity-provider/{name}",
            "name": name,
            "cluster": group.cluster,
            "status": "ACTIVE",
            "autoScalingGroupProvider": {
                "autoScalingGroupArn": group.arn,
                "managedDraining": words[managed_draining],
                "managedTerminationProtection": words[termination_protection],
            },
        }

    def providers_of(self, cluster: str) -> list[str]:
        return [name for name, provider in self.providers.items() if provider["cluster"] == cluster]

    def vanish(self, instance: Instance) -> None:
        """A spot instance is taken away, or somebody terminates it: no hook, and nothing is drained."""
        if instance.state in ("pending", "running"):
            if instance.group:
                instance.lifecycle = "Terminating"
            self.shut_down(instance)

    def alive(self) -> list[Instance]:
        """The instances that cost money."""
        return [instance for instance in self.all.values() if instance.state in ("pending", "running")]

    def tasks_on(self, instance: Instance) -> list[Task]:
        """The tasks there that have not stopped."""
        return [t for t in self.world.tasks.values() if t.host is instance and t.stopped_s is None]

    def kept_by(self, instance: Instance) -> list[Task]:
        """The tasks there that must move or end before it may go."""
        return [task for task in self.tasks_on(instance) if not isinstance(task.owner, DaemonService)]

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

    def shut_down(self, instance: Instance) -> None:
        """EC2 ends it, and whatever runs on it."""
        instance.state = "shutting-down"
        for task in self.tasks_on(instance):
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


class Ec2Api:
    """EC2 as its API shows it."""

    def __init__(self, fleet: Instances) -> None:
        self.fleet = fleet

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
        return page(found, "LaunchTemplates", params, self.fleet.world.page_size)
