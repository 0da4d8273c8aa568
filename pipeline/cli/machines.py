"""Verbs on machines: doctor, profile."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.app import AsJson, Settings, app, console, refuse_without_cluster, settings_of, show


@app.command(epilog="Example: tcx doctor --cluster mila")
def doctor(
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="PROFILE", help="Compare this profile with the cluster instead.")
    ] = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show what works on this machine, or with a cluster profile, what is missing, and how to mend it."""
    from pipeline.doctor import Diagnosis, diagnose

    if cluster is None:
        refuse_without_cluster(set=set_)
        diagnosis = diagnose()
    else:
        from pipeline.cluster.inspect import check_profile
        from pipeline.cluster.profile import load_profile

        diagnosis = Diagnosis(findings=tuple(check_profile(load_profile(cluster, settings_of(set_)))))
    show(diagnosis, as_json)
    raise typer.Exit(0 if diagnosis.ok else 1)


@app.command(epilog="Example: tcx profile narval --set account=def-ada")
def profile(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="Name or path of a cluster profile.")],
    set_: Settings = None,
) -> None:
    """Show a cluster profile: every value and the file that it comes from."""
    from pipeline.cluster.inspect import show_profile

    show_profile(name, console(), settings_of(set_))
