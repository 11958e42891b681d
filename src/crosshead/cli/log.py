"""`crosshead log`: send what waits on disk because the MLflow server was lost."""

from __future__ import annotations

from crosshead.cli.exits import Exit
from crosshead.cli.group import command


@command("crosshead log")
def log() -> int:
    """Send results that the MLflow server did not take.

    When the server cannot be reached, training and evaluation end with exit code 5 and their results wait in
    mlflow/unsent. This sends them, registers the model, and makes the first one the champion.
    """
    from crosshead.cli.output import console
    from crosshead.cli.pipeline import import_training, load_settings
    from crosshead.cli.words import counted, printable

    recording = import_training("crosshead.records.recording")
    settings = load_settings(())
    tracking = import_training("crosshead.records.runs").finder_of(settings).tracking
    out = console()
    n_sent = 0
    for sent in recording.send_unsent(tracking, settings.root):
        n_sent += 1
        registered = f", {sent.registered.name} {sent.registered.version} registered" if sent.registered else ""
        out.print(f"sent:    run {sent.run_id}{registered}", soft_wrap=True)
        if sent.problem:
            out.print(f"note:    {printable(sent.problem)}", style="yellow", soft_wrap=True)
    out.print(f"{counted(n_sent, 'run')} sent to {tracking.place.shown}" if n_sent else "nothing waits to be sent")
    return Exit.OK
