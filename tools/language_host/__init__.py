"""A language host for Pulumi programs in Python, for machines that the official one cannot be brought to.

Pulumi's command line and its Python language host come in one official archive. The command line can also be built
from its Go module; the language host cannot, because it lies in a Go module of its own that is not published. Where
the archive is out of reach, the engine finds this host on PATH as `pulumi-language-python`.

It speaks the engine's language protocol (`pulumi/language.proto`) on the gRPC stubs that the Pulumi SDK for Python
brings along, and behaves as the official host does where a program, a policy pack or a plugin can see it.
What it leaves out: code generation (`pulumi convert`, `pulumi package add`), packing, project templates and the
debugger.

Unlike the official host it never outlives the engine: see `lifetime`.
"""
