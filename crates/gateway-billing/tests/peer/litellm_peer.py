"""Prices cases with `litellm`, an independent calculator in floats. One JSON case a line in, one answer a line out.

A case holds `prices` (our names, US dollars per million), `step` ({"over": n, "prices": {…}} or null) and `usage`
(disjoint leaves by SKU). The answer is the exact value of the float it arrives at, in dollars as a decimal string. Every
case is a model of its own with the prices given here, never one of the package's.
"""

import json
import logging
import os
import sys
from decimal import Decimal, getcontext

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402
from litellm.types.utils import Usage  # noqa: E402

getcontext().prec = 60
logging.disable(logging.CRITICAL)
litellm.suppress_debug_info = True

KEYS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "input_cache_read": "cache_read_input_token_cost",
    "input_cache_write": "cache_creation_input_token_cost",
    "input_cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "input_audio": "input_cost_per_audio_token",
    "input_audio_cache_read": "cache_read_input_audio_token_cost",
    "output_reasoning": "output_cost_per_reasoning_token",
    "output_audio": "output_cost_per_audio_token",
}


def per_token(figure):
    return float(Decimal(figure) / 1_000_000)


def model(case):
    info = {"litellm_provider": "openai", "mode": "chat"}
    info.update({KEYS[name]: per_token(figure) for name, figure in case["prices"].items()})
    if case["step"]:
        above = f"_above_{case['step']['over'] // 1000}k_tokens"
        info.update({KEYS[name] + above: per_token(figure) for name, figure in case["step"]["prices"].items()})
    return info


def usage(leaves):
    def total(side):
        return sum(count for sku, count in leaves.items() if sku.startswith(side))

    five_minutes, hour = leaves["tok.in.cache_write_5m"], leaves["tok.in.cache_write_1h"]
    return Usage(
        prompt_tokens=total("tok.in"),
        completion_tokens=total("tok.out"),
        total_tokens=total("tok."),
        prompt_tokens_details={
            "text_tokens": leaves["tok.in"],
            "audio_tokens": leaves["tok.in.audio"],
            "cached_tokens": leaves["tok.in.cache_read"],
            "cache_creation_tokens": five_minutes + hour,
            "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": five_minutes,
                "ephemeral_1h_input_tokens": hour,
            },
        },
        completion_tokens_details={
            "text_tokens": leaves["tok.out"],
            "reasoning_tokens": leaves["tok.out.reasoning"],
            "audio_tokens": leaves["tok.out.audio"],
        },
    )


cases = [json.loads(line) for line in sys.stdin]
litellm.register_model({f"case-{n}": model(case) for n, case in enumerate(cases)})
for n, case in enumerate(cases):
    prompt, completion = litellm.cost_per_token(
        model=f"case-{n}", custom_llm_provider="openai", usage_object=usage(case["usage"])
    )
    print(format(Decimal(prompt) + Decimal(completion), "f"))
