"""What a deployment looks up before it begins: images in ECR, parameters in SSM, secrets in Secrets Manager.

They are kept by registry or account and region, so that a question to the wrong place is not answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulator.errors import AwsError, Json

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Repository:
    """The manifests of one repository, newest last, by digest; and which digest each tag is at."""

    manifests: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def push(self, tag: str = "", *, platforms: tuple[str, ...] = ()) -> str:
        """Put an image: an index of these platforms (os/architecture), or a single manifest. Its digest."""
        digest = f"sha256:{len(self.manifests) + 1:064x}"
        entries = [_entry(platform, digest) for platform in platforms]
        listed: Json = {"mediaType": INDEX, "manifests": entries} if entries else {"mediaType": MANIFEST, "config": {}}
        self.manifests[digest] = json.dumps({"schemaVersion": 2, **listed})
        if tag:
            self.tags[tag] = digest
        return digest


def _entry(platform: str, digest: str) -> Json:
    """One entry of an index; an empty platform is one that does not say for what it is."""
    system, _, architecture = platform.partition("/")
    named = {"platform": {"os": system, "architecture": architecture}} if platform else {}
    return {"mediaType": MANIFEST, "digest": digest, "size": 1000, **named}


@dataclass
class Registries:
    """All that is there, and in which region the call being answered came in; scripts fill it."""

    account: str
    region: str
    repositories: dict[tuple[str, str, str], Repository] = field(default_factory=dict)
    cache_prefixes: list[str] = field(default_factory=list)
    parameters: set[tuple[str, str]] = field(default_factory=set)
    secrets: set[tuple[str, str]] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    """Secrets that are marked for deletion."""
    failure_code: str = ""
    """What BatchGetImage says of every image instead of answering."""
    called_in: str = ""

    def repository(self, name: str, *, account: str = "", region: str = "") -> Repository:
        """The repository, made if need be."""
        return self.repositories.setdefault((account or self.account, region or self.region, name), Repository())

    def parameter(self, name: str, *, region: str = "") -> None:
        self.parameters.add((region or self.region, name))

    def secret(self, name: str, *, region: str = "") -> str:
        """Make a secret, and return its ARN."""
        arn = f"arn:aws:secretsmanager:{region or self.region}:{self.account}:secret:{name}-AbCdEf"
        self.secrets.add((region or self.region, arn))
        return arn


class EcrApi:
    """Elastic Container Registry."""

    def __init__(self, registries: Registries, stamp: Callable[[float], float]) -> None:
        self.registries, self.stamp = registries, stamp

    def _repository(self, params: Json) -> Repository:
        account = params.get("registryId", self.registries.account)
        name = params["repositoryName"]
        found = self.registries.repositories.get((account, self.registries.called_in, name))
        if found is None:
            said = f"The repository with name '{name}' does not exist in the registry with id '{account}'"
            raise AwsError("RepositoryNotFoundException", said)
        return found

    def batch_get_image(self, params: Json) -> Json:
        repository = self._repository(params)
        images: list[Json] = []
        failures: list[Json] = []
        for image_id in params["imageIds"]:
            digest = image_id.get("imageDigest") or repository.tags.get(image_id.get("imageTag", ""), "")
            if self.registries.failure_code or digest not in repository.manifests:
                code = self.registries.failure_code or "ImageNotFound"
                failures.append(
                    {"imageId": image_id, "failureCode": code, "failureReason": "Requested image not found"}
                )
                continue
            manifest = repository.manifests[digest]
            kind = json.loads(manifest)["mediaType"]
            if kind not in params.get("acceptedMediaTypes", [MANIFEST]):
                raise AwsError("InvalidParameterException", f"The image is not of an accepted media type: {kind}")
            known = {"imageId": {**image_id, "imageDigest": digest}, "repositoryName": params["repositoryName"]}
            images.append({**known, "imageManifest": manifest, "imageManifestMediaType": kind})
        return {"images": images, "failures": failures}

    def describe_images(self, params: Json) -> Json:
        repository = self._repository(params)
        details: list[Json] = []
        for at, digest in enumerate(repository.manifests):
            tags = [tag for tag, tagged in repository.tags.items() if tagged == digest]
            pushed = {"imageDigest": digest, "imagePushedAt": self.stamp(at)}
            if tags or params.get("filter", {}).get("tagStatus") != "TAGGED":
                details.append({**pushed, **({"imageTags": tags} if tags else {})})
        return {"imageDetails": details[: params.get("maxResults", 100)]}

    def describe_pull_through_cache_rules(self, params: Json) -> Json:
        rules = [
            {"ecrRepositoryPrefix": prefix, "upstreamRegistryUrl": "registry-1.docker.io"}
            for prefix in self.registries.cache_prefixes
        ]
        return {"pullThroughCacheRules": rules}


class SsmApi:
    """Parameter Store, by name or ARN; there are no values."""

    def __init__(self, registries: Registries) -> None:
        self.registries = registries

    def get_parameters(self, params: Json) -> Json:
        names: list[str] = params["Names"]
        if len(names) > 10:
            raise AwsError("ValidationException", "Member must have length less than or equal to 10")
        if params.get("WithDecryption"):
            raise AwsError("AccessDeniedException", "The ciphertext refers to a key that may not be used.")
        there = [name for name in names if (self.registries.called_in, _bare(name)) in self.registries.parameters]
        found = [{"Name": _bare(name), "Type": "SecureString", "Value": "encrypted"} for name in there]
        return {"Parameters": found, "InvalidParameters": [name for name in names if name not in there]}


def _bare(name: str) -> str:
    """A parameter's name in its ARN; a path begins with the slash that the ARN has anyway."""
    if not name.startswith("arn:"):
        return name
    inner = name.partition(":parameter/")[2]
    return f"/{inner}" if "/" in inner else inner


class SecretsManagerApi:
    """Secrets Manager; there are no values."""

    def __init__(self, registries: Registries, stamp: Callable[[float], float]) -> None:
        self.registries, self.stamp = registries, stamp

    def describe_secret(self, params: Json) -> Json:
        arn = params["SecretId"]
        if (self.registries.called_in, arn) not in self.registries.secrets:
            raise AwsError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        deleted = {"DeletedDate": self.stamp(0)} if arn in self.registries.leaving else {}
        return {"ARN": arn, "Name": arn.rpartition(":")[2][:-7], **deleted}
