"""The wire of Auto Scaling, EC2 and load balancers: forms in, XML out, both by botocore's own service model."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import OperationNotFoundError

from tests.simulator.checks import service_model
from tests.simulator.errors import AwsError, Json

SERVICES = ("autoscaling", "ec2", "elbv2")


def params_of(service: str, operation: str, form: dict[str, str]) -> Json:
    """The request that a form spells."""
    try:
        shape: Any = service_model(service).operation_model(operation).input_shape
    except OperationNotFoundError:
        raise AwsError("InvalidAction", f"The action {operation} is not valid.") from None
    read: Json = _read(form, shape, "", ec2=service == "ec2") or {}
    return read


def _read(form: dict[str, str], shape: Any, prefix: str, *, ec2: bool) -> Any:
    """The value that stands under `prefix`, or None if there is none."""
    if prefix and not any(name == prefix or name.startswith(f"{prefix}.") for name in form):
        return None
    if shape.type_name == "structure":
        members = {
            name: _read(form, member, f"{prefix}.{_form_name(name, member, ec2)}".lstrip("."), ec2=ec2)
            for name, member in shape.members.items()
        }
        return {name: value for name, value in members.items() if value is not None}
    if shape.type_name == "list":
        start = prefix if ec2 or shape.serialization.get("flattened") else f"{prefix}.member"
        items: list[Any] = []
        while (item := _read(form, shape.member, f"{start}.{len(items) + 1}", ec2=ec2)) is not None:
            items.append(item)
        return items
    text = form[prefix]
    if shape.type_name == "boolean":
        return text == "true"
    return int(text) if shape.type_name in ("integer", "long") else text


def _form_name(name: str, member: Any, ec2: bool) -> str:
    if not ec2:
        return str(member.serialization.get("name", name))
    spelled = str(member.serialization.get("queryName") or member.serialization.get("name", name))
    return spelled[0].upper() + spelled[1:]


def as_xml(service: str, operation: str, answer: Json, request_id: str) -> str:
    """The document that carries an answer."""
    model = service_model(service)
    shape = model.operation_model(operation).output_shape
    body = _members(answer, shape) if shape else ""
    space = f' xmlns="{model.metadata["xmlNamespace"]}"'
    if service == "ec2":
        return f"<{operation}Response{space}>{body}<requestId>{request_id}</requestId></{operation}Response>"
    result = f"<{operation}Result>{body}</{operation}Result>"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return f"<{operation}Response{space}>{result}{metadata}</{operation}Response>"


def _members(answer: Json, shape: Any) -> str:
    elements = []
    for name, value in answer.items():
        member = shape.members[name]
        tag = member.serialization.get("name", name)
        elements.append(f"<{tag}>{_content(value, member)}</{tag}>")
    return "".join(elements)


def _content(value: Any, shape: Any) -> str:
    if shape.type_name == "structure":
        return _members(value, shape)
    if shape.type_name == "list":
        tag = shape.member.serialization.get("name", "member")
        return "".join(f"<{tag}>{_content(item, shape.member)}</{tag}>" for item in value)
    if shape.type_name == "boolean":
        return "true" if value else "false"
    if shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return escape(str(value))
