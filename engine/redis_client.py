"""Clients of Redis in all its shapes, from one URL.

============================================== ====================================================
``redis://[user:password@]host[:port][/db]``   one server; ``rediss://`` encrypted
``unix:///path[?db=0&password=…]``             one server on a unix socket
``redis+sentinel://…@host:port,host:port/NAME`` the master that Sentinels call NAME
``redis+cluster://…@host:port,host:port``      a Cluster; any of its nodes will do
============================================== ====================================================

``rediss+sentinel://`` and ``rediss+cluster://`` are encrypted. Certificates are named behind a
question mark: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` (paths). Sentinels that ask for
a password of their own take ``sentinel_username`` and ``sentinel_password`` from there.

A user with few rights needs: ``~platering:* &license_plates &platering:* -@all +@read +@write
+@scripting +@connection +publish -@dangerous``; in a Cluster also ``+cluster|slots``, and
``+info`` where its memory should be among the metrics.
"""

from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

Client: TypeAlias = redis.Redis | redis.RedisCluster

REDIS_ERRORS: Final = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
"""What a client may raise; the second is no kind of the first."""

_CONNECT_TIMEOUT_S: Final = 3.0
_ANSWER_TIMEOUT_S: Final = 10.0
_PORTS: Final = {"sentinel": 26_379, "cluster": 6_379}


def connect(url: str, *, answer_timeout_s: float = _ANSWER_TIMEOUT_S) -> Any:
    """Return a client: RESP3, bytes, bounded waits, no hidden retries; one server: at first use.

    A ``redis.Redis``, or a ``redis.RedisCluster``, which has the same commands.

    Raises:
        ValueError: the URL makes no sense.
        redis.RedisError: no node of the Cluster answers.
    """
    options: dict[str, Any] = {
        "protocol": 3,
        "decode_responses": False,
        "socket_timeout": answer_timeout_s,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "client_name": "platering",
    }
    scheme, _, rest = url.partition("://")
    plain, _, shape = scheme.partition("+")
    if not shape:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    places, path, queries, more = _parts(f"{plain}://{rest}", shape)
    options |= more
    if shape == "cluster":
        nodes = [
            ClusterNode(host, port)  # type: ignore[no-untyped-call]
            for host, port in places
        ]
        try:
            return redis.RedisCluster(startup_nodes=nodes, **options)
        except redis.exceptions.RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error
    return _behind_sentinels(places, path, queries, options)


def _behind_sentinels(
    places: list[tuple[str, int]],
    path: str,
    queries: dict[str, str],
    options: dict[str, Any],
) -> redis.Redis:
    """Return a client whose every new connection asks the Sentinels for the master."""
    name, _, database = path.partition("/")
    if not name:
        raise ValueError("redis+sentinel:// needs the master's name behind the hosts: …/mymaster")
    own = {key: value for key, value in options.items() if key.startswith("ssl")}
    own |= {
        key.removeprefix("sentinel_"): value
        for key, value in queries.items()
        if key.startswith("sentinel_")
    }
    own |= {key: options[key] for key in ("socket_timeout", "socket_connect_timeout")}
    own["socket_timeout"] = _CONNECT_TIMEOUT_S
    sentinel = Sentinel(places, sentinel_kwargs=own | {"protocol": 2})  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        name, db=int(database or 0), retry=Retry(NoBackoff(), 0), **options
    )
    return client


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _parts(
    url: str, shape: str
) -> tuple[list[tuple[str, int]], str, dict[str, str], dict[str, Any]]:
    """Return hosts with ports, the path, the Sentinels' queries, and all else as redis-py's."""
    split = urlsplit(url)
    user, at, hosts = split.netloc.rpartition("@")
    places = [_place(host, _PORTS[shape]) for host in hosts.split(",") if host]
    if not places:
        raise ValueError("the URL names no host")
    queries = dict(parse_qsl(split.query))
    ours = {key: value for key, value in queries.items() if key.startswith("sentinel_")}
    theirs = urlencode({key: value for key, value in queries.items() if key not in ours})
    plain = f"{split.scheme}://{user}{at}host/?{theirs}"
    options: dict[str, Any] = dict(parse_url(plain))  # type: ignore[no-untyped-call]
    options.pop("host")
    if issubclass(options.pop("connection_class", object), redis.SSLConnection):
        options["ssl"] = True
    return places, unquote(split.path.strip("/")), ours, options


def _place(text: str, port: int) -> tuple[str, int]:
    """Split ``host:port`` or ``[host]:port``."""
    split = urlsplit(f"//{text}")
    return split.hostname or "", split.port or port
