"""What the SDKs show when an endpoint's identity may not.

usage: conditions.py system|other SUFFIX, in the folder of the example
"""

import json
import os
import sys
import tempfile

from azure.core.exceptions import HttpResponseError
from azure.identity import AzureCliCredential

from flow import Flow
from steps import expect, report, step

PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe")


def main(kind, suffix):
    flow = Flow(AzureCliCredential, suffix)
    {"system": system, "other": other}[kind](flow)


def system(flow):
    """A role given, taken away, and given again, each seen by the next request."""
    flow.make_storage()
    flow.make_endpoint(None)
    role = "Storage Blob Data Reader"
    principal_id = flow.endpoint.identity.principal_id
    granted = flow.grant(role, flow.storage_account.id, principal_id=principal_id)
    with step("online_deployments.begin_create_or_update"):
        flow.ml_client.online_deployments.begin_create_or_update(flow.deployment(code=PROBE)).result()
    flow.endpoint.traffic = {"blue": 100}
    flow.ml_client.begin_create_or_update(flow.endpoint).result()

    for asked in (
        {"form": "azure-ml"},
        {"form": "app-service"},
        {"form": "azure-ml", "default": True},
        {"form": "app-service", "default": True},
    ):
        seen = ask(flow, asked)
        expect(seen == {"text": "Hello world!"}, f"the blob's text for {asked}, not {seen}")

    with step("role_assignments.delete"):
        flow.role_assignment_client.role_assignments.delete(
            scope=flow.storage_account.id, role_assignment_name=granted.name
        )
    seen = ask(flow, {})
    report(condition="role removed", seen=seen)
    expect(
        (seen["exception"], seen["status"], seen["code"])
        == ("HttpResponseError", 403, "AuthorizationPermissionMismatch"),
        f"the exception of a missing role, not {seen}",
    )
    remedy = ("az role assignment create", principal_id, role, flow.storage_account.id)
    expect(all(part in seen["message"] for part in remedy), f"{remedy} in {seen['message']}")

    seen = refused(flow, flow.deployment(name="green"))
    report(condition="role removed, script reads at start", seen=seen)
    expect("AcrPush" not in seen["message"], f"no role that is not needed in {seen['message']}")
    expect(all(part in seen["message"] for part in remedy), f"{remedy} in {seen['message']}")

    flow.grant(role, flow.storage_account.id, principal_id=principal_id)
    seen = ask(flow, {})
    expect(seen == {"text": "Hello world!"}, f"the blob's text, not {seen}")
    flow.delete(None)


def other(flow):
    """A user-assigned identity gets its roles one by one; each refusal names the next."""
    uai = flow.make_identity()
    flow.make_storage()
    flow.make_endpoint(uai)
    workspace = flow.ml_client.workspaces.get(flow.workspace_name)
    who = {"principal_id": uai.principal_id, "principal_type": "ServicePrincipal"}
    for role, scope in (
        ("Storage Blob Data Reader", workspace.storage_account),
        ("AcrPull", workspace.container_registry),
        ("Storage Blob Data Reader", flow.storage_account.id),
    ):
        seen = refused(flow, flow.deployment(UAI_CLIENT_ID=uai.client_id))
        report(condition=f"without {role}", seen=seen)
        remedy = ("az role assignment create", uai.principal_id, role, scope)
        expect(all(part in seen["message"] for part in remedy), f"{remedy} in {seen['message']}")
        flow.grant(role, scope, **who)
    with step("online_deployments.begin_create_or_update"):
        flow.ml_client.online_deployments.begin_create_or_update(flow.deployment(UAI_CLIENT_ID=uai.client_id)).result()
    flow.delete(uai)


def ask(flow, request):
    """Send a request to the probe and return its answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        with step("online_endpoints.invoke"):
            answer = flow.ml_client.online_endpoints.invoke(endpoint_name=flow.endpoint_name, request_file=file.name)
    return json.loads(answer)


def refused(flow, deployment):
    """Create a deployment that must fail, and return the SDK's exception."""
    with step("online_deployments.begin_create_or_update, refused"):
        try:
            flow.ml_client.online_deployments.begin_create_or_update(deployment).result()
        except HttpResponseError as error:
            return {
                "exception": type(error).__name__,
                "code": getattr(error.error, "code", None),
                "message": str(error),
            }
    raise SystemExit("expected the deployment to be refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
