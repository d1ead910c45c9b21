"""Who else may read or change a file, by its own rights and those of the folders on the way to it."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from agent.identity.seal import Sealer, SealError
from agent.secret_files import Keeping, weaknesses
from tests.cli.kerbside import kerbside

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
STRANGER = 65534


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    path = folder / "secret"
    path.write_bytes(b"x")
    path.chmod(0o600)
    return path


def commands(path: Path, keeping: Keeping = "owner") -> list[str]:
    return [weakness.command for weakness in weaknesses(path, keeping)]


def mend(path: Path, keeping: Keeping = "owner") -> None:
    """Run the commands that are named, as a technician would."""
    for command in commands(path, keeping):
        subprocess.run(command, shell=True, check=True)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_that_only_its_owner_has_is_kept(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    assert commands(secret) == []


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o602, 0o640, 0o620, 0o601])
def test_the_command_that_is_named_mends_the_file(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    assert commands(secret) == [f"chmod 600 {secret}"]
    mend(secret)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert commands(secret) == []


def test_a_folder_on_the_way_that_everybody_may_write_gives_the_file_away(secret: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert commands(secret) == [f"chmod 755 {tmp_path}"]
    tmp_path.chmod(0o1777)  # as /tmp: nobody can put another folder in its place
    assert commands(secret) == []


def test_a_folder_that_is_itself_kept_may_not_be_sticky_and_open(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o1777)
    assert commands(folder, "writing") == [f"chmod 700 {folder}"]


def test_a_link_leads_to_what_is_looked_at_and_its_own_folder_too(secret: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "link").symlink_to("../folder/secret")
    assert commands(links / "link") == []
    links.chmod(0o777)
    assert commands(links / "link") == [f"chmod 755 {links}"]
    links.chmod(0o700)
    secret.chmod(0o644)
    assert commands(links / "link") == [f"chmod 600 {secret}"]


@root_only
def test_a_file_folder_or_link_of_another_user_is_told(secret: Path, tmp_path: Path) -> None:
    os.chown(secret, STRANGER, -1)
    assert commands(secret) == [f"chown root {secret}"]
    mend(secret)
    assert commands(secret) == []
    os.chown(secret.parent, STRANGER, -1)
    (weakness,) = weaknesses(secret, "owner")
    assert weakness.path == secret.parent
    assert weakness.command.startswith("move "), "it may be somebody's home"
    os.chown(secret.parent, 0, -1)
    link = tmp_path / "link"
    link.symlink_to(secret)
    os.lchown(link, STRANGER, -1)
    assert commands(link) == [f"chown --no-dereference root {link}"]
    mend(link)
    assert commands(link) == []


@root_only
def test_a_group_of_strangers_may_not_read_and_ones_own_may(secret: Path) -> None:
    secret.chmod(0o640)
    assert commands(secret, "group") == []
    os.chown(secret, -1, STRANGER)
    assert commands(secret, "group") == [f"chmod 600 {secret}"]


def test_names_with_spaces_are_quoted_for_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "a secret; file"
    path.write_bytes(b"x")
    path.chmod(0o644)
    mend(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_not_there_has_no_weakness_and_circles_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert commands(tmp_path / "circle") == []
    assert commands(tmp_path / "none" / "at all") == []


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o666, 0o700), (0o600, 0o777), (0o666, 0o777)])
def test_a_seal_key_that_others_reach_is_refused(tmp_path: Path, file_mode: int, folder_mode: int) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    key = state_dir / "seal.key"
    key.write_bytes(bytes(32))
    key.chmod(file_mode)
    state_dir.chmod(folder_mode)
    with pytest.raises(SealError, match="chmod"):
        Sealer(state_dir, {})
    names = {"KERBSIDE_UNIT__ID": "u1", "KERBSIDE_UNIT__FLEET": "demo", "KERBSIDE_UNIT__STATE_DIR": str(state_dir)}
    done = kerbside("run", **names)
    assert done.returncode == 2
    assert (f"chmod 600 {key}" in done.stderr) is (file_mode == 0o666)
    assert (f"chmod 700 {state_dir}" in done.stderr) is (folder_mode == 0o777)
