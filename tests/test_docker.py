"""The image, the compose file and the Kubernetes manifest: linted, checked against schemas, and their commands run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from sqlalchemy import make_url

import foldtune
from foldtune.cli.main import app
from foldtune.store.store import Store

DOCKER = Path(__file__).parents[1] / "docker"
BIN = Path(sys.executable).parent
STUDY = """\
name: small
data: {use: iris}
model: {use: MLP, d_block: {int: [4, 8]}}
training: {epochs: 2}
search: {trials: 2}
"""
GIVEN = {
    "POSTGRES_PASSWORD": "p@ss/word",
    "FOLDTUNE_DASHBOARD_TOKEN": "a token for the tests",
    "STUDY": "study.yaml",
}
"""What a person fills in: docker/.env, or the manifest's Secret."""

KEYS = {"postgres-password": GIVEN["POSTGRES_PASSWORD"], "dashboard-token": GIVEN["FOLDTUNE_DASHBOARD_TOKEN"]}


@dataclass(frozen=True)
class Container:
    """What a container of ours runs.

    Args:
        command: after the image's entry point.
        environment: as the program sees it.
        health: how the container's health is asked for, after no entry point.
        mounts: absolute paths inside at which a volume stands.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    health: Sequence[str]
    mounts: Sequence[str]


def read(name: str) -> list[Any]:
    """The documents of a YAML file, compose's variables filled in from `GIVEN` and their defaults."""

    def value(match: re.Match[str]) -> str:
        variable, kind, default = match.groups()
        assert kind == "-" or variable in GIVEN, f"{variable} has no default and no person is told to set it"
        return GIVEN.get(variable, default)

    text = (DOCKER / name).read_text(encoding="utf-8")
    if name.startswith("compose"):
        text = re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)
    return list(YAML(typ="safe").load_all(text))


def composed() -> dict[str, Container]:
    """Our containers in the compose file."""
    (file,) = read("compose.yaml")
    services = {name: service for name, service in file["services"].items() if "foldtune" in service["image"]}
    return {
        name: Container(
            service["command"],
            service["environment"],
            service.get("healthcheck", {}).get("test", ["CMD", *image("HEALTHCHECK")])[1:],
            [volume.split(":")[1] for volume in service.get("volumes", ())] + service["tmpfs"],
        )
        for name, service in services.items()
    }


def orchestrated() -> dict[str, Container]:
    """Our containers in the Kubernetes manifest."""
    found = {}
    for document in read("kubernetes.yaml"):
        if document["kind"] not in ("Job", "Deployment"):
            continue
        pod = document["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        health = container.get("readinessProbe", {}).get("exec", {}).get("command", image("HEALTHCHECK"))
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
        found[document["metadata"]["name"]] = Container(
            container["args"],
            {variable["name"]: _value(variable) for variable in container["env"]},
            health,
            [mount["mountPath"] for mount in container["volumeMounts"]],
        )
    return found


def _value(variable: Mapping[str, Any]) -> str:
    """A variable's value, from the manifest's Secret where it says so."""
    if "value" in variable:
        return str(variable["value"])
    (secret,) = (document for document in read("kubernetes.yaml") if document["kind"] == "Secret")
    source = variable["valueFrom"]["secretKeyRef"]
    assert source["name"] == secret["metadata"]["name"] and source["key"] in secret["stringData"]
    return KEYS[source["key"]]


def image(instruction: str) -> list[str]:
    """The program that an instruction of the Dockerfile names, in its JSON form."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^{instruction}\b.*?(\[.*\])$", text, re.MULTILINE)
    return [str(word) for word in YAML(typ="safe").load(found)]


@dataclass(frozen=True)
class Host:
    """This machine in a container's place: folders for its volumes, a real database for its own."""

    folder: Path
    database: str

    def words(self, words: Sequence[str], mounts: Sequence[str]) -> list[str]:
        """A command with paths of this machine, and its own Python's programs."""
        own = [re.sub(rf"^({'|'.join(mounts)})(?=/|$)", rf"{self.folder}\1", word) for word in words]
        return [str(BIN / own[0]), *own[1:]]

    def start(self, container: Container, *more: str) -> subprocess.Popen[str]:
        command = self.words([*image("ENTRYPOINT"), *container.command, *more], container.mounts)
        return self._popen(command, container)

    def run(self, container: Container, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        process = self._popen(self.words(words, container.mounts), container)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _popen(self, command: list[str], container: Container) -> subprocess.Popen[str]:
        variables = {**os.environ, **container.environment, "FOLDTUNE_STORAGE": self.database}
        folder = self.folder / "foldtune"  # the image's working folder
        return subprocess.Popen(
            command, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


@pytest.fixture
def host(tmp_path: Path, postgres_url: str) -> Host:
    """A machine with a small study in its folder of studies."""
    for name in ("foldtune", "studies", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "studies" / "study.yaml").write_text(STUDY, encoding="utf-8")
    return Host(tmp_path, postgres_url)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive its test."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


CHECKS = {
    "Dockerfile": ["hadolint"],
    "compose.yaml": ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"],
    "compose.gpu.yaml": ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"],
    "kubernetes.yaml": ["kubernetes-validate", "--strict"],
}
MISTAKES = {
    "Dockerfile": ("WORKDIR /build", "WORKDIR build"),
    "compose.yaml": ("stop_grace_period", "stop_grace_time"),
    "compose.gpu.yaml": ("reservations", "reservation"),
    "kubernetes.yaml": ("completionMode", "completionsMode"),
}


def checked(file: Path, name: str) -> subprocess.CompletedProcess[str]:
    command, *arguments = CHECKS[name]
    return subprocess.run([BIN / command, *arguments, file], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", CHECKS)
def test_the_file_passes_its_checker(name: str) -> None:
    done = checked(DOCKER / name, name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_the_checker_finds_a_mistake(name: str, tmp_path: Path) -> None:
    text = (DOCKER / name).read_text(encoding="utf-8")
    assert MISTAKES[name][0] in text
    (tmp_path / name).write_text(text.replace(*MISTAKES[name]), encoding="utf-8")
    assert checked(tmp_path / name, name).returncode != 0


def test_the_files_agree_on_the_database_and_the_image_on_its_folders() -> None:
    (compose,) = read("compose.yaml")
    postgres = compose["services"]["postgres"]["environment"]
    for containers in (composed(), orchestrated()):
        assert set(containers) == {"study", "worker", "dashboard"}
        for container in containers.values():
            url = make_url(container.environment["FOLDTUNE_STORAGE"])
            assert (url.host, url.username, url.database) == ("postgres", "foldtune", "foldtune")
            assert url.password is None and container.environment["PGPASSWORD"] == GIVEN["POSTGRES_PASSWORD"]
            assert "/tmp" in container.mounts
        assert "/foldtune" in containers["study"].mounts and "/foldtune" in containers["worker"].mounts
    assert (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]) == ("foldtune", "foldtune")
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert "\nWORKDIR /foldtune\n" in dockerfile and "\nUSER 10001:10001\n" in dockerfile


def test_the_secret_s_placeholders_start_nothing() -> None:
    (secret,) = (document for document in read("kubernetes.yaml") if document["kind"] == "Secret")
    assert secret["stringData"] == dict.fromkeys(KEYS, "")


def test_every_variable_is_named_in_the_example() -> None:
    files = "".join((DOCKER / name).read_text(encoding="utf-8") for name in ("compose.yaml", "compose.gpu.yaml"))
    example = (DOCKER / "env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", files)) == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))


def test_no_file_names_the_host_of_a_package_index() -> None:
    for file in (path for path in DOCKER.iterdir() if path.is_file()):
        assert not re.search(r"https?://(?!127\.0\.0\.1)", file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize("name", ["study", "worker"])
def test_the_gpu_s_commands_are_the_others_on_another_device(name: str) -> None:
    (file,) = read("compose.gpu.yaml")
    command = file["services"][name]["command"]
    assert command == [*composed()[name].command, "--device", "cuda"]
    assert parsed(Container(command, {}, (), ()))["device"] == "cuda"


def test_containers_share_the_locks_of_the_gpus() -> None:
    (file,) = read("compose.gpu.yaml")
    for name in ("study", "worker"):
        service = file["services"][name]
        folder = service["environment"]["TMPDIR"]  # where foldtune's locks lie
        assert f"gpus:{folder}" in service["volumes"] and "gpus" in file["volumes"]


def ready_checks() -> dict[str, list[str]]:
    """How PostgreSQL's containers are asked whether they are ready."""
    (compose,) = read("compose.yaml")
    (stateful,) = (document for document in read("kubernetes.yaml") if document["kind"] == "StatefulSet")
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    return {
        "compose": compose["services"]["postgres"]["healthcheck"]["test"][1:],
        "startup": container["startupProbe"]["exec"]["command"],
        "readiness": container["readinessProbe"]["exec"]["command"],
    }


@pytest.mark.parametrize("name", ready_checks())
def test_postgres_is_asked_whether_it_is_ready(name: str, postgres_url: str) -> None:
    command = ready_checks()[name]
    assert subprocess.run(command, env={**os.environ, "PGHOST": "127.0.0.1"}).returncode == 0
    elsewhere = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": "1"}
    assert subprocess.run(command, env=elsewhere).returncode != 0


@pytest.mark.slow
def test_the_dashboard_s_pod_waits_for_the_first_study(host: Host) -> None:
    (deployment,) = (document for document in read("kubernetes.yaml") if document["kind"] == "Deployment")
    (waiting,) = deployment["spec"]["template"]["spec"]["initContainers"]
    environment = {variable["name"]: _value(variable) for variable in waiting["env"]}
    variables = {**os.environ, **environment, "FOLDTUNE_STORAGE": host.database, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = [word.replace("sleep 5", "sleep 0.1") for word in waiting["command"]]
    assert command != waiting["command"]
    with ended(subprocess.Popen(command, env=variables, text=True, stderr=subprocess.PIPE)) as process:
        assert process.stderr is not None
        assert "must hold a study of foldtune's" in process.stderr.readline()
        foldtune.run_study(host.folder / "studies" / "study.yaml", storage=host.database, workers=0)
        process.communicate(timeout=60)
        assert process.returncode == 0


def parsed(container: Container) -> dict[str, Any]:
    """What the command line reads from a container's command."""
    name, *options = container.command
    group = typer.main.get_command(app)
    found: dict[str, Any] = group.commands[name].make_context(name, options).params  # type: ignore[attr-defined]
    return found


def test_compose_and_kubernetes_run_the_same() -> None:
    """But for the size of machines, and when workers end; so one of them shows below that their commands work."""
    ours, theirs = composed(), orchestrated()
    for name, container in ours.items():
        other = theirs[name]
        assert container.command[0] == other.command[0]
        different = {option for option, value in parsed(container).items() if value != parsed(other)[option]}
        assert different <= {"workers", "idle_exit"}
        assert (container.environment, container.health) == (other.environment, other.health)


@pytest.mark.slow
def test_the_study_and_the_dashboard_run(host: Host) -> None:
    containers = orchestrated()
    done = host.run(containers["study"], [*image("ENTRYPOINT"), *containers["study"].command])
    assert done.returncode == 0, done.stderr
    assert "Best: trial" in done.stdout
    healthy = host.run(containers["study"], containers["study"].health)
    assert healthy.returncode == 0 and "small" in healthy.stdout, healthy.stderr

    dashboard = containers["dashboard"]
    with ended(host.start(dashboard, "--port", "0")) as process:
        assert process.stderr is not None
        started = process.stderr.readline()
        assert GIVEN["FOLDTUNE_DASHBOARD_TOKEN"] not in started
        (port,) = re.findall(r"^http://0\.0\.0\.0:(\d+)/\?token=", started)
        asked = [word.replace("8080", port) for word in dashboard.health]
        assert asked != dashboard.health
        healthy = host.run(dashboard, asked)
        assert healthy.returncode == 0, healthy.stderr
        stranger = [word.replace('os.environ["FOLDTUNE_DASHBOARD_TOKEN"]', '"guessed"') for word in asked]
        assert "401" in host.run(dashboard, stranger).stderr
        writing = [
            word.replace("(page,", '(http.Request(page.full_url, method="DELETE", headers=page.headers),')
            for word in asked
        ]
        assert "403" in host.run(dashboard, writing).stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0


@pytest.mark.slow
def test_a_worker_goes_on_with_the_study_and_ends_when_told(host: Host) -> None:
    containers = orchestrated()
    foldtune.run_study(host.folder / "studies" / "study.yaml", storage=host.database, workers=0)
    store = Store(host.database)
    study = store.study("small")
    store.update_spec(study.uuid, {**study.spec, "search": {**study.spec["search"], "trials": 4}})
    store.close()
    with ended(host.start(containers["worker"], "--idle-exit", "2")) as process:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    assert foldtune.load_study("small", storage=host.database).finished == 4
    assert host.run(containers["worker"], containers["worker"].health).returncode == 0
