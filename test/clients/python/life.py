"""The life of endpoints, deployments and assets, from the first to the last, with azure-ai-ml.

What an endpoint runs is a script that needs Python's own library only, so that
no package is installed.

usage: life.py SUFFIX
"""

import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from steps import expect, report, step

with step("import"):
    import requests
    from azure.ai.ml.constants import ListViewType
    from azure.ai.ml.constants._endpoint import EndpointInvokeFields
    from azure.ai.ml.entities import (
        AccountKeyConfiguration,
        AzureBlobDatastore,
        Data,
        Environment,
        ManagedOnlineEndpoint,
        Model,
    )
    from azure.ai.ml.exceptions import ValidationException
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.identity import AzureCliCredential
    from azure.mgmt.authorization import AuthorizationManagementClient
    from azure.mgmt.authorization.v2020_10_01_preview.models import RoleAssignmentCreateParameters
    from azure.mgmt.storage import StorageManagementClient
    from azure.storage.blob import ContainerClient

    from workspace import IMAGE, SUBSCRIPTION, connect, deployment, script, write

# It tells which deployment, process and model answer. Asked for a token, it
# gives that of the endpoint's own identity: no script but a test's may do so.
SCRIPT = """
import json
import os
import urllib.parse
import urllib.request
from pathlib import Path


def init():
    pass


def run(text):
    request = json.loads(text)
    print("asked by", request["by"], flush=True)
    if request["by"] == "token":
        query = urllib.parse.urlencode({"api-version": "2017-09-01", "resource": "https://ml.azure.com"})
        header = {"Secret": os.environ["MSI_SECRET"]}
        asked = urllib.request.Request(os.environ["MSI_ENDPOINT"] + "?" + query, headers=header)
        with urllib.request.urlopen(asked) as answer:
            return {"token": json.load(answer)["access_token"]}
    folder = os.environ.get("AZUREML_MODEL_DIR")
    model = next(Path(folder).rglob("model.txt")).read_text() if folder else None
    return {"name": os.environ["WHO"], "process": os.getpid(), "model": model}
"""

# A share of one in ten shows itself within so many requests, but for once in a thousand million.
PATIENCE = 200

# Of so many requests half are mirrored: but for once in a thousand million, at least so few and not more than the rest.
MIRRORED, COPIED, FEWEST = 50, 100, 20


def main(suffix):
    with tempfile.TemporaryDirectory() as folder:
        life = Life(suffix, Path(folder))
        life.models()
        life.environments()
        life.data()
        life.datastores()
        life.make_endpoint()
        life.make_deployments()
        life.traffic()
        life.mirror()
        life.scale()
        life.logs()
        life.keys()
        life.delete()
        life.aml_token()
        life.aad_token()


def refused(kind, call):
    """Return the exception of a call that must fail."""
    try:
        call()
    except kind as error:
        return error
    raise SystemExit(f"expected {kind.__name__}")


class Life:
    """The clients, a folder for what is uploaded, and names of this run's own."""

    def __init__(self, suffix, folder):
        self.suffix, self.folder, self.name = suffix, folder, f"life-{suffix}"
        self.credential = AzureCliCredential()
        self.ml = connect(self.credential)
        self.code = self.folder / "code"
        self.write("code/score.py", SCRIPT)
        self.conda = self.write("conda.yml", "name: bare\ndependencies: [python]\n")

    def write(self, path, text):
        return write(self.folder, path, text)

    # Assets

    def models(self):
        """Versions count up where none is given; latest is what was made last."""
        name = f"model-{self.suffix}"
        for version, text in (("1", "one"), ("2", "two")):
            with step("models.create_or_update"):
                model = self.ml.models.create_or_update(
                    Model(name=name, path=self.write(f"{text}/model.txt", text), type="custom_model")
                )
            expect((model.name, model.version) == (name, version), f"version {version}, not {model.version}")
        with step("models.create_or_update of a given version"):
            again = Model(name=name, version="7", path=str(self.folder / "two/model.txt"))
            given = self.ml.models.create_or_update(again)
        expect(given.version == "7", f"version 7, not {given.version}")
        with step("models.get of latest"):
            latest = self.ml.models.get(name, label="latest")
        expect(latest.version == "7", f"version 7 as the latest, not {latest.version}")

        def versions(view):
            return sorted(model.version for model in self.ml.models.list(name=name, list_view_type=view))

        with step("models.list"):
            names = [model.name for model in self.ml.models.list()]
        expect(name in names, f"{name} among {names}")
        with step("models.archive"):
            self.ml.models.archive(name, version="7")
        with step("models.list of versions"):
            active, archived = versions(ListViewType.ACTIVE_ONLY), versions(ListViewType.ARCHIVED_ONLY)
            every = versions(ListViewType.ALL)
        expect((active, archived) == (["1", "2"], ["7"]), f"7 archived, not {active} and {archived}")
        expect(every == ["1", "2", "7"], f"all three, not {every}")
        with step("models.restore"):
            self.ml.models.restore(name, version="7")
        expect(versions(ListViewType.ACTIVE_ONLY) == every, "version 7 back in the list")
        with step("models.get, not there"):
            refused(ResourceNotFoundError, lambda: self.ml.models.get(name, version="8"))
        self.model = name

    def environments(self):
        """The same again is the same version; what differs is the next."""
        name = f"bare-{self.suffix}"
        other = self.write("other.yml", "name: bare\ndependencies: [python, pip]\n")
        for version, conda, given in (
            ("1", self.conda, None),
            ("1", self.conda, None),
            ("2", other, None),
            ("given", self.conda, "given"),
        ):
            with step("environments.create_or_update"):
                made = self.ml.environments.create_or_update(
                    Environment(name=name, version=given, conda_file=conda, image=IMAGE)
                )
            expect(made.version == version, f"version {version}, not {made.version}")
        with step("environments.get of latest"):
            latest = self.ml.environments.get(name, label="latest")
        expect(latest.version == "given", f"version given as the latest, not {latest.version}")
        expect(latest.conda_file["dependencies"] == ["python"], f"the conda file, not {latest.conda_file}")
        with step("environments.list"):
            versions = sorted(e.version for e in self.ml.environments.list(name=name))
        expect(versions == ["1", "2", "given"], f"three versions, not {versions}")
        self.environment = f"azureml:{name}:1"

    def data(self):
        name, path = f"data-{self.suffix}", self.write("data/data.csv", "a,b\n1,2\n")
        for version in ("1", "2"):
            with step("data.create_or_update"):
                made = self.ml.data.create_or_update(Data(name=name, version=version, path=path, type="uri_file"))
            expect((made.name, made.version, made.type) == (name, version, "uri_file"), f"version {version} of {made}")
        expect(made.path.startswith("azureml://") and made.path.endswith("/data.csv"), f"an address, not {made.path}")
        with step("data.get of latest"):
            latest = self.ml.data.get(name, label="latest")
        expect((latest.version, latest.path) == ("2", made.path), f"version 2, not {latest}")
        with step("data.list"):
            names = [asset.name for asset in self.ml.data.list()]
            versions = sorted(asset.version for asset in self.ml.data.list(name=name))
        expect(name in names and versions == ["1", "2"], f"two versions of {name}, not {versions}")

    def datastores(self):
        """One with an account's key, and one that has its reader show who it is."""
        workspace = self.ml.workspaces.get(self.ml.workspace_name)
        account = workspace.storage_account.split("/")[-1]
        answer = StorageManagementClient(self.credential, SUBSCRIPTION).storage_accounts.list_keys(
            workspace.storage_account.split("/")[4], account
        )
        # Since its version 25 the client calls the field keys_property.
        key = (getattr(answer, "keys_property", None) or answer.keys)[0].value
        container = self.ml.datastores.get_default().container_name
        keyed, bare = f"keyed_{self.suffix}", f"bare_{self.suffix}"
        for name, credentials in ((keyed, AccountKeyConfiguration(account_key=key)), (bare, None)):
            with step("datastores.create_or_update"):
                made = self.ml.datastores.create_or_update(
                    AzureBlobDatastore(
                        name=name, account_name=account, container_name=container, credentials=credentials
                    )
                )
            expect((made.account_name, made.container_name) == (account, container), f"the container in {made}")
        with step("datastores.get with its secret"):
            shown = self.ml.datastores.get(keyed, include_secrets=True)
        # The client asks for what expires: a signature, not the key. It is good for the container.
        sas = shown.credentials.sas_token.lstrip("?")
        blobs = ContainerClient(f"https://{account}.blob.{made.endpoint}", container, credential=sas).list_blobs()
        expect(next(blobs, None), "a blob that the signature lists")
        with step("datastores.get"):
            shown, none = self.ml.datastores.get(keyed), self.ml.datastores.get(bare)
        expect(not getattr(shown.credentials, "account_key", None), "no key where none is asked for")
        expect(not getattr(none.credentials, "account_key", None), f"no credentials, not {type(none.credentials)}")
        with step("datastores.list"):
            names = [store.name for store in self.ml.datastores.list()]
        expect({keyed, bare, "workspaceblobstore"} <= set(names), f"three datastores among {names}")
        for name in (keyed, bare):
            with step("datastores.delete"):
                self.ml.datastores.delete(name)
        with step("datastores.get, gone"):
            refused(ResourceNotFoundError, lambda: self.ml.datastores.get(keyed))

    # Endpoints

    def make_endpoint(self):
        endpoint = ManagedOnlineEndpoint(name=self.name, auth_mode="key", tags={"made": "first"})
        with step("online_endpoints.begin_create_or_update"):
            made = self.ml.online_endpoints.begin_create_or_update(endpoint).result()
        expect(made.provisioning_state == "Succeeded", f"success of {made}")
        with step("online_endpoints.get"):
            self.endpoint = self.ml.online_endpoints.get(self.name)
        expect(self.endpoint.auth_mode == "key", f"keys, not {self.endpoint.auth_mode}")
        expect(self.endpoint.tags == {"made": "first"}, f"a tag, not {self.endpoint.tags}")
        with step("online_endpoints.list"):
            names = [endpoint.name for endpoint in self.ml.online_endpoints.list()]
        expect(self.name in names, f"{self.name} among {names}")
        self.update("tags", tags={"made": "first", "changed": "then"}, description="changed")
        expect(self.endpoint.tags == {"made": "first", "changed": "then"}, f"both tags in {self.endpoint.tags}")
        expect(self.endpoint.description == "changed", f"the description, not {self.endpoint.description}")

    def update(self, what, **values):
        """Change the endpoint as a user does: get it, set it, send it."""
        endpoint = self.ml.online_endpoints.get(self.name)
        for name, value in values.items():
            setattr(endpoint, name, value)
        with step(f"online_endpoints.begin_create_or_update of {what}"):
            self.ml.online_endpoints.begin_create_or_update(endpoint).result()
        self.endpoint = self.ml.online_endpoints.get(self.name)

    def deploy(self, endpoint, name, model=None):
        wanted = deployment(
            endpoint,
            name,
            model=model,
            code_configuration=script(self.code),
            environment=self.environment,
            environment_variables={"WHO": name},
        )
        with step("online_deployments.begin_create_or_update"):
            self.ml.online_deployments.begin_create_or_update(wanted).result()
        with step("online_deployments.get"):
            made = self.ml.online_deployments.get(name, endpoint)
        expect(made.provisioning_state == "Succeeded", f"success of {made}")
        return made

    def make_deployments(self):
        blue = self.deploy(self.name, "blue", f"azureml:{self.model}:1")
        # With a label, the client takes the name as it stands: the prefix azureml: would be part of it.
        green = self.deploy(self.name, "green", f"{self.model}@latest")
        expect(blue.model.endswith("/versions/1"), f"version 1, not {blue.model}")
        expect(green.model.endswith("/versions/7"), f"the latest version, not {green.model}")
        # The code's name is made from nothing; the same files are found by their hash, and not sent again.
        codes = blue.code_configuration.code, green.code_configuration.code
        expect(codes[0] == codes[1], f"one code for both deployments, not {codes}")
        # And it is this script that runs, not what another run found under a like name.
        answers = [self.invoke(name, by="code")["name"] for name in ("blue", "green")]
        expect(answers == ["blue", "green"], f"this script's answers, not {answers}")
        with step("online_deployments.list"):
            names = sorted(deployment.name for deployment in self.ml.online_deployments.list(self.name))
        expect(names == ["blue", "green"], f"two deployments, not {names}")
        with step("online_endpoints.invoke without traffic"):
            refused(HttpResponseError, lambda: self.invoke())

    def invoke(self, deployment=None, by="flow", endpoint=None):
        path = self.write("request.json", json.dumps({"by": by}))
        # The client keeps the header that names a deployment, and sends it with all later requests.
        EndpointInvokeFields.DEFAULT_HEADER.pop(EndpointInvokeFields.MODEL_DEPLOYMENT, None)
        answer = self.ml.online_endpoints.invoke(
            endpoint_name=endpoint or self.name, request_file=path, deployment_name=deployment
        )
        return json.loads(answer)

    def who(self, times):
        return {self.invoke()["name"] for _ in range(times)}

    def traffic(self):
        self.update("traffic 100 blue", traffic={"blue": 100})
        with step("online_endpoints.invoke"):
            answer = self.invoke()
        expect((answer["name"], answer["model"]) == ("blue", "one"), f"blue with its model, not {answer}")
        for name, model in (("green", "two"), ("blue", "one")):
            with step(f"online_endpoints.invoke of {name}"):
                answer = self.invoke(name)
            expect((answer["name"], answer["model"]) == (name, model), f"{name} with its model, not {answer}")
        expect(self.who(10) == {"blue"}, "blue alone")
        self.update("traffic 90 blue, 10 green", traffic={"blue": 90, "green": 10})
        expect(self.endpoint.traffic == {"blue": 90, "green": 10}, f"90 and 10, not {self.endpoint.traffic}")
        counts = {"blue": 0, "green": 0}
        with step("online_endpoints.invoke until both have answered"):
            while not all(counts.values()) and sum(counts.values()) < PATIENCE:
                counts[self.invoke()["name"]] += 1
        expect(all(counts.values()), f"both deployments among {counts}")
        self.update("traffic 100 green", traffic={"green": 100})
        expect(self.endpoint.traffic == {"blue": 0, "green": 100}, f"green alone, not {self.endpoint.traffic}")
        expect(self.who(10) == {"green"}, "green alone")

    def log(self, name, **more):
        return self.ml.online_deployments.get_logs(name, self.name, 10_000, **more)

    def mirror(self):
        """Half of the requests reach blue as copies, whose answers nobody sees."""
        self.update("mirrored traffic 50 to blue", mirror_traffic={"blue": MIRRORED})
        expect(self.endpoint.mirror_traffic == {"blue": MIRRORED}, f"50 to blue, not {self.endpoint.mirror_traffic}")
        with step(f"online_endpoints.invoke {COPIED} times, half of them copied"):
            seen = {self.invoke(by="mirror")["name"] for _ in range(COPIED)}
        expect(seen == {"green"}, f"answers of green alone, not {seen}")
        # A copy may still be on its way when the answer is there.
        copies = 0
        for _ in range(20):
            copies, before = self.log("blue").count("asked by mirror"), copies
            if copies and copies == before:
                break
        report(condition=f"copies of {COPIED} requests, half of which are mirrored", seen=copies)
        low, high = FEWEST, COPIED - FEWEST
        expect(low <= copies <= high, f"{low} to {high} copies of {COPIED} requests in blue's log, not {copies}")
        self.update("mirrored traffic 0", mirror_traffic={"blue": 0})
        expect(not self.endpoint.mirror_traffic, f"no mirrored traffic, not {self.endpoint.mirror_traffic}")
        with step("online_endpoints.invoke 30 times"):
            for _ in range(30):
                self.invoke(by="after")
        # Blue is asked last by name, so that a copy on its way would be in the log before.
        self.invoke("blue", by="last")
        log = self.log("blue")
        expect("asked by last" in log and "asked by after" not in log, "no copy in blue's log")

    def scale(self):
        for count in (2, 1):
            deployment = self.ml.online_deployments.get("green", self.name)
            deployment.instance_count = count
            with step(f"online_deployments.begin_create_or_update, {count} instances"):
                self.ml.online_deployments.begin_create_or_update(deployment).result()
            deployment = self.ml.online_deployments.get("green", self.name)
            expect(deployment.instance_count == count, f"{count} instances, not {deployment.instance_count}")
            processes = {self.invoke()["process"] for _ in range(40)}
            expect(len(processes) == count, f"{count} processes, not {processes}")

    def logs(self):
        for name in ("blue", "green"):
            with step("online_deployments.get_logs"):
                log = self.log(name)
            expect("asked by flow" in log, f"the script's lines in:\n{log}")
            with step("online_deployments.get_logs of inference-server"):
                log = self.log(name, container_type="inference-server")
            expect("asked by flow" in log, f"the script's lines in:\n{log}")
            with step("online_deployments.get_logs of storage-initializer"):
                log = self.log(name, container_type="storage-initializer")
            expect(log and "asked by flow" not in log, f"what was downloaded, and nothing of the script, in:\n{log}")
        with step("online_deployments.get_logs of one line"):
            text = self.ml.online_deployments.get_logs("green", self.name, 1)
        lines = text.split("Container logs:")[-1].strip().splitlines()
        expect(len(lines) == 1, f"one line, not {lines}")

    def status(self, key, endpoint=None):
        """What the endpoint answers somebody with this key or token."""
        return requests.post(
            (endpoint or self.endpoint).scoring_uri,
            json={"by": "key"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        ).status_code

    def keys(self):
        with step("online_endpoints.get_keys"):
            old = self.ml.online_endpoints.get_keys(self.name)
        expect(self.status(old.primary_key) == self.status(old.secondary_key) == 200, "both keys to be good")
        with step("online_endpoints.begin_regenerate_keys"):
            self.ml.online_endpoints.begin_regenerate_keys(self.name).result()
        new = self.ml.online_endpoints.get_keys(self.name)
        expect(new.primary_key != old.primary_key and new.secondary_key == old.secondary_key, "one key to change")
        seen = self.status(old.primary_key), self.status(new.primary_key), self.status(old.secondary_key)
        report(condition="old key, new key, other key", seen=seen)
        expect(seen == (401, 200, 200), f"the old key refused, the others taken, not {seen}")
        with step("online_endpoints.begin_regenerate_keys of secondary"):
            self.ml.online_endpoints.begin_regenerate_keys(self.name, key_type="secondary").result()
        expect(self.status(old.secondary_key) == 401, "the old secondary key refused")
        expect(self.invoke()["name"] == "green", "green's answer")

    def delete(self):
        with step("online_deployments.begin_delete, refused"):
            error = refused(
                HttpResponseError,
                lambda: self.ml.online_deployments.begin_delete("green", self.name).result(),
            )
        report(condition="deployment with traffic deleted", seen=error.message)
        expect(400 <= error.status_code < 500 and "traffic" in error.message, f"a refusal for its traffic, not {error}")
        with step("online_deployments.begin_delete"):
            self.ml.online_deployments.begin_delete("blue", self.name).result()
        with step("online_deployments.get, gone"):
            refused(ResourceNotFoundError, lambda: self.ml.online_deployments.get("blue", self.name))
        self.drop(self.name)

    def drop(self, name):
        with step("online_endpoints.begin_delete"):
            self.ml.online_endpoints.begin_delete(name).result()
        with step("online_endpoints.get, gone"):
            refused(ResourceNotFoundError, lambda: self.ml.online_endpoints.get(name))

    # Endpoints without keys

    def open(self, mode):
        """Make an endpoint of another auth mode with one deployment."""
        name = f"{mode.replace('_', '-')}-{self.suffix}"
        with step(f"online_endpoints.begin_create_or_update, {mode}"):
            self.ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode=mode)).result()
        self.deploy(name, "only")
        endpoint = self.ml.online_endpoints.get(name)
        expect(endpoint.auth_mode == mode, f"{mode}, not {endpoint.auth_mode}")
        endpoint.traffic = {"only": 100}
        with step("online_endpoints.begin_create_or_update of traffic"):
            self.ml.online_endpoints.begin_create_or_update(endpoint).result()
        with step(f"online_endpoints.invoke, {mode}"):
            answer = self.invoke(endpoint=name)
        expect(answer["name"] == "only", f"its answer, not {answer}")
        with step("online_endpoints.begin_regenerate_keys, refused by the client"):
            error = refused(ValidationException, lambda: self.ml.online_endpoints.begin_regenerate_keys(name).result())
        expect("does not use keys" in str(error), f"why not, in {error}")
        self.no_keys(endpoint.id, mode)
        return self.ml.online_endpoints.get(name)

    def no_keys(self, endpoint, mode):
        """What the service itself answers to whoever asks for keys that an endpoint has not."""
        token = self.credential.get_token("https://management.azure.com/.default").token
        for action, body in (("regenerateKeys", {"keyType": "Primary"}), ("listKeys", None)):
            answer = requests.post(
                f"https://management.azure.com{endpoint}/{action}?api-version=2024-04-01",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
            )
            error = answer.json()["error"]
            report(condition=f"{action}, {mode}", seen={"status": answer.status_code, **error})
            expect((answer.status_code, error["code"]) == (400, "BadArgument"), f"400 BadArgument, not {answer.text}")

    def aml_token(self):
        endpoint = self.open("aml_token")
        with step("online_endpoints.get_keys, aml_token"):
            token = self.ml.online_endpoints.get_keys(endpoint.name)
        now = time.time()
        expect(
            now < token.refresh_after_time_utc <= token.expiry_time_utc,
            f"times in the future, not {token.refresh_after_time_utc} and {token.expiry_time_utc} at {now}",
        )
        seen = self.status(token.access_token, endpoint), self.status("nothing", endpoint)
        expect(seen == (200, 401), f"the token taken alone, not {seen}")
        self.drop(endpoint.name)

    def aad_token(self):
        """The endpoint's own identity asks: without the role, with it, and without it again."""
        endpoint = self.open("aad_token")
        with step("online_endpoints.get_keys, aad_token"):
            token = self.ml.online_endpoints.get_keys(endpoint.name)
        expect(token.expiry_time_utc > time.time(), "a token that lives")
        expect(self.status(token.access_token, endpoint) == 200, "the owner's token to be taken")
        other = self.invoke(endpoint=endpoint.name, by="token")["token"]
        seen = [self.status(other, endpoint)]
        client = AuthorizationManagementClient(self.credential, SUBSCRIPTION, api_version="2020-10-01-preview")
        roles = AuthorizationManagementClient(self.credential, SUBSCRIPTION, api_version="2018-01-01-preview")
        role = next(
            r for r in roles.role_definitions.list(scope=endpoint.id) if r.role_name == "AzureML Data Scientist"
        )
        with step("role_assignments.create"):
            granted = client.role_assignments.create(
                scope=endpoint.id,
                role_assignment_name=str(uuid.uuid4()),
                parameters=RoleAssignmentCreateParameters(
                    role_definition_id=role.id, principal_id=endpoint.identity.principal_id
                ),
            )
        seen.append(self.status(other, endpoint))
        with step("role_assignments.delete"):
            client.role_assignments.delete(scope=endpoint.id, role_assignment_name=granted.name)
        seen.append(self.status(other, endpoint))
        report(condition="aad_token without the role, with it, without it again", seen=seen)
        # Online endpoints answer 401, not 403, to whom may not score.
        expect(seen == [401, 200, 401], f"refused, taken, refused, not {seen}")
        self.drop(endpoint.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
