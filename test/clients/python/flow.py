"""An endpoint that reads a blob with its managed identity, made with the SDKs.

The calls and their arguments are those of Microsoft's article on managed
identities of online endpoints. Nothing here knows of Lapis: where the requests
go is decided by the environment.

usage: flow.py system|user CREDENTIAL SUFFIX, in the folder of the example
"""

import json
import os
import sys
import uuid

from steps import expect, report, step

with step("import"):
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import (
        CodeConfiguration,
        Environment,
        IdentityConfiguration,
        ManagedIdentityConfiguration,
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        Model,
    )
    from azure.identity import AzureCliCredential, DefaultAzureCredential, EnvironmentCredential
    from azure.mgmt.authorization import AuthorizationManagementClient
    from azure.mgmt.authorization.v2018_01_01_preview.models import RoleDefinition  # noqa: F401
    from azure.mgmt.authorization.v2020_10_01_preview.models import RoleAssignmentCreateParameters
    from azure.mgmt.msi import ManagedServiceIdentityClient
    from azure.mgmt.msi.models import Identity
    from azure.mgmt.storage import StorageManagementClient
    from azure.mgmt.storage.models import BlobContainer, Sku, StorageAccountCreateParameters
    from azure.storage.blob import ContainerClient

CREDENTIALS = {"cli": AzureCliCredential, "environment": EnvironmentCredential, "default": DefaultAzureCredential}


def main(kind, credential_name, suffix):
    flow = Flow(CREDENTIALS[credential_name], suffix)
    uai = flow.make_identity() if kind == "user" else None
    flow.make_storage()
    flow.make_endpoint(uai)
    flow.allow(uai)
    flow.deploy(uai)
    flow.score()
    flow.delete(uai)


class Flow:
    """The article's variables, and its sections as methods."""

    def __init__(self, credential, suffix):
        self.subscription_id = os.environ["AZURE_SUBSCRIPTION_ID"]
        self.resource_group = os.environ["AZURE_DEFAULTS_GROUP"]
        self.workspace_name = os.environ["AZURE_DEFAULTS_WORKSPACE"]
        self.endpoint_name = f"endpoint-{suffix}"
        self.storage_account_name = f"store{suffix}"
        self.storage_container_name = "files"
        self.file_name = "hello.txt"
        self.uai_name = f"identity-{suffix}"
        with step("clients"):
            self.credential = credential()
            self.ml_client = MLClient(self.credential, self.subscription_id, self.resource_group, self.workspace_name)
            self.storage_client = StorageManagementClient(credential=credential(), subscription_id=self.subscription_id)
            self.msi_client = ManagedServiceIdentityClient(
                subscription_id=self.subscription_id, credential=credential()
            )
            self.role_definition_client = AuthorizationManagementClient(
                credential=self.credential,
                subscription_id=self.subscription_id,
                api_version="2018-01-01-preview",
            )
            self.role_assignment_client = AuthorizationManagementClient(
                credential=self.credential,
                subscription_id=self.subscription_id,
                api_version="2020-10-01-preview",
            )
        with step("workspaces.get"):
            self.workspace_location = self.ml_client.workspaces.get(self.workspace_name).location
        expect(self.workspace_location, "the workspace's location")

    def make_identity(self):
        with step("user_assigned_identities.create_or_update"):
            self.msi_client.user_assigned_identities.create_or_update(
                resource_group_name=self.resource_group,
                resource_name=self.uai_name,
                parameters=Identity(location=self.workspace_location),
            )
        with step("user_assigned_identities.get"):
            uai_identity = self.msi_client.user_assigned_identities.get(
                resource_group_name=self.resource_group,
                resource_name=self.uai_name,
            )
        shown = uai_identity.as_dict()
        expect(shown["name"] == self.uai_name, f"the identity's name in {shown}")
        return uai_identity

    def make_storage(self):
        parameters = StorageAccountCreateParameters(
            sku=Sku(name="Standard_LRS"),
            kind="Storage",
            location=self.workspace_location,
            tags={"NRMS.NSP-extension": "ServiceTag-storage"},
        )
        with step("storage_accounts.begin_create"):
            self.storage_account = self.storage_client.storage_accounts.begin_create(
                resource_group_name=self.resource_group,
                account_name=self.storage_account_name,
                parameters=parameters,
            ).result()
        expect(self.storage_account.kind == "Storage", f"kind Storage in {self.storage_account}")
        with step("blob_containers.create"):
            self.storage_client.blob_containers.create(
                resource_group_name=self.resource_group,
                account_name=self.storage_account_name,
                container_name=self.storage_container_name,
                blob_container=BlobContainer(),
            )
        with step("storage_accounts.list_keys"):
            res = self.storage_client.storage_accounts.list_keys(
                resource_group_name=self.resource_group,
                account_name=self.storage_account_name,
            )
        # Since its version 25 the client calls the field keys_property.
        keys = getattr(res, "keys_property", None) or res.keys
        container_client = ContainerClient(
            account_url=self.storage_account.primary_endpoints.blob,
            container_name=self.storage_container_name,
            credential=keys[0].value,
        )
        with step("upload_blob"), open(self.file_name, "rb") as f:
            container_client.upload_blob(name=self.file_name, data=f.read())

    def make_endpoint(self, uai):
        if uai is None:
            endpoint = ManagedOnlineEndpoint(name=self.endpoint_name, auth_mode="key")
        else:
            endpoint = ManagedOnlineEndpoint(
                name=self.endpoint_name,
                auth_mode="key",
                identity=IdentityConfiguration(
                    type="user_assigned",
                    user_assigned_identities=[ManagedIdentityConfiguration(resource_id=uai.id)],
                ),
            )
        with step("online_endpoints.begin_create_or_update"):
            self.ml_client.online_endpoints.begin_create_or_update(endpoint).result()
        with step("online_endpoints.get"):
            self.endpoint = self.ml_client.online_endpoints.get(self.endpoint_name)
        identity = self.endpoint.identity
        if uai is None:
            expect(identity.type == "system_assigned" and identity.principal_id, f"a principal in {identity}")
            return
        expect(identity.type == "user_assigned", f"a user-assigned identity in {identity}")
        # The newest client keeps the names of the wire in what it shows here.
        shown = vars(identity.user_assigned_identities[0])
        principal_id = shown.get("principal_id") or shown.get("principalId")
        expect(principal_id == uai.principal_id, f"principal {uai.principal_id} in {shown}")

    def allow(self, uai):
        if uai is None:
            principal_id = self.endpoint.identity.principal_id
            self.grant("Storage Blob Data Reader", self.storage_account.id, principal_id=principal_id)
            return
        identity = self.msi_client.user_assigned_identities.get(
            resource_group_name=self.resource_group, resource_name=self.uai_name
        )
        self.uai_client_id = identity.client_id
        who = {"principal_id": identity.principal_id, "principal_type": "ServicePrincipal"}
        self.grant("Storage Blob Data Reader", self.storage_account.id, **who)
        workspace = self.ml_client.workspaces.get(self.workspace_name)
        self.grant("AcrPull", workspace.container_registry, **who)
        self.grant("Storage Blob Data Reader", workspace.storage_account, **who)

    def grant(self, role_name, scope, **who):
        with step("role_definitions.list"):
            role_defs = self.role_definition_client.role_definitions.list(scope=scope)
            role_def = next(r for r in role_defs if r.role_name == role_name)
        with step("role_assignments.create"):
            return self.role_assignment_client.role_assignments.create(
                scope=scope,
                role_assignment_name=str(uuid.uuid4()),
                parameters=RoleAssignmentCreateParameters(role_definition_id=role_def.id, **who),
            )

    def deployment(self, name="blue", code="./onlinescoring/", script="score.py", **variables):
        return ManagedOnlineDeployment(
            name=name,
            endpoint_name=self.endpoint_name,
            model=Model(path="./model/"),
            code_configuration=CodeConfiguration(code=code, scoring_script=script),
            environment=Environment(
                conda_file="./environment/conda.yml",
                image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest",
            ),
            instance_type="Standard_DS3_v2",
            instance_count=1,
            environment_variables={
                "STORAGE_ACCOUNT_NAME": self.storage_account_name,
                "STORAGE_CONTAINER_NAME": self.storage_container_name,
                "FILE_NAME": self.file_name,
                **variables,
            },
        )

    def deploy(self, uai):
        placeholder = {} if uai is None else {"UAI_CLIENT_ID": "uai_client_id_place_holder"}
        deployment = self.deployment(**placeholder)
        if uai is not None:
            deployment.environment_variables["UAI_CLIENT_ID"] = self.uai_client_id
        with step("online_deployments.begin_create_or_update"):
            self.ml_client.online_deployments.begin_create_or_update(deployment).result()
        with step("online_deployments.get"):
            deployment = self.ml_client.online_deployments.get(endpoint_name=self.endpoint_name, name=deployment.name)
        expect(deployment.provisioning_state == "Succeeded", f"success of {deployment}")
        expect(deployment.instance_count == 1, f"one instance of {deployment}")
        with step("online_deployments.get_logs"):
            logs = self.ml_client.online_deployments.get_logs(deployment.name, deployment.endpoint_name, 1000)
        expect(logs.count("Blob contains: Hello") == 2, f"the blob's text twice in the log:\n{logs}")
        self.endpoint.traffic = {str(deployment.name): 100}
        with step("begin_create_or_update of traffic"):
            self.ml_client.begin_create_or_update(self.endpoint).result()

    def score(self):
        with step("online_endpoints.invoke"):
            answer = self.ml_client.online_endpoints.invoke(
                endpoint_name=self.endpoint_name, request_file="./sample-request.json"
            )
        expect(len(json.loads(answer)) == 2, f"two numbers in {answer}")
        report(answer=json.loads(answer))

    def delete(self, uai):
        with step("online_endpoints.begin_delete"):
            self.ml_client.online_endpoints.begin_delete(self.endpoint_name).result()
        with step("storage_accounts.delete"):
            self.storage_client.storage_accounts.delete(
                resource_group_name=self.resource_group, account_name=self.storage_account_name
            )
        if uai is not None:
            with step("user_assigned_identities.delete"):
                self.msi_client.user_assigned_identities.delete(
                    resource_group_name=self.resource_group, resource_name=self.uai_name
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
