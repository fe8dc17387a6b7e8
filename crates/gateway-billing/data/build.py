#!/usr/bin/env python3
"""Builds catalog.tsv and rounding.tsv from a full model catalog (JSON, one object with a list `models`).

    python3 build.py path/to/catalog.json

catalog.tsv has one line a model, sorted by bytes so that it can be searched without being parsed:

    provider/model <TAB> {"n":name,"c":context window,"o":most output tokens,"d":retirement date,"p":price}
    provider/alias <TAB> @model

`p` is what an operator would write under `price` in the configuration: US dollars per million tokens as decimal
strings, `web_search` per thousand calls, and `overrides` in order. The rules of the translation:

* Only models that answer in text are taken (chat, responses, completion), with an input and an output price. Prices
  that the source marks as suspect are left out: an unpriced model is refused, a wrong price is charged.
* Long-context steps come first, then service tiers, then a tier's own steps, so that the most particular one wins.
* Where audio and the cache are both priced but cached audio is not, cached audio costs what audio costs: an absent
  cache price means the input price.
* A reasoning price equal to the output price is left out, so that reasoning follows the output price into every tier.
* Off-peak hours are turned round: the off-peak price is the base and the peak hours are windows in the provider's own
  zone. For DeepSeek they are closed on Chinese public holidays, as its price page says; of resellers that is not known.
* Left out because nothing is billed by them here: prices of twelve-hour cache writes, regional multipliers, dated
  history, daily windows that belong to another source's older price, units other than web searches and flat requests.

rounding.tsv lists the figures that are not whole pico-dollars (more than six decimals per million). They stand
unrounded in catalog.tsv and are rounded half to even on import; a test compares that with this list.
"""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path

MODES = {"chat", "responses", "completion"}
RATES = {
    "input": "input",
    "output": "output",
    "cache_read": "input_cache_read",
    "cache_write": "input_cache_write",
    "cache_write_1h": "input_cache_write_1h",
    "output_reasoning": "output_reasoning",
    "input_audio": "input_audio",
    "cache_read_audio": "input_audio_cache_read",
    "input_image": "input_image",
    "input_video": "input_video",
    "output_audio": "output_audio",
    "output_image": "output_image",
}
ZONE, ZONE_HOURS = "Asia/Shanghai", 8
HOLIDAYS = {"deepseek": "cn-holidays"}


def plain(figure):
    """A decimal without exponent or trailing zeros."""
    text = format(Decimal(figure), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rates(prices, derive_cached_audio):
    out = {ours: plain(prices[theirs]) for theirs, ours in RATES.items() if prices.get(theirs) is not None}
    if out.get("output_reasoning") == out.get("output"):
        out.pop("output_reasoning", None)
    if derive_cached_audio and "input_audio" in out:
        out.setdefault("input_audio_cache_read", out["input_audio"])
    return out


def minutes(text):
    hours, mins = text.split(":")
    return int(hours) * 60 + int(mins)


def clock(total):
    return f"{total // 60:02d}:{total % 60:02d}"


def days_text(days):
    days = sorted(days)
    return f"{days[0]}-{days[-1]}" if days == list(range(days[0], days[-1] + 1)) else ",".join(map(str, days))


def peak_windows(off_peak, calendar):
    """The complement of the off-peak hours, in the provider's zone."""
    quiet = {day: [] for day in range(1, 8)}
    for window in off_peak["windows"]:
        spans = window["hours_utc"]
        for span in [spans] if isinstance(spans, str) else spans:
            start, end = (minutes(part) for part in span.split("-"))
            for day in window["weekdays"]:
                quiet[day].append((start, end if end > start else 1440))
    busy = {}
    for day, spans in quiet.items():
        at = 0
        for start, end in sorted(spans) + [(1440, 1440)]:
            if start > at:
                first, last = at + ZONE_HOURS * 60, start + ZONE_HOURS * 60
                assert last <= 1440, "a peak window that crosses midnight in the zone needs its weekday shifted"
                busy.setdefault((clock(first), clock(last)), []).append(day)
            at = max(at, end)
    for (first, last), days in busy.items():
        window = {"tz": ZONE, "days": days_text(days), "from": first, "to": last}
        if calendar:
            window["not_on"] = calendar
        yield window


def steps(tiers, derive, condition):
    for tier in sorted(tiers, key=lambda tier: tier["above_input_tokens"]):
        found = rates(tier, derive)
        if found:
            yield {**condition, "input_tokens_over": tier["above_input_tokens"], **found}


def price(model):
    prices = model["prices"]
    base = dict(prices["per_million_tokens"])
    derive = "cache_read" in base and "cache_read_audio" not in base
    overrides = list(steps(prices.get("tiers", []), derive, {}))
    for tier, its in sorted(prices.get("service_tiers", {}).items()):
        found = rates(its, derive)
        if found:
            overrides.append({"service_tier": tier, **found})
        overrides += steps(its.get("tiers", []), derive, {"service_tier": tier})
    if "off_peak" in prices:
        peak = {key: base[key] for key in prices["off_peak"]["prices"]}
        base.update(prices["off_peak"]["prices"])
        for window in peak_windows(prices["off_peak"], HOLIDAYS.get(model["provider"])):
            overrides.append({"window": window, **rates(peak, False)})
    out = rates(base, derive)
    units = prices.get("units", {})
    search = units.get("web_search_per_thousand")
    if isinstance(search, dict):
        # By size of the search context, which answers do not report; the lowest is the reading that favours callers.
        search = min(search.values(), key=Decimal)
    if search is not None:
        out["web_search"] = plain(search)
    if units.get("per_thousand_requests") is not None:
        out["call.request"] = plain(Decimal(units["per_thousand_requests"]) * 1000)
    if overrides:
        out["overrides"] = overrides
    return out


def figures(price, place=""):
    for key, value in price.items():
        if key == "overrides":
            for n, entry in enumerate(value):
                yield from figures(entry, f"overrides[{n}].")
        elif isinstance(value, str) and key != "service_tier":
            yield place + key, value


def main():
    source = json.loads(Path(sys.argv[1]).read_text())
    here = Path(__file__).parent
    lines, aliases, rounded = {}, {}, []
    for model in source["models"]:
        prices = model.get("prices") or {}
        tokens = prices.get("per_million_tokens", {})
        priced = tokens.get("input") is not None and tokens.get("output") is not None and prices.get("currency") == "USD"
        if model["mode"] not in MODES or model.get("price_suspect") or not priced:
            continue
        provider, name = model["provider"], model["id"]
        key = f"{provider}/{name}"
        if re.search(r"[\t\n]", key):
            continue
        entry = {"n": model.get("name")}
        entry["c"] = model.get("context_window") or model.get("max_input_tokens")
        entry["o"] = model.get("max_output_tokens")
        entry["d"] = model.get("deprecation_date")
        entry = {short: value for short, value in entry.items() if value}
        entry["p"] = price(model)
        lines[key] = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        for place, figure in figures(entry["p"]):
            decimals = len(figure.partition(".")[2])
            if decimals > (9 if place.endswith("web_search") else 6):
                rounded.append((key, place, figure))
        for alias in model.get("aliases", []):
            bare = alias.rpartition("/")[2]
            aliases.setdefault(f"{provider}/{bare}", name)
    for alias, name in aliases.items():
        lines.setdefault(alias, "@" + name)
    body = "".join(f"{key}\t{lines[key]}\n" for key in sorted(lines, key=lambda key: key.encode()))
    (here / "catalog.tsv").write_text(body)
    report = "".join("\t".join(row) + "\n" for row in sorted(rounded, key=lambda row: [part.encode() for part in row]))
    (here / "rounding.tsv").write_text(report)
    print(f"{sum(not v.startswith('@') for v in lines.values())} models, {len(body)} bytes, {len(rounded)} figures to round")


if __name__ == "__main__":
    main()
