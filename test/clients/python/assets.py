"""Models, environments, data and code as azure-ai-ml makes, finds, archives and refuses them.

usage: assets.py SUFFIX
"""

import sys
import tempfile
from pathlib import Path

from steps import expect, report, step

with step("import"):
    from azure.ai.ml.constants import ListViewType
    from azure.ai.ml.entities import (
        BuildContext,
        Data,
        Environment,
        ManagedOnlineEndpoint,
        Model,
    )
    from azure.ai.ml.exceptions import AssetPathException, ValidationException
    from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

    import workspace
    from workspace import IMAGE

MLMODEL = """artifact_path: model
flavors:
  python_function:
    loader_module: mlflow.sklearn
    python_version: 3.11.2
  sklearn:
    sklearn_version: 1.2.1
"""
SCRIPT = "def init():\n    pass\n\n\ndef run(text):\n    return {!r}\n"


def main(suffix):
    with tempfile.TemporaryDirectory() as folder:
        assets = Assets(suffix, Path(folder))
        assets.mlflow()
        assets.archive()
        assets.labels()
        assets.duplicates()
        assets.build_context()
        assets.data_types()
        assets.without_code()
        assets.code()


def refused(kinds, call, what):
    """Return the exception of a call that must fail, after telling what it says."""
    try:
        made = call()
    except kinds as error:
        answer = getattr(error, "error", None)
        code = getattr(answer, "code", None)
        report(condition=what, seen={"exception": type(error).__name__, "code": code, "message": str(error)[:400]})
        return error, code
    raise SystemExit(f"expected a refusal of {what}, not {made}")


class Assets:
    def __init__(self, suffix, folder):
        self.suffix, self.folder = suffix, folder
        self.ml = workspace.connect()

    def write(self, path, text):
        return workspace.write(self.folder, path, text)

    def mlflow(self):
        """A folder with a file MLmodel is an MLflow model, with the flavors of that file."""
        self.write("flow/MLmodel", MLMODEL)
        self.write("flow/data/model.txt", "weights")
        name = f"flow-{self.suffix}"
        with step("models.create_or_update, mlflow_model"):
            made = self.ml.models.create_or_update(
                Model(name=name, path=str(self.folder / "flow"), type="mlflow_model")
            )
        expect((made.type, made.version) == ("mlflow_model", "1"), f"an MLflow model, not {made}")
        with step("models.get, mlflow_model"):
            shown = self.ml.models.get(name, "1")
        expect(set(shown.flavors) == {"python_function", "sklearn"}, f"two flavors, not {shown.flavors}")
        with step("models.download"):
            self.ml.models.download(name, "1", download_path=str(self.folder / "down"))
        # The files lie below a folder of the model's name.
        files = {p.name: p.read_text() for p in (self.folder / "down" / name).rglob("*") if p.is_file()}
        expect(files == {"MLmodel": MLMODEL, "model.txt": "weights"}, f"both files as they were, not {files}")
        self.write("plain/model.txt", "no MLmodel")
        wrong = Model(name=f"wrong-{self.suffix}", path=str(self.folder / "plain"), type="mlflow_model")
        refused(
            (HttpResponseError, ValidationException),
            lambda: self.ml.models.create_or_update(wrong),
            "an MLflow model without MLmodel",
        )
        with step("models.get, not made"):
            refused(ResourceNotFoundError, lambda: self.ml.models.get(wrong.name, "1"), "what was refused")
        self.flow = name

    def archive(self):
        """What is archived is in no list but that of what is archived, and can still be had by name."""
        for kind, operations, make in (
            ("models", self.ml.models, self.model),
            ("environments", self.ml.environments, self.environment),
            ("data", self.ml.data, self.data),
        ):
            name = f"kept-{kind}-{self.suffix}"
            for version in ("1", "2"):
                with step(f"{kind}.create_or_update"):
                    make(name, version)

            def versions(view, operations=operations, name=name):
                return sorted(asset.version for asset in operations.list(name=name, list_view_type=view))

            def views(versions=versions):
                return tuple(
                    versions(v) for v in (ListViewType.ACTIVE_ONLY, ListViewType.ARCHIVED_ONLY, ListViewType.ALL)
                )

            both = ["1", "2"]
            expect(views() == (both, [], both), f"two versions of {kind}, not {views()}")
            with step(f"{kind}.archive of a version"):
                operations.archive(name, version="1")
            expect(views() == (["2"], ["1"], both), f"version 1 of {kind} archived, not {views()}")
            expect(operations.get(name, "1").version == "1", f"version 1 of {kind} by its name")
            with step(f"{kind}.restore of a version"):
                operations.restore(name, version="1")
            expect(views() == (both, [], both), f"version 1 of {kind} back, not {views()}")
            with step(f"{kind}.archive of latest"):
                operations.archive(name, label="latest")
            expect(views()[1] == ["2"], f"the latest version of {kind} archived, not {views()}")
            operations.restore(name, version="2")
            with step(f"{kind}.archive"):
                operations.archive(name)
            expect(name not in [a.name for a in operations.list()], f"{name} not in the list of what is active")
            archived = [a.name for a in operations.list(list_view_type=ListViewType.ARCHIVED_ONLY)]
            expect(name in archived, f"{name} among what is archived: {archived}")
            with step(f"{kind}.restore"):
                operations.restore(name)
            expect(name in [a.name for a in operations.list()], f"{name} in the list again")
            refused(ResourceNotFoundError, lambda: operations.get("never-made", "1"), f"{kind} that are not there")  # noqa: B023

    def model(self, name, version):
        return self.ml.models.create_or_update(
            Model(name=name, version=version, path=self.write(f"{name}-{version}/model.txt", str(version)))
        )

    def environment(self, name, version):
        conda = self.write(f"{name}-{version}.yml", f"name: e{version}\ndependencies: [python]\n")
        return self.ml.environments.create_or_update(
            Environment(name=name, version=version, conda_file=conda, image=IMAGE)
        )

    def data(self, name, version):
        path = self.write(f"{name}-{version}.csv", str(version))
        return self.ml.data.create_or_update(Data(name=name, version=version, path=path, type="uri_file"))

    def labels(self):
        """Versions count up where none is given, also past nine and past a name; latest is what was made last."""
        for kind, operations, make in (
            ("models", self.ml.models, self.model),
            ("data", self.ml.data, self.data),
        ):
            name = f"counted-{kind}-{self.suffix}"
            expect(make(name, "9").version == "9", f"version 9 of {kind}")
            for number, wanted in enumerate(("10", "11")):
                path = self.write(f"{name}-{number}/file.txt", f"{number}")
                asset = Model(name=name, path=path) if kind == "models" else Data(name=name, path=path, type="uri_file")
                with step(f"{kind}.create_or_update without a version"):
                    made = operations.create_or_update(asset)
                expect(made.version == wanted, f"version {wanted} of {kind}, not {made.version}")
            with step(f"{kind}.get of latest"):
                latest = operations.get(name, label="latest")
            expect(latest.version == "11", f"version 11 of {kind} as the latest, not {latest.version}")
        name = f"counted-env-{self.suffix}"
        self.environment(name, "1")
        self.environment(name, "2")
        with step("environments.get of latest"):
            expect(self.ml.environments.get(name, label="latest").version == "2", "version 2 as the latest")
        refused(Exception, lambda: self.ml.environments.get(name, label="other"), "a label that is not there")

    def duplicates(self):
        """A version never changes: another content under its name is refused, and what was there stays."""
        name = f"fixed-{self.suffix}"
        self.model(name, "1")
        other = Model(name=name, version="1", path=self.write("other/model.txt", "another"))
        # The client turns the service's 409 and its text into an exception of its own.
        refused(
            (AssetPathException, ResourceExistsError), lambda: self.ml.models.create_or_update(other), "another model"
        )
        self.ml.models.download(name, "1", download_path=str(self.folder / "fixed"))
        texts = [p.read_text() for p in (self.folder / "fixed").rglob("model.txt")]
        expect(texts == ["1"], f"the first model's text, not {texts}")
        self.environment(name, "1")
        conda = self.write("another.yml", "name: another\ndependencies: [python, pip]\n")
        changed = Environment(name=name, version="1", conda_file=conda, image=IMAGE)
        error, code = refused(
            (HttpResponseError, AssetPathException),
            lambda: self.ml.environments.create_or_update(changed),
            "another environment",
        )
        expect(getattr(error, "status_code", 409) == 409, f"409, not {error}")
        expect(self.ml.environments.get(name, "1").conda_file["dependencies"] == ["python"], "the first conda file")
        self.data(name, "1")
        changed = Data(name=name, version="1", path=self.write("another.csv", "another"), type="uri_file")
        refused((HttpResponseError, AssetPathException), lambda: self.ml.data.create_or_update(changed), "other data")

    def build_context(self):
        """A Dockerfile is refused with what to do instead; nothing is kept."""
        self.write("docker/Dockerfile", "FROM scratch\n")
        name = f"docker-{self.suffix}"
        environment = Environment(name=name, version="1", build=BuildContext(path=str(self.folder / "docker")))
        error, code = refused(
            HttpResponseError, lambda: self.ml.environments.create_or_update(environment), "a build context"
        )
        expect((error.status_code, code) == (501, "BuildContextNotSupported"), f"what is not supported, not {error}")
        expect("conda_file" in str(error), f"what to do instead in {error}")
        refused(ResourceNotFoundError, lambda: self.ml.environments.get(name, "1"), "what was refused")

    def data_types(self):
        """A file, a folder and a table, each found again as what it was."""
        table = (
            "type: mltable\npaths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
        )
        self.write("table/MLTable", table)
        self.write("table/rows.csv", "a,b\n1,2\n")
        self.write("tree/deep/file.txt", "deep")
        file = self.write("file.csv", "a,b\n1,2\n")
        for kind, path in (("uri_file", file), ("uri_folder", "tree"), ("mltable", "table")):
            name = f"{kind.replace('_', '-')}-{self.suffix}"
            with step(f"data.create_or_update, {kind}"):
                made = self.ml.data.create_or_update(
                    Data(name=name, version="1", path=str(self.folder / path), type=kind)
                )
            shown = self.ml.data.get(name, "1")
            expect(
                (made.type, shown.type, shown.path) == (kind, kind, made.path), f"{kind} at {made.path}, not {shown}"
            )
            expect(shown.path.startswith("azureml://"), f"an address, not {shown.path}")
        elsewhere = Data(name=f"web-{self.suffix}", path="https://example.org/rows.csv", type="uri_file")
        with step("data.create_or_update of a web address"):
            made = self.ml.data.create_or_update(elsewhere)
        expect(made.path == "https://example.org/rows.csv", f"the address as it was given, not {made.path}")

    def deployment(self, name, code):
        return workspace.deployment(
            self.endpoint,
            name,
            code_configuration=workspace.script(code),
            environment=workspace.bare(self.folder),
        )

    def without_code(self):
        """Azure writes script and environment of an MLflow model itself. Here that is refused by name."""
        self.endpoint = f"assets-{self.suffix}"
        self.ml.online_endpoints.begin_create_or_update(
            ManagedOnlineEndpoint(name=self.endpoint, auth_mode="key")
        ).result()
        bare = workspace.deployment(self.endpoint, "flow", model=f"azureml:{self.flow}:1")
        error, code = refused(
            HttpResponseError,
            lambda: self.ml.online_deployments.begin_create_or_update(bare).result(),
            "an MLflow model without code",
        )
        expect(
            (error.status_code, code) == (501, "NoCodeDeploymentNotSupported"), f"what is not supported, not {error}"
        )
        refused(
            ResourceNotFoundError, lambda: self.ml.online_deployments.get("flow", self.endpoint), "what was refused"
        )

    def code(self):
        """The same files are one code; one changed byte is another, which is what then runs."""
        ids, answers = {}, {}
        for name, folder, text in (
            ("first", "code-a", "one"),
            ("same", "code-b", "one"),
            ("other", "code-c", "two"),
        ):
            self.write(f"{folder}/score.py", SCRIPT.format(text))
            self.write(f"{folder}/part/util.py", "")
            deployment = self.deployment(name, self.folder / folder)
            with step("online_deployments.begin_create_or_update"):
                self.ml.online_deployments.begin_create_or_update(deployment).result()
            ids[name] = self.ml.online_deployments.get(name, self.endpoint).code_configuration.code
            answers[name] = self.ml.online_endpoints.invoke(
                endpoint_name=self.endpoint, deployment_name=name, request_file=self.write("request.json", "{}")
            )
        expect(ids["first"] == ids["same"] != ids["other"], f"two codes, not {ids}")
        expect(answers == {"first": '"one"', "same": '"one"', "other": '"two"'}, f"each its own code, not {answers}")
        # A file that is moved has the same content, but is another folder.
        self.write("code-d/score.py", SCRIPT.format("one"))
        self.write("code-d/moved/util.py", "")
        moved = self.deployment("moved", self.folder / "code-d")
        self.ml.online_deployments.begin_create_or_update(moved).result()
        found = self.ml.online_deployments.get("moved", self.endpoint).code_configuration.code
        expect(found not in ids.values(), f"a third code, not {found}")
        self.ml.online_endpoints.begin_delete(self.endpoint).result()


if __name__ == "__main__":
    main(*sys.argv[1:])
