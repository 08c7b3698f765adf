"""Serves the language host; `.tools/bin/pulumi-language-python` starts it, and the engine starts that."""

from language_host.main import main

if __name__ == "__main__":
    main()
