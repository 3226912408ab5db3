"""``python -m proxy_core``: the program ``proxy-core``, for where scripts are not on the path."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:  # the first entry is the working directory, in which strangers may have put modules
        del sys.path[0]
    from proxy_core.cli import main

    main()
