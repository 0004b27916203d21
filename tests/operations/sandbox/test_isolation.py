"""In the sandbox, caches, brokers and mail lead nowhere and do not break; other databases are refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.operations.sandbox.small import SmallProject, migration
from tests.services import skip_without
from tests.services.redis import RedisServer


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


CACHE = """
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["SMALL_REDIS"]},
          "plain": {"BACKEND": "django.core.cache.backends.redis.RedisCache",
                    "LOCATION": os.environ["SMALL_REDIS"]}}
"""
READY = """
    def ready(self):
        from django.core.cache import cache
        with cache.lock("start", timeout=30, blocking_timeout=5):
            cache.set("started", 1, timeout=60)
"""
CALLS = """
import os
from django.core.cache import cache, caches
from django_redis import get_redis_connection

def work(apps, editor):
    cache.set_many({"a": 1, "b": 2}, timeout=None)
    assert cache.get("a") == 1 and cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.incr("a", 2) == 3 and cache.decr("a") == 2 and cache.has_key("b")
    assert cache.ttl("a") is None and cache.expire("a", 100) and 0 < cache.ttl("a") <= 100
    assert cache.persist("a") and cache.ttl("a") is None and cache.ttl("none") == 0
    assert cache.touch("a", 50) and cache.pttl("a") > 0 and cache.pexpire("a", 9000)
    assert sorted(cache.keys("*")) == sorted(cache.iter_keys("*")) and "b" in cache.keys("b*")
    assert cache.set("c", 1, nx=True) and not cache.set("c", 2, nx=True)
    assert cache.get_or_set("d", lambda: 5) == 5 and cache.add("e", 1) and not cache.add("e", 1)
    assert cache.delete_pattern("c*") == 1 and cache.delete_many(["d"]) is not None
    with cache.lock("migration"):
        assert not cache.lock("migration").acquire(blocking=False)
    connection = get_redis_connection()
    connection.rpush("queue", "x")
    assert connection.lrange("queue", 0, -1) == [b"x"]
    connection.pipeline().hset("h", "k", "v").hgetall("h").execute()
    caches["plain"].set("p", 1)
    assert caches["plain"].get("p") == 1 and caches["plain"].incr("p") == 2
    cache.clear()
"""
DONE = "\n    apps.get_model('shop', 'Order').objects.create(customer='done')\n"


@pytest.fixture
def with_redis(small: SmallProject, redis_server: RedisServer) -> Iterator[SmallProject]:
    """The project with the address of an empty Redis server."""
    redis_server.command("FLUSHALL")
    small.environment["SMALL_REDIS"] = f"redis://127.0.0.1:{redis_server.port}/0"
    yield small
    redis_server.command("FLUSHALL")


def restored(small: SmallProject) -> None:
    small.run("restore_all", "--dry-run", "--only", "db").ended(0)
    small.run("drill_backup").ended(0)
    small.run(*small.restore).ended(0)


@needs("django_redis")
def test_lock_in_ready_and_all_calls_of_django_redis_work_in_memory(
    with_redis: SmallProject, redis_server: RedisServer
) -> None:
    small = with_redis
    small.add("settings.py", CACHE)
    small.add("shop/apps.py", READY)
    small.prepare()
    small.write("shop/migrations/0002_calls.py", migration(CALLS + DONE))
    restored(small)
    assert small.sql("SELECT customer FROM shop_order") == [("done",)]
    # Only the start of the live project has written there; the migration would have left "queue" and "h".
    assert b"queue" not in redis_server.command("KEYS *")


@needs("django_redis")
def test_connection_of_redis_on_import_works_without_a_server(small: SmallProject) -> None:
    """The dump is loaded where the live Redis server cannot be reached."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        small.environment["SMALL_REDIS"] = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        small.add("settings.py", CACHE)
        small.add(
            "shop/models.py",
            "import os, redis\nfrom django_redis import get_redis_connection\n"
            "connection = get_redis_connection('default')\n"
            "direct = redis.Redis.from_url(os.environ['SMALL_REDIS'], socket_timeout=5)\n"
            "if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n"
            "    assert connection.ping() and direct.set('a', 1) and direct.get('a') == b'1'\n",
        )
        small.prepare()
        restored(small)


QUEUES = {
    "celery": (
        ("celery", "redis"),
        "from celery import Celery\napp = Celery('shop', broker=os.environ['SMALL_REDIS'])\n"
        "app.config_from_object('django.conf:settings', namespace='CELERY')\n"
        "@app.task\ndef later(): pass\n",
        "    from tasks import later\n    later.delay()",
    ),
    "rq": (
        ("rq",),
        "import redis\nfrom rq import Queue\n"
        "queue = Queue(connection=redis.from_url(os.environ['SMALL_REDIS']))\n",
        "    from tasks import queue\n    queue.enqueue('os.getpid')",
    ),
    "huey": (
        ("huey",),
        "from huey import RedisHuey\nhuey = RedisHuey('shop', url=os.environ['SMALL_REDIS'])\n"
        "@huey.task()\ndef later(): pass\n",
        "    from tasks import later\n    later()",
    ),
    "dramatiq": (
        ("dramatiq", "redis"),
        "import dramatiq\nfrom dramatiq.brokers.redis import RedisBroker\n"
        "dramatiq.set_broker(RedisBroker(url=os.environ['SMALL_REDIS']))\n"
        "@dramatiq.actor\ndef later(): pass\n",
        "    from tasks import later\n    later.send()",
    ),
    "channels": (
        ("channels", "channels_redis"),
        "",
        "    from asgiref.sync import async_to_sync\n    from channels.layers import get_channel_layer\n"
        "    async_to_sync(get_channel_layer().group_send)('all', {'type': 'x'})",
    ),
    "asyncio": (
        ("redis",),
        "import redis.asyncio\nasync def push():\n"
        "    async with redis.asyncio.from_url(os.environ['SMALL_REDIS']) as client:\n"
        "        await client.set('a', 1)\n        assert await client.get('a') == b'1'\n",
        "    import asyncio\n    from tasks import push\n    asyncio.run(push())",
    ),
}


@pytest.mark.parametrize("name", QUEUES)
def test_task_queue_in_a_migration_reaches_no_broker(
    name: str, with_redis: SmallProject, redis_server: RedisServer
) -> None:
    modules, source, call = QUEUES[name]
    skip_without(*modules)
    small = with_redis
    small.write("tasks.py", f"import os\n{source}")
    small.add(
        "settings.py",
        "CHANNEL_LAYERS = {'default': {'BACKEND': 'channels_redis.core.RedisChannelLayer',"
        " 'CONFIG': {'hosts': [os.environ['SMALL_REDIS']]}}}",
    )
    small.add("shop/models.py", "import tasks")
    small.prepare()
    redis_server.command("FLUSHALL")
    small.write("shop/migrations/0002_queue.py", migration(f"def work(apps, editor):\n{call}{DONE}"))
    restored(small)
    assert small.sql("SELECT customer FROM shop_order") == [("done",)]
    assert redis_server.command("DBSIZE").strip() == b":0"


OTHER = """
DATABASES["logs"] = dict(DATABASES["default"], NAME="postgres")
IGNY8_BACKUP["DATABASES"] = ["default"]
"""
WRITES = """
    def ready(self):
        from django.db.models.signals import post_migrate
        post_migrate.connect(write, sender=self)

def write(**kwargs):
    from django.db import connections
    with connections["logs"].cursor() as cursor:
        cursor.execute("SELECT 1")
"""


def test_post_migrate_handler_of_another_alias_is_found_in_the_plan(small: SmallProject) -> None:
    small.add("settings.py", OTHER)
    small.prepare()
    small.add("shop/apps.py", WRITES.replace("SELECT 1", "DELETE FROM audit"))
    small.write("shop/migrations/0002_empty.py", migration("def work(apps, editor): pass"))
    for argv in (("restore_all", "--dry-run", "--only", "db"), ("drill_backup",)):
        failed = small.run(*argv).ended(4).output
        assert "a handler of the signal post_migrate would fail" in failed
        assert "the database 'logs', which is not restored" in failed
        assert "shop/apps.py, line 13" in failed


ACTS = """
    def ready(self):
        from django.db.models.signals import post_migrate
        for act in (row, file, program):
            post_migrate.connect(act, sender=self)

def row(**kwargs):
    from shop.models import Order
    Order.objects.count()
    Order.objects.create(customer='planned')
    use_logs()

def file(**kwargs):
    open("made", "w").close()
    use_logs()

def program(**kwargs):
    __import__("os").system("touch made")
    use_logs()

def use_logs():
    from django.db import connections
    connections["logs"].cursor()
"""


def test_handlers_in_the_plan_change_nothing_and_a_drill_finds_their_failure(small: SmallProject) -> None:
    small.add("settings.py", OTHER)
    small.prepare()
    small.add("shop/apps.py", ACTS)
    small.run("restore_all", "--dry-run", "--only", "db").ended(0)
    assert not (small.folder / "made").exists()
    failed = small.run("drill_backup").ended(1)
    assert "the database 'logs', which is not restored" in failed.stderr
    assert "shop/apps.py, line" in failed.stderr
    assert small.sql("SELECT FROM shop_order") == []


DIRECT = """
import os
def work(apps, editor):
    import {driver} as driver
    with driver.connect(
        host="127.0.0.1", port=os.environ["SMALL_PORT"], dbname=os.environ["SMALL_NAME"],
        user=os.environ["SMALL_USER"], password=os.environ["SMALL_PASSWORD"],
    ) as session:
        session.cursor().execute("DELETE FROM shop_order")
"""


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_migration_that_connects_past_the_settings_does_not_reach_the_live_database(
    small: SmallProject, driver: str
) -> None:
    skip_without(driver)
    small.prepare()
    small.sql("INSERT INTO shop_order (customer) VALUES ('live')")
    small.write("shop/migrations/0002_direct.py", migration(DIRECT.format(driver=driver)))
    failed = small.run("drill_backup").ended(1).stderr
    assert (
        f"The sandbox refused connections that the project's code opened: to 127.0.0.1:{small.server.port}"
        in failed
    )
    assert "0002_direct.py, line" in failed
    assert small.sql("SELECT customer FROM shop_order") == [("live",)]


def test_alias_that_is_not_restored_keeps_its_backend(small: SmallProject) -> None:
    small.add("settings.py", OTHER)
    small.add(
        "shop/apps.py",
        "    def ready(self):\n"
        "        from django.db import connections\n"
        "        assert connections['logs'].vendor == 'postgresql'\n"
        "        assert connections['logs'].ops.quote_name('a') == '\"a\"'\n",
    )
    small.prepare()
    restored(small)


def test_replica_leads_to_the_staging_database(small: SmallProject) -> None:
    small.add(
        "settings.py",
        "DATABASES['replica'] = dict(DATABASES['default'], TEST={'MIRROR': 'default'})\n"
        "DATABASE_ROUTERS = ['routers.Replica']",
    )
    small.write(
        "routers.py",
        "class Replica:\n"
        "    def db_for_read(self, model, **hints): return 'replica'\n"
        "    def db_for_write(self, model, **hints): return 'default'\n"
        "    def allow_relation(self, *args, **hints): return True\n",
    )
    small.prepare()
    body = "def work(apps, editor):\n    order = apps.get_model('shop', 'Order')\n    order.objects.count()\n"
    small.write("shop/migrations/0002_read.py", migration(body))
    restored(small)


def test_sandbox_settings_are_changed_by_the_project(small: SmallProject) -> None:
    small.add("settings.py", "SEARCH = 'live'\nIGNY8_BACKUP['SANDBOX'] = {'SETTINGS': {'SEARCH': 'nowhere'}}")
    small.add(
        "shop/apps.py",
        "    def ready(self):\n"
        "        import os\n"
        "        from django.conf import settings\n"
        "        assert settings.SEARCH == ('nowhere' if 'IGNY8_BACKUP_SANDBOX' in os.environ else 'live')\n",
    )
    small.prepare()
    restored(small)


def test_mail_and_file_cache_of_a_migration_lead_nowhere(small: SmallProject) -> None:
    small.add(
        "settings.py",
        "EMAIL_HOST, EMAIL_PORT = '127.0.0.1', 1\n"
        "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.filebased.FileBasedCache',"
        " 'LOCATION': str(BASE_DIR / 'cache'), 'KEY_PREFIX': 'x'}}",
    )
    small.prepare()
    body = (
        "from django.core.cache import cache\nfrom django.core.mail import get_connection, send_mail\n"
        "def work(apps, editor):\n"
        "    send_mail('a', 'b', 'a@example.com', ['b@example.com'])\n"
        "    smtp = get_connection('django.core.mail.backends.smtp.EmailBackend')\n"
        "    send_mail('a', 'b', 'a@example.com', ['b@example.com'], connection=smtp)\n"
        "    cache.set('a', 1)\n    assert cache.get('a') == 1\n"
    )
    small.write("shop/migrations/0002_mail.py", migration(body))
    restored(small)
    assert list((small.folder / "cache").glob("*.djcache")) == []


@needs("sentry_sdk")
def test_error_in_the_sandbox_is_not_sent_to_sentry(small: SmallProject) -> None:
    """The events would contain values of rows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        small.add(
            "settings.py",
            "if 'IGNY8_BACKUP_SANDBOX' in os.environ:\n"
            f"    import sentry_sdk\n    sentry_sdk.init(dsn='http://key@127.0.0.1:{port}/1')\n",
        )
        small.prepare()
        body = "import logging\ndef work(apps, editor):\n    logging.getLogger('shop').error('a tenant')\n"
        small.write("shop/migrations/0002_log.py", migration(body))
        small.run("drill_backup").ended(0)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_settings_that_query_the_live_database_do_so_in_the_sandbox_too(small: SmallProject) -> None:
    small.add(
        "settings.py",
        "import psycopg\n"
        "names = {'port': 'PORT', 'user': 'USER', 'password': 'PASSWORD', 'dbname': 'NAME'}\n"
        "given = {name: os.environ[f'SMALL_{word}'] for name, word in names.items()}\n"
        "with psycopg.connect(host='127.0.0.1', **given) as connection:\n"
        "    TIME_ZONE = connection.execute('SHOW timezone').fetchone()[0]\n",
    )
    small.prepare()
    restored(small)
