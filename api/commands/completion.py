"""``mail-gateway completion``."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_NAME = "mail-gateway"
_VARIABLE = "_MAIL_GATEWAY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(sorted(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands and options.

    \b
    bash: mail-gateway completion bash > ~/.local/share/bash-completion/completions/mail-gateway
    zsh:  mail-gateway completion zsh > "${fpath[1]}/_mail-gateway"
    fish: mail-gateway completion fish > ~/.config/fish/completions/mail-gateway.fish
    """  # noqa: D301 - \b is click's mark of lines that are not to be joined
    click.echo(_SHELLS[shell](context.find_root().command, {}, _NAME, _VARIABLE).source())
