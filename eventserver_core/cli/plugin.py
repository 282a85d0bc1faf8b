"""``eventserver plugin``"""

from __future__ import annotations

import keyword
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from eventserver_core import __version__
from eventserver_core.errors import ConfigurationError

_ROLES = ("auth", "ratelimit", "storage", "chain", "provisioning")
_NOUNS = {
    "auth": "Auth",
    "ratelimit": "RateLimiter",
    "storage": "Storage",
    "chain": "Chain",
    "provisioning": "Provisioning",
}
_SUFFIX = ".template"
_NORMALISED = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MAX_NAME_SIZE = 40


@dataclass(frozen=True, slots=True)
class NewPlugin:
    """A plugin that is to be made: one word in five places.

    Args:
        role: the role.
        name: lower-case words with underscores between them.
    """

    role: str
    name: str

    @property
    def folder(self) -> str:
        """The folder, which is the end of the package's name, too."""
        return f"{self.role.replace('provisioning', 'provision')}_{self.name}"

    @property
    def distribution(self) -> str:
        """The distribution's name, as PEP 503 has it."""
        return f"eventserver-{self.folder.replace('_', '-')}"

    @property
    def files(self) -> dict[Path, str]:
        """The text of each file, by its place in the folder."""
        package = f"eventserver_{self.folder}"
        templates = files("eventserver_core") / "templates" / "plugin"
        texts: dict[Path, str] = {}
        for source, place in (
            (templates, Path()),
            (templates / "package", Path(package)),
            (templates / "tests", Path("tests")),
        ):
            texts |= {place / name: text for name, text in _texts(source)}
        for name, text in _texts(templates / self.role):
            texts[Path("tests" if name.startswith("test_") else package) / name] = text
        values = self._values(package)
        return {path: Template(text).substitute(values) for path, text in sorted(texts.items())}

    def _values(self, package: str) -> dict[str, str]:
        from eventserver_core.hookspecs import INTERFACE

        stem = "".join(word.capitalize() for word in self.name.split("_"))
        backend, settings = f"{stem}{_NOUNS[self.role]}", f"{stem}Settings"
        classes = sorted([backend, settings])
        hooks = sorted([f"eventserver_{self.role}_backend", "eventserver_settings"])
        names = ["EVENTSERVER_INTERFACE", *classes, *hooks]
        return {
            "role": self.role,
            "name": self.name,
            "section": self.name,
            "distribution": self.distribution,
            "package": package,
            "backend": backend,
            "settings": settings,
            "upload": f"{stem}Upload",
            "classes": ", ".join(classes),
            "names": "\n".join(f'    "{name}",' for name in names),
            "interface": str(INTERFACE),
            "core": compatible_versions(__version__),
        }


def compatible_versions(version: str) -> str:
    """Return which versions of the core a plugin asks for that is made with this one."""
    major, minor, *_ = (int(part) for part in re.findall(r"\d+", version))
    after = f"0.{minor + 1}" if major == 0 else str(major + 1)
    return f">={major}.{minor},<{after}"


def _texts(folder: Traversable) -> list[tuple[str, str]]:
    return [
        (file.name.removesuffix(_SUFFIX), file.read_text("utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(_SUFFIX)
    ]


def read_name(role: str, text: str) -> str:
    """Return a plugin's name as it stands in settings and modules.

    Raises:
        click.BadParameter: it can't be one.
    """
    from eventserver_core.plugins import PROTOCOLS, installed
    from eventserver_core.sections import CORE_SECTIONS

    name = re.sub(r"[-_.]+", "_", text).lower()
    if not _NORMALISED.fullmatch(name) or len(name) > _MAX_NAME_SIZE or not text.isascii():
        raise click.BadParameter(
            "a name is a letter and then letters and digits, with single hyphens or underscores "
            f"inside, {_MAX_NAME_SIZE} characters at most"
        )
    if keyword.iskeyword(name):
        raise click.BadParameter(f"{name} is a word of Python's own; choose another")
    if name in {section.name for section in CORE_SECTIONS} | set(PROTOCOLS):
        raise click.BadParameter(
            f"{name} is a section of the core's settings or a role; choose another"
        )
    for plugin in installed(role):
        if plugin.name == name:
            raise click.BadParameter(
                f"{plugin.distribution} {plugin.version} has this name for {role}; choose "
                "another, or uninstall it"
            )
    return name


@click.group("plugin")
def command() -> None:
    """Make plugins of your own."""


@command.command("new")
@click.argument("role", type=click.Choice(_ROLES))
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Where the plugin's folder is made.  [default: here]",
)
def new(role: str, name: str, directory: Path) -> None:
    """Make a complete package for a plugin: ROLE_NAME, to be filled in.

    It installs as it is, and its tests fail where there is code to be written. Nothing that is
    there already is touched.
    """
    plugin = NewPlugin(role, read_name(role, name))
    folder = directory / plugin.folder
    try:
        folder.mkdir()
        for path, text in plugin.files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            with (folder / path).open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            click.echo(folder / path)
    except FileExistsError as ex:
        raise click.ClickException(f"{folder} is there already; nothing was changed") from ex
    except OSError as ex:
        raise ConfigurationError(f"{folder} cannot be made: {ex.strerror}") from ex
    extra = shlex.quote(f"{folder if folder.is_absolute() else f'./{folder}'}[testing]")
    click.echo(
        f"\nNext:\n  pip install --editable {extra}\n  pytest {shlex.quote(str(folder))}\n\n"
        "The tests that fail say what to write; docs/writing-a-plugin.md leads through it."
    )
