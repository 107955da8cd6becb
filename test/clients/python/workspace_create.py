"""Make, find and delete a workspace with azure-ai-ml, which does so by an ARM template."""

import os
import time

from azure.ai.ml import MLClient
from azure.ai.ml.entities import Workspace
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import EnvironmentCredential

NAME = "made-by-sdk"

client = MLClient(
    EnvironmentCredential(),
    subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
    resource_group_name=os.environ["AZURE_DEFAULTS_GROUP"],
    workspace_name=NAME,
)
began = time.monotonic()
wanted = Workspace(
    name=NAME,
    location=os.environ["AZURE_DEFAULTS_LOCATION"],
    display_name="Made by the SDK",
    description="by a template",
    tags={"made": "by test"},
)
made = client.workspaces.begin_create(wanted).result()
print(f"begin_create: {time.monotonic() - began:.1f} s")
assert made.name == NAME, made
assert made.display_name == "Made by the SDK", made
assert made.tags["made"] == "by test", made.tags
for kind, reference in {
    "Microsoft.Storage/storageAccounts": made.storage_account,
    "Microsoft.KeyVault/vaults": made.key_vault,
    "Microsoft.Insights/components": made.application_insights,
    "Microsoft.ContainerRegistry/registries": made.container_registry,
}.items():
    assert reference and kind.lower() in reference.lower(), (kind, reference)
assert NAME in [w.name for w in client.workspaces.list()]
store = client.datastores.get_default()
assert store.name == "workspaceblobstore", store
assert list(client.online_endpoints.list()) == []
client.workspaces.begin_delete(NAME, delete_dependent_resources=False).result()
try:
    client.workspaces.get(NAME)
except ResourceNotFoundError:
    print("made, found and deleted")
else:
    raise AssertionError("the workspace is there after its deletion")
