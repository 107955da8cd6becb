"""The clients on the platform's own names: the cloud that a metadata document describes.

No proxy is set. ARM_CLOUD_METADATA_URL is all that MLClient is told; the other clients are told of the
cloud by arguments, as they must be in any cloud that is not Azure's.

usage: ownnames.py SUFFIX
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from steps import expect, report, step

with step("import"):
    import requests
    from azure.ai.ml.entities import ManagedOnlineEndpoint, Model
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.identity import ClientSecretCredential
    from azure.mgmt.authorization import AuthorizationManagementClient
    from azure.mgmt.msi import ManagedServiceIdentityClient
    from azure.mgmt.storage import StorageManagementClient
    from azure.storage.blob import BlobServiceClient

    from workspace import GROUP, SUBSCRIPTION, WORKSPACE, bare, connect, deployment, script, write

SCRIPT = """
import os
from pathlib import Path


def init():
    pass


def run(text):
    return next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.txt")).read_text() + text
"""


def main(suffix):
    expect(not {"HTTPS_PROXY", "https_proxy"} & os.environ.keys(), "no proxy")
    cloud = requests.get(os.environ["ARM_CLOUD_METADATA_URL"], timeout=30).json()
    with tempfile.TemporaryDirectory() as folder:
        ml_client = endpoints(suffix, Path(folder), cloud)
    blobs(ml_client, cloud)


def endpoints(suffix, folder, cloud):
    """MLClient: an endpoint with an uploaded model and code, invoked."""
    name = f"own-{suffix}"
    with step("clients"):
        ml_client = connect()
    with step("workspaces.get"):
        workspace = ml_client.workspaces.get(WORKSPACE)
    expect(workspace.location, f"a location in {workspace}")
    with step("online_endpoints.begin_create_or_update"):
        ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()
    with step("online_endpoints.get"):
        endpoint = ml_client.online_endpoints.get(name)
    expect(endpoint.provisioning_state == "Succeeded", f"success of {endpoint}")
    expect(endpoint.identity.principal_id, f"a principal in {endpoint.identity}")
    domain = cloud["suffixes"]["storage"].removeprefix("core.")
    expect(f".inference.ml.{domain}/" in endpoint.scoring_uri, f"an own name, not {endpoint.scoring_uri}")
    for file, text in (
        ("code/score.py", SCRIPT),
        ("model/model.txt", suffix),
        ("request.json", '{"by": "own names"}'),
    ):
        write(folder, file, text)
    blue = deployment(
        name,
        model=Model(path=str(folder / "model")),
        code_configuration=script(folder / "code"),
        environment=bare(folder),
    )
    with step("online_deployments.begin_create_or_update"):
        ml_client.online_deployments.begin_create_or_update(blue).result()
    endpoint.traffic = {"blue": 100}
    with step("online_endpoints.begin_create_or_update of traffic"):
        ml_client.online_endpoints.begin_create_or_update(endpoint).result()
    with step("online_endpoints.invoke"):
        answer = ml_client.online_endpoints.invoke(endpoint_name=name, request_file=str(folder / "request.json"))
    expect(json.loads(answer) == suffix + '{"by": "own names"}', f"the model's text and the request, not {answer}")
    with step("online_endpoints.get_keys"):
        keys = ml_client.online_endpoints.get_keys(name)
    expect(keys.primary_key, "a key")
    with step("online_endpoints.begin_delete"):
        ml_client.online_endpoints.begin_delete(name).result()
    with step("online_endpoints.get, gone"):
        try:
            ml_client.online_endpoints.get(name)
        except ResourceNotFoundError as error:
            expect(error.status_code == 404, f"404 in {error}")
            return ml_client
    raise SystemExit("expected the endpoint to be gone")


def blobs(ml_client, cloud):
    """The management clients and azure-storage-blob, with arguments that name the cloud."""
    manager = cloud["resourceManager"]
    told = {"base_url": manager, "credential_scopes": [manager + "/.default"]}
    # Without the second argument the client asks login.microsoftonline.com whether the authority is one.
    credential = ClientSecretCredential(
        os.environ["AZURE_TENANT_ID"],
        os.environ["AZURE_CLIENT_ID"],
        os.environ["AZURE_CLIENT_SECRET"],
        authority=cloud["authentication"]["loginEndpoint"],
        disable_instance_discovery=True,
    )
    storage = StorageManagementClient(credential, SUBSCRIPTION, **told)
    with step("storage_accounts.list"):
        wanted = ml_client.workspaces.get(WORKSPACE).storage_account.lower()
        account = next(a for a in storage.storage_accounts.list() if a.id.lower() == wanted)
    address = f"https://{account.name}.blob.{cloud['suffixes']['storage']}/"
    expect(account.primary_endpoints.blob == address, f"{address}, not {account.primary_endpoints.blob}")
    with step("user_assigned_identities.list_by_subscription"):
        list(
            ManagedServiceIdentityClient(
                credential, SUBSCRIPTION, **told
            ).user_assigned_identities.list_by_subscription()
        )
    with step("role_assignments.list_for_scope"):
        roles = AuthorizationManagementClient(credential, SUBSCRIPTION, api_version="2020-10-01-preview", **told)
        expect(list(roles.role_assignments.list_for_scope(account.id)), "role assignments")
    answer = storage.storage_accounts.list_keys(GROUP, account.name)
    key = (getattr(answer, "keys_property", None) or answer.keys)[0].value
    by_key, by_token = BlobServiceClient(address, credential=key), BlobServiceClient(address, credential=credential)
    expect(by_key.account_name == account.name, f"the account's name, not {by_key.account_name}")
    container = "own-names"
    with step("create_container"):
        by_token.create_container(container)
    with step("upload_blob"):
        by_key.get_blob_client(container, "a b/ä.txt").upload_blob(b"text")
    with step("download_blob"):
        text = by_key.get_blob_client(container, "a b/ä.txt").download_blob().readall()
    expect(text == b"text", f"what was uploaded, not {text}")
    with step("download_blob, refused"):
        try:
            by_token.get_blob_client(container, "a b/ä.txt").download_blob().readall()
        except HttpResponseError as error:
            expect(error.error_code == "AuthorizationPermissionMismatch", f"a missing role, not {error}")
            report(condition="own names, without the role", seen=error.error_code)
        else:
            raise SystemExit("expected the owner, who has no role on data, to be refused")
    with step("delete_container"):
        by_token.delete_container(container)


if __name__ == "__main__":
    main(*sys.argv[1:])
