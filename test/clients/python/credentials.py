"""Every credential that a shell can have, with every audience that the flows need.

usage: credentials.py
"""

import time

from steps import expect, step

with step("import"):
    from azure.core.exceptions import HttpResponseError
    from azure.identity import AzureCliCredential, DefaultAzureCredential, EnvironmentCredential
    from azure.mgmt.storage import StorageManagementClient
    from azure.storage.blob import BlobServiceClient

    from workspace import SUBSCRIPTION, WORKSPACE, connect

AUDIENCES = ("https://management.azure.com", "https://storage.azure.com", "https://ml.azure.com")

for make in (AzureCliCredential, EnvironmentCredential, DefaultAzureCredential):
    name = make.__name__
    with make() as credential:
        for audience in AUDIENCES:
            with step(f"{name}.get_token for {audience}"):
                token = credential.get_token(audience + "/.default")
            expect(token.token and token.expires_on > time.time() + 600, f"a token of {name} that lives ten minutes")
        with step(f"{name}, workspaces.get"):
            workspace = connect(credential).workspaces.get(WORKSPACE)
        with step(f"{name}, storage_accounts.list"):
            accounts = list(StorageManagementClient(credential, SUBSCRIPTION).storage_accounts.list())
        own = [a for a in accounts if a.id.lower() == workspace.storage_account.lower()]
        expect(len(own) == 1, f"{workspace.storage_account} among {[a.id for a in accounts]}")
        service = BlobServiceClient(own[0].primary_endpoints.blob, credential=credential)
        with step(f"{name}, list_containers"):
            container = next(service.list_containers())
        # An owner may see containers, but not what is in them.
        with step(f"{name}, list_blobs refused"):
            try:
                next(service.get_container_client(container).list_blobs(), None)
            except HttpResponseError as error:
                expect(error.error_code == "AuthorizationPermissionMismatch", f"a missing role, not {error}")
            else:
                raise SystemExit("expected the list of blobs to be refused")
