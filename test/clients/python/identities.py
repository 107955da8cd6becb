"""azure-identity inside a scoring script, in every form of the instance's token endpoint.

One endpoint has the identity that the platform makes for it; another has two of its own, of which each
request must name one: by client id, object id or resource id.

usage: identities.py SUFFIX VERSION-OF-AZURE-IDENTITY
"""

import json
import sys
import tempfile
from pathlib import Path

from azure.ai.ml.entities import (
    Environment,
    IdentityConfiguration,
    ManagedIdentityConfiguration,
    ManagedOnlineEndpoint,
)
from azure.identity import AzureCliCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2020_10_01_preview.models import RoleAssignmentCreateParameters
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.models import Identity

from steps import expect, report, step
from workspace import GROUP, IMAGE, SUBSCRIPTION, connect, deployment, script

FORMS = {"azure-ml": "AzureMLCredential", "app-service": "AppServiceCredential", "imds": "ImdsCredential"}
CREDENTIALS = ("ManagedIdentityCredential", "DefaultAzureCredential")
NOBODY = "00000000-1111-2222-3333-444444444444"
IMDS = "/metadata/identity/oauth2/token"
RESOURCE = "resource=https://storage.azure.com"
VERSION = "api-version=2018-02-01"


def main(suffix, version):
    with tempfile.TemporaryDirectory() as folder:
        test = Identities(suffix, version, Path(folder))
        test.system()
        test.user()


class Identities:
    def __init__(self, suffix, version, folder):
        self.suffix, self.version, self.folder = suffix, version, folder
        self.credential = AzureCliCredential()
        self.ml = connect(self.credential)
        self.workspace = self.ml.workspaces.get(self.ml.workspace_name)
        self.identities = ManagedServiceIdentityClient(self.credential, SUBSCRIPTION).user_assigned_identities

    def deploy(self, name, identity=None):
        """Make an endpoint that asks for tokens as it is told to."""
        with step("online_endpoints.begin_create_or_update"):
            self.ml.online_endpoints.begin_create_or_update(
                ManagedOnlineEndpoint(name=name, auth_mode="key", identity=identity)
            ).result()
        conda = self.folder / "conda.yml"
        packages = ["azureml-inference-server-http", f"azure-identity=={self.version}"]
        dependencies = ["python=3.11", "pip", {"pip": packages}]
        conda.write_text(json.dumps({"name": "identities", "dependencies": dependencies}))
        wanted = deployment(
            name,
            code_configuration=script(Path(__file__).parent / "identities"),
            environment=Environment(conda_file=str(conda), image=IMAGE),
        )
        with step("online_deployments.begin_create_or_update"):
            self.ml.online_deployments.begin_create_or_update(wanted).result()
        endpoint = self.ml.online_endpoints.get(name)
        endpoint.traffic = {"blue": 100}
        self.ml.online_endpoints.begin_create_or_update(endpoint).result()
        return self.ml.online_endpoints.get(name)

    def ask(self, name, **request):
        path = self.folder / "request.json"
        path.write_text(json.dumps(request))
        return json.loads(self.ml.online_endpoints.invoke(endpoint_name=name, request_file=str(path)))

    def token(self, name, form, credential="ManagedIdentityCredential", **arguments):
        return self.ask(name, form=form, credential=credential, arguments=arguments)

    def system(self):
        """The identity that the platform made: the one that is meant where none is named."""
        name = f"sai-{self.suffix}"
        endpoint = self.deploy(name)
        mine = endpoint.identity.principal_id
        # All are set. The SDK takes Azure ML's, as it does where the others are not there.
        seen = self.token(name, "as given")
        expect((seen.get("oid"), seen.get("chosen")) == (mine, FORMS["azure-ml"]), f"Azure ML's form, not {seen}")
        expect(seen["version"] == self.version, f"azure-identity {self.version}, not {seen['version']}")
        for form, chosen in FORMS.items():
            for credential in CREDENTIALS:
                seen = self.token(name, form, credential)
                expect(seen.get("oid") == mine, f"the endpoint's identity by {credential} and {form}, not {seen}")
                if credential == CREDENTIALS[0]:
                    expect(seen["chosen"] == chosen, f"{chosen} for {form}, not {seen['chosen']}")
            self.unknown(name, form)
        self.by_hand(name, mine)
        self.drop(name)

    def unknown(self, name, form):
        """An identity that the endpoint has not: refused, with no other in its place."""
        for selector in ({"client_id": NOBODY}, {"identity_config": {"object_id": NOBODY}}):
            seen = self.token(name, form, **selector)
            report(condition=f"{form}, {next(iter(selector))} of nobody", seen=seen)
            refused = seen.get("exception") in ("CredentialUnavailableError", "ClientAuthenticationError")
            expect(refused, f"a refusal for {form} and {selector}, not {seen}")
            # The older client keeps the reason to itself.
            told = "Identity not found" in seen["message"] or self.version.startswith("1.23.")
            expect(told, f"the reason in {seen}")

    def by_hand(self, name, mine):
        """The protocol of the instance metadata service, without the SDK."""
        good = {"Metadata": "true"}
        seen = self.ask(name, path=f"{IMDS}?{VERSION}&{RESOURCE}", headers=good)
        expect((seen["status"], seen.get("oid")) == (200, mine), f"a token, not {seen}")
        expect(set(seen["kinds"].values()) == {"str"}, f"texts alone, not {seen['kinds']}")
        for what, path, headers, code in (
            ("no Metadata", f"{IMDS}?{VERSION}&{RESOURCE}", {}, "bad_request_102"),
            ("Metadata of another case", f"{IMDS}?{VERSION}&{RESOURCE}", {"Metadata": "TRUE"}, "bad_request_102"),
            ("through a proxy", f"{IMDS}?{VERSION}&{RESOURCE}", {**good, "X-Forwarded-For": "10.0.0.1"}, "bad_request"),
            ("no api-version", f"{IMDS}?{RESOURCE}", good, "bad_request"),
            ("no resource", f"{IMDS}?{VERSION}", good, "invalid_request"),
            ("two resources", f"{IMDS}?{VERSION}&{RESOURCE}&{RESOURCE}", good, "invalid_request"),
            ("unknown resource", f"{IMDS}?{VERSION}&resource=https://example.com", good, "invalid_resource"),
            ("unknown client", f"{IMDS}?{VERSION}&{RESOURCE}&client_id={NOBODY}", good, "invalid_request"),
            ("another host", f"{IMDS}?{VERSION}&{RESOURCE}", {**good, "Host": "metadata.example.com"}, "bad_request"),
        ):
            seen = self.ask(name, path=path, headers=headers)
            report(condition=f"imds by hand, {what}", seen=seen)
            expect((seen["status"], seen["body"]["error"]) == (400, code), f"{code} for {what}, not {seen}")

    def user(self):
        """Two identities: each is had by each of its names, and neither where none is named."""
        made = [
            self.identities.create_or_update(
                GROUP, f"{which}-{self.suffix}", Identity(location=self.workspace.location)
            )
            for which in ("one", "two")
        ]
        for identity in made:
            self.allow(identity.principal_id)
        name = f"uai-{self.suffix}"
        chosen = [ManagedIdentityConfiguration(resource_id=identity.id) for identity in made]
        self.deploy(name, IdentityConfiguration(type="user_assigned", user_assigned_identities=chosen))
        for form in FORMS:
            for identity in made:
                selectors = [
                    {"client_id": identity.client_id},
                    {"identity_config": {"object_id": identity.principal_id}},
                    {"identity_config": {"resource_id": identity.id}},
                ]
                for selector in selectors:
                    seen = self.token(name, form, **selector)
                    expect(seen.get("oid") == identity.principal_id, f"{identity.name} by {selector}, {form}: {seen}")
                default = {"managed_identity_client_id": identity.client_id}
                seen = self.token(name, form, "DefaultAzureCredential", **default)
                expect(seen.get("oid") == identity.principal_id, f"{identity.name} by {default}, {form}: {seen}")
            seen = self.token(name, form)
            report(condition=f"{form}, two identities and none named", seen=seen)
            expect(seen.get("exception") == "CredentialUnavailableError", f"a refusal where none is named, not {seen}")
            self.unknown(name, form)
        self.drop(name)
        for identity in made:
            self.identities.delete(GROUP, identity.name)

    def allow(self, principal):
        """Give an identity what a deployment needs of it."""
        definitions = AuthorizationManagementClient(
            self.credential, SUBSCRIPTION, api_version="2018-01-01-preview"
        ).role_definitions
        assignments = AuthorizationManagementClient(
            self.credential, SUBSCRIPTION, api_version="2020-10-01-preview"
        ).role_assignments
        for number, (role, scope) in enumerate(
            (
                ("Storage Blob Data Reader", self.workspace.storage_account),
                ("AcrPull", self.workspace.container_registry),
            )
        ):
            definition = next(d for d in definitions.list(scope=scope) if d.role_name == role)
            parameters = RoleAssignmentCreateParameters(
                role_definition_id=definition.id, principal_id=principal, principal_type="ServicePrincipal"
            )
            assignments.create(scope, principal[:-1] + str(number), parameters)

    def drop(self, name):
        with step("online_endpoints.begin_delete"):
            self.ml.online_endpoints.begin_delete(name).result()


if __name__ == "__main__":
    main(*sys.argv[1:])
