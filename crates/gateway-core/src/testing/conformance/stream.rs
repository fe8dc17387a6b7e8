//! The rules about streamed answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::timeout;

use super::{
    Broken, Subject, broken, require,
    rules::{check_head, check_meter, gone, send, still_serves},
};
use crate::{
    reply::{Reply, ReplyBody},
    testing::read_body,
};

const RULE: &str = "stream";

pub(super) async fn streamed(subject: &Subject) -> Result<(), Broken> {
    let reply = committed(subject).await?;
    let meter = reply.meter.clone();
    let body = timeout(subject.patience, read_body(reply))
        .await
        .map_err(|_elapsed| broken(RULE, format!("the stream did not end within {:?}", subject.patience)))?;
    let text = std::str::from_utf8(&body).map_err(|_error| broken(RULE, "the stream is not text in the caller's protocol"))?;
    let mut events = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_str(line)
            .map_err(|error| broken(RULE, format!("`{line}` is not in the caller's protocol ({error}); write events with its encoder")))?;
        events.push(event);
    }
    let content = check_events(&events)?;
    check_meter(RULE, &meter.snapshot(), subject, content)
}

/// Dropping the body stops the upstream call and harms nothing that follows.
pub(super) async fn dropped_body(subject: &Subject) -> Result<(), Broken> {
    drop(committed(subject).await?);
    gone(subject, "cancel-safety").await?;
    still_serves(subject, "cancel-safety").await
}

/// A streamed reply past its commit point.
async fn committed(subject: &Subject) -> Result<Reply, Broken> {
    let call = subject.call(&subject.prompt).streamed().build();
    let mut reply =
        send(subject, RULE, &call, 1).await?.map_err(|fault| broken(RULE, format!("a plain streamed request failed: {fault:?}")))?;
    check_head(&reply, subject, 1)?;
    require(RULE, matches!(reply.body, ReplyBody::Stream(_)), || "a call that asked for a stream got a whole answer".to_owned())?;
    for time in ["first", "second"] {
        timeout(subject.patience, reply.commit())
            .await
            .map_err(|_elapsed| broken("commit", format!("the {time} `commit` did not return within {:?}", subject.patience)))?
            .map_err(|fault| broken("commit", format!("the {time} `commit` failed: {fault:?}")))?;
    }
    require("commit", !reply.meter.read(|reading| reading.delivered), || {
        "something counts as delivered before the caller read it".to_owned()
    })?;
    Ok(reply)
}

/// The order of events; returns the bytes of content.
fn check_events(events: &[Value]) -> Result<usize, Broken> {
    let mut parts: BTreeMap<(u64, u64), bool> = BTreeMap::new();
    let mut finished = BTreeSet::new();
    let (mut content, mut ended) = (0, false);
    for (n, event) in events.iter().enumerate() {
        let kind = event["event"].as_str().unwrap_or_default();
        let choice = event["choice"].as_u64().unwrap_or_default();
        let part = (choice, event["part"].as_u64().unwrap_or_default());
        require("one end", !ended || (kind == "done" && n + 1 == events.len()), || format!("`{kind}` follows the end of the stream"))?;
        match kind {
            "start" => require(RULE, n == 0, || "`Start` must be the first event and come once".to_owned())?,
            "part" => {
                let next = parts.keys().filter(|(of, _)| *of == choice).count() as u64;
                require("parts", part.1 == next, || format!("part {} of choice {choice} starts where part {next} is due", part.1))?;
                parts.insert(part, true);
            }
            "text" | "seal" | "citation" | "extras" => {
                require("parts", parts.get(&part) == Some(&true), || {
                    format!("a delta for part {} of choice {choice}, which is not open", part.1)
                })?;
                content += event["text"].as_str().map_or(0, str::len);
            }
            "part_end" => {
                require("parts", parts.insert(part, false) == Some(true), || {
                    format!("part {} of choice {choice} ends but is not open", part.1)
                })?;
            }
            "finish" => require("finish", finished.insert(choice), || format!("choice {choice} finishes twice"))?,
            "end" => ended = true,
            "fault" => return Err(broken(RULE, format!("a plain streamed request failed in the stream: {event}"))),
            _ => {}
        }
    }
    require("one end", ended, || "the stream has no `End` event".to_owned())?;
    require("one end", events.last().is_some_and(|last| last["event"] == "done"), || "the stream lacks its terminator".to_owned())?;
    require("parts", parts.values().all(|open| !open), || "a part was still open at the end".to_owned())?;
    let choices: BTreeSet<u64> = parts.keys().map(|(choice, _)| *choice).collect();
    require("finish", !finished.is_empty() && finished.is_superset(&choices), || "a choice has no `Finish` event".to_owned())?;
    require(RULE, content > 0, || "the stream has no content".to_owned())?;
    Ok(content)
}
