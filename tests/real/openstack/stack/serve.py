"""Serves one OpenStack API over HTTP: `python serve.py MODULE HOST PORT [ARGUMENTS OF THE SERVICE]`.

It runs in the environment of the services. MODULE has the WSGI program as `application`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main() -> None:
    module, host, port = sys.argv[1:4]
    sys.argv = [module, *sys.argv[4:]]  # the services read their options from here
    waitress: Any = importlib.import_module("waitress")
    program = importlib.import_module(module).application
    waitress.serve(
        program,
        host=host,
        port=int(port),
        threads=8,
        max_request_body_size=1 << 40,  # images
        inbuf_overflow=1 << 20,
        # nginx passes the client's address of the server, so that links in answers fit the client
        trusted_proxy="127.0.0.1",
        trusted_proxy_headers={"x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"},
        clear_untrusted_proxy_headers=True,
        ident=None,
    )


if __name__ == "__main__":
    main()
