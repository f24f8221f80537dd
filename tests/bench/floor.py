"""The floor: what a deployment costs at least in Python, with nothing checked, said or undone."""

import sys
import time
from typing import Any

import botocore.session

cluster, name, image = sys.argv[1:]
session = botocore.session.get_session()
ecs: Any = session.create_client("ecs")
service = ecs.describe_services(cluster=cluster, services=[name])["services"][0]
definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
definition["containerDefinitions"][0]["image"] = image
accepted = ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape.members
new = {member: value for member, value in definition.items() if member in accepted}
arn = ecs.register_task_definition(**new)["taskDefinition"]["taskDefinitionArn"]
deployments = ecs.update_service(cluster=cluster, service=name, taskDefinition=arn)["service"]["deployments"]
while not any(d["taskDefinition"] == arn and d["rolloutState"] == "COMPLETED" for d in deployments):
    time.sleep(1)
    deployments = ecs.describe_services(cluster=cluster, services=[name])["services"][0]["deployments"]
