"""The in-memory Redis replies as a real server does, through the project's own client library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from igny8_backup.operations.sandbox.redis import server as redis_server
from tests.services.redis import RedisServer

redis: Any = pytest.importorskip("redis")
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

# django-redis
INCREMENT = """
    local exists = redis.call('EXISTS', KEYS[1])
    if (exists == 1) then
        return redis.call('INCRBY', KEYS[1], ARGV[1])
    else return false end
"""
CALLS: dict[str, Callable[[Any], Any]] = {
    "strings": lambda r: [
        r.set("a", "1"),
        r.get("a"),
        r.set("a", "2", nx=True),
        r.set("b", "2", nx=True, ex=100),
        r.ttl("b"),
        r.persist("b"),
        r.ttl("b"),
        r.ttl("none"),
        r.incr("a", 4),
        r.decr("a"),
        r.incrbyfloat("a", 0.5),
        r.append("b", "3"),
        r.strlen("b"),
        r.mset({"c": "5", "d": "6"}),
        r.mget("a", "b", "none"),
        r.getset("c", "7"),
        r.getdel("c"),
        r.exists("a", "b", "c"),
        r.delete("a", "c"),
        r.rename("b", "e"),
        sorted(r.keys("*")),
        sorted(r.scan_iter("[de]*", count=1)),
        r.type("d"),
        r.dbsize(),
    ],
    "expiry": lambda r: [
        r.setex("a", 100, "1"),
        r.pexpire("a", 50_000),
        r.ttl("a"),
        r.expire("none", 3),
        r.set("a", "2", keepttl=True),
        r.ttl("a"),
        r.set("a", "2"),
        r.ttl("a"),
        r.expire("a", 0),
        r.get("a"),
    ],
    "hashes": lambda r: [
        r.hset("h", mapping={"a": "1", "b": "2"}),
        r.hset("h", "a", "3"),
        r.hgetall("h"),
        r.hgetall("none"),
        r.hmget("h", "a", "none"),
        r.hincrby("h", "n", 2),
        r.hdel("h", "n", "none"),
        r.hexists("h", "b"),
        sorted(r.hkeys("h")),
        dict(r.hscan_iter("h")),
        r.hlen("h"),
        r.hdel("h", "a", "b"),
        r.exists("h"),
    ],
    "lists": lambda r: [
        r.rpush("l", "a", "b", "c"),
        r.lpush("l", "0"),
        r.lrange("l", 0, -1),
        r.lrange("l", -2, -1),
        r.lindex("l", 1),
        r.lrem("l", 1, "b"),
        r.ltrim("l", 0, 1),
        r.rpoplpush("l", "m"),
        r.lpop("l"),
        r.lpop("l"),
        r.blpop(["l", "m"], timeout=1),
        r.llen("m"),
        r.lpushx("m", "x"),
    ],
    "sets": lambda r: [
        r.sadd("s", "a", "b", "a"),
        sorted(r.smembers("s")),
        r.sismember("s", "b"),
        r.srem("s", "b", "none"),
        r.scard("s"),
        sorted(r.sscan_iter("s")),
        r.spop("s"),
        r.exists("s"),
    ],
    "sorted sets": lambda r: [
        r.zadd("z", {"a": 1, "b": 2.5, "c": 3}),
        r.zadd("z", {"a": 5}, nx=True),
        r.zscore("z", "b"),
        r.zrange("z", 0, -1, withscores=True),
        r.zrangebyscore("z", "(1", "+inf"),
        r.zrangebyscore("z", "-inf", 3, start=1, num=1),
        r.zrevrange("z", 0, 0),
        r.zincrby("z", 2, "a"),
        r.zrank("z", "a"),
        r.zcount("z", 2, 3),
        r.zremrangebyscore("z", 0, 2.6),
        r.zpopmin("z"),
        r.zcard("z"),
        r.zrem("z", "a", "c"),
    ],
    "transactions": lambda r: [
        r.pipeline().set("a", 1).incr("a").get("a").execute(),
        r.pipeline(transaction=False).set("b", 1).get("b").execute(),
        r.transaction(lambda pipe: pipe.multi() or pipe.set("c", 3), "c"),
    ],
    "scripts": lambda r: [
        r.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "a", "5"),
        r.register_script("return redis.call('INCRBY', KEYS[1], 2)")(keys=["a"]),
        r.eval(INCREMENT, 1, "a", 3),
        r.eval(INCREMENT, 1, "none", 3),
    ],
    "errors": lambda r: [
        r.set("a", "text"),
        _fails(lambda: r.incr("a")),
        _fails(lambda: r.lpush("a", "b")),
        _fails(lambda: r.rename("none", "b")),
    ],
    "connection": lambda r: [r.ping(), r.echo("a"), r.flushdb(), r.publish("channel", "a")],
}


def _fails(call: Callable[[], Any]) -> str:
    with pytest.raises(redis.ResponseError) as failed:
        call()
    return str(failed.value)


@pytest.fixture(params=[2, 3])
def memory(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of the in-memory server, for each version of the protocol."""
    address = request.node.nodeid

    class InMemory(redis.Connection):  # type: ignore[misc]  # the library has no types
        def _connect(self) -> Any:
            return redis_server.connect(address)

    pool = redis.ConnectionPool(connection_class=InMemory, protocol=request.param, client_name="test", db=1)
    with redis.Redis(connection_pool=pool) as client:
        yield client
        pool.disconnect()


@pytest.mark.parametrize("name", CALLS)
def test_in_memory_redis_replies_as_the_server(name: str, memory: Any, redis_server: RedisServer) -> None:
    protocol = memory.connection_pool.connection_kwargs["protocol"]
    with redis.Redis.from_url(redis_server.url, protocol=protocol, db=9) as real:
        real.flushdb()
        expected = CALLS[name](real)
        real.flushdb()
    assert CALLS[name](memory) == expected


def test_in_memory_lock_excludes_and_is_released(memory: Any) -> None:
    lock, other = memory.lock("name", timeout=60), memory.lock("name", timeout=60)
    assert lock.acquire(blocking=False) and not other.acquire(blocking=False)
    assert lock.extend(10) and lock.reacquire() and lock.owned()
    lock.release()
    assert other.acquire(blocking=False)


def test_in_memory_redis_wakes_a_reader_that_waits(memory: Any) -> None:
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(memory.blpop("queue", timeout=60)))
    reader.start()
    memory.rpush("queue", "task")
    reader.join(60)
    assert found and list(found[0]) == [b"queue", b"task"]


def test_in_memory_redis_runs_unknown_scripts_and_commands_without_effect(memory: Any) -> None:
    assert memory.register_script("redis.call('SET', KEYS[1], 1) return 5")(keys=["a"]) == 0
    assert memory.get("a") is None
    assert memory.execute_command("JSON.GET", "a") is None


def test_in_memory_subscription_is_confirmed(memory: Any) -> None:
    with memory.pubsub() as channel:
        channel.subscribe("news")
        assert channel.get_message(timeout=60)["type"] == "subscribe"
