# A release is this image by its digest (action.yml names it), so that it is the same tomorrow. Here the packages are
# held by version and hash; the base takes its security fixes when the next release is built.
FROM python:3.13-slim

LABEL org.opencontainers.image.title="ecs-deploy" \
      org.opencontainers.image.description="Deploy to Amazon ECS: a new image into a service or task definition, seen to run" \
      org.opencontainers.image.licenses="MIT"

COPY pyproject.toml README.md LICENSE ecs_deploy.py .github/image/requirements.txt /tmp/ecs-deploy/

# Of botocore's 400 service models only those stay that are used, or that a source of credentials needs. A client of each
# is made once, so that all it takes, the standard library included, is there as bytecode: the base image has none.
RUN pip install --no-cache-dir --root-user-action=ignore --require-hashes -r /tmp/ecs-deploy/requirements.txt \
    && pip install --no-cache-dir --root-user-action=ignore --no-deps --no-build-isolation /tmp/ecs-deploy \
    && pip uninstall --yes --root-user-action=ignore flit_core \
    && rm -r /tmp/ecs-deploy \
    && models="$(python -c 'import os, botocore; print(os.path.dirname(botocore.__file__))')/data" \
    && find "$models" -mindepth 1 -maxdepth 1 -type d ! -name ecs ! -name logs ! -name autoscaling ! -name ec2 \
        ! -name elbv2 ! -name ecr ! -name ssm ! -name secretsmanager ! -name events ! -name scheduler \
        ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} + \
    && AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=- AWS_SECRET_ACCESS_KEY=- python -c "import boto3, ecs_deploy, yaml; \
[boto3.client(name).close() for name in 'ecs logs autoscaling ec2 elbv2 ecr ssm secretsmanager events scheduler sts sso \
sso-oidc'.split()]" \
    && ln -s "$(command -v ecs-deploy)" /ecs-deploy \
    && ecs-deploy --version

ENTRYPOINT ["ecs-deploy"]
