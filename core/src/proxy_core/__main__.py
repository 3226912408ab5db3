"""``python -m proxy_core``: the program ``proxy-core``, for where scripts are not on the path."""

from proxy_core.cli import main

if __name__ == "__main__":
    main()
