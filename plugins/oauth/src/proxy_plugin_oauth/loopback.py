"""Login with a browser: the server redirects it to a port on this machine, or the user pastes the redirect's URL.

Both work at the same time, because over SSH the browser is on another machine and cannot reach this port.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping

from msgspec import Struct

from proxy_core import HttpClient, LoginFailed, LoginPrompt, LoginRequired, RetryRefresh, Tokens, repr_without
from proxy_plugin_oauth.client import OAuthClient, authorization_url
from proxy_plugin_oauth.pasted import Callback, read_pasted, read_query
from proxy_plugin_oauth.pkce import Pkce, new_pkce, new_state
from proxy_plugin_oauth.tokens import ask_for_tokens

_HOST = "127.0.0.1"
_REQUEST_S = 10.0
_MAX_HEAD = 16 * 1024
_PASTES = 5


class Authorized(Struct, frozen=True, kw_only=True):
    """An authorization code, and what is needed to exchange it for tokens."""

    __repr__ = repr_without("code")

    code: str
    redirect_uri: str
    pkce: Pkce


async def loopback_login(
    prompt: LoginPrompt,
    exchange: HttpClient,
    client: OAuthClient,
    *,
    authorize_url: str,
    scope: str,
    more: Mapping[str, str] | None = None,
    port: int = 0,
    path: str = "/oauth2callback",
    redirect_uri: str | None = None,
    timeout_s: float = 300.0,
) -> Tokens:
    """Log in with a browser and exchange the code. See :func:`authorize`. Raises ``LoginFailed``, ``OAuthRefused``."""
    got = await authorize(
        prompt,
        authorize_url=authorize_url,
        client_id=client.client_id,
        scope=scope,
        more=more,
        port=port,
        path=path,
        redirect_uri=redirect_uri,
        timeout_s=timeout_s,
    )
    request = client.code_request(got.code, redirect_uri=got.redirect_uri, pkce=got.pkce)
    try:
        return await ask_for_tokens(exchange, request, login="start over")
    except LoginRequired as error:
        raise LoginFailed("the login server did not accept the code; start over") from error
    except RetryRefresh as error:
        raise LoginFailed(f"the code could not be exchanged for tokens: {error}") from error


async def authorize(
    prompt: LoginPrompt,
    *,
    authorize_url: str,
    client_id: str,
    scope: str,
    more: Mapping[str, str] | None = None,
    port: int = 0,
    path: str = "/oauth2callback",
    redirect_uri: str | None = None,
    timeout_s: float = 300.0,
) -> Authorized:
    """Ask the user for consent and get the code, by a redirect to 127.0.0.1 or pasted, whichever comes first.

    ``port=0`` uses any free port. ``redirect_uri`` is a page of the server that shows the code, for
    machines without a browser: then nothing listens here, and the user has to paste the code. ``more`` are
    server-specific parameters. The port is always released when this returns.
    Raises ``LoginFailed`` if the port is in use, the user denies consent, or the time is up.
    """
    state, pkce = new_state(), new_pkce()
    listener = None if redirect_uri else await _listen(port, path, state)
    try:
        back_to = redirect_uri or f"http://{_HOST}:{listener.port if listener else 0}{path}"
        link = authorization_url(
            authorize_url, client_id, redirect_uri=back_to, scope=scope, state=state, pkce=pkce, **(more or {})
        )
        prompt.show_link(link)
        async with asyncio.timeout(timeout_s):
            callback = await _first(prompt, listener, state)
    except TimeoutError:
        raise LoginFailed(f"no login was completed within {timeout_s:.0f} seconds; start over") from None
    finally:
        if listener is not None:
            await listener.close()
    if callback.code is None:
        raise LoginFailed(f"the login was denied: {callback.error}")
    return Authorized(code=callback.code, redirect_uri=back_to, pkce=pkce)


async def _first(prompt: LoginPrompt, listener: _Listener | None, state: str) -> Callback:
    """The redirect or the pasted text, whichever comes first; the other one is cancelled and awaited."""
    waits = {asyncio.ensure_future(_pasted(prompt, state, alone=listener is None))}
    if listener is not None:
        waits.add(asyncio.ensure_future(listener.wait()))
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _pasted(prompt: LoginPrompt, state: str, *, alone: bool) -> Callback:
    question = "Paste the code" if alone else "Or paste the URL that the browser was redirected to, or the code"
    for _ in range(_PASTES):
        try:
            text = await prompt.ask(question, secret=False)
        except EOFError:
            break
        if text.strip():
            try:
                return read_pasted(text, state)
            except ValueError as error:
                prompt.say(f"Not accepted: {error}.")
    if alone:
        raise LoginFailed("no code was given; start over")
    # There is no input, or it is not usable; the browser may still be redirected here.
    return await asyncio.Future()


async def _listen(port: int, path: str, state: str) -> _Listener:
    listener = _Listener(path, state)
    try:
        await listener.open(port)
    except OSError as error:
        raise LoginFailed(
            f"port {port} on {_HOST} is not available ({error.strerror}); another login or proxy may be using it: "
            "stop that, or choose another port"
        ) from error
    return listener


class _Listener:
    """Answers one path, method and host name, until a request with the right state arrives."""

    def __init__(self, path: str, state: str) -> None:
        self._path = path
        self._state = state
        self._found: asyncio.Future[Callback] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, _HOST, port, limit=_MAX_HEAD)
        self.port = self._server.sockets[0].getsockname()[1]

    async def wait(self) -> Callback:
        return await asyncio.shield(self._found)

    async def close(self) -> None:
        """Release the port; a response in progress is still sent."""
        if self._server is None:
            return
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._found.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        found: Callback | None = None
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, words, found = self._judge(head)
                writer.write(_page(status, words))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if found is not None and not self._found.done():
                self._found.set_result(found)

    def _judge(self, head: bytes) -> tuple[int, str, Callback | None]:
        request = _parsed(head)
        if request is None:
            return 400, "This is not a request.", None
        method, target, hosts = request
        # Another site's page can make a browser send requests here under any name that resolves to this machine.
        if len(hosts) != 1 or hosts[0] not in (f"{_HOST}:{self.port}", f"localhost:{self.port}"):
            return 421, "Nothing of that name is here.", None
        where, _, query = target.partition("?")
        if where != self._path:
            return 404, "There is nothing here.", None
        if method != "GET":
            return 405, "Only a browser's redirect is expected here.", None
        if self._found.done():
            return 409, "This login is over.", None
        try:
            callback = read_query(query, self._state)
        except ValueError as error:
            # Keep waiting; otherwise any page could end a login with a request of its own.
            return 400, f"This was not accepted: {error}. The login still waits.", None
        if callback.code is None:
            return 200, f"The login was refused: {callback.error}. You can close this page.", callback
        return 200, "Done. You can close this page and go back to the terminal.", callback


def _parsed(head: bytes) -> tuple[str, str, list[str]] | None:
    """Method, target and hosts, as parsed by h11."""
    import h11

    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head)
        request = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(request, h11.Request):
        return None
    hosts = [value.decode("latin-1").lower() for name, value in request.headers if name == b"host"]
    return request.method.decode("ascii"), request.target.decode("latin-1"), hosts


def _page(status: int, words: str) -> bytes:
    body = f"<!doctype html><meta charset=utf-8><title>proxy-core login</title><p>{html.escape(words)}</p>\n".encode()
    head = (
        f"HTTP/1.1 {status} \r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nreferrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\n"
        "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
