"""Serves the language host; `.tools/bin/pulumi-language-python` starts it, and the engine starts that."""

from language_host.quick_import import keep_sdk_out

if __name__ == "__main__":
    keep_sdk_out()
    from language_host.main import main

    main()
