"""`make bench-send`: the whole pipeline beside smtp-source, Django, aiosmtplib and OpenSSL.

N recipients (100,000), ROUNDS (3), BASELINE messages of Django and of aiosmtplib a round (2,000).
"""

from __future__ import annotations

import sys
from collections import defaultdict

from benchmarks import support
from benchmarks.support import Meter, Result, Service, Sink, median

OF_SMTP_SOURCE = 0.7
OF_DJANGO = 12
OF_OPENSSL = 0.65

COLUMNS = ("ours", "smtp_source", "django", "aiosmtplib", "dkim", "openssl")


def main() -> int:
    recipients = support.number("N", 100_000)
    rounds = support.number("ROUNDS", 3)
    baseline = support.number("BASELINE", 2000)
    with support.running_service() as service, support.running_sink(service) as sink:
        line, bars = measure(service, sink, recipients, rounds, baseline)
    return support.verdict(line, bars)


def measure(service: Service, sink: Sink, recipients: int, rounds: int, baseline: int) -> Result:
    from benchmarks import baselines, pipeline
    from core.cli import print_table

    inbox = pipeline.make_workspace("sample", sink=None)
    shop = pipeline.make_workspace("shop", sink=sink, connections=service.connections)
    for workspace in (inbox, shop):
        pipeline.sign_with_rsa(workspace)
    letter = pipeline.sample(inbox)
    signed_letter = pipeline.sample(inbox, sender=pipeline.SIGNED_SENDER)
    readers = pipeline.make_list(shop, recipients)
    some = baselines.readers(readers, baseline)
    connections = service.total_connections
    support.say(
        f"{recipients} recipients, letters of {letter.octets} octets, {service.workers} processes "
        f"with {service.connections} connections each"
    )

    rates: dict[str, list[float]] = defaultdict(list)
    plain, signed = Meter(service, sink), Meter(service, sink)
    for turn in range(rounds):
        support.say(f"round {turn + 1} of {rounds}")
        size = letter.octets - letter.header_octets
        rates["smtp_source"].append(baselines.smtp_source(sink, connections, recipients, size))
        with plain:
            rates["ours"].append(pipeline.send(readers).rate)
        rates["django"].append(baselines.django(sink, some))
        rates["aiosmtplib"].append(baselines.aiosmtplib_loop(sink, some, connections))
        with signed:
            rates["dkim"].append(pipeline.send(readers, sender=pipeline.SIGNED_SENDER).rate)
        rates["openssl"].append(baselines.openssl())

    support.print_costs("Without DKIM", plain)
    support.print_costs("With RSA-2048", signed)
    rows = [(turn + 1, *(f"{rates[name][turn]:.0f}" for name in COLUMNS)) for turn in range(rounds)]
    medians = {name: median(rates[name]) for name in COLUMNS}
    rows.append(("median", *(f"{medians[name]:.0f}" for name in COLUMNS)))
    print_table("Messages a second (openssl: signatures)", ("round", *COLUMNS), rows)
    return judge(medians, {*letter.missing, *signed_letter.missing})


def judge(rate: dict[str, float], missing: set[str]) -> Result:
    of_source = support.ratio(rate["ours"], rate["smtp_source"])
    of_django = support.ratio(rate["ours"], rate["django"])
    of_openssl = support.ratio(rate["dkim"], rate["openssl"])
    if not rate["smtp_source"]:
        support.say("without Postfix's tools the first bar cannot be measured")
    bars = {
        f"{OF_SMTP_SOURCE} of smtp-source": of_source >= OF_SMTP_SOURCE,
        f"{OF_DJANGO} times Django": of_django >= OF_DJANGO,
        f"{OF_OPENSSL} of openssl speed": of_openssl >= OF_OPENSSL,
        **{f"the letter has no {name}": False for name in sorted(missing)},
    }
    line = (
        f"bench-send: ours {rate['ours']:.0f} smtp_source {rate['smtp_source']:.0f} "
        f"django {rate['django']:.0f} aiosmtplib {rate['aiosmtplib']:.0f} "
        f"ratio_limit {of_source:.2f} ratio_django {of_django:.1f} "
        f"dkim {rate['dkim']:.0f} openssl {rate['openssl']:.0f} dkim_ratio {of_openssl:.2f}"
    )
    return line, bars


if __name__ == "__main__":
    sys.exit(support.run(main))
