"""Trees made by a seed, what of them is wanted in the bucket, and random changes to them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
import threading
from fnmatch import fnmatchcase
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB

# No backslash: SeaweedFS takes it for a slash. Everything else that a name can hold is here.
ODD_NAMES = [
    "a b", " leading", "trailing ", "100%", "a%20b", "%2F", "c+d", "e#f", "g?h", "i&j", "k=l", "semi;colon",
    "single'quote", 'double"quote', "back`tick", "$dollar", "*star", "[bracket]", "{brace}", "pipe|", "<angle>",
    "tilde~x", "colon:", "comma,", "at@", "-dash", "--help", "dots...", "umlaut-äöüß", "nfc-\u00e9",
    "nfd-e\u0301", "emoji-😀", "汉字", "rtl-\u202etxt", "new\nline", "tab\there", "return\rhere", "bell\x07",
    "del\x7f", "line\u2028separator", "x" * 255, "ä" * 127 + "x",
]  # fmt: skip

# The default ignore rules of the contract, each matched against every component.
IGNORED = [".*", "*.tmp", "*.swp", "*~", "*.tmp.*", "lost+found"]
IGNORED_NAMES = [".hidden/file", ".env", "a.tmp", "b.swp", "c~", "d.tmp.123", "lost+found/x"]


def wanted(root: Path) -> dict[str, Path]:
    """The regular files that belong into the bucket, by their name below the prefix."""
    files = {}
    for directory, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not _ignored(name)]
        for name in names:
            path = Path(directory, name)
            if _ignored(name) or not stat.S_ISREG(path.lstat().st_mode):
                continue
            relative = str(path.relative_to(root))
            # Not UTF-8: S3 has no such key, so that the daemon refuses it, and says so.
            with contextlib.suppress(UnicodeEncodeError):
                relative.encode()
                files[relative] = path
    return files


def _ignored(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in IGNORED)


def make(root: Path, seed: int, files: int, mib: int) -> None:
    """A tree of `files` files and `mib` MiB at least, the same for the same seed."""
    chance = random.Random(seed)
    root.mkdir(parents=True)
    total = 0

    def write(name: str, size: int) -> None:
        nonlocal total
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
        total += size

    for name in ODD_NAMES:
        write(f"odd/{name}", chance.randrange(1, 4 * KIB))
        if len(name.encode()) < 250:
            write(f"odd-folders/{name}/{name}", chance.randrange(1, 4 * KIB))
    for name in IGNORED_NAMES:
        write(f"ignored/{name}", 100)
    write("/".join(f"level-{level}" for level in range(40)) + "/deep", 100)
    for number in range(50):
        write(f"empty/{number}", 0)
    _make_special(root)

    # Half the bytes in small files, the rest in ones that are sent in parts.
    folders = [f"folder-{number:03}" for number in range(max(3, files // 200))]
    small = max(1, mib * MIB // 2 // files)
    number = 0
    count = len(ODD_NAMES) * 2 + 50
    while count < files:
        folder = chance.choice(folders)
        write(f"{folder}/sub-{number % 7}/file-{number}.dat", chance.randrange(2 * small))
        number, count = number + 1, count + 1
    if mib > 200:
        write("large/more-than-100-mib.bin", 101 * MIB)
    while total < mib * MIB:
        write(f"large/part-{number}.bin", min(chance.randrange(4 * MIB, 40 * MIB), mib * MIB - total + 1))
        number += 1


def _make_special(root: Path) -> None:
    """What is never mirrored, and must not disturb the rest."""
    special = root / "special"
    (special / "empty-folder").mkdir(parents=True)
    os.mkfifo(special / "fifo")
    (special / "link-out").symlink_to("/etc/passwd")
    (special / "link-loop").symlink_to("..")
    (special / "link-dangling").symlink_to("nowhere")
    (special / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"refused")
    (special / "plain").write_bytes(b"mirrored")


class Repository:
    """A git repository inside the tree, with two versions of some source code."""

    def __init__(self, root: Path, seed: int, files: int = 400) -> None:
        self.root = root
        chance = random.Random(seed)
        root.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")
        names = [f"src/module_{number % 20}/part_{number}.rs" for number in range(files)]
        for name in names:
            self._write(name, chance)
        self._commit("one")
        # A third changes, a tenth goes, a tenth is new, one folder moves.
        for name in chance.sample(names, files // 3):
            self._write(name, chance)
        for name in chance.sample(names, files // 10):
            (root / name).unlink(missing_ok=True)
        for number in range(files // 10):
            self._write(f"src/added/part_{number}.rs", chance)
        (root / "src/module_0").rename(root / "src/module_moved")
        self._commit("two")
        self.checkout("one")

    def checkout(self, tag: str) -> None:
        self._git("checkout", "--quiet", tag)

    def _commit(self, tag: str) -> None:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", tag)
        self._git("tag", tag)

    def _write(self, name: str, chance: random.Random) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"let x{number} = {chance.random()};\n" for number in range(chance.randrange(5, 200)))
        path.write_text("".join(lines))

    def _git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=e2e", "-c", "user.email=e2e@example.invalid", "-c", "gc.auto=0"]
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        subprocess.run(["git", *identity, *arguments], cwd=self.root, env=environment, check=True)


class Churn:
    """Random changes to a tree of its own making, the same for the same seed, until it is stopped."""

    FILES_MAX = 800

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.steps = 0
        self._chance = random.Random(seed)
        self._files: list[str] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, pause: float = 0.002) -> None:
        """Goes on in the background, with a short rest after every step."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(pause,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the step at hand; raises if one failed."""
        assert self._thread is not None, "it was never started"
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._error is not None:
            raise self._error

    def _run(self, pause: float) -> None:
        try:
            while not self._stop.wait(pause):
                self.step()
        except BaseException as error:
            self._error = error

    def step(self) -> None:
        """One change."""
        self.steps += 1
        kinds = [self._add] * 4 + [self._rewrite, self._append, self._truncate, self._replace, self._delete]
        kinds += [self._delete, self._rename, self._rename]
        if self.steps % 200 == 0:
            kinds = [self._add_large, self._rename_folder, self._delete_folder]
        if len(self._files) > self.FILES_MAX:
            kinds = [self._delete]
        if not self._files:
            kinds = [self._add]
        self._chance.choice(kinds)()

    def _name(self) -> str:
        folder = f"f{self._chance.randrange(12)}/s{self._chance.randrange(3)}"
        odd = self._chance.choice(["", "", "", " ä%+", "?#&"])
        return f"{folder}/{self.steps}{odd}.dat"

    def _bytes(self) -> bytes:
        return self._chance.randbytes(self._chance.choice([0, 10, 4 * KIB, 100 * KIB]))

    def _path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _pick(self) -> str:
        return self._chance.choice(self._files)

    def _take(self) -> str:
        return self._files.pop(self._chance.randrange(len(self._files)))

    def _add(self) -> None:
        name = self._name()
        self._path(name).write_bytes(self._bytes())
        self._files.append(name)

    def _add_large(self) -> None:
        name = f"large/{self.steps}.bin"
        self._path(name).write_bytes(self._chance.randbytes(18 * MIB))
        self._files.append(name)

    def _rewrite(self) -> None:
        self._path(self._pick()).write_bytes(self._bytes())

    def _append(self) -> None:
        with self._path(self._pick()).open("ab") as file:
            # In two writes: the daemon may look between them.
            file.write(self._bytes())
            file.flush()
            file.write(self._bytes())

    def _truncate(self) -> None:
        path = self._path(self._pick())
        os.truncate(path, path.stat().st_size // 2)

    def _replace(self) -> None:
        """As editors do: a temporary file beside it, then over it."""
        path = self._path(self._pick())
        temporary = path.with_name(f"{path.name}.tmp.{self.steps}")
        temporary.write_bytes(self._bytes())
        temporary.replace(path)

    def _delete(self) -> None:
        self._path(self._take()).unlink()

    def _rename(self) -> None:
        old, new = self._take(), self._name()
        self._path(old).rename(self._path(new))
        self._files.append(new)

    def _rename_folder(self) -> None:
        old, new = f"f{self._chance.randrange(12)}", f"moved-{self.steps}"
        if not (self.root / old).exists():
            return
        (self.root / old).rename(self.root / new)
        moved = [name for name in self._files if name.startswith(f"{old}/")]
        self._files = [name for name in self._files if not name.startswith(f"{old}/")]
        self._files += [new + name.removeprefix(old) for name in moved]

    def _delete_folder(self) -> None:
        gone = f"f{self._chance.randrange(12)}"
        shutil.rmtree(self.root / gone, ignore_errors=True)
        self._files = [name for name in self._files if not name.startswith(f"{gone}/")]
