"""Tests of the fixtures, against the real program. LAPIS_BINARY names it."""

import json
import os
import subprocess
import time

import pytest
from lapis_pytest import LapisError, Platform

pytest_plugins = ["pytester"]


def az(platform, *args):
    """Run the platform's own az, as a program that knows nothing but its environment."""
    program = os.path.join(platform.env["PATH"].split(os.pathsep)[0], "az")
    done = subprocess.run(
        [program, *args, "-o", "json"], capture_output=True, text=True, env={**os.environ, **platform.env}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def groups(platform):
    return [g["name"] for g in az(platform, "group", "list")]


def test_platform_answers_by_its_variables(lapis):
    assert groups(lapis) == [lapis.resource_group]
    assert az(lapis, "account", "show")["id"] == lapis.subscription_id
    assert lapis.env["HTTPS_PROXY"].startswith("http://127.0.0.1:")


def test_session_fixture_leaves_the_process_alone(lapis):
    assert os.environ.get("HTTPS_PROXY") != lapis.env["HTTPS_PROXY"]
    with pytest.raises(LapisError, match="lapis_env"):
        lapis.ml_client()


def test_variables_are_set_within_a_block(lapis):
    before = dict(os.environ)
    with lapis.environment():
        assert os.environ["AZURE_CLIENT_SECRET"] == lapis.env["AZURE_CLIENT_SECRET"]
    assert dict(os.environ) == before


@pytest.mark.parametrize("run", [1, 2])
def test_each_test_finds_the_first_start(lapis_env, run):
    assert os.environ["AZURE_SUBSCRIPTION_ID"] == lapis_env.subscription_id
    assert groups(lapis_env) == [lapis_env.resource_group]
    az(lapis_env, "group", "create", "--name", "mine", "--location", lapis_env.location)
    az(lapis_env, "identity", "create", "--resource-group", "mine", "--name", "someone")
    assert sorted(groups(lapis_env)) == sorted([lapis_env.resource_group, "mine"])


def test_reset_names_what_it_deleted(lapis_env):
    az(lapis_env, "group", "create", "--name", "mine", "--location", lapis_env.location)
    assert any(gone.endswith("/resourceGroups/mine") for gone in lapis_env.reset())
    assert lapis_env.reset() == []


def measure(platform, make, times):
    """Return how long resets take in ms, in order, each after make()."""
    took = []
    for _ in range(times):
        make()
        began = time.perf_counter()
        platform.reset()
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)


def tell(what, took):
    p50 = took[len(took) // 2]
    print(f"reset after {what}: p50 {p50:.1f} ms, least {took[0]:.1f}, most {took[-1]:.1f} of {len(took)}")
    return p50


def test_reset_is_not_felt(lapis_env):
    def make():
        az(lapis_env, "group", "create", "--name", "mine", "--location", lapis_env.location)
        az(lapis_env, "identity", "create", "--resource-group", "mine", "--name", "someone")

    assert tell("a group with an identity", measure(lapis_env, make, 21)) <= 100


def test_platform_ends_with_the_session(pytester):
    pytester.makepyfile(
        """
        def test_one(lapis_env):
            print("PID", lapis_env._process.pid)
        """
    )
    result = pytester.runpytest_subprocess("-s")
    result.assert_outcomes(passed=1)
    pid = next(int(line.split("PID ")[1]) for line in result.outlines if "PID " in line)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_flags_come_from_the_settings(pytester):
    pytester.makeini("[pytest]\nlapis_args = --location somewhere")
    pytester.makepyfile("def test_one(lapis): assert lapis.location == 'somewhere'")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_bad_flags_are_said_plainly(tmp_path):
    with pytest.raises(LapisError, match="no-such-flag"):
        Platform.start(tmp_path / "data", ["--no-such-flag"])


def test_missing_program_is_said_plainly(monkeypatch, tmp_path):
    monkeypatch.setenv("LAPIS_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(LapisError, match="LAPIS_BINARY"):
        Platform.start(tmp_path / "data")
    monkeypatch.delenv("LAPIS_BINARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LapisError, match="PATH"):
        Platform.start(tmp_path / "data")


def test_variables_that_mislead_are_taken_away_for_a_while(lapis, monkeypatch):
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://elsewhere.example")
    with lapis.environment():
        assert "AZURE_AUTHORITY_HOST" not in os.environ
        os.environ["AZUREML_CURRENT_CLOUD"] = "set by the SDK"
    assert os.environ["AZURE_AUTHORITY_HOST"] == "https://elsewhere.example"
    assert "AZUREML_CURRENT_CLOUD" not in os.environ


def test_failed_test_leaves_nothing(pytester):
    pytester.makepyfile(
        """
        def test_one(lapis_env):
            lapis_env.made = lapis_env.ml_client
            assert False

        def test_two(lapis_env):
            assert lapis_env.reset() == []
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1, failed=1)


# With azure-ai-ml


def test_client_works_at_once(lapis_env):
    pytest.importorskip("azure.ai.ml")
    client = lapis_env.ml_client()
    assert client.workspaces.get(lapis_env.workspace).name == lapis_env.workspace
    assert list(client.online_endpoints.list()) == []


def test_client_takes_arguments(lapis_env):
    pytest.importorskip("azure.ai.ml")
    from azure.core.exceptions import ResourceNotFoundError
    from azure.identity import AzureCliCredential

    client = lapis_env.ml_client(credential=AzureCliCredential(), workspace_name="another")
    with pytest.raises(ResourceNotFoundError):
        client.workspaces.get("another")


def test_reset_ends_what_a_deployment_runs(lapis_env, tmp_path):
    pytest.importorskip("azure.ai.ml")
    from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(
        "import os\n\n\ndef init():\n    pass\n\n\ndef run(text):\n    return os.getpid()\n"
    )
    (tmp_path / "conda.yml").write_text("name: bare\ndependencies: [python]\n")
    (tmp_path / "request.json").write_text("{}")
    client = lapis_env.ml_client()
    processes = []

    def make():
        client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="mine", auth_mode="key")).result()
        deployment = ManagedOnlineDeployment(
            name="blue",
            endpoint_name="mine",
            code_configuration=CodeConfiguration(code=str(tmp_path / "code"), scoring_script="score.py"),
            environment=Environment(conda_file=str(tmp_path / "conda.yml"), image="mcr.microsoft.com/azureml/base"),
            instance_type="Standard_DS3_v2",
            instance_count=1,
        )
        client.online_deployments.begin_create_or_update(deployment).result()
        answer = client.online_endpoints.invoke(
            "mine", request_file=str(tmp_path / "request.json"), deployment_name="blue"
        )
        processes.append(int(answer))
        os.kill(processes[-1], 0)

    tell("an endpoint with a running deployment", measure(lapis_env, make, 7))
    assert list(client.online_endpoints.list()) == []
    assert list(client.models.list()) == []
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
