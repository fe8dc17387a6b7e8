"""Prices cases with `genai-prices`, an independent calculator. One JSON case a line in, one answer a line out.

A case holds `prices` (our names, US dollars per million), `step` ({"over": n, "prices": {…}} or null) and `usage`
(disjoint leaves by SKU). The answer is the exact total in dollars as a decimal string, or `refused`. Only prices given
here are used, never the package's own data, which changes weekly.
"""

import json
import sys
from decimal import Decimal, getcontext

from genai_prices.types import ModelPrice, Tier, TieredPrices, Usage

getcontext().prec = 60

KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "input_cache_read": "cache_read_mtok",
    "input_cache_write": "cache_write_mtok",
    "input_cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "input_audio_cache_read": "cache_audio_read_mtok",
    "output_reasoning": "output_reasoning_mtok",
    "output_audio": "output_audio_mtok",
}


def model_price(case):
    prices = {}
    step = case["step"]
    for name, figure in case["prices"].items():
        base = Decimal(figure)
        upper = step and step["prices"].get(name)
        tiers = [Tier(start=step["over"], price=Decimal(upper))] if upper else []
        prices[KEYS[name]] = TieredPrices(base=base, tiers=tiers) if tiers else base
    # The peer wants every pair of priced kinds priced, also those that no usage here can have.
    for kind, other, pair in [
        ("cache_write_mtok", "input_audio_mtok", "cache_audio_write_mtok"),
        ("cache_write_1h_mtok", "input_audio_mtok", "cache_audio_write_1h_mtok"),
        ("output_reasoning_mtok", "output_audio_mtok", "output_audio_reasoning_mtok"),
    ]:
        if kind in prices and other in prices:
            prices[pair] = Decimal(1)
    return ModelPrice(**prices)


def usage(leaves):
    def total(*skus):
        return sum(leaves.get(sku, 0) for sku in skus)

    inputs = [sku for sku in leaves if sku.startswith("tok.in")]
    outputs = [sku for sku in leaves if sku.startswith("tok.out")]
    return Usage(
        input_tokens=total(*inputs),
        output_tokens=total(*outputs),
        cache_read_tokens=total("tok.in.cache_read", "tok.in.audio.cache_read"),
        cache_write_tokens=total("tok.in.cache_write_5m", "tok.in.cache_write_1h"),
        cache_write_1h_tokens=total("tok.in.cache_write_1h"),
        input_audio_tokens=total("tok.in.audio", "tok.in.audio.cache_read"),
        cache_audio_read_tokens=total("tok.in.audio.cache_read"),
        output_reasoning_tokens=total("tok.out.reasoning"),
        output_audio_tokens=total("tok.out.audio"),
        # Stated, or the peer would try to infer them.
        cache_audio_write_tokens=0,
        cache_audio_write_1h_tokens=0,
        output_audio_reasoning_tokens=0,
    )


for line in sys.stdin:
    case = json.loads(line)
    try:
        print(format(model_price(case).calc_price(usage(case["usage"]))["total_price"], "f"))
    except ValueError as error:
        print("refused" if "join price" in str(error) else f"error {error}")
