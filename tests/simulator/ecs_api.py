"""The operations of ECS: one method each, from the request's JSON to the answer's."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.simulator.definitions import Definition, refuse_bad_definition, refuse_bad_tags
from tests.simulator.errors import AwsError, Json, client_error, invalid
from tests.simulator.instances import ContainerInstancesApi
from tests.simulator.releases import HISTORY_S, Release
from tests.simulator.services import DEFAULT_CONFIGURATION, Service
from tests.simulator.tasks import Task

if TYPE_CHECKING:
    from tests.simulator.model import World

REDEPLOYING_MEMBERS = (
    "networkConfiguration",
    "platformVersion",
    "capacityProviderStrategy",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
)
"""Members of UpdateService that begin a new deployment when they change."""
PLAIN_MEMBERS = (
    "healthCheckGracePeriodSeconds",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "propagateTags",
    "placementConstraints",
    "placementStrategy",
    "availabilityZoneRebalancing",
)
CONTROLLED_ELSEWHERE = {
    "CODE_DEPLOY": "Unable to update task definition on services with a CODE_DEPLOY deployment controller. "
    "Use AWS CodeDeploy to trigger a new deployment.",
    "EXTERNAL": "Unable to update task definition on services with an EXTERNAL deployment controller. "
    "Use CreateTaskSet to deploy a new revision.",
}


class EcsApi:
    """ECS as its API shows it; `World` is ECS as it is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._run_by_token: dict[str, Json] = {}
        self._container_instances = ContainerInstancesApi(world.instances)

    # --- Clusters

    def describe_clusters(self, params: Json) -> Json:
        names = [_last_part(name) for name in params.get("clusters", ["default"])]
        known = [name for name in names if name in self.world.clusters]
        missing = [{"arn": self.world.cluster_arn(n), "reason": "MISSING"} for n in names if n not in known]
        return {"clusters": [self.world.described_cluster(name) for name in known], "failures": missing}

    def list_clusters(self, params: Json) -> Json:
        arns = [self.world.cluster_arn(name) for name in self.world.clusters]
        return self._page("ListClusters", "clusterArns", arns, params)

    def describe_capacity_providers(self, params: Json) -> Json:
        known = self.world.instances.providers
        names = params.get("capacityProviders") or list(known)
        missing = [{"arn": name, "reason": "MISSING"} for name in names if name not in known]
        return {"capacityProviders": [known[name] for name in names if name in known], "failures": missing}

    # --- Services

    def describe_services(self, params: Json) -> Json:
        cluster = self._cluster(params)
        references = params["services"]
        if not references:
            raise invalid("Services cannot be empty.")
        if len(references) > 10:
            raise invalid("Too many services. You can describe up to 10 services in a single operation.")
        found = {reference: self.world.find_service(cluster, reference) for reference in references}
        if self.world.answers_missing:
            found[references[0]] = None
        with_tags = "TAGS" in params.get("include", [])
        return {
            "services": [self._read_service(service, with_tags) for service in found.values() if service],
            "failures": [self._missing_service(cluster, name) for name, service in found.items() if not service],
        }

    def _read_service(self, service: Service, with_tags: bool) -> Json:
        """The service as it is, or as it was before its last update where the script says that reads are stale."""
        stale = self.world.answers_stale
        if service.stale_reads_left > 0:
            service.stale_reads_left -= 1
            stale = True
        if stale and service.before_update is not None:
            return service.before_update
        return service.described(with_tags=with_tags)

    def _missing_service(self, cluster: str, reference: str) -> Json:
        arn = f"{self.world.arn_prefix}:service/{cluster}/{_last_part(reference)}"
        return {"arn": arn, "reason": "MISSING"}

    def list_services(self, params: Json) -> Json:
        cluster = self._cluster(params)
        arns = [found.arn for found in self.world.services_of(cluster) if found.status != "INACTIVE"]
        return self._page("ListServices", "serviceArns", arns, params)

    def update_service(self, params: Json) -> Json:
        service = self._service(self._cluster(params), params["service"])
        if service.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        definition = self._definition_for(service, params)
        _refuse_bad_update(params)
        service.before_update = service.described()
        service.stale_reads_left = self.world.stale_reads
        self.update(service, params, definition)
        return {"service": service.described()}

    def update(self, service: Service, params: Json, definition: Definition) -> None:
        """Carry out what UpdateService was asked; also what another actor's update does."""
        if "deploymentConfiguration" in params:
            service.configuration = {**DEFAULT_CONFIGURATION, **params["deploymentConfiguration"]}
        changed = [m for m in REDEPLOYING_MEMBERS if m in params and params[m] != service.members.get(m)]
        members = (*REDEPLOYING_MEMBERS, *PLAIN_MEMBERS)
        service.members.update({name: params[name] for name in members if name in params})
        if "desiredCount" in params:
            service.scale(params["desiredCount"])
        if definition is not service.primary.definition or params.get("forceNewDeployment") or changed:
            service.deploy(definition)

    def _definition_for(self, service: Service, params: Json) -> Definition:
        if "taskDefinition" not in params:
            return service.primary.definition
        if service.controller in CONTROLLED_ELSEWHERE:
            raise invalid(CONTROLLED_ELSEWHERE[service.controller])
        return self._usable_definition(params["taskDefinition"])

    def _usable_definition(self, reference: str) -> Definition:
        definition = self.world.definitions.find(reference)
        if definition is None:
            raise client_error("TaskDefinition not found.")
        if not definition.usable_at(self.world.now_s) or definition.status == "DELETE_IN_PROGRESS":
            raise client_error("TaskDefinition is inactive")
        return definition

    # --- Task definitions

    def describe_task_definition(self, params: Json) -> Json:
        definition = self.world.definitions.find(params["taskDefinition"])
        if definition is None:
            raise client_error("Unable to describe task definition.")
        answer: Json = {"taskDefinition": self._described(definition)}
        if "TAGS" in params.get("include", []):
            answer["tags"] = self.world.tags.get(definition.arn, [])
        return answer

    def register_task_definition(self, params: Json) -> Json:
        refuse_bad_tags(params)
        refuse_bad_definition(params)
        definition = self.world.register(params)
        answer: Json = {"taskDefinition": self._described(definition)}
        if "tags" in params:
            answer["tags"] = params["tags"]
        return answer

    def deregister_task_definition(self, params: Json) -> Json:
        if ":" not in _last_part(params["taskDefinition"]):
            raise invalid("The task definition must be given with its revision: family:revision or ARN.")
        definition = self.world.definitions.find(params["taskDefinition"])
        if definition is None:
            raise client_error("The specified task definition does not exist.")
        if definition.status == "ACTIVE":
            definition.status, definition.deregistered_s = "INACTIVE", self.world.now_s
        return {"taskDefinition": self._described(definition)}

    def delete_task_definitions(self, params: Json) -> Json:
        references = params["taskDefinitions"]
        if not 1 <= len(references) <= 10:
            raise invalid("Between 1 and 10 task definitions can be deleted in a single operation.")
        answer: dict[str, list[Json]] = {"taskDefinitions": [], "failures": []}
        for reference in references:
            definition = self.world.definitions.find(reference)
            if definition is None or definition.status == "ACTIVE":
                reason = "The specified task definition does not exist."
                if definition:
                    reason = (
                        "The specified task definition is still in ACTIVE status. "
                        "Please deregister the target and try again."
                    )
                answer["failures"].append({"arn": reference, "reason": reason})
                continue
            definition.status, definition.delete_requested_s = "DELETE_IN_PROGRESS", self.world.now_s
            answer["taskDefinitions"].append(self._described(definition))
        return answer

    def list_task_definitions(self, params: Json) -> Json:
        found = self.world.definitions.of_status(params.get("familyPrefix"), params.get("status", "ACTIVE"))
        arns = [definition.arn for definition in found]
        if params.get("sort") == "DESC":
            arns.reverse()
        return self._page("ListTaskDefinitions", "taskDefinitionArns", arns, params)

    def list_task_definition_families(self, params: Json) -> Json:
        prefix, status = params.get("familyPrefix", ""), params.get("status", "ALL")
        found = [
            family
            for family in sorted(self.world.definitions.families)
            if family.startswith(prefix) and status in ("ALL", self._family_status(family))
        ]
        return self._page("ListTaskDefinitionFamilies", "families", found, params)

    def _family_status(self, family: str) -> str:
        return "ACTIVE" if self.world.definitions.of_status(family, "ACTIVE") else "INACTIVE"

    def _described(self, definition: Definition) -> Json:
        return definition.described(self.world.epoch_s)

    # --- Tasks

    def list_tasks(self, params: Json) -> Json:
        cluster = self._cluster(params)
        if "startedBy" in params and {"serviceName", "family", "containerInstance"} & set(params):
            raise invalid("startedBy must be the only filter.")
        group = f"service:{self._service(cluster, params['serviceName']).name}" if "serviceName" in params else None
        stopped = params.get("desiredStatus", "RUNNING") == "STOPPED"
        arns = [
            task.arn
            for task in self.world.tasks_of(cluster)
            if task.stays != stopped
            and params.get("desiredStatus") != "PENDING"
            and group in (None, task.group)
            and params.get("startedBy", task.started_by) == task.started_by
            and params.get("containerInstance", task.host_arn) == task.host_arn
            and params.get("family", task.definition.family) == task.definition.family
            and params.get("launchType", task.members.get("launchType")) == task.members.get("launchType")
        ]
        return self._page("ListTasks", "taskArns", arns, params)

    def describe_tasks(self, params: Json) -> Json:
        cluster = self._cluster(params)
        if len(params["tasks"]) > 100:
            raise invalid("Too many tasks. You can describe up to 100 tasks in a single operation.")
        answer: dict[str, list[Json]] = {"tasks": [], "failures": []}
        for index, reference in enumerate(params["tasks"]):
            task = self._visible_task(cluster, reference)
            if task is None or (self.world.answers_missing and index == 0):
                arn = self.world.task_arn(cluster, _last_part(reference))
                answer["failures"].append({"arn": arn, "reason": "MISSING"})
            else:
                answer["tasks"].append(self._described_task(task, with_tags="TAGS" in params.get("include", [])))
        return answer

    def _visible_task(self, cluster: str, reference: str) -> Task | None:
        task = self.world.find_task(cluster, reference)
        hidden = task and task.owner is None and self.world.now_s < task.created_s + self.world.run_task_visible_after_s
        return None if hidden else task

    def _described_task(self, task: Task, *, with_tags: bool = False) -> Json:
        tags = {"tags": self.world.tags.get(task.arn, [])} if with_tags else {}
        return {**task.described(self.world.epoch_s), **tags}

    def run_task(self, params: Json) -> Json:
        cluster = self._cluster(params)
        token = params.get("clientToken", "")
        if token in self._run_by_token:
            return self._repeated_run(params, self._run_by_token[token])
        definition = self._usable_definition(params["taskDefinition"])
        self._refuse_bad_run(params, definition)
        refuse_bad_tags(params)
        count = params.get("count", 1)
        failures = self.world.take_run_task_failures(count)
        if not self.world.can_place(definition, cluster):
            failures = [{"reason": "RESOURCE:MEMORY"}] * count
        tasks = [self._run_one(cluster, definition, params) for _ in range(count - len(failures))]
        if token:
            self._run_by_token[token] = {"params": params, "tasks": tasks}
        instance = f"{self.world.arn_prefix}:container-instance/{cluster}/{self.world.new_hex()}"
        return {
            "tasks": [self._described_task(task) for task in tasks],
            "failures": [{"arn": instance, **failure} for failure in failures],
        }

    def _repeated_run(self, params: Json, earlier: Json) -> Json:
        if earlier["params"] != params:
            raise AwsError("ConflictException", "The clientToken was used before, with other parameters.")
        return {"tasks": [self._described_task(task) for task in earlier["tasks"]], "failures": []}

    def _refuse_bad_run(self, params: Json, definition: Definition) -> None:
        if not 1 <= params.get("count", 1) <= 10:
            raise invalid("Count must be between 1 and 10.")
        if "capacityProviderStrategy" in params and "launchType" in params:
            raise invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. "
                "Remove one and try again."
            )
        awsvpc = definition.raw.get("networkMode") == "awsvpc"
        if awsvpc and "networkConfiguration" not in params:
            raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        if not awsvpc and "networkConfiguration" in params:
            raise invalid("Network Configuration is not valid for the given networkMode of this task definition.")
        names = {container["name"] for container in definition.containers}
        for override in params.get("overrides", {}).get("containerOverrides", []):
            if override.get("name") not in names:
                name = override.get("name")
                raise invalid(f"Override for container named {name} is not a container in the TaskDefinition.")

    def _run_one(self, cluster: str, definition: Definition, params: Json) -> Task:
        kept = ("launchType", "platformVersion", "overrides", "enableExecuteCommand")
        members: Json = {"launchType": "EC2"} if "capacityProviderStrategy" not in params else {}
        members |= {name: params[name] for name in kept if name in params}
        group = params.get("group", f"family:{definition.family}")
        task = self.world.new_task(
            cluster, definition, started_by=params.get("startedBy", ""), group=group, members=members
        )
        if "tags" in params:
            self.world.tags[task.arn] = params["tags"]
        task.launch()
        return task

    def stop_task(self, params: Json) -> Json:
        cluster = self._cluster(params)
        task = self.world.find_task(cluster, params["task"])
        if task is None:
            raise invalid("The referenced task was not found.")
        task.stop("UserInitiated", params.get("reason", "Task stopped by user"), drain_s=1.0)
        return {"task": self._described_task(task)}

    # --- Tags

    def tag_resource(self, params: Json) -> Json:
        refuse_bad_tags(params)
        named = {tag["key"]: tag for tag in [*self.world.tags.get(params["resourceArn"], []), *params["tags"]]}
        self.world.tags[params["resourceArn"]] = list(named.values())
        return {}

    def untag_resource(self, params: Json) -> Json:
        tags = self.world.tags.get(params["resourceArn"], [])
        self.world.tags[params["resourceArn"]] = [tag for tag in tags if tag["key"] not in params["tagKeys"]]
        return {}

    def list_tags_for_resource(self, params: Json) -> Json:
        return {"tags": self.world.tags.get(params["resourceArn"], [])}

    # --- Service deployments

    def list_service_deployments(self, params: Json) -> Json:
        service = self._service(self._cluster(params), params["service"])
        created, statuses = params.get("createdAt", {}), params.get("status")
        oldest_s, newest_s = self.world.now_s - HISTORY_S, self.world.now_s - self.world.releases_listed_after_s
        found = [
            release.brief()
            for release in service.releases
            if oldest_s <= release.created_s <= newest_s
            and (not statuses or release.status in statuses)
            and created.get("after", 0) <= self.world.stamp(release.created_s) <= created.get("before", float("inf"))
        ]
        return self._page("ListServiceDeployments", "serviceDeployments", found, params)

    def describe_service_deployments(self, params: Json) -> Json:
        arns = params["serviceDeploymentArns"]
        if not 1 <= len(arns) <= 20:
            raise invalid("Between 1 and 20 service deployments can be described in a single operation.")
        found = {arn: self.world.find_release(arn) for arn in arns}
        return {
            "serviceDeployments": [release.described() for release in found.values() if release],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn, release in found.items() if not release],
        }

    def describe_service_revisions(self, params: Json) -> Json:
        arns = params["serviceRevisionArns"]
        if not 1 <= len(arns) <= 20:
            raise invalid("Between 1 and 20 service revisions can be described in a single operation.")
        known = {d.revision_arn: (service, d) for service in self.world.services.values() for d in service.revisions()}
        return {
            "serviceRevisions": [
                service.described_revision(d) for service, d in (known[a] for a in arns if a in known)
            ],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in known],
        }

    def stop_service_deployment(self, params: Json) -> Json:
        release = self._release(params["serviceDeploymentArn"])
        release.stop(params.get("stopType", "ROLLBACK"))
        return {"serviceDeploymentArn": release.arn}

    def continue_service_deployment(self, params: Json) -> Json:
        release = self._release(params["serviceDeploymentArn"])
        release.resolve_hook(params["hookId"], params.get("action", "CONTINUE"))
        return {"serviceDeploymentArn": release.arn}

    def _release(self, arn: str) -> Release:
        release = self.world.find_release(arn)
        if release is None:
            raise AwsError("ServiceDeploymentNotFoundException", "Service deployment not found.")
        return release

    # --- Container instances

    def list_container_instances(self, params: Json) -> Json:
        arns = self._container_instances.arns(self._cluster(params), params.get("status"))
        return self._page("ListContainerInstances", "containerInstanceArns", arns, params)

    def describe_container_instances(self, params: Json) -> Json:
        return self._container_instances.described(self._cluster(params), params["containerInstances"])

    def update_container_instances_state(self, params: Json) -> Json:
        chosen = params["containerInstances"]
        return self._container_instances.update_state(self._cluster(params), chosen, params["status"])

    # --- What the operations share

    def _cluster(self, params: Json) -> str:
        cluster = _last_part(params.get("cluster", "default"))
        if cluster not in self.world.clusters:
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return cluster

    def _service(self, cluster: str, reference: str) -> Service:
        service = self.world.find_service(cluster, reference)
        if service is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        return service

    def _page(self, operation: str, member: str, items: Iterable[Any], params: Json) -> Json:
        """At most `page_size` items, and the token of the next ones where there are more."""
        if not 1 <= params.get("maxResults", 100) <= 100:
            raise invalid("Invalid maxResults value.")
        listed = list(items)
        start = _offset(operation, params["nextToken"]) if "nextToken" in params else 0
        end = start + min(self.world.page_size, params.get("maxResults") or 100)
        token = base64.urlsafe_b64encode(f"{operation} {end}".encode()).decode()
        return {member: listed[start:end], **({"nextToken": token} if end < len(listed) else {})}


def _refuse_bad_update(params: Json) -> None:
    """Raise what ECS raises for numbers that block a deployment."""
    configuration = {**DEFAULT_CONFIGURATION, **params.get("deploymentConfiguration", {})}
    if params.get("desiredCount", 0) < 0:
        raise invalid("Invalid desired count. The desired count cannot be negative.")
    if configuration["maximumPercent"] == configuration["minimumHealthyPercent"] == 100:
        raise invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.")


def _offset(operation: str, token: str) -> int:
    try:
        made_for, offset = base64.urlsafe_b64decode(token.encode()).decode().split()
    except (ValueError, binascii.Error):
        made_for, offset = "", "0"
    if made_for != operation:
        raise invalid("Invalid token.")
    return int(offset)


def _last_part(reference: str) -> str:
    return reference.rpartition("/")[2]
