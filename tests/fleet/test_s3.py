"""Recordings in an S3 bucket, of an endpoint on this machine (moto)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from click.testing import CliRunner
from moto.server import ThreadedMotoServer

from sldtrace.commands.fleet import fleet as command
from tests.fleet import fleets

HOSTS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fleets.fleet(tmp_path_factory.mktemp("fleet"), HOSTS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3fs.S3FileSystem]:
    """A store without buckets; environment variables lead to it, as they do for any user of S3."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    none = str(tmp_path_factory.getbasetemp() / "none")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": none,
            "AWS_SHARED_CREDENTIALS_FILE": none,
            "NO_PROXY": "127.0.0.1",
        }.items():
            environment.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield s3fs.S3FileSystem()
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def upload(store: s3fs.S3FileSystem, bucket: str, folder: Path) -> None:
    store.mkdir(bucket)
    for path in folder.rglob("*.sld"):
        store.put_file(str(path), f"{bucket}/{path.relative_to(folder)}")
    store.pipe_file(f"{bucket}/rack-0/notes.txt", b"nothing of ours")


def test_a_bucket_is_read_as_a_directory_is(store: s3fs.S3FileSystem, folder: Path) -> None:
    upload(store, "recordings", folder)
    local = CliRunner().invoke(command, ["--jobs", "1", str(folder)])
    # Two processes: each opens the store by itself.
    remote = CliRunner().invoke(command, ["--jobs", "2", "s3://recordings"])
    assert (remote.exit_code, remote.stderr) == (0, "")
    assert remote.stdout == local.stdout + "  No recordings: 1 other file\n"
    one = CliRunner().invoke(command, ["--jobs", "1", "s3://recordings/rack-0/host-0000.sld"])
    assert "1 OF 1 HOST IS AFFECTED" in one.stdout


def test_objects_that_cannot_be_read_are_named(store: s3fs.S3FileSystem, folder: Path) -> None:
    upload(store, "mixed", folder / "rack-1")
    store.pipe_file("mixed/broken.sld", b"no recording")
    result = CliRunner().invoke(command, ["--jobs", "1", "s3://mixed", "s3://nothing"])
    assert result.exit_code == 4
    text = " ".join(result.stdout.split())
    assert "s3://mixed/broken.sld is not an sldtrace recording" in text
    assert "cannot read s3://nothing: " in text
