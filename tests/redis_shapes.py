"""Real servers of Redis in all its shapes, started by tests on loopback, ended with them."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import redis
from polling import wait_until

HOST = "127.0.0.1"
NODE_TIMEOUT_MS = 1_000
SLOTS = 16_384


def free_port() -> int:
    """Return a port that nobody had a moment ago."""
    with socket.socket() as end:
        end.bind((HOST, 0))
        return int(end.getsockname()[1])


def free_cluster_port() -> int:
    """Return a port whose companion for the nodes' bus, 10,000 above, nobody has either."""
    while True:
        port = free_port() // 2 + 4_000  # so that both are ports
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind((HOST, port))
            other.bind((HOST, port + 10_000))
            return port


class Server(msgspec.Struct):
    """One server on a TCP port; it may be killed and started again on its data."""

    binary: str
    folder: Path
    options: tuple[str, ...]
    port: int
    process: subprocess.Popen[bytes] | None = None
    hosts: tuple[str, ...] = (HOST,)
    """Addresses of this machine where it listens."""

    def start(self) -> None:
        """Start it; ``connect`` waits until it answers."""
        command = [self.binary, *self.options, "--dir", str(self.folder), "--bind", *self.hosts]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def connect(self, **options: object) -> redis.Redis:
        """Return a client once the server answers; the caller closes it."""
        client = redis.Redis(HOST, self.port, **options)
        wait_until(lambda: answers(client), 10.0, "redis-server answers")
        return client


def answers(client: redis.Redis) -> bool:
    """Tell whether a server does, be it with an error of its own."""
    try:
        return bool(client.ping())
    except redis.ResponseError:
        return True
    except redis.RedisError:
        return False


class Yard:
    """Starts servers, and ends them all."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._home = Path(tempfile.mkdtemp(prefix="plt-redis-"))
        self.servers: list[Server] = []

    def server(
        self,
        *options: str,
        port: int = 0,
        binary: str = "",
        at: str = "port",
        hosts: tuple[str, ...] = (HOST,),
    ) -> Server:
        """Start one server; its port is given as the option named by ``at``."""
        folder = self._home / str(len(self.servers))
        folder.mkdir()
        port = port or free_port()
        own = (f"--{at}", str(port), "--save", "", "--appendonly", "yes", *options)
        one = Server(binary or self._binary, folder, own, port, hosts=hosts)
        one.start()
        self.servers.append(one)
        return one

    def sentinel(self, master: Server, name: str, quorum: int) -> Server:
        """Start one Sentinel that watches a master."""
        folder = self._home / str(len(self.servers))
        folder.mkdir()
        port = free_port()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor {name} {HOST} {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {name} {NODE_TIMEOUT_MS}\n"
            f"sentinel failover-timeout {name} 5000\n"
        )
        one = Server(self._binary, folder, (str(folder / "sentinel.conf"), "--sentinel"), port)
        one.start()
        self.servers.append(one)
        return one

    def close(self) -> None:
        """End all of them."""
        for server in self.servers:
            server.kill()
        shutil.rmtree(self._home)


@contextlib.contextmanager
def yard(binary: str) -> Iterator[Yard]:
    """Yield a yard whose servers end with the block."""
    one = Yard(binary)
    try:
        yield one
    finally:
        one.close()


class Sentinels(msgspec.Struct):
    """A master, a replica and those who watch them."""

    url: str
    master: Server
    replica: Server


def behind_sentinels(place: Yard, watchers: int = 1) -> Sentinels:
    """Start a master, a replica and Sentinels; return when all know of each other."""
    master = place.server()
    replica = place.server("--replicaof", HOST, str(master.port))
    with replica.connect() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", 20.0, "a link")
    guards = [place.sentinel(master, "plates", watchers // 2 + 1) for _ in range(watchers)]
    for guard in guards:
        with guard.connect(decode_responses=True) as client:
            wait_until(lambda c=client: knows_all(c, watchers), 30.0, "the Sentinels are ready")
    places = ",".join(f"{HOST}:{guard.port}" for guard in guards)
    return Sentinels(f"redis+sentinel://{places}/plates", master, replica)


def knows_all(client: redis.Redis, watchers: int) -> bool:
    """Tell whether a Sentinel knows the replica and all other Sentinels."""
    state = client.execute_command("SENTINEL", "MASTER", "plates")
    if not isinstance(state, dict):
        state = dict(zip(state[::2], state[1::2], strict=True))
    known = int(state["num-slaves"]), int(state["num-other-sentinels"])
    return known == (1, watchers - 1)


class Cluster(msgspec.Struct):
    """Three masters, each with a replica where asked for."""

    url: str
    masters: list[Server]
    replicas: list[Server]

    def master_of(self, slot: int) -> Server:
        """Return the master that had a slot at the beginning."""
        return self.masters[slot * len(self.masters) // SLOTS]


def cluster(place: Yard, *, replicas: bool = False) -> Cluster:
    """Start a Cluster; return when all of its nodes say that it is whole."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
    nodes = [
        place.server(*options, "--repl-diskless-sync-delay", "0", port=free_cluster_port())
        for _ in range(6 if replicas else 3)
    ]
    clients = [node.connect(decode_responses=True) for node in nodes]
    for index, client in enumerate(clients[:3]):
        slots = range(index * SLOTS // 3, (index + 1) * SLOTS // 3)
        client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
    for node in nodes[1:]:
        clients[0].execute_command("CLUSTER", "MEET", HOST, node.port)
    for client in clients:
        wait_until(lambda c=client: whole(c, len(nodes)), 30.0, "the Cluster is whole")
    for client, master in zip(clients[3:], clients, strict=False):
        name = master.execute_command("CLUSTER", "MYID")
        client.execute_command("CLUSTER", "REPLICATE", name)
    for client in clients[3:]:
        wait_until(lambda c=client: linked(c), 30.0, "a replica is linked")
    for client in clients:
        client.close()
    places = ",".join(f"{HOST}:{node.port}" for node in nodes)
    return Cluster(f"redis+cluster://{places}", nodes[:3], nodes[3:])


def whole(client: redis.Redis, nodes: int) -> bool:
    """Tell whether a node sees all slots served and all nodes."""
    state = client.execute_command("CLUSTER", "INFO")
    if not isinstance(state, dict):
        state = dict(line.split(":") for line in state.split())
    return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == nodes


def linked(client: redis.Redis) -> bool:
    """Tell whether a replica follows its master."""
    return client.info("replication").get("master_link_status") == "up"


def certificate(folder: Path) -> Path:
    """Make a key and a certificate for loopback; return the path of both in one PEM."""
    key, pem = folder / "key.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=loopback", "-addext"]
    command += [f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return pem
