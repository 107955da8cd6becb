"""MLClient on the platform's own names: the cloud that a metadata document describes.

No proxy is set. ARM_CLOUD_METADATA_URL is all that the client is told.

usage: ownnames.py SUFFIX
"""

import os
import sys

from steps import expect, step

with step("import"):
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import ManagedOnlineEndpoint
    from azure.core.exceptions import ResourceNotFoundError
    from azure.identity import AzureCliCredential


def main(suffix):
    name = f"own-{suffix}"
    with step("clients"):
        ml_client = MLClient(
            AzureCliCredential(),
            os.environ["AZURE_SUBSCRIPTION_ID"],
            os.environ["AZURE_DEFAULTS_GROUP"],
            os.environ["AZURE_DEFAULTS_WORKSPACE"],
        )
    with step("workspaces.get"):
        workspace = ml_client.workspaces.get(os.environ["AZURE_DEFAULTS_WORKSPACE"])
    expect(workspace.location, f"a location in {workspace}")
    with step("online_endpoints.begin_create_or_update"):
        ml_client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()
    with step("online_endpoints.get"):
        endpoint = ml_client.online_endpoints.get(name)
    expect(endpoint.provisioning_state == "Succeeded", f"success of {endpoint}")
    expect(endpoint.identity.principal_id, f"a principal in {endpoint.identity}")
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
            return
    raise SystemExit("expected the endpoint to be gone")


if __name__ == "__main__":
    main(*sys.argv[1:])
