"""The calls that the engine makes of a language host."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2, json_format

from language_host.children import Child, Children
from language_host.environments import EnvironmentProblem, PythonEnvironment, install_commands, resolve
from language_host.policy_proxy import PolicyProxy
from language_host.protocol import language_pb2, language_pb2_grpc, plugin_pb2
from language_host.required_packages import dependency_infos, required_packages

#: The exit code of `pulumi-language-python-exec` for "the user has been told what went wrong".
EXIT_ERROR_WAS_SHOWN = 32
#: The kind that the engine gives for a policy pack.
ANALYZER_KIND = "analyzer"


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs Pulumi programs, policy packs and plugins in Python for the engine.

    Args:
        engine_address: host:port of the engine.
        executor: path of `pulumi-language-python-exec`, the script of the Pulumi SDK that runs a program.
        version: version that `GetPluginInfo` answers.
        tracing: endpoint for traces, passed on to programs; empty for none.
    """

    def __init__(self, engine_address: str, executor: Path, version: str, tracing: str = "") -> None:
        self._engine_address = engine_address
        self._executor = executor
        self._version = version
        self._tracing = tracing
        self.children = Children()

    # The methods below are named by the protocol.

    def Handshake(self, request, context):
        self._engine_address = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request, context):
        return plugin_pb2.PluginInfo(version=self._version)

    def Cancel(self, request, context):
        self.children.stop_all()
        return empty_pb2.Empty()

    def RuntimeOptionsPrompts(self, request, context):
        return language_pb2.RuntimeOptionsResponse()

    def About(self, request, context):
        environment = _environment(request.info, context)
        with _problems_reported(context):
            return language_pb2.AboutResponse(
                executable=environment.executable,
                version=environment.python_version,
                metadata={
                    "toolchain": environment.toolchain.capitalize(),
                    "toolchainVersion": environment.version_of_toolchain(),
                },
            )

    def GetProgramDependencies(self, request, context):
        environment = _environment(request.info, context)
        with _problems_reported(context):
            packages = environment.packages(transitive=request.transitiveDependencies)
        return language_pb2.GetProgramDependenciesResponse(dependencies=dependency_infos(packages))

    def GetRequiredPackages(self, request, context):
        environment = _environment(request.info, context)
        with _problems_reported(context):
            return language_pb2.GetRequiredPackagesResponse(packages=required_packages(environment.packages()))

    def InstallDependencies(self, request, context):
        environment = _environment(request.info, context, is_plugin=request.is_plugin)
        program = Path(request.info.program_directory)
        with _problems_reported(context):
            for command in install_commands(environment, program):
                yield language_pb2.InstallDependenciesResponse(stdout=f"{' '.join(command)}\n".encode())
                child = self._start(command, environment.variables(), str(program), context, capture_output=True)
                for stream, chunk in _output_of(child):
                    is_error = stream == "stderr"
                    yield language_pb2.InstallDependenciesResponse(
                        stdout=b"" if is_error else chunk, stderr=chunk if is_error else b""
                    )
                code = self.children.wait(child)
                if code != 0:
                    raise EnvironmentProblem(f"`{' '.join(command)}` in {program} {_describe_exit(code)}.")

    def Run(self, request, context):
        environment = _environment(request.info, context)
        variables = {
            **environment.variables(),
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        with _problems_reported(context):
            command = [environment.interpreter, str(self._executor), *self._program_arguments(request)]
            child = self._start(command, variables, None, context, capture_output=False)
        code = self.children.wait(child)
        if code == EXIT_ERROR_WAS_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error="" if code == 0 else f"program {_describe_exit(code)}")

    def RunPlugin(self, request, context):
        is_policy_pack = request.kind == ANALYZER_KIND
        environment = _environment(request.info, context, is_plugin=not is_policy_pack)
        variables = {**environment.variables(), **dict(entry.split("=", 1) for entry in request.env)}
        if environment.folder is not None:
            variables["PATH"] = environment.variables()["PATH"]
        with _problems_reported(context):
            if is_policy_pack:
                yield from self._run_policy_pack(request, environment, variables, context)
            else:
                yield from self._run_plugin(request, environment, variables, context)

    def _run_plugin(
        self, request, environment: PythonEnvironment, variables: Mapping[str, str], context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        root = Path(request.info.root_directory)
        if (root / "__main__.py").is_file():
            command = [environment.interpreter, request.info.program_directory, *request.args]
        else:
            name = _project_name(root)
            command = [environment.interpreter, "-m", "pulumi.run.plugin", name, *request.args]
        child = self._start(command, variables, request.pwd or None, context, capture_output=True)
        for stream, chunk in _output_of(child):
            yield _plugin_output(stream, chunk)
        yield language_pb2.RunPluginResponse(exitcode=self.children.wait(child))

    def _run_policy_pack(
        self, request, environment: PythonEnvironment, variables: Mapping[str, str], context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        pack = request.info.program_directory
        proxy = PolicyProxy()
        context.add_callback(proxy.close)
        try:
            # The engine waits for this line before it calls; `pulumi.policy` takes the pack's folder last.
            yield language_pb2.RunPluginResponse(stdout=f"{proxy.port}\n".encode())
            command = [environment.interpreter, "-u", "-m", "pulumi.policy", *request.args, pack]
            with_stack = {**variables, **proxy.configuration()}
            if not context.is_active():
                return
            child = self._start(command, with_stack, pack, context, capture_output=True)
            waits_for_port = True
            for stream, chunk in _output_of(child):
                if stream == "stdout" and waits_for_port and chunk.strip().isdigit():
                    waits_for_port = False
                    proxy.attach(int(chunk))
                    continue
                yield _plugin_output(stream, chunk)
            code = self.children.wait(child)
            proxy.fail(f"the policy pack {_describe_exit(code)} before it could be asked")
            yield language_pb2.RunPluginResponse(exitcode=code)
        finally:
            proxy.close()

    def _start(
        self,
        command: list[str],
        variables: Mapping[str, str],
        directory: str | None,
        context: grpc.ServicerContext,
        *,
        capture_output: bool,
    ) -> Child:
        try:
            child = self.children.start(
                command, environment=variables, directory=directory, capture_output=capture_output
            )
        except OSError as error:
            raise EnvironmentProblem(f"`{command[0]}` could not be started: {error}.") from error
        context.add_callback(child.stop)
        return child

    def _program_arguments(self, request: language_pb2.RunRequest) -> Iterator[str]:
        options = {
            "monitor": request.monitor_address,
            "engine": self._engine_address,
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": "true" if request.dryRun else "false",
            "parallel": str(request.parallel),
            "tracing": self._tracing,
            "organization": request.organization,
        }
        for name, value in options.items():
            if value:
                yield f"--{name}"
                yield value
        yield request.info.entry_point
        yield from request.args


@contextlib.contextmanager
def _problems_reported(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn an EnvironmentProblem inside the `with` block into an error of the call."""
    try:
        yield
    except EnvironmentProblem as problem:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(problem))


def _environment(
    info: language_pb2.ProgramInfo, context: grpc.ServicerContext, *, is_plugin: bool = False
) -> PythonEnvironment:
    options: dict[str, Any] = json_format.MessageToDict(info.options)
    with _problems_reported(context):
        return resolve(Path(info.root_directory), Path(info.program_directory), options, is_plugin=is_plugin)


def _plugin_output(stream: str, chunk: bytes) -> language_pb2.RunPluginResponse:
    if stream == "stderr":
        return language_pb2.RunPluginResponse(stderr=chunk)
    return language_pb2.RunPluginResponse(stdout=chunk)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with non-zero exit code: {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"


def _project_name(root: Path) -> str:
    try:
        content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        return str(content["project"]["name"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise EnvironmentProblem(
            f"The plugin in {root} cannot be run: it has neither a __main__.py nor a pyproject.toml with a name."
        ) from error


def _output_of(child: Child) -> Iterator[tuple[str, bytes]]:
    """Give the lines that a child writes, each with the name of its stream, until both streams have ended."""
    lines: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def read(name: str, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                lines.put((name, line))
        lines.put((name, b""))

    process: subprocess.Popen[bytes] = child.process
    for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
        assert stream is not None
        threading.Thread(target=read, args=(name, stream), daemon=True).start()
    open_streams = 2
    while open_streams:
        name, line = lines.get()
        if line:
            yield name, line
        else:
            open_streams -= 1
