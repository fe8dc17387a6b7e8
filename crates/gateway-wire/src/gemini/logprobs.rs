//! Log probabilities, rewritten in the one shape that callers' protocols show: a list of tokens, each with its
//! alternatives. Gemini keeps two parallel lists.

use gateway_core::ir::Raw;
use serde::Serialize;

use super::schema::{LogprobsResult, TokenLogprob};

#[derive(Serialize)]
struct Logprobs<'a> {
    content: Vec<Token<'a>>,
    /// The tokens of a refusal, which callers' clients expect to be there; Gemini has none.
    refusal: Option<()>,
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Token<'a>>>,
}

/// The tokens of one answer or frame; `None` when there are none.
pub(super) fn decode(wire: &LogprobsResult<'_>) -> Option<Raw> {
    let chosen = wire.chosen_candidates.as_deref().filter(|chosen| !chosen.is_empty())?;
    let top = wire.top_candidates.as_deref().unwrap_or_default();
    let content = chosen
        .iter()
        .enumerate()
        .map(|(n, token)| {
            let alternatives = top.get(n).and_then(|at| at.candidates.as_deref()).unwrap_or_default();
            Token { top_logprobs: Some(alternatives.iter().map(one).collect()), ..one(token) }
        })
        .collect();
    Raw::of(&Logprobs { content, refusal: None }).ok()
}

fn one<'a>(wire: &'a TokenLogprob<'_>) -> Token<'a> {
    let token = wire.token.as_ref().map_or("", |text| &text.0);
    Token { token, logprob: wire.log_probability.unwrap_or(0.0), bytes: token.as_bytes(), top_logprobs: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_lists_become_tokens_with_alternatives() {
        let wire = r#"{"chosenCandidates": [{"token": "4", "tokenId": 236812, "logProbability": -0.5}],
            "topCandidates": [{"candidates": [{"token": "4", "logProbability": -0.5}, {"token": "é", "logProbability": -2}]}]}"#;
        let raw = decode(&serde_json::from_str(wire).unwrap()).unwrap();
        assert_eq!(
            raw.text(),
            r#"{"content":[{"token":"4","logprob":-0.5,"bytes":[52],"top_logprobs":[{"token":"4","logprob":-0.5,"bytes":[52]},{"token":"é","logprob":-2.0,"bytes":[195,169]}]}],"refusal":null}"#
        );
        assert_eq!(decode(&serde_json::from_str("{}").unwrap()), None);
    }
}
