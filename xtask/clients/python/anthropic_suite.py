"""The official Anthropic SDK against every family of providers."""

import json

import anthropic
from suite import KEY, URL, check, raises, run

client = anthropic.Anthropic(base_url=URL, auth_token=KEY, api_key=None, max_retries=0, timeout=30)
MODELS = ["claude-sonnet-4.5", "gpt-4.1", "gemini-2.5-flash", "deepseek-v3.2"]
HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@check
def answers_whole():
    for model in MODELS:
        answer = client.messages.create(model=model, max_tokens=100, system="Answer briefly.", messages=HELLO)
        assert answer.model == model and answer.role == "assistant", answer
        assert answer.content[0].type == "text" and answer.content[0].text, answer
        assert answer.stop_reason in ("end_turn", "max_tokens"), answer
        assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer.usage
        assert isinstance(answer.usage.cost, str) and float(answer.usage.cost) > 0, answer.usage


@check
def streams():
    for model in MODELS:
        with client.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text and text == final.content[0].text, (text, final)
        assert final.model == model and final.stop_reason in ("end_turn", "max_tokens"), final
        assert final.usage.output_tokens > 0, final.usage


@check
def streams_events_in_order():
    kinds = [event.type for event in client.messages.create(model="gpt-4.1", max_tokens=100, messages=HELLO, stream=True)]
    kinds = [kind for kind in kinds if kind != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") > 0, kinds


@check
def calls_tools_and_takes_their_results():
    for model in MODELS:
        messages = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
        asked = client.messages.create(
            model=model, max_tokens=500, messages=messages, tools=[WEATHER], tool_choice={"type": "any"}
        )
        assert asked.stop_reason == "tool_use", asked
        calls = [block for block in asked.content if block.type == "tool_use"]
        assert calls and all(call.name == "get_weather" and isinstance(call.input, dict) for call in calls), asked
        messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]})
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny, 25 degrees"} for call in calls]
        messages.append({"role": "user", "content": results})
        answer = client.messages.create(model=model, max_tokens=500, messages=messages, tools=[WEATHER])
        assert answer.content, answer


@check
def streams_tool_calls():
    for model in MODELS:
        with client.messages.stream(
            model=model,
            max_tokens=500,
            messages=[{"role": "user", "content": "What is the weather in Paris?"}],
            tools=[WEATHER],
            tool_choice={"type": "tool", "name": "get_weather"},
        ) as stream:
            final = stream.get_final_message()
        calls = [block for block in final.content if block.type == "tool_use"]
        assert final.stop_reason == "tool_use" and calls, final
        assert all(isinstance(call.input, dict) for call in calls), final


@check
def thinks_and_takes_its_thoughts_back():
    messages = [{"role": "user", "content": "How many primes are below 20?"}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    first = client.messages.create(model="claude-sonnet-4.5", max_tokens=2048, messages=messages, thinking=thinking)
    thoughts = [block for block in first.content if block.type == "thinking"]
    assert thoughts and all(block.signature for block in thoughts), first
    with client.messages.stream(model="claude-sonnet-4.5", max_tokens=2048, messages=messages, thinking=thinking) as stream:
        streamed = stream.get_final_message()
    assert any(block.type == "thinking" and block.signature for block in streamed.content), streamed
    messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]})
    messages.append({"role": "user", "content": "And below 30?"})
    second = client.messages.create(model="claude-sonnet-4.5", max_tokens=2048, messages=messages, thinking=thinking)
    assert second.content, second


@check
def counts_tokens():
    for model in ("claude-sonnet-4.5", "gpt-4.1"):
        counted = client.messages.count_tokens(model=model, messages=HELLO, tools=[WEATHER])
        assert counted.input_tokens > 0, counted


@check
def lists_models():
    listed = {model.id for model in client.models.list()}
    assert listed.issuperset(MODELS), listed


@check
def takes_the_key_as_x_api_key_too():
    older = anthropic.Anthropic(base_url=URL, api_key=KEY, auth_token=None, max_retries=0, timeout=30)
    assert older.messages.create(model="claude-sonnet-4.5", max_tokens=100, messages=HELLO).content


@check
def falls_back_and_says_who_served():
    rules = [{"match": {"model": "gpt-4.1"}, "fault": {"kind": "status", "status": 503}}]
    answer = client.messages.create(
        model="gpt-4.1",
        max_tokens=100,
        messages=HELLO,
        extra_headers={"x-bellwether-simulate": json.dumps(rules)},
    )
    assert answer.model == "claude-sonnet-4.5", answer.model


@check
def refuses_a_wrong_key():
    stranger = anthropic.Anthropic(base_url=URL, auth_token="hs_test_wrong", api_key=None, max_retries=0)
    error = raises(anthropic.AuthenticationError, lambda: stranger.messages.create(model="gpt-4.1", max_tokens=9, messages=HELLO))
    assert error.body["error"]["type"] == "authentication_error", error.body


@check
def refuses_an_unknown_model():
    error = raises(anthropic.NotFoundError, lambda: client.messages.create(model="no-such-model", max_tokens=9, messages=HELLO))
    assert error.body["error"]["type"] == "not_found_error", error.body


@check
def refuses_a_wrong_request():
    wrong = [{"role": "user", "content": [{"type": "text"}]}]
    error = raises(anthropic.BadRequestError, lambda: client.messages.create(model="gpt-4.1", max_tokens=9, messages=wrong))
    assert error.body["error"]["type"] == "invalid_request_error", error.body


run()
