"""Scaling to zero and by load, as azure-ai-ml can say it, and a log that is followed.

usage: scale.py SUFFIX
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from steps import expect, step

with step("import"):
    import requests
    from azure.ai.ml.entities import ManagedOnlineEndpoint, TargetUtilizationScaleSettings
    from azure.ai.ml.exceptions import MlException
    from azure.identity import AzureCliCredential

    import workspace

SCRIPT = """
import os


def init():
    print("started as", os.getpid(), flush=True)


def run(text):
    print("asked", text, flush=True)
    return os.getpid()
"""

ARM = "https://management.azure.com"
VERSION = "2023-04-01-preview"


def main(suffix):
    credential = AzureCliCredential()
    ml = workspace.connect(credential)
    name = f"scale-{suffix}"
    with tempfile.TemporaryDirectory() as folder:
        workspace.write(folder, "code/score.py", SCRIPT)
        request = workspace.write(folder, "request.json", json.dumps({"by": "scale"}))

        def deployment(**more):
            return workspace.deployment(
                name,
                environment=workspace.bare(folder, name=f"bare-{suffix}"),
                code_configuration=workspace.script(Path(folder, "code")),
                **more,
            )

        def put(wanted):
            return ml.online_deployments.begin_create_or_update(wanted).result()

        def instances():
            return ml.online_deployments.get("blue", name).properties["lapis.instances"]

        def sleeps():
            deadline = time.monotonic() + 20
            while not instances().startswith("0, scaled to zero"):
                expect(time.monotonic() < deadline, f"no instances, not {instances()}")
                time.sleep(0.1)

        def invoke():
            return ml.online_endpoints.invoke(name, request_file=request, deployment_name="blue")

        with step("online_endpoints.begin_create_or_update"):
            ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key")).result()
        with step("online_deployments with scale settings, refused by the client"):
            try:
                put(deployment(scale_settings=TargetUtilizationScaleSettings(min_instances=0, max_instances=2)))
                raise SystemExit("expected the client to refuse them: then our properties are not needed")
            except MlException as error:
                expect("DefaultScaleSettings only" in str(error), f"their refusal, not {error}")
        with step("online_deployments.begin_create_or_update"):
            made = put(deployment(properties={"lapis.min_instances": "0", "lapis.idle": "PT1S"}))
        expect(made.scale_settings.type == "default", f"the default, not {made.scale_settings.type}")
        with step("scaled to zero"):
            sleeps()
        with step("online_endpoints.invoke from zero"):
            first = invoke()
        with step("scaled to zero again"):
            sleeps()
        with step("online_deployments.begin_create_or_update of what was shown"):
            shown = ml.online_deployments.get("blue", name)
            shown.properties["lapis.idle"] = "PT1M"
            put(shown)
        second, third = invoke(), invoke()
        expect(first != second == third, f"a second process that stays, not {first}, {second}, {third}")

        # A client that can send them, and what the SDK makes of them.
        with step("scale settings over REST"):
            target = {"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 3}
            at = ml.workspaces.get(ml.workspace_name).id
            answer = requests.patch(
                f"{ARM}{at}/onlineEndpoints/{name}/deployments/blue?api-version={VERSION}",
                headers={"Authorization": f"Bearer {credential.get_token(ARM + '/.default').token}"},
                json={"properties": {"scaleSettings": target}},
                timeout=60,
            )
            expect(answer.status_code == 202, f"202, not {answer.status_code} {answer.text}")
            while ml.online_deployments.get("blue", name).provisioning_state != "Succeeded":
                time.sleep(0.05)
        settings = ml.online_deployments.get("blue", name).scale_settings
        got = (settings.type, settings.min_instances, settings.max_instances, settings.target_utilization_percentage)
        expect(got == ("target_utilization", 0, 3, 70), f"what was sent, not {got}")
        expect(invoke() == third, "the same process")

        with step("az ml online-deployment get-logs --follow"):
            follow(name, invoke)
        with step("online_endpoints.begin_delete"):
            ml.online_endpoints.begin_delete(name).result()


def follow(name, invoke):
    """A line comes while it is followed, and an interruption is a clean end."""
    command = ["az", "ml", "online-deployment", "get-logs", "-e", name, "-n", "blue", "--follow", "--lines", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as az:
        az.stdout.readline()
        invoke()
        while "asked" not in (line := az.stdout.readline()):
            expect(line, "the line that the script printed")
        az.send_signal(signal.SIGINT)
        _, complaint = az.communicate(timeout=20)
    expect(az.returncode == 0 and not complaint, f"a clean end, not {az.returncode} {complaint}")


main(sys.argv[1])
