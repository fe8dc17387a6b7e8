// The official OpenAI SDK for Node against every family of providers.

import assert from 'node:assert/strict';
import OpenAI from 'openai';

const baseURL = `${process.env.BELLWETHER_URL}/v1`;
const apiKey = process.env.BELLWETHER_KEY;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const models = ['gpt-4.1', 'claude-sonnet-4.5', 'gemini-2.5-flash', 'deepseek-v3.2'];
const messages = [{ role: 'user', content: 'Say hello.' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

const checks = {
  async listsModels() {
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    for (const model of models) assert.ok(listed.includes(model), `${model} is not in ${listed}`);
  },

  async answersWhole() {
    for (const model of models) {
      const answer = await client.chat.completions.create({ model, messages });
      assert.equal(answer.model, model);
      assert.ok(answer.choices[0].message.content);
      assert.ok(answer.usage.total_tokens > 0);
      assert.match(answer.usage.cost, /^\d+\.\d{9}$/);
    }
  },

  async streams() {
    for (const model of models) {
      const stream = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true } });
      const answer = await stream.finalChatCompletion();
      assert.ok(answer.choices[0].message.content);
      assert.ok(answer.usage.total_tokens > 0);
    }
  },

  async callsTools() {
    for (const model of models) {
      const ask = { model, messages, tools: [weather], tool_choice: 'required' };
      const whole = await client.chat.completions.create(ask);
      assert.equal(whole.choices[0].finish_reason, 'tool_calls');
      const streamed = await client.chat.completions.stream(ask).finalChatCompletion();
      for (const call of [...whole.choices[0].message.tool_calls, ...streamed.choices[0].message.tool_calls]) {
        assert.equal(call.function.name, 'get_weather');
        assert.equal(typeof JSON.parse(call.function.arguments), 'object');
      }
    }
  },

  async followsASchema() {
    const schema = {
      type: 'object',
      properties: { name: { type: 'string' } },
      required: ['name'],
      additionalProperties: false,
    };
    const answer = await client.chat.completions.create({
      model: 'gpt-4.1',
      messages,
      response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema } },
    });
    assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ['name']);
  },

  async refusesInTheSdksOwnErrors() {
    const stranger = new OpenAI({ baseURL, apiKey: 'hs_test_wrong', maxRetries: 0 });
    await assert.rejects(stranger.chat.completions.create({ model: models[0], messages }), OpenAI.AuthenticationError);
    await assert.rejects(client.chat.completions.create({ model: 'no-such-model', messages }), OpenAI.NotFoundError);
    await assert.rejects(client.chat.completions.create({ model: models[0], messages: 'x' }), OpenAI.BadRequestError);
  },

  async stopsAStreamAndGoesOn() {
    const stream = await client.chat.completions.create({ model: models[0], messages, stream: true });
    for await (const _chunk of stream) break;
    stream.controller.abort();
    assert.ok((await client.chat.completions.create({ model: models[0], messages })).choices[0].message.content);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}`);
    console.error(error);
  }
}
console.log(`${Object.keys(checks).length - failed} of ${Object.keys(checks).length} passed`);
process.exit(failed ? 1 : 0);
