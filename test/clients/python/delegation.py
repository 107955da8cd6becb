"""User delegation keys and signatures, with azure-storage-blob; and a workspace with no secrets at all.

usage: delegation.py SUFFIX
"""

import sys
import tempfile
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

from azure.ai.ml.entities import (
    AzureBlobDatastore,
    Data,
    ManagedOnlineEndpoint,
    Model,
)
from azure.core.exceptions import HttpResponseError
from azure.identity import AzureCliCredential, EnvironmentCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2020_10_01_preview.models import RoleAssignmentCreateParameters
from azure.mgmt.storage import StorageManagementClient
from azure.mgmt.storage.models import Sku, StorageAccountCreateParameters, StorageAccountUpdateParameters
from azure.storage.blob import (
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from steps import expect, report, step
from workspace import GROUP, SUBSCRIPTION, WORKSPACE, bare, connect, deployment, script, write

BOX = "box"
SCRIPT = "def init():\n    pass\n\n\ndef run(text):\n    return text\n"


def main(suffix):
    Delegation(suffix).run()
    with tempfile.TemporaryDirectory() as folder:
        no_secrets(suffix, Path(folder))


def refused(call, code, what):
    """The service's code of a call that must fail."""
    try:
        call()
    except HttpResponseError as error:
        report(
            condition=what,
            seen={"status": error.status_code, "code": getattr(error.error_code, "value", error.error_code)},
        )
        expect(error.error_code == code, f"{code} for {what}, not {error.error_code}: {error}")
        return error
    raise SystemExit(f"expected {code} for {what}")


class Delegation:
    def __init__(self, suffix):
        self.credential = EnvironmentCredential()
        self.storage = StorageManagementClient(self.credential, SUBSCRIPTION)
        self.name = f"lent{suffix}"
        parameters = StorageAccountCreateParameters(
            sku=Sku(name="Standard_LRS"), kind="StorageV2", location="local", allow_shared_key_access=False
        )
        with step("storage_accounts.begin_create"):
            self.account = self.storage.storage_accounts.begin_create(GROUP, self.name, parameters).result()
        self.url = self.account.primary_endpoints.blob
        self.service = BlobServiceClient(self.url, credential=self.credential)
        self.now = datetime.now(timezone.utc)
        roles = AuthorizationManagementClient(self.credential, SUBSCRIPTION, api_version="2018-01-01-preview")
        self.roles = {r.role_name: r.id for r in roles.role_definitions.list(scope=self.account.id)}
        self.assignments = AuthorizationManagementClient(
            self.credential, SUBSCRIPTION, api_version="2020-10-01-preview"
        ).role_assignments

    def grant(self, role, principal):
        parameters = RoleAssignmentCreateParameters(role_definition_id=self.roles[role], principal_id=principal)
        return self.assignments.create(self.account.id, str(uuid.uuid4()), parameters)

    def key(self, hours=1):
        with step("get_user_delegation_key"):
            return self.service.get_user_delegation_key(
                self.now - timedelta(minutes=1), self.now + timedelta(hours=hours)
            )

    def container(self, key, letters, hours=1):
        token = generate_container_sas(
            self.name,
            BOX,
            user_delegation_key=key,
            permission=ContainerSasPermissions.from_string(letters),
            expiry=self.now + timedelta(hours=hours),
        )
        return ContainerClient(self.url, BOX, credential=token)

    def blob(self, key, letters, name="a.txt", signed="a.txt"):
        token = generate_blob_sas(
            self.name,
            BOX,
            signed,
            user_delegation_key=key,
            permission=BlobSasPermissions.from_string(letters),
            expiry=self.now + timedelta(hours=1),
        )
        return BlobClient(self.url, BOX, name, credential=token)

    def run(self):
        self.service.create_container(BOX)
        # The subscription's owner may do everything with the account, but for what is in it.
        key = self.key()
        box = self.container(key, "rcwdl")
        error = refused(lambda: box.upload_blob("a.txt", b"text"), "AuthorizationPermissionMismatch", "no role on data")
        expect(key.signed_oid in str(error), f"who lacks the role in {error}")
        role = self.grant("Storage Blob Data Contributor", key.signed_oid)
        with step("upload_blob, container SAS"):
            box.upload_blob("a.txt", b"text")
        with step("list_blobs, container SAS"):
            expect([b.name for b in box.list_blobs()] == ["a.txt"], "one blob")
        with step("download_blob, blob SAS"):
            expect(self.blob(key, "r").download_blob().readall() == b"text", "the blob's text")
        refused(lambda: self.blob(key, "r", name="b.txt").download_blob(), "AuthenticationFailed", "another blob")
        refused(lambda: self.blob(key, "r").delete_blob(), "AuthorizationPermissionMismatch", "delete with read")
        self.tampered(key)
        refused(lambda: self.key(hours=7 * 24 + 1), "InvalidXmlNodeValue", "a key for more than seven days")
        # Roles are asked at each request.
        reader = self.grant("Storage Blob Data Reader", key.signed_oid)
        self.assignments.delete(self.account.id, role.name)
        with step("download_blob, role to read left"):
            expect(box.download_blob("a.txt").readall() == b"text", "the blob's text")
        refused(lambda: box.upload_blob("b.txt", b""), "AuthorizationPermissionMismatch", "role to write removed")
        self.assignments.delete(self.account.id, reader.name)
        refused(lambda: box.download_blob("a.txt"), "AuthorizationPermissionMismatch", "role removed")
        self.grant("Storage Blob Data Reader", key.signed_oid)
        with step("download_blob, role given again"):
            expect(box.download_blob("a.txt").readall() == b"text", "the blob's text")
        with step("storage_accounts.revoke_user_delegation_keys"):
            self.storage.storage_accounts.revoke_user_delegation_keys(GROUP, self.name)
        refused(lambda: box.download_blob("a.txt"), "AuthenticationFailed", "all keys revoked")
        with step("download_blob, a new key"):
            expect(self.container(self.key(), "r").download_blob("a.txt").readall() == b"text", "the blob's text")
        self.storage.storage_accounts.delete(GROUP, self.name)

    def tampered(self, key):
        """What a holder of a signature could try to change."""
        token = generate_container_sas(
            self.name, BOX, user_delegation_key=key, permission="r", expiry=self.now + timedelta(minutes=5)
        )
        for what, old, new in (
            ("more permissions", "sp=r", "sp=rw"),
            ("another signer", key.signed_oid, str(uuid.uuid4())),
            ("another tenant", key.signed_tid, str(uuid.uuid4())),
            ("another service", "sks=b", "sks=q"),
            ("another scope", "sr=c", "sr=b"),
        ):
            expect(old in token, f"{old} in the token")
            changed = ContainerClient(self.url, BOX, credential=token.replace(old, new))
            refused(lambda client=changed: client.download_blob("a.txt"), "AuthenticationFailed", what)
        forged = self.key()
        forged.value = "AAAA" + forged.value[4:]
        refused(
            lambda: self.container(forged, "r").download_blob("a.txt"), "AuthenticationFailed", "a key of one's own"
        )
        longer = self.key()
        longer.signed_expiry = longer.signed_expiry.replace(longer.signed_expiry[:4], "2199")
        refused(lambda: self.container(longer, "r").download_blob("a.txt"), "AuthenticationFailed", "a longer key")


def no_secrets(suffix, folder):
    """An account that takes no keys: code, model, data and a deployment, by tokens and delegated signatures."""
    ml = connect()
    account = ml.workspaces.get(WORKSPACE).storage_account.split("/")[-1]
    storage = StorageManagementClient(AzureCliCredential(), SUBSCRIPTION).storage_accounts
    storage.update(GROUP, account, StorageAccountUpdateParameters(allow_shared_key_access=False))
    try:
        for path, text in (("code/score.py", SCRIPT), ("model/model.txt", suffix), ("data.csv", "a\n1\n")):
            write(folder, path, text)
        with step("datastores.get"):
            store = ml.datastores.get_default()
        with step("datastores.create_or_update without credentials"):
            keyless = AzureBlobDatastore(
                name=f"none_{suffix}", account_name=account, container_name=store.container_name, credentials=None
            )
            ml.datastores.create_or_update(keyless)
        with step("data.create_or_update"):
            data = ml.data.create_or_update(
                Data(name=f"secretless-{suffix}", path=str(folder / "data.csv"), type="uri_file")
            )
        expect(data.path.endswith("/data.csv"), f"an address, not {data.path}")
        name = f"nokeys-{suffix}"
        with step("online_endpoints.begin_create_or_update"):
            ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()
        with step("online_deployments.begin_create_or_update"):
            ml.online_deployments.begin_create_or_update(
                deployment(
                    name,
                    model=Model(path=str(folder / "model")),
                    code_configuration=script(folder / "code"),
                    environment=bare(folder),
                )
            ).result()
        expect(
            ml.online_deployments.get("blue", name).provisioning_state == "Succeeded", "a deployment without secrets"
        )
        ml.online_endpoints.begin_delete(name).result()
    finally:
        storage.update(GROUP, account, StorageAccountUpdateParameters(allow_shared_key_access=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
