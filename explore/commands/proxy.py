"""`proxy`: serve a study's storage to other machines through Optuna's gRPC proxy."""

from __future__ import annotations

import argparse

from arch.errors import InputError
from explore.redact import redacted

EXAMPLE = "python explore.py proxy --storage sqlite:////data/study.db --listen 127.0.0.1:13000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        required=True,
        metavar="URL",
        help="storage to serve: sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:13000",
        metavar="HOST:PORT",
        help="address to listen on (default: %(default)s, this machine only); anyone who reaches it can change the study",
    )


def run(args: argparse.Namespace) -> int:
    host, _, port = args.listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) <= 65535:
        raise InputError(f"--listen {args.listen}: give HOST:PORT, such as 127.0.0.1:13000")
    if args.storage.startswith(("journal:", "grpc:")):
        raise InputError("--storage: the proxy serves sqlite and postgresql; use other storages by their own URL")
    from explore.search.storage.backends import check_storage, open_storage, serve

    check_storage(args.storage)
    server = serve(open_storage(args.storage), host, int(port))
    print(f"{redacted(args.storage)} at grpc://{args.listen}", flush=True)
    server.wait_for_termination()
    return 0
