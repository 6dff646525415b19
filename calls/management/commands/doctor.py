"""`manage.py doctor`: finds what is wrong with an installation before a caller does."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls.management.diagnosis import examine
from calls.management.diagnosis.finding import Finding


class Command(BaseCommand):
    help = (
        "Checks settings, database, Redis, chores, webhooks, mail, the server behind PUBLIC_URL, the clock and the "
        "account's numbers."
    )
    # They are among what is examined.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in examine():
            findings.append(finding)
            if not options["json"]:
                self._print(finding)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        if failed := sum(finding.level == "FAIL" for finding in findings):
            raise CommandError(f"{failed} of {len(findings)} findings have to be put right.")

    def _print(self, finding: Finding) -> None:
        styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "FAIL": self.style.ERROR}
        style = styles.get(finding.level, str)
        self.stdout.write(f"{style(f'{finding.level:4}')}  {finding.text}")
        if finding.hint:
            self.stdout.write(f"      {finding.hint}")
