"""The official OpenAI SDK against every family of providers."""

import json

import openai
from suite import KEY, URL, check, raises, run

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=30)
MODELS = ["gpt-4.1", "claude-sonnet-4.5", "gemini-2.5-flash", "deepseek-v3.2"]
HELLO = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Say hello."},
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PERSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        },
    },
}


@check
def lists_models():
    listed = {model.id for model in client.models.list()}
    assert listed.issuperset(MODELS), listed
    assert client.models.retrieve("gpt-4.1").id == "gpt-4.1"


@check
def answers_whole():
    for model in MODELS:
        answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=100)
        assert answer.model == model, answer.model
        assert answer.choices[0].message.content, answer
        assert answer.choices[0].finish_reason in ("stop", "length"), answer
        usage = answer.usage
        assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
        assert isinstance(usage.cost, str) and float(usage.cost) > 0, usage


@check
def tells_what_it_did_in_headers():
    raw = client.chat.completions.with_raw_response.create(model="gpt-4.1", messages=HELLO)
    assert raw.headers["x-bellwether-request-id"].startswith("req_"), raw.headers
    assert raw.headers["x-bellwether-attempts"] == "1", raw.headers
    assert float(raw.headers["x-bellwether-cost-usd"]) > 0, raw.headers
    assert raw.parse().usage.cost == raw.headers["x-bellwether-cost-usd"], raw.headers


@check
def streams():
    for model in MODELS:
        text, finish, usage = "", None, None
        stream = client.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        for chunk in stream:
            assert chunk.model == model, chunk.model
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
        assert text and finish in ("stop", "length"), (text, finish)
        assert usage and usage.total_tokens > 0 and float(usage.cost) > 0, usage


@check
def streams_without_usage_unless_asked():
    stream = client.chat.completions.create(model="gpt-4.1", messages=HELLO, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in stream)


@check
def stream_and_whole_say_the_same():
    whole = client.chat.completions.create(model="gpt-4.1", messages=HELLO, seed=1)
    stream = client.chat.completions.create(model="gpt-4.1", messages=HELLO, seed=1, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content, (text, whole.choices[0].message.content)


@check
def calls_tools_and_takes_their_results():
    for model in MODELS:
        messages = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
        asked = client.chat.completions.create(
            model=model, messages=messages, tools=[WEATHER], tool_choice="required"
        ).choices[0]
        assert asked.finish_reason == "tool_calls", asked
        calls = asked.message.tool_calls
        assert calls and len({call.id for call in calls}) == len(calls), calls
        for call in calls:
            assert call.function.name == "get_weather", call
            assert isinstance(json.loads(call.function.arguments), dict), call
        messages.append(asked.message.model_dump(exclude_none=True))
        for call in calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny, 25 degrees"})
        answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
        assert answer.choices[0].message.content or answer.choices[0].message.tool_calls, answer


@check
def streams_tool_calls():
    for model in MODELS:
        arguments, names, finish = {}, {}, None
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "What is the weather in Paris?"}],
            tools=[WEATHER],
            tool_choice="required",
            stream=True,
        )
        for chunk in stream:
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or []:
                    names.setdefault(call.index, call.function.name)
                    arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        assert finish == "tool_calls", finish
        assert set(names.values()) == {"get_weather"}, names
        assert all(isinstance(json.loads(text), dict) for text in arguments.values()), arguments


@check
def follows_a_schema():
    for model in MODELS:
        answer = client.chat.completions.create(model=model, messages=HELLO, response_format=PERSON)
        person = json.loads(answer.choices[0].message.content)
        assert set(person) == {"name", "age"} and isinstance(person["age"], int), person


@check
def falls_back_and_says_who_served():
    rules = [{"match": {"model": "gpt-4.1"}, "fault": {"kind": "status", "status": 429}}]
    headers = {"x-bellwether-simulate": json.dumps(rules)}
    raw = client.chat.completions.with_raw_response.create(model="gpt-4.1", messages=HELLO, extra_headers=headers)
    assert raw.parse().model == "claude-sonnet-4.5", raw.parse().model
    assert raw.headers["x-bellwether-requested-model"] == "gpt-4.1", raw.headers
    forbidden = raises(
        openai.RateLimitError,
        lambda: client.chat.completions.create(
            model="gpt-4.1", messages=HELLO, extra_headers=headers, extra_body={"disable_fallbacks": True}
        ),
    )
    assert forbidden.status_code == 429, forbidden


@check
def keeps_to_the_callers_own_list():
    answer = client.chat.completions.create(
        model="gpt-4.1", messages=HELLO, extra_body={"models": ["deepseek-v3.2", "gpt-4.1"]}
    )
    assert answer.model == "deepseek-v3.2", answer.model


@check
def refuses_a_wrong_key():
    for key in ("hs_test_wrong", "sk-proj-of-another-service"):
        stranger = client.with_options(api_key=key)
        error = raises(openai.AuthenticationError, lambda: stranger.chat.completions.create(model="gpt-4.1", messages=HELLO))
        assert error.status_code == 401 and error.message, error


@check
def refuses_an_unknown_model():
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-4.11", messages=HELLO))
    assert error.code == "model_not_found" and "gpt-4.1" in error.message, error


@check
def refuses_a_wrong_request():
    error = raises(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="claude-sonnet-4.5", messages=[{"role": "nobody", "content": "x"}]),
    )
    assert error.type == "invalid_request_error", error
    raises(openai.BadRequestError, lambda: client.chat.completions.create(model="gpt-4.1", messages="not a list"))


@check
def works_asynchronously_in_parallel():
    import asyncio

    async def all_at_once():
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=30) as parallel:
            calls = [parallel.chat.completions.create(model=MODELS[n % 4], messages=HELLO) for n in range(20)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(all_at_once())
    assert [answer.model for answer in answers] == [MODELS[n % 4] for n in range(20)]


run()
