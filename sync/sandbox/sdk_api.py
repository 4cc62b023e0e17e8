"""What Statsig's server SDKs download: the configuration, the directory of id lists, and their files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.contract import RefusedError
from sync.sandbox.http import answer, api_key, state_of
from sync.sandbox.id_list_files import byte_range
from sync.sandbox.specs import config_specs_v1, config_specs_v2, id_lists


async def download_config_specs_v1(request: Request) -> Response:
    """The configuration for SDKs such as `statsig`."""
    return _config_specs(request, config_specs_v1)


async def download_config_specs_v2(request: Request) -> Response:
    """The configuration for SDKs on the shared core, such as `statsig-python-core`."""
    return _config_specs(request, config_specs_v2)


def _config_specs(request: Request, specs: Callable[..., dict[str, Any]]) -> Response:
    _check_key(request)
    segments = state_of(request).segments
    if request.query_params.get("sinceTime") == str(segments.changed_at):
        return answer({"has_updates": False})
    return answer(specs(segments, segments.changed_at))


async def get_id_lists(request: Request) -> Response:
    """Where the file of each id list is."""
    _check_key(request)
    return answer(id_lists(state_of(request).segments, str(request.base_url).rstrip("/")))


async def download_id_list_file(request: Request) -> Response:
    """A list's file from the byte that the Range header names. No key: the address is secret, as Statsig's is."""
    content = state_of(request).segments.file(request.path_params["file_id"]).content
    wanted = byte_range(request.headers.get("range"), len(content))
    if wanted is None:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
    start, end = wanted
    headers = {"Accept-Ranges": "bytes"}
    if "range" in request.headers:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    status = 206 if "range" in request.headers else 200
    return Response(bytes(content[start:end]), status, headers, media_type="text/plain")


def _check_key(request: Request) -> None:
    key = request.path_params.get("sdk_key") or api_key(request)
    if not state_of(request).settings.keys.opens_events(key):
        raise RefusedError(401, "Invalid server secret key.")


routes = [
    Route("/v1/download_config_specs/{sdk_key}.json", download_config_specs_v1, methods=["GET"]),
    Route("/v1/download_config_specs", download_config_specs_v1, methods=["GET", "POST"]),
    Route("/v2/download_config_specs/{sdk_key}.json", download_config_specs_v2, methods=["GET"]),
    Route("/v1/get_id_lists", get_id_lists, methods=["POST"]),
    Route("/v1/get_id_lists/{sdk_key}.json", get_id_lists, methods=["GET"]),
    Route("/v1/download_id_list_file/{file_id}", download_id_list_file, methods=["GET"]),
]
