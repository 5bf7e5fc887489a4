"""`magent --help`: the two ways to start, for somebody who sees memagent for the first time."""

from collections.abc import Iterable, Mapping

import click

from memagent.cli.flags import MAGENT_FLAGS

_EXAMPLES = (
    "magent run -c magent.yaml",
    "magent check magent.yaml",
    "magent route -c magent.yaml user:1 user:2",
    "magent servers -c magent.yaml",
    "magent explain -c magent.yaml user:1",
    "magent -D -p 12000 -s 10.0.0.1:11211 -s 10.0.0.2:11211 -b 10.0.0.3:11211",
)


def write_overview(
    group: click.Group,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    sections: Mapping[str, Iterable[str]],
) -> None:
    formatter.write_usage("magent", "run -c FILE")
    formatter.write_usage("magent", "-s HOST:PORT [-s HOST:PORT]... [FLAG]...", prefix="       ")
    formatter.write_usage("magent", "COMMAND --help", prefix="       ")
    formatter.write_paragraph()
    formatter.write_text(group.help or "")
    for title, names in sections.items():
        with formatter.section(title):
            formatter.write_dl(_commands(group, ctx, names))
    with formatter.section("magent's own command line"):
        rows = [
            (f"{flag} {placeholder}" if placeholder else flag, text)
            for flag, _, placeholder, text in MAGENT_FLAGS
        ]
        formatter.write_dl([*rows, ("-c FILE.conf", "magent 0.7's INI file; flags win over it.")])
    with formatter.section("Both"):
        formatter.write_dl([("-h, --help", "This text."), ("--version", "The version of memagent.")])
    with formatter.section("Examples"):
        for example in _EXAMPLES:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def _commands(group: click.Group, ctx: click.Context, names: Iterable[str]) -> list[tuple[str, str]]:
    rows = []
    for name in names:
        command = group.get_command(ctx, name)
        if command is not None:
            rows.append((name, command.get_short_help_str(limit=80)))
    return rows


@click.command("help")
@click.argument("command", metavar="[COMMAND]", required=False)
@click.pass_context
def show_help(ctx: click.Context, command: str | None) -> None:
    """Show all commands, or all about one COMMAND."""
    root = ctx.find_root()
    group = root.command
    assert isinstance(group, click.Group)
    if command is None:
        click.echo(group.get_help(root))
        return
    name, found, _ = group.resolve_command(root, [command])
    assert found is not None
    with click.Context(found, info_name=name, parent=root, **found.context_settings) as context:
        click.echo(found.get_help(context))
