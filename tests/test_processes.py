"""One process at a time in a folder."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mis_dataset.errors import UsageError
from mis_dataset.processes import alone


def test_a_second_one_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with alone(tmp_path / "run", "run"):
        with pytest.raises(UsageError, match="run: another process works there"), alone(tmp_path / "run", "run"):
            pytest.fail("two at once")
        with alone(tmp_path / "other", "other"):
            pass
    with alone(tmp_path / "run", "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_is_removed_by_its_last_holder_is_kept_by_one_only(tmp_path: Path) -> None:
    code = """if True:
        import shutil, sys
        from pathlib import Path
        from mis_dataset.errors import UsageError
        from mis_dataset.processes import alone
        place, count = Path(sys.argv[1]), 0
        while count < 200:
            try:
                with alone(place, "x"):
                    (place / "mine").touch(exist_ok=False)
                    (place / "mine").unlink()
                    shutil.rmtree(place)
                    count += 1
            except UsageError:
                pass
    """
    words = [sys.executable, "-c", code, str(tmp_path / "place")]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == ["", ""]


def test_a_folder_that_can_never_be_made_is_an_error() -> None:
    with pytest.raises(OSError, match="/proc/none"), alone(Path("/proc/none"), "x"):
        pytest.fail("made")


def test_a_killed_process_keeps_nothing(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from pathlib import Path
        from mis_dataset.processes import alone
        with alone(Path(sys.argv[1]), "x"):
            os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 9
    with alone(tmp_path, "x"):
        pass


def test_a_process_ends_with_the_one_that_began_it(tmp_path: Path) -> None:
    begun = """if True:
        import subprocess, sys, time
        child = '''if True:
            import sys, time
            from pathlib import Path
            from mis_dataset.processes import end_with_launcher
            {watch}
            Path(sys.argv[1]).touch()
            time.sleep(60)
        '''
        print(subprocess.Popen([sys.executable, "-c", child, *sys.argv[1:]]).pid, flush=True)
        time.sleep(60)
    """
    ended = {}
    for name, watch in (("watches", "end_with_launcher()"), ("does not", "pass")):
        words = [sys.executable, "-c", begun.replace("{watch}", watch), str(tmp_path / name)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as launcher:
            assert launcher.stdout is not None
            child = psutil.Process(int(launcher.stdout.readline()))
            while not (tmp_path / name).exists():
                time.sleep(0.02)
            launcher.kill()
        until = time.monotonic() + 1.5
        while _runs(child) and time.monotonic() < until:
            time.sleep(0.02)
        ended[name] = not _runs(child)
        if not ended[name]:
            child.kill()
    assert ended == {"watches": True, "does not": False}


def _runs(process: psutil.Process) -> bool:
    """Whether it does anything yet; one that has ended stays a zombie where nobody asks how."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
